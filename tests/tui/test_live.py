"""What the live screen shows of real run directories."""

from __future__ import annotations

import re
import shutil
from math import inf, nan
from pathlib import Path

import pytest

from tests.builders import RunBuilder, held
from tests.tui.stage import LARGE, MIDDLE, SMALL, Stage, live_screen, live_stage, shows, text_of, until
from trainer.events import DataRead, Evaluated, ModelSaved, Noted, PhaseEntered, Planned, StepTaken
from trainer.follow import Follower
from trainer.rundir import RunDir
from trainer.spec import RunSpec
from tui.curves import x_end
from tui.screens.live import LiveScreen
from tui.states import BADGES
from tui.widgets.loss_chart import LossChart
from tui.widgets.status import Headline, header_row, status_rows

SIZES = pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=str)


@pytest.fixture
def builder(tmp_path: Path) -> RunBuilder:
    return RunBuilder(tmp_path / "runs")


def all_fits(app: Stage) -> bool:
    """Whether nothing on the screen has to be scrolled to."""
    return app.screen.max_scroll_y == 0 and app.screen.max_scroll_x == 0


async def test_the_rows_that_are_cut_are_among_the_facts(builder: RunBuilder) -> None:
    builder.prepared().add(DataRead("messages", 270, 30, 27_400, 16_200, 0, 23)).trained(10)
    async with live_stage(builder).run_test(size=MIDDLE) as pilot:
        await shows(pilot, "270 training and 30 validation examples, 23 of them cut")


@SIZES
async def test_an_ended_run_opens_with_its_whole_curve_and_how_to_load_it(
    builder: RunBuilder, size: tuple[int, int]
) -> None:
    builder.prepared().trained(340).add(ModelSaved(170, "best", "model", 2.314, "full")).finished()
    app = live_stage(builder)
    async with app.run_test(size=size) as pilot:
        text = await shows(pilot, "✓ finished", "Kept the best: step 170, eval loss 2.314.", "eval loss")
        assert "5.00 of 5" in text
        assert "340 of 340" in text
        assert "from transformers import AutoModelForCausalLM" in text
        assert "Stop" not in text
        assert all_fits(app)
        curves, marks = live_screen(app)._curves.of(live_screen(app).view.state)
        assert [len(curve.x) for curve in curves] == [340, 340, 11]
        assert [(mark.x, mark.y) for mark in marks] == [(170, 2.314)]
        assert live_screen(app).query_one(LossChart).size.height >= 8
        joined = "".join(line.strip() for line in text.replace("│", "").split("\n"))
        assert str(builder.run.path / "model") in joined  # wrapped, not cut


@SIZES
async def test_a_running_one_shows_every_figure(builder: RunBuilder, size: tuple[int, int]) -> None:
    builder.prepared().trained(163, best_at=136)
    app = live_stage(builder)
    with held(builder.run):
        async with app.run_test(size=size) as pilot:
            text = await shows(pilot, "● running", "163 of 340", "47 %", "Stop")
            for figure in ("2.40 of 5", "2.314", "136", "2,060", "5.43e-4", builder.run.name, "builtin:tiny"):
                assert figure in text
            assert all_fits(app)
            builder.trained(7, best_at=136)
            await shows(pilot, "170 of 340", "50 %", "2.692")


async def test_phases_come_before_the_first_step(builder: RunBuilder) -> None:
    builder.started()
    app = live_stage(builder)
    with held(builder.run):
        async with app.run_test(size=SMALL) as pilot:
            await shows(pilot, "○ starting", "loading model")
            builder.add(PhaseEntered("tokenizing", 120, 999))
            text = await shows(pilot, "tokenizing 120 of 999")
            assert text.count("tokenizing 120 of 999") == 2  # in the chart's place and beside the bar


async def test_no_eval_yet(builder: RunBuilder) -> None:
    builder.prepared().add(*(StepTaken(n, n / 68, 5.0 / n, 1e-3, 1.0, 400, 0.2) for n in (1, 2, 3)))
    app = live_stage(builder)
    with held(builder.run):
        async with app.run_test(size=SMALL) as pilot:
            text = await shows(pilot, "● running", "3 of 340", "1.667")
            assert "best –" in text
            assert "eval –" in text


