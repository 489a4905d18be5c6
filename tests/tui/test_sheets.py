"""What every sheet promises: all keys and clicks are its own until it is answered, also those that came in a burst."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Button, Input

from tests.builders import RunBuilder, held
from tests.tui.form_stage import burst, form_of, form_stage, settled
from tests.tui.stage import SMALL, Stage, live_screen, live_stage, sheet_of, shows, text_of, until
from trainer import presets
from trainer.rundir import Command
from tui.screens.room import Room
from tui.sheets.confirm import ConfirmSheet
from tui.sheets.help import HelpSheet
from tui.sheets.stop import StopSheet
from tui.widgets.stepper import Stepper


async def test_keys_of_the_screen_below_do_nothing(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path / "runs").prepared().trained(163, best_at=136)
    app = live_stage(builder)
    with held(builder.run):
        async with app.run_test(size=SMALL) as pilot:
            await shows(pilot, "● running")
            await pilot.press("s")
            await shows(pilot, "Stop this run?")
            await pilot.press("p", "n", "h", "q", "e", "s", "f1", "tab", "left")
            assert isinstance(sheet_of(app), StopSheet)
            assert "n New run" not in text_of(app)  # the last row says what keys do now
            await pilot.press("escape")
            await shows(pilot, "n New run")
    assert app.went == []
    assert builder.run.read_commands()[0] == []


async def test_clicks_beside_it_do_nothing(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path / "runs").prepared().trained(163)
    app = live_stage(builder)
    with held(builder.run):
        async with app.run_test(size=SMALL) as pilot:
            await shows(pilot, "● running")
            stop = live_screen(app).query_one("#stop", Button).region
            await pilot.press("f1")
            await shows(pilot, "What stopping keeps and costs")
            sheet = sheet_of(app)
            await pilot.click(offset=(stop.x + 2, stop.y))
            await pilot.click(offset=(0, 0))
            assert sheet_of(app) is sheet is app.focused
            await pilot.press("escape")
            await until(pilot, lambda: sheet_of(app) is None)
            assert app.focused is None


async def test_the_focus_comes_back(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("tab")
        for key in ("f1", "ctrl+o", "ctrl+s"):
            await pilot.press(key)
            await until(pilot, lambda: sheet_of(app) is not None)
            field = app.form_screen.query_one("#epochs", Stepper).region
            await pilot.click(offset=(field.x + 4, field.y + 1))
            await pilot.press("tab", "escape")
            await until(pilot, lambda: sheet_of(app) is None)
            assert app.focused is app.form_screen.query_one("#batch-size")


async def test_a_key_before_all_others_waits_too(tmp_path: Path) -> None:
    """ctrl+f is served before the focus is asked: not while a sheet lies there."""
    app = form_stage(tmp_path, model="smollm2")
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("f1")
        await shows(pilot, "Fetch the model")
        await pilot.press("ctrl+f")
        assert isinstance(sheet_of(app), HelpSheet)


async def test_a_name_typed_right_behind_the_key_that_asks_for_it(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await burst(pilot, "<up><ctrl+s>mine<enter>")
        await until(pilot, lambda: form_of(pilot).form.origin == "mine")
        assert presets.load("mine")["epochs"] == 4
        await burst(pilot, "<ctrl+o><end><enter>")
        await until(pilot, lambda: sheet_of(app) is None)
        assert form_of(pilot).query_one("#epochs", Input).value == "4"


async def test_an_answer_right_behind_the_key_that_asks(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path / "runs").prepared().trained(163)
    app = live_stage(builder)
    with held(builder.run):
        async with app.run_test(size=SMALL) as pilot:
            await shows(pilot, "● running")
            await burst(pilot, "ss1")
            await shows(pilot, "◐ stopping…")
    assert builder.run.read_commands()[0] == [Command("stop", keep="last")]


async def test_one_on_another_is_answered_first_and_once() -> None:
    room = Room()
    app = Stage(room)
    first, second, answers = ConfirmSheet("first?"), ConfirmSheet("second?"), list[tuple[str, bool]]()
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: room.is_mounted)
        room.lay(first, lambda answer: answers.append(("first", answer)))
        await shows(pilot, "first?")
        room.lay(second, lambda answer: answers.append(("second", answer)))
        await shows(pilot, "second?")
        await pilot.press("y")
        assert sheet_of(app) is first
        await until(pilot, lambda: app.focused is first.query_one("#no"))
        await pilot.press("n")
        first.give(True)
        second.give(False)
        assert sheet_of(app) is None
    assert answers == [("second", True), ("first", False)]
