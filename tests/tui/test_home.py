"""Home: every run in a row, read in a thread, kept up to date with as few changes as it takes."""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import ExitStack
from math import nan
from pathlib import Path

import pytest
from rich.text import Text

from tests.builders import RunBuilder, held
from tests.tui.stage import LARGE, MIDDLE, SMALL, Stage, shows, text_of, until
from trainer.events import Entry, Evaluated, Paused, StepTaken
from trainer.rundir import Command, RunDir
from trainer.spec import RunSpec
from tui.catalogue import Catalogue, Summary
from tui.screens import home
from tui.screens.home import HomeScreen
from tui.widgets.run_table import RunTable, cells, columns


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "REFRESH_SECONDS", 0.05)


def build(folder: Path, day: int, name: str = "codephreak") -> RunBuilder:
    return RunBuilder(folder, f"2026-11-{day:02d}-1412-{name}-7f3a").prepared()


def names(app: Stage) -> list[str]:
    screen = app.screen
    assert isinstance(screen, HomeScreen)
    return [summary.run.name for summary in screen.summaries]


async def test_empty_says_what_to_do_and_where_it_looked(tmp_path: Path) -> None:
    app = Stage(HomeScreen(tmp_path / "no[runs]"))
    async with app.run_test(size=SMALL) as pilot:
        text = await shows(pilot, "No runs yet. Press n to start one.", "Looked in")
        assert "no[runs]" in "".join(text.split())  # a long path is wrapped
        await pilot.press("e", "enter", "n")
        assert [kind for kind, *_ in app.went] == ["new_run"]
        build(tmp_path / "no[runs]", 1)  # a run that appears later appears here
        await shows(pilot, "1 run", "! crashed")


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=str)
async def test_all_states_newest_first(tmp_path: Path, size: tuple[int, int]) -> None:
    RunBuilder(tmp_path, "2026-11-20-1412-codephreak-7f3a").started()
    starting = RunDir(tmp_path / "2026-11-20-1412-codephreak-7f3a")
    running = build(tmp_path, 19).trained(163, best_at=136)
    paused = build(tmp_path, 18).trained(40).add(Paused(40))
    stopping = build(tmp_path, 17).trained(40)
    stopping.run.ask(Command("stop", keep="last"))
    build(tmp_path, 16).trained(340).finished()
    build(tmp_path, 15).trained(240).stopped()
    build(tmp_path, 14).trained(10).failed("no")
    build(tmp_path, 13).trained(10)
    app = Stage(HomeScreen(tmp_path))
    with ExitStack() as hosts:
        for run in (starting, running.run, paused.run, stopping.run):
            hosts.enter_context(held(run))
        async with app.run_test(size=size) as pilot:
            await shows(pilot, "8 runs, 4 live", *(f"2026-11-{day}" for day in range(13, 21)))
            rows = [line for line in text_of(app).split("\n") if "2026-11-" in line]
    words = ["starting", "running", "paused", "stopping", "finished", "stopped", "failed", "crashed"]
    assert [word for row, word in zip(rows, words, strict=True) if word in row] == words
    assert "163/340" in rows[1]
    assert "2.314" in rows[1]
    assert "5/4/1e-3" in rows[1]
    assert "–" in rows[7]
    assert all("2026-11-20-1412-codephreak-7f3a" in row for row in rows[:1])  # whole, even at 80
    assert ("█▆▃▁" in rows[1]) == (size != SMALL)


async def test_enter_opens_and_e_starts_from_the_run_under_the_cursor(tmp_path: Path) -> None:
    build(tmp_path, 2).trained(5).finished()
    older = build(tmp_path, 1).trained(5).finished()
    app = Stage(HomeScreen(tmp_path))
    async with app.run_test(size=SMALL) as pilot:
        await shows(pilot, "2 runs")
        await pilot.press("down", "enter", "e")
        await until(pilot, lambda: len(app.went) == 2)
    assert app.went[0] == ("live", older.run)
    kind, values, origin = app.went[1]
    assert (kind, origin) == ("new_run", older.run.name)
    assert isinstance(values, dict)
    assert RunSpec(**values) == older.spec


async def test_the_cursor_stays_on_its_run_when_others_come_and_go(tmp_path: Path) -> None:
    first = build(tmp_path, 1)
    kept = build(tmp_path, 2)
    build(tmp_path, 3)
    app = Stage(HomeScreen(tmp_path))
    async with app.run_test(size=SMALL) as pilot:
        await shows(pilot, "3 runs")
        table = app.screen.query_one(RunTable)
        await pilot.press("down")
        assert table.chosen is not None
        assert table.chosen.run == kept.run
        build(tmp_path, 4)
        await shows(pilot, "4 runs")
        assert names(app)[0].startswith("2026-11-04")
        assert table.chosen.run == kept.run
        assert table.cursor_row == 2
        shutil.rmtree(first.run.path)
        await shows(pilot, "3 runs")
        assert table.chosen.run == kept.run
        shutil.rmtree(kept.run.path)
        await shows(pilot, "2 runs")
        assert table.cursor_row == 0


async def test_a_live_run_moves_and_others_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, 1).trained(30).finished()
    growing = build(tmp_path, 2).trained(30)
    touched: list[str] = []
    update = RunTable.update_cell

    def noting(self: RunTable, row_key: str, column_key: str, value: Text) -> None:
        touched.append(f"{row_key.rsplit('/', 1)[-1][:10]} {column_key}")
        update(self, row_key, column_key, value)

    monkeypatch.setattr(RunTable, "update_cell", noting)
    app = Stage(HomeScreen(tmp_path))
    with held(growing.run):
        async with app.run_test(size=SMALL) as pilot:
            await shows(pilot, "● running", "30/340")
            assert touched == []
            growing.trained(1)
            await shows(pilot, "31/340")
            assert touched == ["2026-11-02 steps"]
            growing.finished()
            await until(pilot, lambda: "live" not in text_of(app))
    assert set(touched) == {"2026-11-02 steps", "2026-11-02 state", "2026-11-02 name"}


