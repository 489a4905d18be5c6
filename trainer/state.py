"""What a run looks like now: RunState, and `apply(state, entry)`, a pure fold over its log.

Nothing here reads a file or a clock. Whether a run without an ending is running or crashed is not in its log:
that is `trainer.rundir.status`, which also asks who holds the lock.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, overload

from trainer.events import (
    CheckpointFailed,
    CheckpointSaved,
    Continued,
    DataRead,
    Ending,
    Entry,
    Evaluated,
    Event,
    Failed,
    Finished,
    Measured,
    ModelLoaded,
    ModelSaved,
    Noted,
    NotFinite,
    Paused,
    PhaseEntered,
    Planned,
    Resumed,
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

    def first(self, length: int) -> Column:
        """The first `length` values, sharing the storage."""
        return Column(self._store, min(length, self._length))

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

    def up_to(self, step: int) -> Steps:
        """What was taken up to and including `step`."""
        length = bisect_right(self.step, step)
        return Steps(*(getattr(self, f.name).first(length) for f in fields(self)))


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

    def up_to(self, step: int) -> Evals:
        length = bisect_right(self.step, step)
        return Evals(*(getattr(self, f.name).first(length) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class RunState:
    """Everything a screen shows of a run, from its log alone."""

    next_seq: int = 0
    began: float = 0.0  # wall clock of the first entry
    updated: float = 0.0  # wall clock of the newest entry
    elapsed: float = 0.0  # monotonic seconds of the newest entry
    started: Started | None = None
    rewound: int = 0  # how often a later host went back to a checkpoint
    warm: bool = False  # the host that runs now has taken a step or evaluated
    phase: PhaseEntered | None = None  # what it is doing while it takes no steps
    data: DataRead | None = None
    model: ModelLoaded | None = None
    plan: Planned | None = None
    measured: Measured | None = None  # by the newest dry run
    steps: Steps = field(default_factory=Steps)
    evals: Evals = field(default_factory=Evals)
    best: Evaluated | None = None
    checkpoints: tuple[CheckpointSaved, ...] = ()
    paused: bool = False
    saved: ModelSaved | None = None
    not_finite: NotFinite | None = None  # why the last host stopped, if that was why
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
        """The best evaluation whose checkpoint is on disk: what "keep the best" would keep now."""
        saved = {checkpoint.step for checkpoint in self.checkpoints}
        if self.best is None or self.best.step in saved:
            return self.best
        return _best_of(self.evals, saved)

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
            return {"steps": state.steps.added(event), "phase": None, "warm": True}
        case Evaluated():
            best = _better(state.best, event)
            return {"evals": state.evals.added(event), "best": best, "phase": None, "warm": True}
        case CheckpointSaved():
            return {"checkpoints": (*state.checkpoints, event)}
        case Started():
            return {"started": event, "ending": None, "paused": False, "not_finite": None, "warm": False}
        case Resumed():
            return _rewound(state, event.step)
        case CheckpointFailed():
            return {"notes": (*state.notes, event.message)}
        case NotFinite():
            return {"not_finite": event}
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
        case Measured():
            return {"measured": event}
        case ModelSaved():
            return {"saved": event}
        case Noted():
            return {"notes": (*state.notes, event.message)}


def _rewound(state: RunState, step: int) -> dict[str, Any]:
    """A host went on from the checkpoint of `step`: what an earlier one did after it is done again.

    Without a checkpoint all is done again, the evaluation before the first step too.
    """
    evals = state.evals.up_to(step) if step else Evals()
    return {
        "steps": state.steps.up_to(step),
        "evals": evals,
        "best": _best_of(evals),
        "checkpoints": tuple(saved for saved in state.checkpoints if saved.step <= step),
        "saved": None,
        "phase": None,
        "rewound": state.rewound + 1,
    }


def apply_all(state: RunState, entries: Iterable[Entry]) -> RunState:
    for entry in entries:
        state = apply(state, entry)
    return state


def _best_of(evals: Evals, among: Container[float] | None = None) -> Evaluated | None:
    """The best of a series, or of those at the steps in `among`; its num_tokens is not kept by a series, so 0."""
    best: Evaluated | None = None
    for at, epoch, eval_loss, seconds in zip(evals.step, evals.epoch, evals.eval_loss, evals.seconds, strict=True):
        if among is None or at in among:
            best = _better(best, Evaluated(int(at), epoch, eval_loss, 0, seconds))
    return best


def _better(best: Evaluated | None, new: Evaluated) -> Evaluated | None:
    """The lower eval_loss; the earlier one on a tie. Step 0 is the untrained model and is never best, nor is NaN."""
    if new.step == 0 or not math.isfinite(new.eval_loss):
        return best
    return new if best is None or new.eval_loss < best.eval_loss else best
