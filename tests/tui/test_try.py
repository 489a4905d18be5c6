"""What a run would take, on the form and on the live screen: the estimate as it is typed, the dry run at a key."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.builders import RunBuilder
from tests.tui.form_stage import form_of, form_stage, settled, type_into
from tests.tui.stage import LARGE, SMALL, live_stage, shows, text_of, until
from trainer import machine
from trainer.events import Measured
from trainer.insight.estimate import Device
from tui import dry_runner, figures

FOUND = Measured(1_100_000_000, 1_000_000_000, 22 * 10**9, 0.4, 52_000_000, 0.3, 180.0, 8192, 1.0)
LINE = "dry run: 0.4 s a step, 1.1 GB at most (estimated 1.0), checkpoints 52 MB in 0.3 s; about 3 min to the end"
TELLS = """
import json, sys, time
asked = json.loads(sys.stdin.readline())
print(json.dumps({"say": "phase", "phase": "loading model", "done": 0, "of": 0}), flush=True)
"""
MEASURES = TELLS + (
    'print(json.dumps({"say": "measured", "peak_memory": 1100000000, "estimated_memory": 1000000000, "free_memory": 0,'
    ' "seconds_per_step": 0.4, "checkpoint_bytes": 52000000, "checkpoint_seconds": 0.3, "seconds_total": 180.0,'
    ' "micro_batch": 8192, "seconds": 1.0}), flush=True)'
)
REFUSES = TELLS + 'print(json.dumps({"say": "error", "error": "It does not fit.\\x1b[2J"}), flush=True)'
WAITS = TELLS + "open(asked['folder'] + '/here', 'w').close(); time.sleep(600)"


def answering(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(dry_runner, "COMMAND", (sys.executable, "-c", code))


# --- in words ------------------------------------------------------------------------------------------------------


def test_the_line() -> None:
    assert figures.dry_run(FOUND) == LINE
    assert figures.dry_run(None) == ""
    bare = Measured(0, 0, 0, 75.0, 0, 0.0, 200_000.0, 512, 9.0)
    assert figures.dry_run(bare) == "dry run: 75 s a step; about 2 days to the end"
    hours = Measured(0, 0, 0, 0.0123, 2_500_000_000, 12.0, 3 * 3600.0 + 600, 512, 9.0)
    assert figures.dry_run(hours) == "dry run: 12 ms a step, checkpoints 2.5 GB in 12 s; about 3 h 10 min to the end"


async def test_it_stands_on_the_live_screen(tmp_path: Path) -> None:
    app = live_stage(RunBuilder(tmp_path).prepared().add(FOUND).trained(5))
    async with app.run_test(size=LARGE) as pilot:
        await shows(pilot, LINE)


# --- the estimate --------------------------------------------------------------------------------------------------


async def test_the_estimate_stands_beside_the_model_and_follows_what_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "device", lambda: Device(22 * 10**9))
    app = form_stage(tmp_path, model="builtin:tiny")
    async with app.run_test(size=SMALL) as pilot:
        seen = await shows(pilot, "2.2M parameters, memory about 0.", "of 22 GB free")
        before = seen[seen.index("memory about") :][:30]
        await type_into(pilot, "batch-size", "1")
        await settled(pilot)
        await until(pilot, lambda: before not in text_of(app))
        await shows(pilot, "of 22 GB free")


async def test_what_can_not_fit_is_said_and_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "device", lambda: Device(20_000_000))
    app = form_stage(tmp_path, model="builtin:tiny")
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await shows(pilot, "GB of memory are needed, 0.02 GB are free: take LoRA,", "or a smaller model.")
        assert form_of(pilot).pad.can_start


async def test_a_model_whose_shape_is_not_told_has_no_estimate(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        assert "memory about" not in text_of(app)


# --- the key -------------------------------------------------------------------------------------------------------


async def test_a_key_measures_and_says_it_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, MEASURES)
    app = form_stage(tmp_path)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot)
        assert "f3 Try" in text_of(app)
        await pilot.press("f3")
        await shows(pilot, LINE)
        assert not app.runs_dir.exists()
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".dry")] == []
        await type_into(pilot, "epochs", "4")
        assert "dry run" not in text_of(app)  # it was about other settings


async def test_all_keys_stand_on_a_small_screen(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        assert "f3 Try" in text_of(app)
        assert "f1 Keys" in text_of(app)


async def test_why_it_can_not_be_known_is_one_harmless_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, REFUSES)
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("f3")
        assert "\x1b" not in await shows(pilot, "It does not fit.")


@pytest.mark.parametrize("how", ["f3", "edit", "leave"])
async def test_it_is_cancelled_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    answering(monkeypatch, WAITS)
    app = form_stage(tmp_path)

    def folders() -> list[Path]:
        return [path for path in tmp_path.iterdir() if path.name.startswith(".dry-run-")]

    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("f3")
        await shows(pilot, "dry run: loading model (f3 cancels)")
        await until(pilot, lambda: list(folders()[0].iterdir()))
        if how == "f3":
            await pilot.press("f3")
        elif how == "edit":
            await type_into(pilot, "epochs", "4")
        if how != "leave":
            await until(pilot, lambda: not folders())
            assert "dry run" not in text_of(app)
            assert form_of(pilot).pad.can_start
    assert folders() == []


async def test_there_is_none_while_the_form_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, MEASURES)
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await type_into(pilot, "epochs", "0")
        await pilot.press("f3")
        await pilot.pause()
        assert "dry run" not in text_of(app)
