"""A dry run as a process and as a command: one line, or one sentence; no run, no folder and no process stays."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer import dry_run
from trainer.spec import RunSpec
from tui import cli, dry_runner
from tui.data_worker import answers

WaitFor = Callable[..., None]


def rows(folder: Path, count: int = 30) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"q {n}", "completion": f"a {n}"}) + "\n" for n in range(count)))
    return file


def said_of(spec: RunSpec, folder: Path) -> list[Any]:
    heard: list[Any] = []
    dry_run.measure(spec, folder, heard.append)
    return heard


@pytest.mark.slow
def test_it_says_what_goes_on_and_then_what_was_measured(tmp_path: Path) -> None:
    with dry_runner.folder_for(tmp_path / "no" / "runs" / "yet") as folder:
        assert folder.parent == tmp_path
        asked = dry_runner.question(RunSpec(data=str(rows(tmp_path))), folder)
        heard = [said for said in answers([asked], dry_runner.COMMAND) if said["say"] != "note"]
    assert [said["phase"] for said in heard if said["say"] == "phase"][-1] == "dry run"
    found = next(filter(None, map(dry_runner.measured, heard)))
    assert found.peak_memory > 0
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"data": "/no/such.jsonl"}, "there is no such file"),
        ({"model": "builtin:none"}, "There is no built-in model"),
        ({"backend": "replay"}, "There is nothing to try"),
    ],
)
def test_what_can_not_be_tried_is_one_sentence(tmp_path: Path, fields: dict[str, Any], sentence: str) -> None:
    (said,) = said_of(RunSpec(**fields), tmp_path)
    assert said["say"] == "error"
    assert sentence in said["error"]
    assert "\n" not in said["error"]


def test_it_ends_with_its_input_and_takes_its_folder_along(tmp_path: Path, wait_for: WaitFor) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    command = (*dry_runner.COMMAND,)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked = dry_runner.question(RunSpec(data=str(rows(tmp_path))), folder)
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
        time.sleep(0.5)
        process.stdin.close()
        assert process.wait(30) == 0
    assert not folder.exists()


@pytest.mark.slow
def test_the_command_says_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    assert cli.main(["--runs-dir", str(runs), "dry-run", "--data", str(rows(tmp_path)), "--epochs", "3"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("dry run: ")
    assert " a step, " in line
    assert "GB at most (estimated 0." in line
    assert line.endswith(" to the end")
    assert not runs.exists()


@pytest.mark.slow
def test_the_command_in_json_and_the_estimate_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["dry-run", "--estimate", "--json", "--batch-size", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["peak"] >= found["weights"] + found["states"] > 0


def test_the_command_refuses_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["dry-run", "--data", "/no/such.jsonl"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert cli.main(["dry-run", "--epochs", "0"]) == 2


def test_a_process_that_dies_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dry_runner, "COMMAND", (sys.executable, "-c", "raise SystemExit(3)"))
    assert cli.main(["--runs-dir", str(tmp_path), "dry-run"]) == 2
    assert "ended with code 3" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
