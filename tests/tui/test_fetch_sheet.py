"""Fetching a model: the bar, the end, the failure and the cancelling. The fetch is a script that plays the real one."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.tui.form_stage import form_of, form_stage, settled
from tests.tui.stage import SMALL, sheet_of, shows, text_of, until
from trainer import models
from tui.sheets import fetch
from tui.sheets.fetch import FetchSheet


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file whose Python the fetch runs; DEST is where the model should go."""
    script = tmp_path / "fetch.py"
    monkeypatch.setattr(fetch, "fetch_command", lambda name: [sys.executable, str(script), str(models.cache_dir(name))])
    return script


PRELUDE = """
import json, os, pathlib, sys, time
def say(**words): print(json.dumps(words), flush=True)
dest = pathlib.Path(sys.argv[1])
"""


async def test_the_key_is_there_only_when_the_model_is_not(tmp_path: Path, fake: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        assert "Fetch" not in text_of(app)
        await pilot.press("ctrl+f")
        assert sheet_of(app) is None


async def test_a_model_is_fetched_and_the_form_looks_again(tmp_path: Path, fake: Path) -> None:
    header = json.dumps({"weight": {"dtype": "F32", "shape": [135_000_000], "data_offsets": [0, 0]}})
    fake.write_text(
        PRELUDE
        + f"""
say(phase="downloading", source="hub", done=50_000_000, total=200_000_000)
print("not [json]")
while not os.path.exists({str(tmp_path / "go")!r}): time.sleep(0.01)
dest.mkdir(parents=True)
(dest / "config.json").write_text("{{}}")
header = {header!r}.encode()
(dest / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
say(ready=str(dest))
"""
    )
    app = form_stage(tmp_path, model="smollm2", method="lora")
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await shows(pilot, "^f Fetch", "is not here yet: ctrl+f fetches it.")
        await pilot.press("ctrl+f")
        await shows(pilot, "downloading from the Hugging Face hub", "25%  50 of 200 MB")
        (tmp_path / "go").touch()
        await until(pilot, lambda: sheet_of(app) is None)
        await shows(pilot, "135M parameters")
        assert form_of(pilot).form.reason() == ""
        assert form_of(pilot).form.texts["learning_rate"] == "1e-3"


async def test_what_went_wrong_is_said(tmp_path: Path, fake: Path) -> None:
    fake.write_text(PRELUDE + "say(error='The hub said [no]\\x1b[31m.'); sys.exit(1)")
    app = form_stage(tmp_path, model="smollm2")
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("ctrl+f")
        seen = await shows(pilot, "The hub said [no]␛[31m.", "escape goes back")
        assert "\x1b" not in seen
        await pilot.press("escape")
        await until(pilot, lambda: sheet_of(app) is None)
        assert form_of(pilot).form.reason()


async def test_a_fetch_that_dies_says_where_its_log_is(tmp_path: Path, fake: Path) -> None:
    fake.write_text("import sys; print('the reason', file=sys.stderr); sys.exit(7)")
    app = form_stage(tmp_path, model="smollm2")
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("ctrl+f")
        await shows(pilot, "ended with code 7")
        assert "the reason" in models.cache_dir("smollm2").with_suffix(".fetch.log").read_text()


@pytest.mark.parametrize("deaf", [False, True])
async def test_escape_ends_the_fetch(tmp_path: Path, fake: Path, deaf: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "PATIENCE", 0.5)
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" if deaf else ""
    fake.write_text(PRELUDE + f"{ignore}\nsay(phase='pid %d' % os.getpid())\ntime.sleep(60)")
    app = form_stage(tmp_path, model="smollm2")
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("ctrl+f")
        seen = await shows(pilot, "pid ")
        pid = int(seen.split("pid ")[1].split()[0])
        await pilot.press("escape")
        await until(pilot, lambda: sheet_of(app) is None)
        await until(pilot, lambda: not _lives(pid))


async def test_quitting_ends_the_fetch(tmp_path: Path, fake: Path) -> None:
    fake.write_text(PRELUDE + "say(phase='pid %d' % os.getpid())\ntime.sleep(60)")
    app = form_stage(tmp_path, model="smollm2")
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("ctrl+f")
        pid = int((await shows(pilot, "pid ")).split("pid ")[1].split()[0])
    end = time.monotonic() + 10
    while _lives(pid):
        assert time.monotonic() < end, "the fetch outlived the app"
        time.sleep(0.02)


def test_the_real_command_names_the_module_and_the_folder() -> None:
    command = FetchSheet("smollm2")._command
    assert command[1:5] == ["-P", "-m", "trainer.backends.local.fetch", "smollm2"]
    assert command[5] == str(models.cache_dir("smollm2"))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").exists() is False or ") Z " not in Path(f"/proc/{pid}/stat").read_text()
