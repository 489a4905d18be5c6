"""Checkpoints and the result on disk: whole or not there, the right ones kept, nobody else's business."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from errno import EDQUOT, EFBIG, EIO, ENOSPC, EROFS
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.backends.local.conftest import ModelMaker
from trainer.backends.local.store import Store
from trainer.backends.local.training import Saved
from trainer.events import CheckpointFailed, CheckpointSaved, ModelSaved
from trainer.rundir import RunError, walk_size
from trainer.spec import RunSpec


@pytest.fixture
def model(make_model: ModelMaker) -> nn.Module:
    loaded: nn.Module = AutoModelForCausalLM.from_pretrained(make_model("llama"), dtype=torch.float32)
    return loaded


@pytest.fixture
def store(tmp_path: Path, model: nn.Module, make_model: ModelMaker) -> Store:
    tokenizer = AutoTokenizer.from_pretrained(make_model("llama"))
    return Store(tmp_path, RunSpec(method="full"), model, tokenizer, no_training)


def no_training(folder: Path, _: Saved) -> None:
    """In place of the optimizer and the rest."""
    (folder / "training").mkdir()
    (folder / "training" / "state.json").write_text("{}", "utf-8")


def save_best(store: Store, step: int, eval_loss: float) -> CheckpointSaved:
    saved = store.save(Saved(step, eval_loss, best=True, epoch_end=False))
    assert isinstance(saved, CheckpointSaved)
    return saved


def mark(model: nn.Module, value: float) -> None:
    """Make the weights tell which save they come from."""
    with torch.no_grad():
        next(iter(model.parameters())).fill_(value)


def marked(folder: Path) -> float:
    loaded: nn.Module = AutoModelForCausalLM.from_pretrained(folder)
    return float(next(iter(loaded.parameters())).detach()[0, 0])


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_the_two_newest_best_are_kept(store: Store, model: nn.Module, tmp_path: Path) -> None:
    for step in (10, 20, 30):
        mark(model, step)
        saved = save_best(store, step, 3.0 - step / 100)
        assert saved.path == f"checkpoints/step-{step:06d}"
        assert saved.size == walk_size(tmp_path / saved.path) > 10_000
    assert checkpoints(tmp_path) == ["step-000020", "step-000030"]
    assert marked(tmp_path / "checkpoints/step-000030") == 30


@pytest.mark.parametrize(("asked", "kept"), [(None, 30), (20, 20), (30, 30), (10, 30), (99, 30)])
def test_keep_best_takes_the_step_that_was_named(
    store: Store, model: nn.Module, tmp_path: Path, asked: int | None, kept: int
) -> None:
    for step in (10, 20, 30):
        mark(model, step)
        save_best(store, step, step / 10)
    mark(model, 77)
    assert store.keep_best(asked) == ModelSaved(kept, "best", "model", kept / 10, "full")
    assert marked(tmp_path / "model") == kept


def test_keep_last_takes_the_weights_as_they_are(store: Store, model: nn.Module, tmp_path: Path) -> None:
    mark(model, 1)
    save_best(store, 1, 2.0)
    mark(model, 2)
    assert store.keep_last(2, None) == ModelSaved(2, "last", "model", None, "full")
    assert marked(tmp_path / "model") == 2


def test_without_a_checkpoint_there_is_no_best(store: Store, tmp_path: Path) -> None:
    assert store.keep_best(None) is None
    assert list(tmp_path.iterdir()) == []


def test_the_best_costs_no_second_copy(store: Store, tmp_path: Path) -> None:
    save_best(store, 1, 2.0)
    store.keep_best(None)
    first, second = (tmp_path / where / "model.safetensors" for where in ("checkpoints/step-000001", "model"))
    assert first.samefile(second)


def test_the_result_holds_nothing_that_only_going_on_needs(store: Store, tmp_path: Path) -> None:
    save_best(store, 1, 2.0)
    store.keep_best(None)
    assert (tmp_path / "checkpoints/step-000001/training/state.json").is_file()
    assert not (tmp_path / "model/training").exists()
    assert not (tmp_path / "model/manifest.json").exists()


def test_best_newest_and_epochs_stay(model: nn.Module, make_model: ModelMaker, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(make_model("llama"))
    spec = RunSpec(method="full", keep_checkpoints=2, keep_epochs="yes")
    store = Store(tmp_path, spec, model, tokenizer, no_training)
    for step in range(1, 9):
        store.save(Saved(step, 1.0, best=step in (1, 2, 3), epoch_end=step % 4 == 0))
    assert checkpoints(tmp_path) == [f"step-{step:06d}" for step in (2, 3, 4, 7, 8)]


def test_where_links_are_refused_the_best_is_copied(
    store: Store, model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark(model, 5)
    save_best(store, 1, 2.0)
    monkeypatch.setattr(os, "link", fail_with(OSError(95, "Operation not supported")))
    store.keep_best(None)
    assert marked(tmp_path / "model") == 5


def fail_with(error: Exception) -> object:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


NO_MORE = [OSError(number, os.strerror(number)) for number in (ENOSPC, EDQUOT, EFBIG, EIO, EROFS)]
FULL = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("error", [*NO_MORE, FULL], ids=lambda error: str(error)[-30:])
@pytest.mark.parametrize("where", ["tokenizer", "sync", "rename"])
def test_a_failed_save_leaves_what_was_there_and_no_half(
    store: Store, model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    mark(model, 1)
    save_best(store, 1, 2.0)
    store.keep_last(1, 2.0)
    mark(model, 2)
    if where == "tokenizer":
        monkeypatch.setattr(store._tokenizer, "save_pretrained", fail_with(error))
    elif where == "sync":
        monkeypatch.setattr(os, "fsync", fail_with(error))
    else:
        monkeypatch.setattr(Path, "rename", fail_with(error))
    failed = store.save(Saved(2, 1.0, best=True, epoch_end=False))
    assert isinstance(failed, CheckpointFailed)
    why = re.escape(str(error.strerror if isinstance(error, OSError) else error))
    room = r" It needs about \d\.\d MB and [\d.]+ [MG]B are free\."
    assert re.search(rf"/step-000002 can't be written: {why}\.{room} Training goes on\.$", failed.message)
    assert failed.needed > 10_000
    assert failed.free > 0
    with pytest.raises(RunError, match=rf"model can't be written: {why}\.{room}$"):
        store.keep_last(2, 1.0)
    monkeypatch.undo()
    assert checkpoints(tmp_path) == ["step-000001"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "model"]
    assert marked(tmp_path / "model") == 1
    saved = store.keep_best(2)
    assert saved is not None
    assert saved.step == 1


def test_what_the_first_one_needs_is_told_before_any_was_written(
    model: nn.Module, make_model: ModelMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(make_model("llama"))
    store = Store(tmp_path, RunSpec(), model, tokenizer, no_training, (26_000_000, 8_700_000))
    monkeypatch.setattr(os, "fsync", fail_with(NO_MORE[0]))
    failed = store.save(Saved(1, 1.0, best=True, epoch_end=False))
    assert isinstance(failed, CheckpointFailed)
    assert failed.needed == 26_000_000
    assert "It needs about 26.0 MB and " in failed.message
    with pytest.raises(RunError, match=r"It needs about 8\.7 MB and "):
        store.keep_last(1, 1.0)


@pytest.mark.parametrize("gone", ["removed", "renamed"])
def test_a_run_that_is_gone_is_not_made_anew(store: Store, tmp_path: Path, gone: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    store._run = run
    save_best(store, 1, 2.0)
    run.rename(tmp_path / "away")
    if gone == "removed":
        shutil.rmtree(tmp_path / "away")
    failed = store.save(Saved(2, 1.0, best=True, epoch_end=False))
    assert isinstance(failed, CheckpointFailed)
    assert failed.message.endswith("step-000002 can't be written: No such file or directory. Training goes on.")
    with pytest.raises(RunError, match=r"model can't be written: No such file or directory\.$"):
        store.keep_last(2, 1.0)
    assert not run.exists()


def test_an_error_of_another_kind_leaves_no_half_either(
    store: Store, model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store._tokenizer, "save_pretrained", fail_with(ValueError("unforeseen")))
    with pytest.raises(ValueError, match="unforeseen"):
        save_best(store, 1, 2.0)
    assert checkpoints(tmp_path) == []
    assert store.keep_best(None) is None


def test_a_left_over_of_a_killed_host_is_no_obstacle(store: Store, model: nn.Module, tmp_path: Path) -> None:
    half = tmp_path / "checkpoints" / ".tmp-step-000001"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    mark(model, 3)
    save_best(store, 1, 2.0)
    assert checkpoints(tmp_path) == ["step-000001"]
    assert marked(tmp_path / "checkpoints/step-000001") == 3


@pytest.fixture
def private_umask() -> Iterator[None]:
    """As a host sets it."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("private_umask")
def test_nobody_else_can_read_what_a_host_writes(store: Store, tmp_path: Path) -> None:
    save_best(store, 1, 2.0)
    store.keep_best(None)
    store.keep_last(2, None)
    made = [path for path in tmp_path.rglob("*") if "step" in str(path) or "model" in str(path)]
    assert len(made) > 8
    assert [path for path in made if path.stat().st_mode & 0o077] == []