async def test_a_crashed_run_that_is_taken_up_again_is_live(tmp_path: Path) -> None:
    builder = build(tmp_path, 1).trained(30)
    app = Stage(HomeScreen(tmp_path))
    async with app.run_test(size=SMALL) as pilot:
        await shows(pilot, "! crashed")
        with held(builder.run):
            await shows(pilot, "● running", "1 live")


async def test_a_broken_spec_and_hostile_names_are_rows_like_others(tmp_path: Path) -> None:
    build(tmp_path, 2, "\x1b[red]").trained(3).finished()
    broken = build(tmp_path, 1).trained(3).finished()
    (broken.run.path / "spec.toml").write_text("epochs = '")
    app = Stage(HomeScreen(tmp_path))
    async with app.run_test(size=SMALL, notifications=True) as pilot:
        text = await shows(pilot, "2 runs", "no spec", "␛[red]")
        assert "\x1b" not in text
        await pilot.press("down", "e")
        await shows(pilot, "spec.toml can't be read")
        assert app.went == []


async def test_the_first_frame_does_not_wait_for_300_runs(tmp_path: Path) -> None:
    builder = build(tmp_path, 1).trained(60).finished()
    for number in range(299):
        copy = tmp_path / f"2026-10-01-{number:04d}-copy-{number:04x}"
        copy.mkdir()
        for file in ("spec.toml", "events.jsonl"):
            shutil.copyfile(builder.run.path / file, copy / file)
    app = Stage(HomeScreen(tmp_path))
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: isinstance(app.screen, HomeScreen) and len(app.screen.summaries) > 1)
        early = len(names(app))
        assert early < 300  # rows came before all were read
        gaps: list[float] = []
        watch = asyncio.create_task(note_gaps(gaps))
        await pilot.press("down")
        await until(pilot, lambda: len(names(app)) == 300, seconds=60)
        watch.cancel()
        assert app.screen.query_one(RunTable).cursor_row == 1
        await shows(pilot, "300 runs")
        assert max(gaps) < 1.0  # alone on a core some 0.1


async def note_gaps(gaps: list[float]) -> None:
    """How long the event loop was busy with something else, again and again."""
    while True:
        before = time.monotonic()
        await asyncio.sleep(0.005)
        gaps.append(time.monotonic() - before)


async def test_q_quits(tmp_path: Path) -> None:
    app = Stage(HomeScreen(tmp_path))
    async with app.run_test(size=SMALL) as pilot:
        await shows(pilot, "No runs yet")
        await pilot.press("q")
        await until(pilot, lambda: not app.is_running)


# --- the parts without a screen --------------------------------------------------------------------------------------


def test_what_has_not_changed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, 1).trained(30).finished()
    growing = build(tmp_path, 2).trained(30)
    catalogue = Catalogue(tmp_path)
    before = list(catalogue.refresh())
    read: list[str] = []
    read_events = RunDir.read_events

    def noting(run: RunDir, offset: int = 0) -> tuple[list[Entry], int, int]:
        read.append(run.name)
        return read_events(run, offset)

    monkeypatch.setattr(RunDir, "read_events", noting)
    assert [a is b for a, b in zip(before, catalogue.refresh(), strict=True)] == [True, True]
    assert read == []
    growing.trained(1)
    after = list(catalogue.refresh())
    assert read == [growing.run.name]
    assert (after[0].step, after[1] is before[1]) == (31, True)


def test_the_sparkline_is_of_eval_loss_or_of_loss_where_there_are_few(tmp_path: Path) -> None:
    builder = build(tmp_path, 1)
    builder.add(StepTaken(1, 0.1, 4.0, 1e-3, 1.0, 9, 0.1), StepTaken(2, 0.2, nan, 1e-3, 1.0, 9, 0.1))
    builder.add(StepTaken(3, 0.3, 2.0, 1e-3, 1.0, 9, 0.1))
    assert next(Catalogue(tmp_path).refresh()).spark == "█·▁"
    builder.add(*(Evaluated(n, n / 10, 3.0 + n, 9, 0.1) for n in range(4)))
    assert next(Catalogue(tmp_path).refresh()).spark == "▁▅█"


@pytest.mark.parametrize("width", [20, 60, 80, 100, 120, 160, 200])
def test_columns_fit(width: int) -> None:
    shown = columns(width)
    assert [column.key for column in shown[:2]] == ["name", "state"]
    if width >= 80:
        assert sum(column.width + 2 for column in shown) <= width
    keys = {column.key for column in shown}
    assert ("when" in keys) == (width >= 120)
    assert ("model" in keys) == (width >= 200)


def test_cells_are_as_wide_as_their_columns(tmp_path: Path) -> None:
    spec = RunSpec(epochs=1000, batch_size=4096, learning_rate=2.5e-4)
    summary = Summary(RunDir(tmp_path / ("n" * 90)), spec, "stopping", 123456.7, 999_999, 1_000_000, 0.0, "▁" * 24)
    for width in (80, 120, 200):
        shown = columns(width)
        for text, column in zip(cells(summary, shown, 0.0), shown, strict=True):
            assert text.cell_len <= column.width