async def test_losses_that_are_no_numbers(builder: RunBuilder) -> None:
    builder.prepared().trained(40).add(
        StepTaken(41, 0.6, nan, 1e-3, inf, 400, 0.2), Evaluated(41, 0.6, nan, 100, 0.1)
    ).failed("The loss became nan at step 41. Try a third of the learning rate.")
    app = live_stage(builder)
    async with app.run_test(size=SMALL) as pilot:
        text = await shows(pilot, "✗ failed", "loss NaN", "eval NaN")
        assert "Try a third of the learning rate." in text
        assert "host.log" in text


async def test_huge_numbers_are_not_cut(tmp_path: Path) -> None:
    spec = RunSpec(epochs=1000, batch_size=4096, learning_rate=2.5e-4)
    builder = RunBuilder(tmp_path, "2026-11-23-1412-a-run-with-quite-a-long-name-of-its-own-7f3a", spec)
    builder.add(Planned(1000, 1000, 1_000_000, 100), Evaluated(987_600, 987.6, 12345.678, 9, 1.0))
    builder.add(StepTaken(987_654, 987.654, 123456.7, 2.5e-4, 1.0, 90_000_000, 0.5), seconds=400_000)
    builder.began -= 400_000
    app = live_stage(builder)
    with held(builder.run):
        async with app.run_test(size=SMALL) as pilot:
            text = await shows(pilot, "987,654 of 1,000,000", "987.65 of 1000", "1.235e+05", "180.00M")
            assert "1000/4096/2.5e-4" in text
            assert all_fits(app)


async def test_hostile_text_in_a_failure_stays_text(builder: RunBuilder) -> None:
    builder.prepared().trained(3)
    builder.failed("[red]no[/] \x1b]52;c;ZXZpbA==\x07 \x9b31m \u202e [@click=app.quit]x[/] \ud83d")
    app = live_stage(builder)
    async with app.run_test(size=SMALL) as pilot:
        text = await shows(pilot, "✗ failed", "[red]no[/]", "␛]52;c;ZXZpbA==␇")
        assert not {"\x1b", "\x07", "\x9b", "\u202e", "\ud83d"} & set(text)


async def test_a_dead_host_is_crashed_at_once(builder: RunBuilder) -> None:
    builder.prepared().trained(80)
    app = live_stage(builder)
    with held(builder.run) as host:
        async with app.run_test(size=SMALL) as pilot:
            await shows(pilot, "● running")
            host.kill()
            text = await shows(pilot, "! crashed", "The host died (no ending in the log).")
            assert "host.log" in text
            assert "Still on disk: step 68" in text
            assert live_screen(app).check_action("stop", ()) is False


async def test_a_folder_that_vanishes_is_one_sentence(builder: RunBuilder) -> None:
    builder.prepared().trained(80).finished()
    app = live_stage(builder)
    async with app.run_test(size=SMALL) as pilot:
        await shows(pilot, "✓ finished")
        shutil.rmtree(builder.run.path)
        await shows(pilot, "! unreadable", "is not there any more.", "80 of 340")


async def test_a_run_that_never_was(tmp_path: Path) -> None:
    app = Stage(LiveScreen(RunDir(tmp_path / "nothing")))
    async with app.run_test(size=SMALL) as pilot:
        await shows(pilot, "! unreadable")
        await until(pilot, lambda: "isnotthereanymore." in "".join(text_of(app).split()))  # a long path is wrapped
        await pilot.press("e", "s", "p", "c")
        assert app.went == []


async def test_a_broken_spec_is_one_sentence_and_the_curve_is_still_there(builder: RunBuilder) -> None:
    builder.prepared().trained(80).finished()
    (builder.run.path / "spec.toml").write_text("epochs = [")
    app = live_stage(builder)
    async with app.run_test(size=SMALL) as pilot:
        await shows(pilot, "✓ finished", "is not TOML", "80 of 340")
        assert live_screen(app).check_action("again", ()) is None


async def test_notes_and_bad_lines_are_said(builder: RunBuilder) -> None:
    builder.prepared().add(Noted("old news"), Noted("4 of 300 rows skipped.")).trained(5)
    with builder.run.events_file.open("a") as file:
        file.write("{broken\n\x00\x00\n")
    app = live_stage(builder)
    with held(builder.run):
        async with app.run_test(size=SMALL) as pilot:
            text = await shows(pilot, "4 of 300 rows skipped.", "2 lines of the log can't be read.")
            assert "old news" not in text


