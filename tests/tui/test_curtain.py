"""A terminal too small for any screen: one sentence is sent, nothing else, and what was open is found as it was."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from rich.console import RenderableType
from textual._compositor import LayoutUpdate
from textual.app import App
from textual.geometry import Size
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from tests.builders import RunBuilder, held
from tests.tui.stage import sheet_of, shows, text_of, until
from trainer import presets
from trainer.models import FETCHABLE
from trainer.rundir import RunDir
from trainer.spec import RunSpec
from tui.app import FinetuneApp
from tui.curtain import SENTENCE, sentence
from tui.screens.home import HomeScreen
from tui.screens.live import LiveScreen
from tui.screens.new_run import NewRunScreen
from tui.screens.room import Room
from tui.sheets import fetch
from tui.sheets.stop import StopSheet

TOO_SMALL = ((39, 24), (80, 9), (5, 2), (1, 1))


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[RenderableType]:
    """Everything that is sent to the terminal, as it is added."""
    pictures: list[RenderableType] = []

    def display(_app: App[None], _screen: Screen[object], renderable: RenderableType | None) -> None:
        if renderable is not None:
            pictures.append(renderable)

    monkeypatch.setattr(App, "_display", display)
    return pictures


@pytest.fixture
def driven(tmp_path: Path) -> Iterator[RunBuilder]:
    builder = RunBuilder(tmp_path / "runs").prepared().trained(163)
    with held(builder.run):
        yield builder


def said(picture: RenderableType) -> str:
    assert isinstance(picture, LayoutUpdate)
    return " ".join("".join(strip.text for row in picture.strips for strip in row).split())


def cockpit(tmp_path: Path, run: RunDir | None = None) -> FinetuneApp:
    return FinetuneApp(tmp_path / "runs", run)


async def hang(pilot: Pilot[None], *size: int) -> None:
    await pilot.resize_terminal(*size)
    await until(pilot, lambda: getattr(pilot.app, "curtain", None) == size)
    await pilot.pause()


async def lift(pilot: Pilot[None]) -> None:
    await pilot.resize_terminal(80, 24)
    await until(pilot, lambda: getattr(pilot.app, "curtain", 0) is None)
    await pilot.pause()


@pytest.mark.parametrize("size", [*TOO_SMALL, (30, 8), (200, 3), (0, 0)])
def test_as_much_of_the_sentence_as_fits(size: tuple[int, int]) -> None:
    rows = ["".join(strip.text for strip in row) for row in sentence(Size(*size)).strips]
    assert [len(row) for row in rows] == [size[0]] * size[1]
    if size[0] * size[1] > 200:
        assert " ".join(" ".join(rows).split()) == SENTENCE


async def test_of_a_live_run_nothing_is_sent(tmp_path: Path, driven: RunBuilder, sent: list[RenderableType]) -> None:
    app = cockpit(tmp_path, driven.run)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "163 of 340")
        for size in TOO_SMALL:
            sent.clear()
            await hang(pilot, *size)
            driven.trained(1)
            await shows(pilot, f"{driven.last_step} of 340")  # it is drawn, and stays here
            pictures = [said(picture).replace(" ", "") for picture in sent]
            while len(pictures) > 1 and "running" in pictures[0]:  # still of the screen that was lifted before
                del pictures[0]
            assert len(pictures) == 1
            assert pictures[0] in SENTENCE.replace(" ", "")
            await lift(pilot)
            assert len(sent) > 1
            assert "● running" in text_of(app)


async def test_a_start_in_a_small_terminal_comes_to_a_whole_screen(
    tmp_path: Path, driven: RunBuilder, sent: list[RenderableType]
) -> None:
    app = cockpit(tmp_path, driven.run)
    async with app.run_test(size=(30, 8)) as pilot:
        await shows(pilot, "running")
        await until(pilot, lambda: sent)
        assert [said(picture) for picture in sent] == [SENTENCE]
        await lift(pilot)
        text = await shows(pilot, "● running", "■ Stop", "elapsed", "eval loss")
        assert text.split()[0] == driven.run.name
        assert app.screen.scroll_y == 0


async def test_what_the_terminal_lost_on_the_way_is_sent_again(
    tmp_path: Path, driven: RunBuilder, sent: list[RenderableType]
) -> None:
    """Made smaller and larger again at once, a terminal may tell the last size only, and has lost its rows."""
    app = cockpit(tmp_path, driven.run)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "163 of 340")
        await pilot.pause(0.3)
        sent.clear()
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: sent)


async def test_no_key_gets_through_but_the_apps_own(tmp_path: Path, driven: RunBuilder) -> None:
    app = cockpit(tmp_path, driven.run)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "163 of 340")
        await hang(pilot, 30, 8)
        await pilot.press("s", "p", "n", "enter", "f1")
        await lift(pilot)
        assert isinstance(app.screen, LiveScreen)
        assert sheet_of(app) is None
        assert not (driven.run.path / "commands.jsonl").exists()
        await hang(pilot, 30, 8)
        await pilot.press("ctrl+q")
    assert app.return_code == 0


async def test_new_run_keeps_what_was_typed_and_where(tmp_path: Path) -> None:
    app = cockpit(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Learning rate")
        form = app.screen
        assert isinstance(form, NewRunScreen)
        await pilot.press("ctrl+t", "end", "x", "y")
        model = form.query_one("#model", Input)
        await until(pilot, lambda: form.form.texts["model"].endswith("xy"))
        scrolled = form.query_one("#body").scroll_y
        assert scrolled > 0
        for size in TOO_SMALL:
            await hang(pilot, *size)
            await pilot.press("z", "tab", "ctrl+r")
            await lift(pilot)
            assert app.focused is model
            assert model.value.endswith("xy")
            assert form.query_one("#body").scroll_y == scrolled
            assert "xy" in text_of(app)


async def test_home_keeps_its_place(tmp_path: Path) -> None:
    for at in range(30):
        RunBuilder(tmp_path / "runs", name=f"2026-11-23-1412-run-{at:04d}").started()
    app = cockpit(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Learning rate")
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(app.screen, HomeScreen) and len(app.screen.summaries) == 30)
        await pilot.press("down", "down", "down")
        before = text_of(app)
        await hang(pilot, 30, 8)
        await pilot.press("enter", "down")
        await lift(pilot)
        assert text_of(app) == before
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))
        assert isinstance(app.screen, LiveScreen)
        assert app.screen.run.name == "2026-11-23-1412-run-0026"


async def sheet(pilot: Pilot[None]) -> None:
    await shows(pilot, "163 of 340")
    await pilot.press("s", "up")


async def help(pilot: Pilot[None]) -> None:
    await shows(pilot, "163 of 340")
    await pilot.press("f1")


@pytest.mark.parametrize(("open", "title"), [(sheet, "Stop this run?"), (help, "All runs; this one is left alone")])
async def test_what_stands_over_live_stays_there(
    tmp_path: Path, driven: RunBuilder, open: Callable[[Pilot[None]], Awaitable[None]], title: str
) -> None:
    app = cockpit(tmp_path, driven.run)
    async with app.run_test(size=(80, 24)) as pilot:
        await open(pilot)
        await shows(pilot, title)
        top, focused = sheet_of(app), app.focused
        marked = top.marked if isinstance(top, StopSheet) else None
        for size in TOO_SMALL:
            await hang(pilot, *size)
            await pilot.press("escape", "down", "enter")
            await lift(pilot)
            assert sheet_of(app) is top
            assert app.focused is focused
            assert marked == (top.marked if isinstance(top, StopSheet) else None)
            await shows(pilot, title, driven.run.name)  # and the run's screen behind it


async def test_a_run_that_ends_behind_the_curtain_closes_its_stop_sheet(tmp_path: Path, driven: RunBuilder) -> None:
    app = cockpit(tmp_path, driven.run)
    async with app.run_test(size=(80, 24)) as pilot:
        await sheet(pilot)
        await shows(pilot, "Stop this run?")
        await hang(pilot, 30, 8)
        driven.stopped()
        await until(pilot, lambda: sheet_of(app) is None)
        await lift(pilot)
        await shows(pilot, "stopped", "Kept the best")


async def test_presets_can_be_chosen_from_and_saved_to_afterwards(tmp_path: Path) -> None:
    presets.save("mine", RunSpec(model="builtin:tiny"))
    app = cockpit(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Learning rate")
        await pilot.press("ctrl+o")
        await shows(pilot, "Fill in from a preset")
        await hang(pilot, 39, 24)
        await lift(pilot)
        await shows(pilot, "Fill in from a preset", "mine")
        await pilot.press("escape", "ctrl+s")
        await shows(pilot, "Save these settings as a preset")
        await pilot.press("o", "n", "e")
        await hang(pilot, 5, 2)
        await pilot.press("x")
        await lift(pilot)
        await shows(pilot, "Save these settings as a preset")
        assert isinstance(app.focused, Input)
        assert app.focused.value == "one"


async def test_a_model_that_arrives_behind_the_curtain_closes_its_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "go"
    script = f'while [ ! -e {go} ]; do sleep 0.05; done; echo \'{{"ready": "/m"}}\''
    monkeypatch.setattr(fetch, "fetch_command", lambda _: ["sh", "-c", script])
    app = cockpit(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Learning rate")
        assert isinstance(app.screen, Room)
        app.screen.lay(fetch.FetchSheet(next(iter(FETCHABLE))))
        await shows(pilot, "Fetching")
        await hang(pilot, 39, 24)
        await lift(pilot)
        await shows(pilot, "Fetching")
        await hang(pilot, 39, 24)
        go.touch()
        await until(pilot, lambda: sheet_of(app) is None)
        await lift(pilot)
        await shows(pilot, "Learning rate")
