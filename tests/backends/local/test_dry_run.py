"""The dry run before the first step: it measures, it fits micro-batches into the memory, and it leaves no trace."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.backends.local.runs import SpecMaker, at, digest, notes, numbers, only, until, whole
from trainer import checkpoints
from trainer.backends.local import dry_run as module
from trainer.backends.local import loop, trial
from trainer.backends.local.batches import MicroBatch
from trainer.backends.local.compute import Compute
from trainer.backends.local.dry_run import alone, dry_run
from trainer.backends.local.peak import Peak
from trainer.backends.local.prepare import Setup, prepare
from trainer.backends.local.store import Store
from trainer.control import Control
from trainer.events import Event, Finished, Measured, ModelSaved, Noted, PhaseEntered, StepTaken
from trainer.insight.estimate import LARGEST_CPU_BUDGET
from trainer.rundir import RunError
from trainer.spec import RunSpec

CPU = torch.device("cpu")


@pytest.fixture
def spec(spec: SpecMaker) -> SpecMaker:
    """Two epochs of the usual small run."""
    return partial(spec, epochs=2)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on runs have no dry run."""

    def nothing(*_: object) -> Iterator[Event]:
        yield from ()

    return lambda: monkeypatch.setattr(loop, "dry_run", nothing)


def made(wanted: RunSpec, folder: Path) -> Setup:
    setup = ended(prepare(wanted, Control(folder)))
    assert isinstance(setup, Setup)
    return setup


def ended(going: Generator[Event, None, Any]) -> Any:
    """What a generator returns."""
    while True:
        try:
            next(going)
        except StopIteration as done:
            return done.value


# --- it measures -------------------------------------------------------------------------------------------------


def test_a_run_begins_with_what_it_will_take(spec: SpecMaker, tmp_path: Path) -> None:
    events = whole(spec(), tmp_path)
    found = only(Measured, events)[0]
    assert events.index(PhaseEntered("dry run")) < events.index(found) < events.index(only(StepTaken, events)[0])
    newest = checkpoints.folder_of(tmp_path, only(StepTaken, events)[-1].step)
    written = sum(file.stat().st_size for file in newest.rglob("*") if file.is_file())
    assert found.checkpoint_bytes == pytest.approx(written, rel=0.05)
    assert found.peak_memory > 0
    assert found.estimated_memory > 0
    assert found.free_memory > found.peak_memory
    assert found.seconds_per_step > 0
    steps = len(only(StepTaken, events))
    assert found.seconds_total >= steps * found.seconds_per_step
    assert found.micro_batch == LARGEST_CPU_BUDGET
    assert found.seconds > 0


@pytest.mark.parametrize("method", ["full", "lora"])
def test_it_changes_nothing(spec: SpecMaker, tmp_path: Path, without: Callable[[], None], method: str) -> None:
    """Losses, norms, weights, optimizer and random states: equal to the last bit with dropout, which draws."""
    wanted = spec(method=method, lora_dropout=0.2)
    tried = whole(wanted, tmp_path / "tried")
    without()
    plain = whole(wanted, tmp_path / "plain")
    assert not only(Measured, plain)
    assert numbers(tried) == numbers(plain)
    for step in checkpoints.steps_on_disk(tmp_path / "plain"):
        ours, theirs = (checkpoints.folder_of(tmp_path / name, step) for name in ("tried", "plain"))
        assert digest(ours) == digest(theirs)


@pytest.mark.parametrize("optimizer", ["adamw", "adagrad", "sgd"])
def test_it_changes_nothing_of_a_run_that_goes_on(
    spec: SpecMaker, tmp_path: Path, without: Callable[[], None], optimizer: str
) -> None:
    wanted = spec(optimizer=optimizer)
    for name in ("tried", "plain"):
        until(wanted, tmp_path / name, at(5))
    tried = whole(wanted, tmp_path / "tried", Control(tmp_path / "tried", resuming=True))
    assert only(Measured, tried)
    without()
    plain = whole(wanted, tmp_path / "plain", Control(tmp_path / "plain", resuming=True))
    assert numbers(tried) == numbers(plain)
    assert digest(tmp_path / "tried" / "model") == digest(tmp_path / "plain" / "model")


