"""What can happen in a run: small past-tense facts, one a line in events.jsonl.

A backend yields them, the host stamps and writes them, `trainer.state` folds them. An event holds what was
measured, in the field's names; it knows nothing of how it is shown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Started:
    """A host has taken the run and its trainer thread begins. Commands before byte `commands_from` are not its."""

    pid: int
    host: str
    version: str
    commands_from: int = 0


@dataclass(frozen=True, slots=True)
class Resumed:
    """Training goes on from the checkpoint of `step` (0: from the start); what was logged after it is void."""

    step: int


@dataclass(frozen=True, slots=True)
class PhaseEntered:
    """What the trainer does before the first step, and how far it is (total 0: not known)."""

    phase: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Noted:
    """Something a person should know that changes no number: a fallback, rows skipped, ..."""

    message: str


@dataclass(frozen=True, slots=True)
class DataRead:
    """The data as it will be trained on; counts are examples, tokens are after the cut at max length.

    `skipped` are all rows that are not used, `bad` those of them that are bad; `tokens_cut` is what the cut at max
    length takes from the `truncated`. `fingerprint` is the SHA-256 of the data file (of several: see
    `trainer.data.source.fingerprint`). `exact` and `near` count training rows of which an earlier one says the same,
    `leak` validation rows that stand in the training data too.
    """

    shape: str
    train_examples: int
    eval_examples: int
    train_tokens: int
    supervised_tokens: int
    skipped: int
    truncated: int
    tokens_cut: int = 0
    rows: int = 0
    bad: int = 0
    exact: int = 0
    near: int = 0
    leak: int = 0
    files: int = 0
    fingerprint: str = ""
    eval_fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class ModelLoaded:
    """Parameters are counted, not estimated."""

    model: str
    parameters: int
    trainable: int
    device: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Planned:
    epochs: int
    steps_per_epoch: int
    total_steps: int
    eval_every: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What the dry run before the first step found. Memory in bytes, without what the libraries themselves take.

    `peak_memory` is the most a step holds (0: not known), `estimated_memory` what was expected of it, `free_memory`
    what there was for the run; `seconds_total` is from here to the end of the run; `micro_batch` is in tokens.
    """

    peak_memory: int
    estimated_memory: int
    free_memory: int
    seconds_per_step: float
    checkpoint_bytes: int
    checkpoint_seconds: float
    seconds_total: float
    micro_batch: int
    seconds: float  # that it took itself


@dataclass(frozen=True, slots=True)
class StepTaken:
    """One optimizer step. `loss` is the mean over the batch's supervised tokens before the step."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    num_tokens: int  # of this batch, supervised or not, without padding
    seconds: float


@dataclass(frozen=True, slots=True)
class Evaluated:
    """`eval_loss` is the mean over all supervised tokens of the whole validation set."""

    step: int
    epoch: float
    eval_loss: float
    num_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    step: int
    path: str  # within the run directory
    size: int  # bytes
    seconds: float


@dataclass(frozen=True, slots=True)
class CheckpointFailed:
    """A checkpoint could not be written; training goes on. `needed` and `free` are bytes."""

    step: int
    message: str
    needed: int
    free: int


@dataclass(frozen=True, slots=True)
class NotFinite:
    """A loss or gradient norm that is no number, before it could reach a weight; `path` is its black box."""

    step: int
    what: str  # loss or grad_norm
    value: float
    path: str  # within the run directory


@dataclass(frozen=True, slots=True)
class Paused:
    step: int


@dataclass(frozen=True, slots=True)
class Continued:
    """Training goes on after a pause."""

    step: int


@dataclass(frozen=True, slots=True)
class ModelSaved:
    """The result stands in model/. `eval_loss` is None where that step was not evaluated."""

    step: int
    keep: Literal["best", "last"]
    path: str
    eval_loss: float | None
    method: Literal["full", "lora"]


@dataclass(frozen=True, slots=True)
class Finished:
    """All steps were taken."""

    step: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """Someone asked it to stop, and it did."""

    step: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The run ended by an error; `message` is one sentence for a person."""

    step: int
    message: str


Event = (
    Started | Resumed | PhaseEntered | Noted | DataRead | ModelLoaded | Planned | Measured | StepTaken | Evaluated
    | CheckpointSaved | CheckpointFailed | NotFinite | Paused | Continued | ModelSaved | Finished | Stopped | Failed
)  # fmt: skip
Ending = Finished | Stopped | Failed


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise TypeError(f"{value!r} is no whole number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _number_or_none(value: Any) -> float | None:
    return None if value is None else float(value)


_readers: dict[str, Callable[[Any], Any]] = {"int": _whole, "float": float, "float | None": _number_or_none}
_snake = {
    kind: "".join(f"_{c.lower()}" if c.isupper() else c for c in kind.__name__).lstrip("_") for kind in Event.__args__
}
_kinds: dict[str, Callable[..., Event]] = {name: kind for kind, name in _snake.items()}
_fields: dict[str, dict[str, Callable[[Any], Any]]] = {
    name: {f.name: _readers.get(str(f.type), _text) for f in fields(kind)} for kind, name in _snake.items()
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log: an event, its place (0, 1, 2, ...), the wall clock and the run's own clock.

    `time` is seconds since the epoch (it may jump); `elapsed` is monotonic seconds since the run began.
    """

    seq: int
    time: float
    elapsed: float
    event: Event


def encode(entry: Entry) -> str:
    """One JSON object without the newline; what is not finite is written as "NaN", "Infinity", "-Infinity"."""
    line: dict[str, Any] = {
        "seq": entry.seq,
        "time": round(entry.time, 3),
        "elapsed": round(entry.elapsed, 3),
        "event": _snake[type(entry.event)],
        **asdict(entry.event),
    }
    try:
        return json.dumps(line, allow_nan=False)
    except ValueError:
        return json.dumps({key: _spelled(value) for key, value in line.items()}, allow_nan=False)


def decode(line: str | bytes) -> Entry:
    """The entry a line holds; raises ValueError for anything that is not one.

    Fields this version does not know are left out, so that a newer log still opens.
    """
    try:
        raw = json.loads(line)
        kind = raw["event"]
        given = {name: read(raw[name]) for name, read in _fields[kind].items() if name in raw}
        return Entry(_whole(raw["seq"]), float(raw["time"]), float(raw["elapsed"]), _kinds[kind](**given))
    except (KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not an event: {error}") from None


def _spelled(value: Any) -> Any:
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
