"""Going on from a checkpoint: what is left of the run comes out to the last bit as if nothing had happened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from tests.backends.local.runs import SpecMaker, at, digest, numbers, until, whole
from trainer import checkpoints
from trainer.backends.local import train
from trainer.backends.local.compute import Compute
from trainer.control import Control
from trainer.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    Failed,
    Finished,
    ModelSaved,
    Noted,
    NotFinite,
    Resumed,
    StepTaken,
)

STEPS = 5  # an epoch


@pytest.mark.parametrize(
    ("method", "killed_at"), [("full", 1), ("full", 2), ("full", 5), ("full", 14), ("lora", 3), ("lora", 9)]
)
def test_a_killed_run_goes_on_bit_for_bit(spec: SpecMaker, tmp_path: Path, method: str, killed_at: int) -> None:
    wanted = spec(method=method, lora_dropout=0.1, schedule="cosine", warmup=0.2)
    undisturbed = whole(wanted, tmp_path / "one")
    first = until(wanted, tmp_path / "two", at(killed_at))
    rest = whole(wanted, tmp_path / "two", Control(tmp_path / "two", resuming=True))
    (resumed,) = (event for event in rest if isinstance(event, Resumed))
    assert resumed.step == max((s.step for s in first if isinstance(s, CheckpointSaved)), default=0)
    assert killed_at - resumed.step <= 2
    assert numbers([*first, *rest]) == numbers(undisturbed)
    assert digest(tmp_path / "two" / "model") == digest(tmp_path / "one" / "model")
    last = checkpoints.folder_of(tmp_path / "one", 3 * STEPS).relative_to(tmp_path / "one")
    assert digest(tmp_path / "two" / last) == digest(tmp_path / "one" / last) != {}


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "adagrad", "rmsprop", "sgd"])
def test_every_optimizer_goes_on_bit_for_bit(spec: SpecMaker, tmp_path: Path, optimizer: str) -> None:
    wanted = spec(optimizer=optimizer, weight_decay=0.1, learning_rate=0.001)
    undisturbed = whole(wanted, tmp_path / "one")
    first = until(wanted, tmp_path / "two", at(7))
    rest = whole(wanted, tmp_path / "two", Control(tmp_path / "two", resuming=True))
    assert numbers([*first, *rest]) == numbers(undisturbed)
    assert digest(tmp_path / "two" / "model") == digest(tmp_path / "one" / "model")


def test_a_stopped_run_goes_on_where_it_stopped(spec: SpecMaker, tmp_path: Path) -> None:
    """The stop itself leaves a checkpoint, so no step is taken twice."""
    wanted = spec(save_every=0)
    undisturbed = whole(wanted, tmp_path / "one")
    control = Control(tmp_path / "two")
    first: list[Event] = []
    for event in train(wanted, control):
        first.append(event)
        if at(8)(event):
            control.ask_stop()
    rest = whole(wanted, tmp_path / "two", Control(tmp_path / "two", resuming=True))
    assert Resumed(8) in rest
    assert isinstance(rest[-1], Finished)
    assert numbers([*first, *rest]) == numbers(undisturbed)


def test_the_best_before_the_kill_is_still_the_best_after(spec: SpecMaker, tmp_path: Path) -> None:
    wanted = spec(keep="best", learning_rate=0.05)
    undisturbed = whole(wanted, tmp_path / "one")
    until(wanted, tmp_path / "two", at(12))
    rest = whole(wanted, tmp_path / "two", Control(tmp_path / "two", resuming=True))
    assert [e for e in rest if isinstance(e, ModelSaved)] == [e for e in undisturbed if isinstance(e, ModelSaved)]
    assert digest(tmp_path / "two" / "model") == digest(tmp_path / "one" / "model")


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def with_text(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(text, "utf-8")

    return write


DAMAGES: dict[str, Callable[[Path], None]] = {
    "optimizer truncated": with_text("training/optimizer.safetensors", "half"),
    "model empty": with_text("model.safetensors", ""),
    "one bit of the weights": lambda f: flip_a_bit(f / "model.safetensors"),
    "one bit of the optimizer": lambda f: flip_a_bit(f / "training/optimizer.safetensors"),
    "one bit of the state": lambda f: flip_a_bit(f / "training/state.json"),
    "one bit of the manifest": lambda f: flip_a_bit(f / "manifest.json"),
    "state missing": lambda f: (f / "training/state.json").unlink(),
    "manifest missing": lambda f: (f / "manifest.json").unlink(),
    "manifest of nothing": with_text("manifest.json", '{"files": {}}'),
    "manifest is none": with_text("manifest.json", "[1"),
    "empty folder": emptied,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(
    spec: SpecMaker, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    wanted = spec(keep_checkpoints=3)
    undisturbed = whole(wanted, tmp_path / "one")
    first = until(wanted, tmp_path / "two", at(9))
    damage(checkpoints.folder_of(tmp_path / "two", 8))
    rest = whole(wanted, tmp_path / "two", Control(tmp_path / "two", resuming=True))
    assert Resumed(6) in rest
    said = " ".join(event.message for event in rest if isinstance(event, Noted))
    assert "The checkpoint of step 8 is damaged" in said
    assert "set aside as bad-step-000008" in said
    assert (tmp_path / "two" / "checkpoints" / "bad-step-000008").is_dir()
    assert numbers([*first, *rest]) == numbers(undisturbed)


def test_without_any_whole_checkpoint_it_starts_again(spec: SpecMaker, tmp_path: Path) -> None:
    wanted = spec(save_every=0)
    undisturbed = whole(wanted, tmp_path / "one")
    first = until(wanted, tmp_path / "two", at(4))
    rest = whole(wanted, tmp_path / "two", Control(tmp_path / "two", resuming=True))
    assert Resumed(0) in rest
    assert numbers([*first, *rest]) == numbers(undisturbed)


def test_what_a_killed_host_left_half_written_is_cleared(spec: SpecMaker, tmp_path: Path) -> None:
    wanted = spec()
    until(wanted, tmp_path, at(5))
    half = tmp_path / "checkpoints" / ".tmp-step-000006"
    shutil.copytree(checkpoints.folder_of(tmp_path, 4), half)
    rest = whole(wanted, tmp_path, Control(tmp_path, resuming=True))
    assert Resumed(4) in rest
    assert not half.exists()


def test_an_older_checkpoint_half_removed_is_no_obstacle(spec: SpecMaker, tmp_path: Path) -> None:
    """A kill may come while an old checkpoint is being taken away."""
    wanted = spec(keep_checkpoints=3)
    undisturbed = whole(wanted, tmp_path / "one")
    first = until(wanted, tmp_path / "two", at(9))
    shutil.rmtree(checkpoints.folder_of(tmp_path / "two", 6) / "training")
    (checkpoints.folder_of(tmp_path / "two", 6) / "manifest.json").unlink()
    rest = whole(wanted, tmp_path / "two", Control(tmp_path / "two", resuming=True))
    assert Resumed(8) in rest
    assert numbers([*first, *rest]) == numbers(undisturbed)


@pytest.mark.usefixtures("no_dry_run")
def test_the_black_box_holds_what_was_so(spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And from there: back to the last checkpoint with a third of the rate, or without that batch."""
    plain = Compute.gradients

    def ruined(self: Compute, batch: Any, stopped: Callable[[], bool], *cut: Any) -> Tensor | float | None:
        calls.append(1)
        loss = plain(self, batch, stopped, *cut)
        return float("nan") if len(calls) == 8 else loss

    calls: list[int] = []
    monkeypatch.setattr(Compute, "gradients", ruined)
    wanted = spec(keep="best", schedule="constant", warmup=0.0)
    events = whole(wanted, tmp_path)
    assert isinstance(events[-1], Failed)
    (found,) = (event for event in events if isinstance(event, NotFinite))
    box = json.loads((tmp_path / found.path).read_text("utf-8"))
    assert (box["step"], box["loss"], box["learning_rate"]) == (8, "nan", 0.01)
    assert len(box["rows"]) == 4
    assert all(row["line"] >= 1 and len(row["text"]) > 10 for row in box["rows"])
    assert all(isinstance(norm, float) for norm in box["gradient_norms"].values())
    assert len(bytes.fromhex(box["random_state"])) > 1000

    shutil.copytree(tmp_path, tmp_path.with_name("skip"))
    slower = whole(wanted, tmp_path, Control(tmp_path, resuming=True, rate_factor=1 / 3))
    rates = [event.learning_rate for event in slower if isinstance(event, StepTaken)]
    assert rates == pytest.approx([0.01 / 3] * len(rates))
    assert isinstance(slower[-1], Finished)

    folder = tmp_path.with_name("skip")
    skipped = whole(wanted, folder, Control(folder, resuming=True, skip=frozenset({8})))
    taken = [event.step for event in skipped if isinstance(event, StepTaken)]
    assert taken == [step for step in range(7, 16) if step != 8]
    assert isinstance(skipped[-1], Finished)


def test_a_finished_run_evaluates_as_before_when_read_again(spec: SpecMaker, tmp_path: Path) -> None:
    """A checkpoint's own account of itself agrees with the log."""
    events = whole(spec(), tmp_path)
    evaluated = {event.step: event.eval_loss for event in events if isinstance(event, Evaluated)}
    state = json.loads((checkpoints.folder_of(tmp_path, 15) / "training" / "state.json").read_text("utf-8"))
    assert state["saved"]["eval_loss"] == evaluated[15]
    assert state["progress"]["step"] == 15
