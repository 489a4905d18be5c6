"""What the live screen sends: commands, and nothing but by its keys; at the end a real host driven by them."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Button

from tests.builders import RunBuilder, held
from tests.tui.stage import SMALL, live_screen, live_stage, sheet_of, shows, until
from trainer import rundir
from trainer.events import Continued, ModelSaved, Paused, Stopped
from trainer.launch import launch
from trainer.rundir import Command, RunDir
from trainer.spec import RunSpec
from tui.app import FinetuneApp
from tui.screens.home import HomeScreen
from tui.screens.live import LiveScreen
from tui.sheets.stop import StopSheet


@pytest.fixture
def builder(tmp_path: Path) -> RunBuilder:
    return RunBuilder(tmp_path / "runs")


def commands(run: RunDir) -> list[Command]:
    return run.read_commands()[0]


async def open_sheet(pilot: Pilot[None]) -> StopSheet:
    await until(pilot, lambda: isinstance(sheet_of(pilot.app), StopSheet))
    sheet = sheet_of(pilot.app)
    assert isinstance(sheet, StopSheet)
    return sheet


async def test_paused_stands_still_and_goes_on(builder: RunBuilder) -> None:
    builder.prepared().trained(50).add(Paused(50))
    app = live_stage(builder)
    with held(builder.run):
        async with app.run_test(size=SMALL) as pilot:
            await shows(pilot, "‖ paused", "p Continue")
            assert live_screen(app)._clock.elapsed() == live_screen(app).view.state.elapsed
            await pilot.press("p")
            await shows(pilot, "continuing…", "p Pause")
            assert commands(builder.run) == [Command("continue")]
            builder.add(Continued(50)).trained(1)
            await shows(pilot, "● running", "51 of 340")


async def test_pause_can_be_taken_back_before_the_host_has_seen_it(builder: RunBuilder) -> None:
    builder.prepared().trained(5)
    app = live_stage(builder)
    with held(builder.run):
        async with app.run_test(size=SMALL) as pilot:
            await shows(pilot, "● running", "p Pause")
            await pilot.press("p")
            await shows(pilot, "pausing…", "p Continue")
            await pilot.press("p")
            await shows(pilot, "p Pause")
    assert commands(builder.run) == [Command("pause"), Command("continue")]


@pytest.mark.parametrize(
    ("key", "sent"), [("1", Command("stop", keep="last")), ("2", Command("stop", keep="best", step=136))]
)
async def test_stop_sends_what_the_sheet_shows(builder: RunBuilder, key: str, sent: Command) -> None:
    builder.prepared().trained(163, best_at=136)
    app = live_stage(builder)
    with held(builder.run):
        async with app.run_test(size=SMALL) as pilot:
            await shows(pilot, "● running")
            await pilot.press("s")
            await open_sheet(pilot)
            await pilot.press(key)
            await shows(pilot, "◐ stopping…")
            assert commands(builder.run) == [sent]
            assert live_screen(app).check_action("stop", ()) is None
            assert live_screen(app).query_one("#stop", Button).disabled
            await pilot.press("s", "p")
            assert sheet_of(app) is None
    assert commands(builder.run) == [sent]


async def test_the_button_opens_the_sheet_and_going_on_sends_nothing(builder: RunBuilder) -> None:
    builder.prepared().trained(163, best_at=136)
    app = live_stage(builder)
    with held(builder.run):
        async with app.run_test(size=SMALL) as pilot:
            await shows(pilot, "■ Stop")
            await pilot.click("#stop")
            await open_sheet(pilot)
            builder.trained(2, best_at=136)
            await shows(pilot, "Step 165 of 340")
            await pilot.press("escape")
            await until(pilot, lambda: sheet_of(app) is None)
    assert commands(builder.run) == []


async def test_the_sheet_closes_when_the_run_ends_under_it(builder: RunBuilder) -> None:
    builder.prepared().trained(163, best_at=136)
    app = live_stage(builder)
    with held(builder.run):
        async with app.run_test(size=SMALL) as pilot:
            await shows(pilot, "● running")
            await pilot.press("s")
            await open_sheet(pilot)
            builder.finished()
            await until(pilot, lambda: sheet_of(app) is None)
            await shows(pilot, "✓ finished", "No model was kept")
            assert "s Stop" not in await shows(pilot, " e Again")


async def test_a_folder_that_takes_no_command_is_said(builder: RunBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_run: RunDir, _command: Command) -> None:
        raise rundir.RunError("[b]it can't be written\x1b: No space left on device.")

    monkeypatch.setattr(RunDir, "ask", refuse)
    builder.prepared().trained(5)
    app = live_stage(builder)
    with held(builder.run):
        async with app.run_test(size=SMALL, notifications=True) as pilot:
            await shows(pilot, "● running")
            await pilot.press("p")
            await shows(pilot, "[b]it can't be written␛", "p Pause")


async def test_copy_sends_the_two_lines_only_on_the_key(builder: RunBuilder) -> None:
    builder.prepared().trained(170).add(ModelSaved(170, "best", "model", 2.314, "lora")).stopped(keep=False)
    app = live_stage(builder)
    async with app.run_test(size=SMALL) as pilot:
        await shows(pilot, "■ stopped", "c copies these two lines")
        assert app.clipboard == ""
        await pilot.press("c")
        assert app.clipboard == (
            "from peft import AutoPeftModelForCausalLM\n"
            f"model = AutoPeftModelForCausalLM.from_pretrained('{builder.run.path}/model')"
        )


async def test_keys_lead_elsewhere_and_touch_nothing(builder: RunBuilder) -> None:
    builder.prepared().trained(5)
    app = live_stage(builder)
    with held(builder.run):
        async with app.run_test(size=SMALL, notifications=True) as pilot:
            await shows(pilot, "● running")
            await pilot.press("e")
            await pilot.press("h")
            await pilot.press("q")
            await shows(pilot, "The run goes on")
    (kind, values, origin), home, left = app.went
    assert (kind, origin) == ("new_run", builder.run.name)
    assert isinstance(values, dict)
    assert RunSpec(**values) == builder.spec
    assert home == left == ("home",)
    assert commands(builder.run) == []


async def test_help_lists_the_keys(builder: RunBuilder) -> None:
    builder.prepared().trained(5)
    app = live_stage(builder)
    with held(builder.run):
        async with app.run_test(size=SMALL) as pilot:
            await shows(pilot, "● running")
            await pilot.press("f1")
            await shows(pilot, "What stopping keeps and costs; then choose", "All runs; this one is left alone")
            await pilot.press("escape")
            await until(pilot, lambda: sheet_of(app) is None)


# --- a real host -----------------------------------------------------------------------------------------------------


async def test_a_real_host_is_watched_paused_left_and_stopped_by_keys(tmp_path: Path) -> None:
    recorded = RunBuilder(tmp_path / "recorded")
    recorded.prepared().trained(340, seconds=0.05).finished()
    run = rundir.create(tmp_path / "runs", RunSpec(backend="replay", data=str(recorded.run.path), name="again"))
    launch(run)
    app = FinetuneApp(tmp_path / "runs", run)
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: live_screen(app).view.state.step > 5)
        await pilot.press("p")
        await shows(pilot, "‖ paused")
        await pilot.press("p")
        await shows(pilot, "● running")
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, HomeScreen))
        await shows(pilot, "● running")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen))
        await shows(pilot, "● running")
        await pilot.press("s")
        await open_sheet(pilot)
        await pilot.press("1")
        await shows(pilot, "■ stopped", "No model was kept")
    entries, _, bad = run.read_events()
    assert bad == 0
    assert isinstance(entries[-1].event, Stopped)
    assert commands(run) == [Command("pause"), Command("continue"), Command("stop", keep="last")]
