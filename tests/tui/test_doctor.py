"""The doctor: every line, its level, what to do, and the exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from trainer.surroundings import Place
from tui import doctor
from tui.cli import main

ANSWER = "NVIDIA H100 80GB HBM3, 81559 MiB, 81000 MiB, 570.10\n"


def place(root: Path, gpu: str | None = None, **environment: str) -> Place:
    def ask(command: Sequence[str]) -> str | None:
        return gpu if command[0] == "nvidia-smi" else None

    return Place({"TERM": "xterm-256color", **environment}, ask, root, user=1000)


def lines(runs_dir: Path, where: Place) -> dict[str, doctor.Line]:
    return {line.name: line for line in doctor.look(runs_dir, where)}


def test_a_machine_that_is_ready_has_no_problem(runs_dir: Path, tmp_path: Path) -> None:
    found = lines(runs_dir, place(tmp_path))
    assert list(found) == ["python", "torch", "transformers", "peft", "safetensors", "gpu", "runs", "presets", "models",
                           "hub cache", "keys", "terminal", "logout"]  # fmt: skip
    assert "problem" not in [line.level for line in found.values()]
    assert sys.executable in found["python"].said
    assert str(runs_dir) in found["runs"].said
    assert not runs_dir.exists()


@pytest.mark.parametrize(("package", "version"), [("torch", "2.9.0"), ("transformers", "4.57.0")])
def test_an_old_library_is_a_problem_with_what_mends_it(
    runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, version: str
) -> None:
    monkeypatch.setattr(doctor, "installed", lambda name: version if name == package else "99.0")
    line = lines(runs_dir, place(tmp_path))[package]
    assert line.level == "problem"
    assert f"{package} {version} is not used here" in line.said
    assert line.do.startswith(f"`pip install --upgrade '{package}>=")


def test_a_library_that_is_missing_is_a_problem(
    runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "installed", lambda name: None)
    line = lines(runs_dir, place(tmp_path))["peft"]
    assert (line.level, line.said) == ("problem", "is not installed.")


def test_a_gpu_is_named_with_its_memory(runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda name: "99.0+cu126")
    line = lines(runs_dir, place(tmp_path, ANSWER * 2))["gpu"]
    one = "NVIDIA H100 80GB HBM3 with 81559 MiB, 81000 MiB free, driver 570.10"
    assert (line.level, line.said) == ("ok", f"{one}; {one}")


def test_a_gpu_that_torch_can_not_use_is_said(runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda name: "99.0+cpu")
    line = lines(runs_dir, place(tmp_path, ANSWER))["gpu"]
    assert line.level == "warn"
    assert "TORCH_INDEX" in line.do


def test_a_folder_that_can_not_be_written_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x", "utf-8")
    line = lines(file / "runs", place(tmp_path))["runs"]
    assert line.level == "problem"
    assert "can't be written" in line.said
    assert "--runs-dir" in line.do


@pytest.mark.parametrize(("free", "level"), [(1e8, "problem"), (2e9, "warn"), (1e11, "ok")])
def test_little_room_is_said(
    runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, level: str
) -> None:
    monkeypatch.setattr("tui.doctor.shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
    found = lines(runs_dir, place(tmp_path))
    assert found["runs"].level == level
    assert found["presets"].level == "ok"


def test_keys_are_named_and_never_shown(runs_dir: Path, tmp_path: Path) -> None:
    line = lines(runs_dir, place(tmp_path, HF_TOKEN="secret-value"))["keys"]
    assert line.said == "in the environment: HF_TOKEN"


def test_what_ends_runs_is_a_warning_with_what_helps(runs_dir: Path, tmp_path: Path) -> None:
    line = lines(runs_dir, place(tmp_path, SLURM_JOB_ID="7"))["slurm"]
    assert line.level == "warn"
    assert "sbatch" in line.do


def test_as_a_command_it_prints_a_line_each_and_ends_well(runs_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--runs-dir", str(runs_dir)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("ok       python        3.")
    assert " logout " in out


def test_as_json_it_has_the_same_in_fields(runs_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "--runs-dir", str(runs_dir)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {tuple(row) for row in rows} == {("name", "level", "said", "do")}
    assert rows[0]["name"] == "python"


def test_with_a_problem_it_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    assert main(["doctor", "--runs-dir", str(tmp_path / "file" / "runs")]) == 1
    assert "problem  runs " in capsys.readouterr().out
