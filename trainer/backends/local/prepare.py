"""Everything before the first step: the data read, the model loaded, the examples tokenized, the plan made.

It says what it leaves out and why; nothing is cut or skipped silently.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from trainer import check, models
from trainer.backends.local.chat import Encoded, encode
from trainer.backends.local.compute import Compute
from trainer.backends.local.model import Loaded, load_model, load_tokenizer
from trainer.backends.local.store import Store
from trainer.control import Control
from trainer.data import MAX_BAD_SHARE, DataError, Example
from trainer.events import DataRead, Evaluated, Event, ModelLoaded, Noted, PhaseEntered, Planned
from trainer.plan import Plan, make_plan
from trainer.rundir import RunError
from trainer.spec import RunSpec

Examples = Sequence[Encoded]
PROGRESS_SECONDS = 0.5


@dataclass
class Setup:
    """What the loop works on, and the evaluations so far."""

    train_set: Examples
    eval_set: Examples
    plan: Plan
    compute: Compute
    store: Store
    untrained_loss: float = math.inf
    best: Evaluated | None = None
    last: Evaluated | None = None


def prepare(spec: RunSpec, control: Control) -> Generator[Event, None, Setup | None]:
    """Everything before the first step; None when a stop was asked meanwhile."""
    try:
        info = models.look_up(spec.model)
        yield PhaseEntered("reading data")
        data, parts = check.read_split(spec)
    except (models.ModelError, DataError) as error:
        raise RunError(str(error)) from None
    if data.bad:
        yield Noted(
            f"{len(data.bad)} of {data.rows} rows skipped; first {data.file}:{data.bad[0].line}: {data.bad[0].why}."
        )
    yield PhaseEntered("loading model")
    tokenizer, note = load_tokenizer(info)
    if note:
        yield Noted(note)
    loaded = load_model(info, spec)
    yield ModelLoaded(
        spec.model, loaded.parameters, loaded.trainable, _device_name(loaded), str(loaded.compute_dtype)[6:]
    )
    longest = _longest(spec, loaded)
    train_set = yield from _tokenize(tokenizer, parts.train, longest, control, "training")
    eval_set = yield from _tokenize(tokenizer, parts.eval, longest, control, "validation")
    if control.stop:
        return None
    _check_vocabulary(loaded, [*train_set, *eval_set])
    yield DataRead(
        data.shape,
        len(train_set),
        len(eval_set),
        sum(len(example.ids) for example in train_set),
        sum(example.targets for example in train_set),
        len(data.bad) + len(parts.train) + len(parts.eval) - len(train_set) - len(eval_set),
        sum(example.cut for example in (*train_set, *eval_set)),
    )
    plan = make_plan(spec, len(train_set), len(eval_set))
    yield Planned(plan.epochs, plan.steps_per_epoch, plan.total_steps, plan.eval_every)
    store = Store(control.folder, loaded.model, tokenizer, spec.method)
    return Setup(train_set, eval_set, plan, Compute(loaded, len(tokenizer)), store)


def _tokenize(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Example], longest: int, control: Control, kind: str
) -> Generator[Event, None, Examples]:
    """Examples that teach something, encoded, with progress; stops early when asked to.

    Rows that the chat template refuses are left out and counted, up to the share of bad rows a file may have.
    """
    encoded: list[Encoded] = []
    refused: list[str] = []
    said = 0.0
    for done, row in enumerate(rows):
        if control.stop:
            return encoded
        if time.monotonic() - said > PROGRESS_SECONDS:
            said = time.monotonic()
            yield PhaseEntered("tokenizing", done, len(rows))
        try:
            one = encode(tokenizer, row.messages, longest)
        except RunError as error:
            refused.append(f"line {row.line}: {error}")
            continue
        if one.targets:
            encoded.append(one)
    if len(refused) > MAX_BAD_SHARE * len(rows):
        raise RunError(f"{len(refused)} of {len(rows)} {kind} rows can't be used with this model. {refused[0]}")
    yield from _left_out(kind, len(rows), encoded, refused, longest)
    if not encoded:
        raise RunError(f"No {kind} example has an answer left within max length {longest}: raise max length.")
    return encoded


def _left_out(kind: str, rows: int, encoded: Examples, refused: Sequence[str], longest: int) -> Iterator[Event]:
    """What was cut or skipped."""
    if refused:
        yield Noted(f"{len(refused)} of {rows} {kind} rows are left out. {refused[0]}")
    if cut := sum(example.cut for example in encoded):
        yield Noted(f"{cut} of {len(encoded)} {kind} examples are cut at {longest} tokens.")
    if lost := rows - len(encoded) - len(refused):
        yield Noted(f"{lost} of {rows} {kind} rows have no answer left within {longest} tokens: left out.")


def _check_vocabulary(loaded: Loaded, examples: Examples) -> None:
    """A tokenizer of another model makes ids that this one has no embedding for."""
    largest = max(int(example.ids.max()) for example in examples)
    if largest >= loaded.vocabulary:
        raise RunError(
            f"The tokenizer makes token id {largest} and the model knows {loaded.vocabulary}: they don't belong "
            "together; use the tokenizer that came with the model."
        )


def _longest(spec: RunSpec, loaded: Loaded) -> int:
    """Max length, within what the model has positions for."""
    positions = getattr(getattr(loaded.model, "config", None), "max_position_embeddings", None)
    return min(spec.max_length, positions) if isinstance(positions, int) and positions > 0 else spec.max_length


def _device_name(loaded: Loaded) -> str:
    return torch.cuda.get_device_name(loaded.device) if loaded.device.type == "cuda" else "cpu"
