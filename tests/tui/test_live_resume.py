"""Going on from the live screen: the keys that are offered, and what each asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders import RunBuilder, held
from tests.tui.stage import SMALL, live_stage, shows, until
from trainer import launch
from trainer.events import NotFinite, Resumed, Started
from trainer.rundir import RunDir, RunError

Asked = list[dict[str, Any]]


@pytest.fixture
def builder(tmp_path: Path) -> RunBuilder:
    return RunBuilder(tmp_path / "runs")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What launch.resume is asked for, instead of a host."""
    calls: Asked = []
    monkeypatch.setattr(launch, "resume", lambda run, **how: calls.append({"run": run.name, **how}))
    return calls


async def test_a_crashed_run_goes_on_by_one_key(builder: RunBuilder, asked: Asked) -> None:
    builder.prepared().trained(50)
    app = live_stage(builder)
    async with app.run_test(size=SMALL) as pilot:
        await shows(pilot, "! crashed", "r goes on from the newest whole checkpoint", "r Resume")
        await pilot.press("t", "k")  # only after a loss that was no number
        await pilot.press("r")
        await until(pilot, lambda: asked)
    assert asked == [{"run": builder.run.name, "slower": False, "skip": None}]


@pytest.mark.parametrize(("key", "how"), [("t", (True, None)), ("k", (False, 51)), ("r", (False, None))])
async def test_after_a_loss_that_was_no_number_there_are_two_ways_around(
    builder: RunBuilder, asked: Asked, key: str, how: tuple[bool, int | None]
) -> None:
    builder.prepared().trained(50).add(NotFinite(51, "loss", float("nan"), "blackbox-step-000051.json"))
    builder.failed("The loss became nan at step 51.")
    app = live_stage(builder)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "✗ failed", "What was in that step", "k without the batch of step 51")
        await pilot.press(key)
        await until(pilot, lambda: asked)
    assert (asked[0]["slower"], asked[0]["skip"]) == how


async def test_a_live_or_finished_run_is_not_resumed(builder: RunBuilder, asked: Asked) -> None:
    builder.prepared().trained(50)
    with held(builder.run):
        app = live_stage(builder)
        async with app.run_test(size=SMALL) as pilot:
            await shows(pilot, "● running")
            await pilot.press("r")
    builder.finished()
    app = live_stage(builder)
    async with app.run_test(size=SMALL) as pilot:
        await shows(pilot, "✓ finished")
        await pilot.press("r")
    assert asked == []


async def test_a_refusal_is_said(builder: RunBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: RunDir, **__: object) -> int:
        raise RunError("There is [red]no[/] room.")

    monkeypatch.setattr(launch, "resume", refuse)
    builder.prepared().trained(50)
    app = live_stage(builder)
    async with app.run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, "! crashed")
        await pilot.press("r")
        await shows(pilot, "There is [red]no[/] room.")


async def test_the_curve_goes_back_to_the_checkpoint(builder: RunBuilder) -> None:
    """A later host takes the steps after its checkpoint again: no step stands twice on the chart."""
    builder.prepared().trained(50)
    with held(builder.run):
        app = live_stage(builder)
        async with app.run_test(size=SMALL) as pilot:
            await shows(pilot, "● running", "50 of 340")
            builder.add(Started(4243, "box", "0.1.0"), Resumed(34))
            builder.last_step = 34
            await shows(pilot, "○ starting", "34 of 340")
            builder.trained(3)
            await shows(pilot, "● running", "37 of 340")
