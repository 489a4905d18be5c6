"""What a run looks like now: RunState, and `apply(state, entry)`, a pure fold over its log.

Nothing here reads a file or a clock. Whether a run without an ending is running or crashed is not in its log:
that is `trainer.rundir.status`, which also asks who holds the lock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

from trainer.events import (
    CheckpointSaved,
    Continued,
    DataRead,
    Ending,
    Entry,
    Evaluated,
    Event,
    Failed,
    Finished,
    ModelLoaded,
    ModelSaved,
    Noted,
    Paused,
    PhaseEntered,
    Planned,
    Started,
    StepTaken,
    Stopped,
)


class Column(Sequence[float]):
    """An append-only column of numbers whose versions share their storage.

    `added(v)` gives a new column one longer; the old one still reads as before. Appending to the newest
    version costs O(1); appending to an older one copies.
    """

    __slots__ = ("_length", "_store")

    def __init__(self, store: list[float] | None = None, length: int = 0) -> None:
        self._store = [] if store is None else store
        self._length = length

    def added(self, value: float) -> Column:
        store = self._store if len(self._store) == self._length else self._store[: self._length]
        store.append(value)
        return Column(store, self._length + 1)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> float: ...

    @overload
    def __getitem__(self, index: slice) -> list[float]: ...

    def __getitem__(self, index: int | slice) -> float | list[float]:
        if isinstance(index, slice):
            return self._store[: self._length][index]
        if not -self._length <= index < self._length:
            raise IndexError(index)
        return self._store[index if index >= 0 else self._length + index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Column) and self[:] == other[:]

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"Column({self[:]!r})"


@dataclass(frozen=True, slots=True)
class Steps:
    """The training series, one value a step: same length, same order."""

    step: Column = field(default_factory=Column)
    epoch: Column = field(default_factory=Column)
    loss: Column = field(default_factory=Column)
    learning_rate: Column = field(default_factory=Column)
    grad_norm: Column = field(default_factory=Column)
    num_tokens: Column = field(default_factory=Column)
    seconds: Column = field(default_factory=Column)

    def added(self, event: StepTaken) -> Steps:
        return Steps(
            self.step.added(event.step),
            self.epoch.added(event.epoch),
            self.loss.added(event.loss),
            self.learning_rate.added(event.learning_rate),
            self.grad_norm.added(event.grad_norm),
            self.num_tokens.added(event.num_tokens),
            self.seconds.added(event.seconds),
        )


@dataclass(frozen=True, slots=True)
class Evals:
    """The validation series, one value an evaluation."""

    step: Column = field(default_factory=Column)
    epoch: Column = field(default_factory=Column)
    eval_loss: Column = field(default_factory=Column)
    seconds: Column = field(default_factory=Column)

    def added(self, event: Evaluated) -> Evals:
        return Evals(
            self.step.added(event.step),
            self.epoch.added(event.epoch),
            self.eval_loss.added(event.eval_loss),
            self.seconds.added(event.seconds),
        )


@dataclass(frozen=True, slots=True)
class RunState:
    """Everything a screen shows of a run, from its log alone."""

    next_seq: int = 0
    began: float = 0.0  # wall clock of the first entry
    updated: float = 0.0  # wall clock of the newest entry
    elapsed: float = 0.0  # monotonic seconds of the newest entry
    started: Started | None = None
    phase: PhaseEntered | None = None  # what it is doing while it takes no steps
    data: DataRead | None = None
    model: ModelLoaded | None = None
    plan: Planned | None = None
    steps: Steps = field(default_factory=Steps)
    evals: Evals = field(default_factory=Evals)
    best: Evaluated | None = None
    checkpoints: tuple[CheckpointSaved, ...] = ()
    paused: bool = False
    saved: ModelSaved | None = None
    ending: Ending | None = None
    notes: tuple[str, ...] = ()
    bad_lines: int = 0

    @property
    def step(self) -> int:
        """The last step taken, 0 before the first."""
        return int(self.steps.step[-1]) if len(self.steps.step) else 0

    @property
    def epoch(self) -> float:
        return self.steps.epoch[-1] if len(self.steps.epoch) else 0.0

    def best_kept(self) -> Evaluated | None:
        """The best evaluation if its checkpoint is on disk: what "keep the best" would keep now."""
        if self.best and any(saved.step == self.best.step for saved in self.checkpoints):
            return self.best
        return None

    def seconds_left(self) -> float | None:
        """Time to the last step at the recent pace, evaluations included; None when it can't be told."""
        recent = self.steps.seconds[-50:]
        if self.plan is None or self.ending is not None or not recent:
            return None
        left = max(0, self.plan.total_steps - self.step)
        per_step = sum(recent) / len(recent)
        evals = left / self.plan.eval_every if self.plan.eval_every else 0.0
        per_eval = self.evals.seconds[-1] if len(self.evals.seconds) else 0.0
        return left * per_step + evals * per_eval

    def tokens_per_second(self) -> float | None:
        """Tokens trained on per second of step time, over the last steps."""
        seconds = sum(self.steps.seconds[-20:])
        return sum(self.steps.num_tokens[-20:]) / seconds if seconds > 0 else None


def apply(state: RunState, entry: Entry) -> RunState:
    """The state after one more entry. Pure: the given state is unchanged."""
    return replace(
        state,
        next_seq=entry.seq + 1,
        began=state.began or entry.time,
        updated=entry.time,
        elapsed=entry.elapsed,
        **_changed(state, entry.event),
    )


def _changed(state: RunState, event: Event) -> dict[str, Any]:
    """The fields that an event changes besides the clocks. One `replace` an entry: it is most of what a fold costs."""
    match event:
        case StepTaken():
            return {"steps": state.steps.added(event), "phase": None}
        case Evaluated():
            return {"evals": state.evals.added(event), "best": _better(state.best, event), "phase": None}
        case CheckpointSaved():
            return {"checkpoints": (*state.checkpoints, event)}
        case Started():
            return {"started": event, "ending": None, "paused": False}
        case PhaseEntered():
            return {"phase": event}
        case Paused() | Continued():
            return {"paused": isinstance(event, Paused), "phase": None}
        case Finished() | Stopped() | Failed():
            return {"ending": event, "paused": False, "phase": None}
        case DataRead():
            return {"data": event}
        case ModelLoaded():
            return {"model": event}
        case Planned():
            return {"plan": event}
        case ModelSaved():
            return {"saved": event}
        case Noted():
            return {"notes": (*state.notes, event.message)}


def apply_all(state: RunState, entries: Iterable[Entry]) -> RunState:
    for entry in entries:
        state = apply(state, entry)
    return state


def _better(best: Evaluated | None, new: Evaluated) -> Evaluated | None:
    """The lower eval_loss; the earlier one on a tie. Step 0 is the untrained model and is never best, nor is NaN."""
    if new.step == 0 or not math.isfinite(new.eval_loss):
        return best
    return new if best is None or new.eval_loss < best.eval_loss else best
