"""Whole runs as lists of events, for the tests of this folder, and what two of them are compared by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from trainer.backends.local import train
from trainer.control import Control
from trainer.events import Entry, Event, Noted, StepTaken
from trainer.spec import RunSpec
from trainer.state import RunState, apply_all

SpecMaker = Callable[..., RunSpec]
Kind = TypeVar("Kind")


def until(wanted: RunSpec, folder: Path, last: Callable[[Event], bool], control: Control | None = None) -> list[Event]:
    """The events up to the first for which `last` holds, then nothing more: as a host that is killed there."""
    events: list[Event] = []
    for event in train(wanted, control or Control(folder)):
        events.append(event)
        if last(event):
            break
    return events


def whole(wanted: RunSpec, folder: Path, control: Control | None = None) -> list[Event]:
    return until(wanted, folder, lambda _: False, control)


def at(step: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, StepTaken) and event.step == step


def only(kind: type[Kind], events: list[Event]) -> list[Kind]:
    return [event for event in events if isinstance(event, kind)]


def notes(events: list[Event]) -> str:
    return " ".join(note.message for note in only(Noted, events))


def numbers(events: list[Event]) -> list[tuple[Any, ...]]:
    """What the log comes to once it is folded: every loss, rate, norm and eval loss."""
    state = apply_all(RunState(), (Entry(i, 0.0, 0.0, event) for i, event in enumerate(events)))
    steps, evals = state.steps, state.evals
    taken = zip(steps.step, steps.loss, steps.learning_rate, steps.grad_norm, steps.num_tokens, strict=True)
    return [*taken, *zip(evals.step, evals.eval_loss, strict=True)]


def digest(folder: Path) -> dict[str, str]:
    """The bytes of the weights, the optimizer and the random states."""
    names = ("*.safetensors", "training/*.safetensors")
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for pattern in names
        for file in sorted(folder.glob(pattern))
    }