def test_it_leaves_no_file_behind(spec: SpecMaker, tmp_path: Path) -> None:
    setup = made(spec(), tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert isinstance(ended(dry_run(spec(), Control(tmp_path), setup)), Measured)
    assert sorted(tmp_path.rglob("*")) == before
    assert all(parameter.grad is None for parameter in setup.compute.model.parameters())


def test_of_a_large_checkpoint_a_sample_is_written(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "WRITTEN", 1)
    monkeypatch.setattr(trial, "SAMPLE", 2**22)
    setup = made(spec(), tmp_path)
    before = sorted(tmp_path.rglob("*"))
    found = ended(dry_run(spec(), Control(tmp_path), setup))
    assert found.checkpoint_bytes == setup.store.size
    assert found.checkpoint_seconds > 0
    assert sorted(tmp_path.rglob("*")) == before


def test_a_disk_that_takes_nothing_is_said_and_ends_no_run(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Store, saved: object) -> tuple[int, float]:
        raise RunError("The disk is full.")

    monkeypatch.setattr(Store, "trial", full)
    events = whole(spec(epochs=1), tmp_path)
    assert "Dry run: The disk is full." in notes(events)
    assert only(Measured, events)[0].checkpoint_bytes == 0
    assert isinstance(events[-1], Finished)


def test_a_stop_cuts_it_short(spec: SpecMaker, tmp_path: Path) -> None:
    control = Control(tmp_path)
    setup = ended(prepare(spec(), control))
    control.ask_stop()
    assert ended(dry_run(spec(), control, setup)) is None


def test_a_run_without_steps_left_has_none(spec: SpecMaker, tmp_path: Path) -> None:
    whole(spec(), tmp_path)
    events = whole(spec(), tmp_path, Control(tmp_path, resuming=True))
    assert not only(Measured, events)
    assert only(ModelSaved, events)


def test_states_that_can_not_be_copied_are_left_alone(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a card that is nearly full: the numbers stay, and it is said what the time is without."""
    until(spec(), tmp_path, at(5))
    monkeypatch.setattr(trial, "COPIED", 0.0)
    events = whole(spec(), tmp_path, Control(tmp_path, resuming=True))
    assert "the time is without its step" in notes(events)


# --- it fits -----------------------------------------------------------------------------------------------------


def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of all micro-batches that learn from now on."""
    sizes: list[int] = []
    really = Compute._summed_loss

    def summed(self: Compute, micro: MicroBatch) -> Tensor:
        if self.model.training:
            sizes.append(micro.ids.numel())
        return really(self, micro)

    monkeypatch.setattr(Compute, "_summed_loss", summed)
    return sizes


def test_little_memory_makes_smaller_micro_batches_of_the_same_batch(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the measured peak, before any memory runs out; the losses are those of whole batches."""
    roomy = whole(spec(batch_size=16), tmp_path / "roomy")
    step = trial.Step(1000, 1_000_000, 0, 1e-6, 1e-6)  # bytes a token: 1000
    monkeypatch.setattr(trial, "step", lambda *_: step)
    monkeypatch.setattr(module, "_estimated", lambda *_: (0, 0.0))
    monkeypatch.setattr(module, "free_bytes", lambda _: 300_000)
    sizes = seen(monkeypatch)
    events = whole(spec(batch_size=16), tmp_path / "small")
    said = only(Noted, events)[0].message
    assert said.startswith("Micro-batches hold 256 tokens (not 2,048), so that a step fits in the memory; ")
    assert said.endswith("the batch is still 16 examples.")
    assert max(sizes) <= 270
    for number, expected in zip(numbers(events), numbers(roomy), strict=True):
        assert number == pytest.approx(expected, abs=1e-4)


def test_the_estimate_keeps_a_first_try_from_being_too_large(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_estimated", lambda *_: (10**9, 1000.0))
    monkeypatch.setattr(module, "free_bytes", lambda _: 300_000)
    monkeypatch.setattr(module, "SHARE", 1.0)
    setup = made(spec(batch_size=16), tmp_path)
    sizes = seen(monkeypatch)
    ended(dry_run(spec(batch_size=16), Control(tmp_path), setup))
    assert max(sizes) <= 300


def test_an_estimate_that_was_too_high_is_taken_back(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_estimated", lambda *_: (10**15, 10.0**9))
    setup = made(spec(), tmp_path)
    before = setup.compute.token_budget
    assert ended(dry_run(spec(), Control(tmp_path), setup)).micro_batch == before


def test_memory_that_runs_out_in_it_is_found_here_and_not_in_a_step(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = Compute._summed_loss

    def summed(self: Compute, micro: MicroBatch) -> Tensor:
        if self.model.training and micro.ids.numel() > 200:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory (planted)")
        return really(self, micro)

    monkeypatch.setattr(Compute, "_summed_loss", summed)
    events = whole(spec(), tmp_path)
    assert "so that a step fits in the memory" in notes(events)
    assert "Out of memory" not in notes(events)
    assert isinstance(events[-1], Finished)


def test_an_example_that_does_not_fit_is_one_sentence(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Compute, micro: MicroBatch) -> Tensor:
        raise MemoryError

    monkeypatch.setattr(Compute, "_summed_loss", full)
    with pytest.raises(RunError, match="does not fit in the memory"):
        list(alone(spec(), Control(tmp_path)))


def test_alone_it_ends_with_what_was_measured(spec: SpecMaker, tmp_path: Path) -> None:
    *_, last = alone(spec(), Control(tmp_path))
    assert isinstance(last, Measured)


# --- the peak ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampled", [False, True])
def test_the_peak_of_a_block_is_seen(monkeypatch: pytest.MonkeyPatch, sampled: bool) -> None:
    if sampled:  # where the high-water mark can't be set back

        def refuse(*_: object) -> int:
            raise PermissionError

        monkeypatch.setattr(Path, "write_text", refuse)
    with Peak(CPU) as peak:
        for _ in range(20 if sampled else 1):
            held = torch.ones(10_000_000)
            del held
    assert 35_000_000 < peak.bytes < 60_000_000
