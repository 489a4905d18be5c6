"""The stop sheet: the right words, numbers and commands, and what can't be chosen."""

from __future__ import annotations

from math import nan
from pathlib import Path

import pytest

from tests.builders import RunBuilder
from tests.tui.stage import SMALL, Stage, sheet_of, shows, text_of, until
from trainer.follow import Follower, View
from trainer.rundir import Command, Status
from trainer.state import RunState
from tui.screens.room import Room
from tui.sheets.stop import StopSheet, choices


def state_of(builder: RunBuilder) -> RunState:
    return Follower(builder.run).look().state


class SheetApp(Stage):
    """Only the sheet; `answers` holds what it answered."""

    def __init__(self, state: RunState, status: Status = "running") -> None:
        self.room = Room()
        super().__init__(self.room)
        self.sheet = StopSheet(View(state, status))
        self.answers: list[Command | None] = []

    def on_mount(self) -> None:
        super().on_mount()
        self.room.lay(self.sheet, self.answers.append)


def row(app: SheetApp, text: str) -> int:
    """The row of the sheet that this stands on."""
    rows = text_of(app).splitlines()
    return next(y for y, line in enumerate(rows) if text in line) - app.sheet.region.y


@pytest.fixture
def builder(tmp_path: Path) -> RunBuilder:
    return RunBuilder(tmp_path).prepared()


def test_words_with_a_best(builder: RunBuilder) -> None:
    last, best, go_on = choices(state_of(builder.trained(163, best_at=136)))
    assert (last.title, last.detail) == ("Stop now, keep the last step", "Step 163; last eval loss 2.314 at step 136.")
    assert last.command == Command("stop", keep="last")
    assert (best.title, best.detail) == (
        "Stop, keep the best",
        "Step 136, eval loss 2.314; the 27 steps since are given up.",
    )
    assert best.command == Command("stop", keep="best", step=136)
    assert go_on.command is None
    assert go_on.detail.startswith("177 steps left, about 0:")


def test_best_is_closed_with_its_reason(builder: RunBuilder) -> None:
    assert choices(state_of(builder))[1].detail == "There is no eval loss of a trained step yet."
    builder.trained(20)
    _, best, _ = choices(state_of(builder))
    assert not best.open
    assert best.detail == "There is no eval loss of a trained step yet."  # the untrained model's counts for nothing
    builder.evaluated(19, nan)
    assert choices(state_of(builder))[1].detail == "No eval loss so far is a number."
    builder.evaluated(20, 3.0)
    assert choices(state_of(builder))[1].detail == "Step 20 is still being written."
    builder.evaluated(20, 2.9, saved=True)
    assert choices(state_of(builder))[1].open


def test_before_the_first_step_nothing_would_be_kept(builder: RunBuilder) -> None:
    last = choices(state_of(builder))[0]
    assert (last.title, last.detail) == ("Stop now", "No step was taken yet: nothing would be kept.")


def test_an_eval_loss_that_is_no_number(builder: RunBuilder) -> None:
    builder.trained(34).evaluated(34, nan)
    assert choices(state_of(builder))[0].detail == "Step 34; eval loss NaN."


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (["1"], Command("stop", keep="last")),
        (["2"], Command("stop", keep="best", step=136)),
        (["3"], None),
        (["escape"], None),
        (["enter"], Command("stop", keep="best", step=136)),
        (["up", "enter"], Command("stop", keep="last")),
        (["down", "enter"], None),
    ],
)
async def test_keys(builder: RunBuilder, keys: list[str], answer: Command | None) -> None:
    app = SheetApp(state_of(builder.trained(163, best_at=136)))
    async with app.run_test(size=SMALL) as pilot:
        await shows(pilot, "Stop this run?")
        await pilot.press(*keys)
        await until(pilot, lambda: app.answers)
    assert app.answers == [answer]


async def test_mouse(builder: RunBuilder) -> None:
    app = SheetApp(state_of(builder.trained(163, best_at=136)))
    async with app.run_test(size=SMALL) as pilot:
        await shows(pilot, "Stop this run?")
        await pilot.click(StopSheet, offset=(8, row(app, "Stop, keep the best")))
        await until(pilot, lambda: app.answers)
    assert app.answers == [Command("stop", keep="best", step=136)]


async def test_a_best_that_is_not_there_is_greyed_and_can_not_be_chosen(builder: RunBuilder) -> None:
    app = SheetApp(state_of(builder.trained(20)))
    async with app.run_test(size=SMALL) as pilot:
        await shows(pilot, "Stop this run?")
        assert app.sheet.marked == 0
        await pilot.press("2")
        await pilot.click(StopSheet, offset=(8, row(app, "Stop, keep the best")))
        assert sheet_of(app) is app.sheet
        await pilot.press("down", "enter")  # over the greyed one, to "Go on"
        await until(pilot, lambda: app.answers)
    assert app.answers == [None]


async def test_numbers_move_while_it_is_open_and_the_shown_ones_are_sent(builder: RunBuilder) -> None:
    app = SheetApp(state_of(builder.trained(163, best_at=300)))
    async with app.run_test(size=SMALL) as pilot:
        await shows(pilot, "Step 136, eval loss 4.136", "Step 163 of 340, epoch 2.40 of 5")
        app.sheet.show(View(state_of(builder.trained(10, best_at=300)), "running"))
        await shows(pilot, "Step 170, eval loss 3.758; the 3 steps since are given up.", "Step 173 of 340")
        await pilot.press("enter")
        await until(pilot, lambda: app.answers)
    assert app.answers == [Command("stop", keep="best", step=170)]


@pytest.mark.parametrize("status", ["finished", "stopped", "failed", "crashed", "stopping"])
async def test_it_closes_itself_when_there_is_nothing_left_to_stop(builder: RunBuilder, status: Status) -> None:
    state = state_of(builder.trained(40))
    app = SheetApp(state)
    async with app.run_test(size=SMALL) as pilot:
        await shows(pilot, "Stop this run?")
        app.sheet.show(View(state, status))
        await until(pilot, lambda: app.answers)
        app.sheet.show(View(state, status))  # once more is no error
    assert app.answers == [None]
