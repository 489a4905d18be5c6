"""Only what differs is sent, and what a terminal then shows is the picture, cell for cell: an emulator says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyte
import pytest
from rich.console import RenderableType
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen
from textual.strip import Strip

from tests.builders import RunBuilder, held
from tests.tui.stage import shows, text_of, until
from tui.app import FinetuneApp
from tui.sparing import Sparing, Stretches, differing

RED, BLUE = Style(color="red"), Style(color="blue")


def strip(*pieces: tuple[str, Style]) -> Strip:
    return Strip([Segment(text, style) for text, style in pieces])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (strip(("abc", RED)), strip(("abc", RED)), []),
        (strip(("abc", RED)), strip(("a", RED), ("bc", RED)), []),
        (strip(("abc", RED)), strip(("a", RED), ("b", BLUE), ("c", RED)), [(1, 2)]),
        (strip(("a" * 40, RED)), strip(("xa" + "a" * 37 + "x", RED)), [(0, 1), (39, 40)]),
        (strip(("a" * 8, RED)), strip(("xa" + "a" * 5 + "x", RED)), [(0, 8)]),
        (strip(("漢字ab", RED)), strip(("漢字ac", RED)), [(0, 6)]),
        (strip(("e\u0301abc漢", RED)), strip(("e\u0301abd漢", RED)), [(0, 6)]),
        (strip(("⣿●◆", RED)), strip(("⣿○◆", RED)), [(1, 2)]),
    ],
)
def test_the_stretches_that_differ(old: Strip, new: Strip, expected: list[tuple[int, int]]) -> None:
    assert list(differing(old, new)) == expected


class Emulator:
    """What a terminal shows of everything that was sent, and what was sent last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.screen = pyte.Screen(80, 24)
        self.stream = pyte.Stream(self.screen)
        self.sent: list[str] = []

        def display(app: App[None], _screen: Screen[object], renderable: RenderableType | None) -> None:
            if isinstance(renderable, LayoutUpdate | ChopsUpdate | Stretches) and not app._batch_count:
                self.sent.append(renderable.render_segments(app.console))
                self.stream.feed(self.sent[-1])

        monkeypatch.setattr(App, "_display", display)

    def differs_from(self, app: App[None]) -> Iterator[str]:
        """Where the terminal shows something else than the app has on its screen."""
        whole = pyte.Screen(80, 24)
        pyte.Stream(whole).feed(app.screen._compositor.render_full_update().render_segments(app.console))
        for y in range(24):
            for x in range(80):
                is_, should = seen(self.screen.buffer[y][x]), seen(whole.buffer[y][x])
                if is_ != should:
                    yield f"{x},{y}: {is_} is not {should}"


def seen(cell: pyte.screens.Char) -> pyte.screens.Char:
    """What of a cell can be seen: a blank has no colour of its own."""
    return cell._replace(fg="default") if cell.data == " " and not cell.reverse else cell


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Emulator:
    return Emulator(monkeypatch)


async def settled(pilot: Pilot[None], emulator: Emulator) -> None:
    """Wait until the terminal shows what the app does; fails, with the first cell that differs, when it never does."""
    await pilot.pause(0.05)
    try:
        await until(pilot, lambda: not list(emulator.differs_from(pilot.app)), seconds=5)
    except AssertionError:
        raise AssertionError(next(emulator.differs_from(pilot.app), "late")) from None


async def test_the_terminal_shows_every_picture(tmp_path: Path, emulator: Emulator) -> None:
    builder = RunBuilder(tmp_path / "runs").prepared().trained(120)
    app = FinetuneApp(tmp_path / "runs", builder.run)
    with held(builder.run):
        async with app.run_test(size=(80, 24)) as pilot:
            await shows(pilot, "● running", "120 of 340")
            for key in ("s", "down", "escape", "f1", "escape", "p", "s", "up", "escape", "h"):
                await pilot.press(key)
                await settled(pilot, emulator)
            await shows(pilot, "1 run, 1 live")
            for key in ("down", "f1", "escape", "enter"):
                await pilot.press(key)
                await settled(pilot, emulator)
            await shows(pilot, "120 of 340")
            for _ in range(4):
                builder.trained(7)
                await shows(pilot, f"{builder.last_step} of 340")
                await settled(pilot, emulator)
            await pilot.press("n")
            await shows(pilot, "Learning rate")
            for key in (
                "up",
                "1",
                "tab",
                "2",
                "ctrl+t",
                "down",
                "x",
                "tab",
                "ctrl+s",
                "a",
                "escape",
                "ctrl+o",
                "escape",
            ):
                await pilot.press(key)
                await settled(pilot, emulator)


async def test_signs_that_are_not_one_cell_wide(tmp_path: Path, emulator: Emulator) -> None:
    for name in ("漢字漢字", "plain", "e\u0301e\u0301e\u0301", "ｆｕｌｌ"):
        RunBuilder(tmp_path / "runs", name=f"2026-11-23-1412-{name}").prepared().trained(3).stopped()
    app = FinetuneApp(tmp_path / "runs")
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Learning rate")
        await pilot.press("ctrl+l")
        await shows(pilot, "4 runs")
        for key in ("down", "down", "down", "up", "f1", "escape", "enter"):
            await pilot.press(key)
            await settled(pilot, emulator)


async def test_a_sheet_costs_its_own_cells_and_nothing_costs_nothing(tmp_path: Path, emulator: Emulator) -> None:
    builder = RunBuilder(tmp_path / "runs").prepared().trained(120)
    app = FinetuneApp(tmp_path / "runs", builder.run)
    with held(builder.run):
        async with app.run_test(size=(80, 24)) as pilot:
            await shows(pilot, "● running", "120 of 340")
            await settled(pilot, emulator)
            emulator.sent.clear()
            await pilot.press("s")
            await shows(pilot, "Stop this run?")
            await settled(pilot, emulator)
            opened = sum(map(len, emulator.sent))
            assert opened < len(app.screen._compositor.render_full_update().render_segments(app.console)) / 2
            emulator.sent.clear()
            app.screen.refresh()
            await pilot.pause(0.2)
            assert emulator.sent == []


async def test_a_terminal_that_lost_its_picture_gets_all_of_it(tmp_path: Path, emulator: Emulator) -> None:
    app = FinetuneApp(tmp_path / "runs")
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Learning rate")
        await pilot.press("ctrl+o")
        await settled(pilot, emulator)
        emulator.screen.reset()
        assert isinstance(app, Sparing)
        app.send_again()
        await settled(pilot, emulator)
        assert "Fill in from a preset" in "\n".join(emulator.screen.display)
        assert "Epochs" in text_of(app)


def test_rows_that_are_not_known_are_sent_whole(tmp_path: Path) -> None:
    """The terminal has grown, and a widget in its new part is painted before the whole picture is."""
    app = FinetuneApp(tmp_path)
    app._rows = [Strip.blank(10)] * 5
    update = ChopsUpdate([{0: Strip.blank(10)}] * 8, [(7, 0, 3)], [[10]] * 8)
    assert app._news(update) is update
    assert app._rows is None