# --- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 20, 40, 60, 80, 100, 120, 200])
def test_rows_are_exactly_as_wide_as_asked(builder: RunBuilder, width: int) -> None:
    view = Follower(builder.prepared().trained(163).run).look()
    assert [row.cell_length for row in status_rows(view, 75.0, width)] == [width, width]
    headline = Headline(builder.run.name, BADGES["running"], RunSpec(model="Qwen/Qwen2.5-0.5B-Instruct-" + "x" * 90))
    assert header_row(headline, width).cell_length == width


def test_the_header_says_the_settings_whole_where_the_names_are_long() -> None:
    spec = RunSpec(model="/a/very/long/path/to/some/model/folder", epochs=20, batch_size=16, learning_rate=2.5e-4)
    text = header_row(Headline("2026-11-23-1412-" + "name" * 12, BADGES["stopping"], spec), 80).text
    assert text.rstrip().endswith("full 20/16/2.5e-4")
    assert "◐ stopping…" in text


def test_narrow_rows_leave_out_whole_figures(builder: RunBuilder) -> None:
    view = Follower(builder.prepared().trained(163).run).look()
    whole = {word for row in status_rows(view, 12_345.0, 80) for word in row.text.split()}
    assert "3h" in whole  # a long time fits into 80 columns
    assert "25m" in whole
    for width in range(12, 80):
        for row in status_rows(view, 12_345.0, width):
            assert set(row.text.split()) <= whole, width


async def test_the_figures_survive_every_width(builder: RunBuilder) -> None:
    app = live_stage(builder.prepared().trained(163))
    with held(builder.run):
        async with app.run_test(size=SMALL) as pilot:
            await shows(pilot, "epoch", "elapsed")
            for width in (60, 40, 24, 60, 80):
                await pilot.resize_terminal(width, 24)
                await shows(pilot, "loss")
            await shows(pilot, "epoch", "elapsed")


@pytest.mark.parametrize(("loss", "room"), [(9.876, 80), (0.9876, 80), (0.09876, 80), (0.09876, 78)])
def test_no_figure_moves_when_a_loss_gets_smaller(builder: RunBuilder, loss: float, room: int) -> None:
    builder.prepared().trained(163)
    before = status_rows(Follower(builder.run).look(), 75.0, room)
    after = status_rows(Follower(builder.add(StepTaken(164, 2.4, loss, 1e-3, 1.0, 400, 0.2)).run).look(), 75.0, room)
    for old, new in zip(before, after, strict=True):
        assert [at for at, word in places(old.text) if word.isalpha()] == [
            at for at, word in places(new.text) if word.isalpha()
        ]


def test_what_step_the_best_was_at_is_said(builder: RunBuilder) -> None:
    view = Follower(builder.prepared().trained(163, best_at=136).run).look()
    assert "step 136" in status_rows(view, 75.0, 80)[1].text
    assert "at step 136" in status_rows(view, 75.0, 120)[1].text


# --- how far the chart reaches ---------------------------------------------------------------------------------------


def test_a_fast_run_s_first_axis_lasts_half_a_minute(builder: RunBuilder) -> None:
    builder.plan = Planned(1, 4000, 4000, 1000)
    assert x_end(Follower(builder.prepared().trained(3, seconds=1 / 8).run).look().state) == 250
    assert x_end(Follower(builder.trained(248).run).look().state) == 500


def test_a_slow_run_s_axis_is_short_at_first_and_ends_with_the_plan(builder: RunBuilder) -> None:
    builder.prepared()
    for steps, end in ((1, 42.5), (42, 85), (42, 85), (1, 170), (85, 340), (169, 340)):
        assert x_end(Follower(builder.trained(steps, seconds=9.0).run).look().state) == end


def test_an_ended_run_has_all_of_the_width(builder: RunBuilder) -> None:
    assert x_end(Follower(builder.prepared().trained(90).stopped().run).look().state) == 90


def test_without_a_plan_the_axis_is_doubled(builder: RunBuilder) -> None:
    builder.started()
    assert x_end(Follower(builder.trained(10, seconds=9.0).run).look().state) == 40
    assert x_end(Follower(builder.trained(40, seconds=0.0).run).look().state) >= 50


def places(text: str) -> list[tuple[int, str]]:
    """Every word and the column where it begins."""
    return [(found.start(), found.group()) for found in re.finditer(r"\S+", text)]
