"""New run: what stands there first, what the keys do, what is said when something is wrong, and starting."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from textual.widgets import Input

from tests.tui.form_stage import (
    burst,
    data_file,
    form_of,
    form_stage,
    model_folder,
    more_stands_open,
    settled,
    type_into,
)
from tests.tui.stage import LARGE, MIDDLE, SMALL, Stage, sheet_of, shows, text_of, until
from trainer import launch, models, presets
from trainer.data import load
from trainer.rundir import RunDir, RunError, list_runs
from trainer.spec import GROUP_TITLES, KNOBS, RunSpec
from tui.screens.new_run import NewRunScreen
from tui.widgets.choice import Choice
from tui.widgets.knob_row import KnobRow
from tui.widgets.more import More
from tui.widgets.start_button import StartButton


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[RunDir]:
    """The runs whose host was asked for; none is really started."""
    runs: list[RunDir] = []

    def pretend(run: RunDir) -> int:
        runs.append(run)
        return 1

    monkeypatch.setattr(launch, "launch", pretend)
    return runs


# --- what stands there -----------------------------------------------------------------------------------------------


async def test_the_three_stand_first_with_bounds_unit_and_guidance(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        seen = text_of(app)
        assert app.focused is not None
        assert app.focused.id == "epochs"
        for name in ("epochs", "batch_size", "learning_rate"):
            assert KNOBS[name].label in seen
            assert f"{KNOBS[name].bounds} {KNOBS[name].unit}" in seen
        assert "Model" in seen
        assert "from preset codephreak" in seen


@pytest.mark.parametrize("more", [False, True])
async def test_all_guidance_fits_into_80_columns(tmp_path: Path, more: bool) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        if more:
            await pilot.press("ctrl+t")
            await pilot.press("ctrl+t")  # closed again, the first field in sight
            await pilot.press("ctrl+t")
            form_of(pilot).query_one("#epochs", Input).focus()
            await pilot.pause()
            form_of(pilot).query_one("#body").scroll_home(animate=False)
        await settled(pilot)
        words = " ".join(row[24:].strip(" ▇▆▅▄▃▂▁█▌") for row in text_of(app).splitlines())
        for name in ("epochs", "batch_size", "learning_rate"):
            assert KNOBS[name].help in " ".join(words.split())


async def test_what_this_run_will_be(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await shows(
            pilot,
            "27 steps, 9 per epoch · 36 train + 4 validation examples",
            "prompt/completion, 0 rows skipped",
            "2.2M parameters",
        )
        await pilot.press("tab", "up")
        await shows(pilot, "15 steps, 5 per epoch")


async def test_other_epochs_do_not_read_the_data_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []

    def counting(file: str, *more: str) -> object:
        reads.append(file)
        return load(file, *more)

    monkeypatch.setattr("trainer.check.load", counting)
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("up")
        await shows(pilot, "36 steps")
        assert len(reads) == 1
        data_file(tmp_path, rows=50)
        await pilot.press("down")
        await shows(pilot, "36 steps, 12 per epoch · 45 train + 5 validation")
        assert len(reads) == 2


async def test_a_slow_file_does_not_hold_up_typing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def slowly(*named: str) -> object:
        go_on.wait(20)
        return load(*named)

    monkeypatch.setattr("trainer.check.load", slowly)
    app = form_stage(tmp_path)
    try:
        async with app.run_test(size=SMALL) as pilot:
            await shows(pilot, "being read")
            before = time.monotonic()
            await pilot.press("up", "up", "tab", "up")
            assert time.monotonic() - before < 5
            assert form_of(pilot).form.texts["epochs"] == "5"
            go_on.set()
            await shows(pilot, "25 steps, 5 per epoch")
    finally:
        go_on.set()


async def test_the_numbers_of_the_old_file_are_not_said_of_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    other = data_file(tmp_path, rows=80, name="other.jsonl")

    def slowly(file: str, *more: str) -> object:
        if file == str(other):
            go_on.wait(20)
        return load(file, *more)

    monkeypatch.setattr("trainer.check.load", slowly)
    app = form_stage(tmp_path)
    try:
        async with app.run_test(size=LARGE) as pilot:
            await shows(pilot, "27 steps, 9 per epoch")
            await more_stands_open(pilot)
            app.form_screen.query_one("#data", Input).value = str(other)
            text = await shows(pilot, "being read")
            assert "27 steps" not in text
            go_on.set()
            await shows(pilot, "54 steps, 18 per epoch")
    finally:
        go_on.set()


# --- changing values -------------------------------------------------------------------------------------------------


async def test_arrows_step_each_on_its_ladder(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        form = form_of(pilot).form
        await pilot.press("up", "tab", "up", "tab", "up")
        assert (form.texts["epochs"], form.texts["batch_size"], form.texts["learning_rate"]) == ("4", "8", "3e-3")
        await pilot.press("down", "down", "shift+tab", "down", "down", "shift+tab", "down", "down", "down", "down")
        assert (form.texts["epochs"], form.texts["batch_size"], form.texts["learning_rate"]) == ("1", "2", "3e-4")
        assert "changed" in text_of(app)


@pytest.mark.parametrize(("typed", "meant"), [("1e-4", 1e-4), ("0.0001", 1e-4), ("2e-4", 2e-4)])
async def test_the_learning_rate_can_be_typed(tmp_path: Path, typed: str, meant: float) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await type_into(pilot, "learning-rate", typed)
        spec = form_of(pilot).form.spec()
        assert spec is not None
        assert spec.learning_rate == meant
        await pilot.press("up")
        assert form_of(pilot).form.texts["learning_rate"] == "3e-4"


@pytest.mark.parametrize(
    ("field", "typed"),
    [("epochs", "0"), ("epochs", "two"), ("epochs", ""), ("batch-size", "0"), ("learning-rate", "0"),
     ("learning-rate", "x"), ("learning-rate", "nan")],
)  # fmt: skip
async def test_a_wrong_value_is_said_and_start_is_greyed(
    tmp_path: Path, started: list[RunDir], field: str, typed: str
) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await type_into(pilot, field, typed)
        knob = KNOBS[field.replace("-", "_")]
        sentence = knob.sentence(typed)
        assert text_of(app).count(sentence[:40]) == 2  # next to the field, and next to Start
        assert form_of(pilot).query_one(StartButton).disabled
        await pilot.press("enter", "ctrl+r")
        await pilot.pause(0.3)
        assert started == []
        await pilot.press("up")
        await settled(pilot)
        assert sentence[:40] not in text_of(app)
        assert not form_of(pilot).query_one(StartButton).disabled


async def test_keys_in_a_burst_all_arrive_in_order_and_before_the_start_behind_them(
    tmp_path: Path, started: list[RunDir]
) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await burst(pilot, "<ctrl+u>12<tab><ctrl+u>8<tab><ctrl+u>2.5e-4<ctrl+r>")
        await until(pilot, lambda: started)
        spec = started[0].spec()
    assert (spec.epochs, spec.batch_size, spec.learning_rate) == (12, 8, 2.5e-4)


async def test_a_path_typed_in_bursts_under_more_keeps_every_sign_and_the_cursor(tmp_path: Path) -> None:
    path = str(data_file(tmp_path))
    app = form_stage(tmp_path)
    async with app.run_test(size=MIDDLE) as pilot:
        await settled(pilot)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: app.focused is not None and app.focused.id == "model")
        await burst(pilot, "<tab><tab><end><ctrl+u>")
        field = app.form_screen.query_one("#data", Input)
        for at in range(0, len(path), 5):
            await burst(pilot, path[at : at + 5])
        await settled(pilot)
        assert field.value == path
        assert field.cursor_position == len(path)
        assert app.form_screen.form.texts["data"] == path


@pytest.mark.parametrize("size", [SMALL, MIDDLE], ids=str)
@pytest.mark.parametrize("where", ["#epochs", "#learning-rate", "MoreLine", "StartButton"])
async def test_keys_right_behind_the_one_that_opens_more_go_there(
    tmp_path: Path, where: str, size: tuple[int, int]
) -> None:
    """Pressed at once and as early as can be: More is being made, and in a large terminal opened, meanwhile."""
    app = form_stage(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = app.form_screen
        await until(pilot, lambda: screen.query(where) and screen.focused is not None)
        screen.set_focus(screen.query_one(where))
        await burst(pilot, "<ctrl+t><end>x<tab><ctrl+u>77<tab><end>y<shift+tab>8")
        await until(pilot, lambda: screen.form.texts["max_length"] == "8")  # coming back selects what stands there
        assert screen.form.texts["model"].endswith("modelx")
        assert screen.form.texts["data"].endswith("data.jsonly")
        assert screen.form.texts["epochs"] == "3"
        assert screen.form.texts["learning_rate"] == "1e-3"
        assert app.focused is screen.query_one("#max-length")


async def test_enter_on_the_line_that_opens_more_and_on(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: app.focused)
        await burst(pilot, "<tab><tab><tab><enter><end>x<ctrl+t>4<ctrl+t><end>y")
        await until(pilot, lambda: app.form_screen.form.texts["model"].endswith("modelxy"))
        assert app.form_screen.form.texts["epochs"] == "4"  # what stood there was selected


# --- more ------------------------------------------------------------------------------------------------------------


async def test_more_opens_with_every_other_knob_and_closes(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        screen = form_of(pilot)
        assert not screen.query_one(More).display
        await pilot.press("ctrl+t")
        await shows(pilot, GROUP_TITLES["data"])
        shown = {row.knob.name for row in screen.query(KnobRow)}
        assert shown == {name for name, knob in KNOBS.items() if knob.group != "main"} - {"backend"}
        assert app.focused is screen.query_one("#model")
        await pilot.press("ctrl+t")
        assert not screen.query_one(More).display
        assert app.focused is screen.query_one("#epochs")


async def test_where_more_stands_open_already_its_key_goes_there(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=MIDDLE) as pilot:
        await more_stands_open(pilot)
        assert app.form_screen.focused is app.form_screen.query_one("#epochs")
        await pilot.press("ctrl+t")
        assert app.form_screen.focused is app.form_screen.query_one("#model")
        assert app.form_screen.query_one(More).display
        await pilot.press("ctrl+t")
        assert not app.form_screen.query_one(More).display


async def test_lora_knobs_are_greyed_until_lora_is_chosen(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot)
        screen = form_of(pilot)
        await more_stands_open(pilot)
        assert screen.query_one("#lora-rank").disabled
        await shows(pilot, "only when LoRA is trained")
        screen.query_one("#method", Choice).focus()
        await pilot.press("right")
        assert screen.form.texts["method"] == "lora"
        assert not screen.query_one("#lora-rank").disabled
        assert "only when LoRA is trained" not in text_of(app)


async def test_wrong_text_in_a_field_that_does_not_matter_stops_nothing(tmp_path: Path) -> None:
    app = form_stage(tmp_path, method="lora")
    async with app.run_test(size=LARGE) as pilot:
        screen = form_of(pilot)
        await more_stands_open(pilot)
        await type_into(pilot, "lora-rank", "many")
        assert screen.form.spec() is None
        screen.query_one("#method", Choice).focus()
        await pilot.press("left")
        spec = screen.form.spec()
        assert spec is not None
        assert spec.lora_rank == KNOBS["lora_rank"].default


async def test_a_validation_file_greys_the_share(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    extra = data_file(tmp_path, rows=7, name="eval.jsonl")
    async with app.run_test(size=LARGE) as pilot:
        screen = form_of(pilot)
        await more_stands_open(pilot)
        await settled(pilot)  # a field takes what it is given once it is mounted
        screen.query_one("#eval-data", Input).value = str(extra)
        await shows(pilot, "40 train + 7 validation examples", "a validation file is given")
        assert screen.query_one("#eval-share").disabled


async def test_a_missing_data_file_is_said_at_its_field_and_at_start(tmp_path: Path, started: list[RunDir]) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=MIDDLE) as pilot:
        await settled(pilot)
        screen = form_of(pilot)
        await more_stands_open(pilot)
        screen.query_one("#data", Input).value = str(tmp_path / "nowhere.jsonl")
        await until(pilot, lambda: screen.form.problem("data"))
        await pilot.pause()
        assert screen.query_one("#row-data", KnobRow).told[0] == screen.form.reason()
        assert screen.query_one(StartButton).disabled
        await pilot.press("ctrl+r")
        assert started == []


async def test_a_path_is_completed(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=MIDDLE) as pilot:
        await settled(pilot)
        screen = form_of(pilot)
        await more_stands_open(pilot)
        field = screen.query_one("#data", Input)
        await type_into(pilot, "data", str(tmp_path / "da"))
        await until(pilot, lambda: field._suggestion)
        await pilot.press("right")
        assert field.value == str(tmp_path / "data.jsonl")


# --- another model ---------------------------------------------------------------------------------------------------


async def test_another_model_brings_its_learning_rate_and_says_so(tmp_path: Path) -> None:
    larger = model_folder(tmp_path, 135_000_000, "larger")
    app = form_stage(tmp_path)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot)
        screen = form_of(pilot)
        await more_stands_open(pilot)
        screen.query_one("#learning-rate", Input).value = "1e-3"  # as it was: not an edit
        screen.query_one("#model", Input).value = str(larger)
        await until(pilot, lambda: screen.form.texts["method"] == "lora")
        suited = models.suggested(models.look_up(str(larger)), "lora")
        assert screen.form.texts["learning_rate"] == "1e-3" == f"{suited['learning_rate']:.0e}".replace("e-0", "e-")
        await shows(pilot, "set to lora, usual for 135M parameters")
        screen.query_one("#method", Choice).focus()
        await pilot.press("left")
        await shows(pilot, "set to 1e-4, usual for full training of 135M parameters")


async def test_a_learning_rate_of_ones_own_stays(tmp_path: Path) -> None:
    larger = model_folder(tmp_path, 3_000_000_000, "larger")
    app = form_stage(tmp_path)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot)
        screen = form_of(pilot)
        await more_stands_open(pilot)
        await type_into(pilot, "learning-rate", "2e-3")
        screen.query_one("#model", Input).value = str(larger)
        await until(pilot, lambda: screen.form.texts["method"] == "lora")
        assert screen.form.texts["learning_rate"] == "2e-3"


# --- starting --------------------------------------------------------------------------------------------------------


async def test_enter_on_the_first_field_starts(tmp_path: Path, started: list[RunDir]) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await pilot.press("enter")  # before the files have answered: it starts as soon as they have
        await until(pilot, lambda: app.went)
        assert app.went == [("live", started[0])]
        assert started[0].spec().epochs == 3
        assert list_runs(app.runs_dir) == started


async def test_the_start_button_starts(tmp_path: Path, started: list[RunDir]) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.click("#start")
        await until(pilot, lambda: app.went)
        assert len(started) == 1


async def test_one_start_however_often_it_is_pressed(tmp_path: Path, started: list[RunDir]) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("enter", "ctrl+r", "enter", "enter")
        await until(pilot, lambda: app.went)
        assert len(started) == 1


async def test_a_refused_start_is_said_and_leaves_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(run: RunDir) -> int:
        raise RunError("The host has no [hands] today.")

    monkeypatch.setattr(launch, "launch", refuse)
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await pilot.press("up", "enter")
        await shows(pilot, "The host has no [hands] today.")
        assert app.went == []
        assert list_runs(app.runs_dir) == []
        assert form_of(pilot).form.texts["epochs"] == "4"
        assert not form_of(pilot).query_one(StartButton).disabled


async def test_a_runs_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    app.runs_dir.write_text("a file where the folder should be")
    async with app.run_test(size=SMALL) as pilot:
        await pilot.press("enter")
        await shows(pilot, "No run can be made in")


@pytest.mark.slow
async def test_a_host_is_really_started(tmp_path: Path, runs_dir: Path) -> None:
    """The host of a model that is none: it takes the run, and says in the run what is wrong."""
    app = form_stage(tmp_path)
    app.runs_dir = runs_dir
    async with app.run_test(size=SMALL) as pilot:
        await pilot.press("enter")
        await until(pilot, lambda: app.went, seconds=60)
        run = list_runs(runs_dir)[0]
        await asyncio.to_thread(_ended, run)
        assert run.read_events()[0]


def _ended(run: RunDir) -> None:
    until_when = time.monotonic() + 120
    while run.holder() is not None:
        assert time.monotonic() < until_when, "the host of a broken model goes on for ever"
        time.sleep(0.05)


# --- the rest --------------------------------------------------------------------------------------------------------


async def test_keys_that_lead_away(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("f1")
        seen = await shows(pilot, "Keys", "Start the run and watch it", "The next larger usual value")
        assert "Delete character" not in seen
        await pilot.press("escape")
        await until(pilot, lambda: sheet_of(app) is None)
        await pilot.press("ctrl+l")
        assert app.went == [("home",)]


async def test_a_click_on_a_key_does_it(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        at = text_of(app).splitlines()[23].index("More")
        await pilot.click("KeyBar", offset=(at, 0))
        await more_stands_open(pilot)


@pytest.mark.parametrize("part", ["#head", "LaunchBar", "#start"])
async def test_an_answer_that_comes_while_the_screen_goes_is_dropped(tmp_path: Path, part: str) -> None:
    """The parts of a screen are removed one by one, while files may still answer."""
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await app.form_screen.query(part).remove()
        app.form_screen.query_one("#epochs", Input).value = "7"
        await pilot.pause()
        assert app.form_screen.form.texts["epochs"] == "7"


@pytest.mark.parametrize("size", [(40, 10), (20, 5), SMALL, MIDDLE, LARGE])
async def test_every_size_is_drawn(tmp_path: Path, size: tuple[int, int]) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        await pilot.press("ctrl+t", "tab", "tab")
        await pilot.resize_terminal(100, 30)
        await pilot.pause()


async def test_hostile_names_stay_text(tmp_path: Path) -> None:
    app = form_stage(tmp_path, data=str(tmp_path / "a[red]b\x9b31m[@click=app.quit]c.jsonl"))
    async with app.run_test(size=MIDDLE) as pilot:
        await until(pilot, lambda: form_of(pilot).form.problem("data"))
        await pilot.pause()
        seen = text_of(app)
        assert "a[red]b" in seen
        assert "\x9b" not in seen


async def test_the_starter_preset_is_ready_to_go() -> None:
    screen = NewRunScreen(presets.load(presets.STARTER), presets.STARTER)
    async with Stage(screen).run_test(size=SMALL) as pilot:
        await until(pilot, lambda: screen.form.prospect)
        assert screen.form.reason() == ""
        await shows(pilot, "builtin:tiny, 2.2M parameters, memory about ")
        assert screen.form.spec() == RunSpec(**presets.load(presets.STARTER))  # type: ignore[arg-type]


def test_the_screen_loads_nothing_heavy() -> None:
    heavy = "torch transformers peft google.genai plotext safetensors"
    program = f"import sys, tui.screens.new_run; print([m for m in '{heavy}'.split() if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
