"""The training loop: read, load, tokenize, then step by step to the end or to the stop. Read it top to bottom.

`train` yields what happened; who listens is not its business. Between two micro-batches it looks whether it was
asked to stop, between two steps also whether to pause.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import LRScheduler
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from trainer import check, models
from trainer.backends.local.batches import BatchOrder
from trainer.backends.local.chat import Encoded, encode
from trainer.backends.local.compute import Compute, trained
from trainer.backends.local.model import Loaded, load_model, load_tokenizer
from trainer.backends.local.optim import make_optimizer, make_schedule
from trainer.backends.local.store import Store
from trainer.control import Control
from trainer.data import DataError, Example
from trainer.events import (
    Continued,
    DataRead,
    Evaluated,
    Event,
    Failed,
    Finished,
    ModelLoaded,
    Noted,
    Paused,
    PhaseEntered,
    Planned,
    StepTaken,
    Stopped,
)
from trainer.plan import Plan, make_plan
from trainer.rundir import RunError
from trainer.spec import RunSpec

Examples = Sequence[Encoded]
PROGRESS_SECONDS = 0.5


def train(spec: RunSpec, control: Control) -> Iterator[Event]:
    """A whole run. Raises RunError with one sentence for what a person can mend."""
    torch.manual_seed(spec.seed)
    transformers_logging.disable_progress_bar()
    setup = yield from _prepare(spec, control)
    if setup is None:
        yield Stopped(0)
        return
    step = yield from _fit(spec, control, setup)
    if step is None:
        return  # it failed, and said so
    yield from _keep(spec, control, setup, step)
    yield Finished(step) if step == setup.plan.total_steps else Stopped(step)


@dataclass
class _Setup:
    """What the loop works on, and the evaluations so far."""

    train_set: Examples
    eval_set: Examples
    plan: Plan
    compute: Compute
    store: Store
    untrained_loss: float = math.inf
    best: Evaluated | None = None
    last: Evaluated | None = None


def _prepare(spec: RunSpec, control: Control) -> Generator[Event, None, _Setup | None]:
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
    yield from _losses_by_cutting(parts.train, train_set, longest)
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
    return _Setup(train_set, eval_set, plan, Compute(loaded, len(tokenizer)), store)


def _fit(spec: RunSpec, control: Control, setup: _Setup) -> Generator[Event, None, int | None]:
    """All steps; returns the last one taken, or None after Failed."""
    plan, compute = setup.plan, setup.compute
    order = BatchOrder(len(setup.train_set), spec.batch_size, spec.seed)
    optimizer = make_optimizer(compute.model, spec)
    schedule: LRScheduler = make_schedule(optimizer, spec, plan.total_steps)
    parameters = trained(compute.model)
    clip = spec.max_grad_norm or math.inf

    yield from _evaluate(setup, control, 0)
    for step in range(1, plan.total_steps + 1):
        if control.paused:
            yield Paused(step - 1)
            control.wait_while_paused()
            yield Continued(step - 1)
        began = time.perf_counter()
        epoch, place = divmod(step - 1, plan.steps_per_epoch)
        batch = [setup.train_set[index] for index in order.batch(epoch, place)]
        loss = None if control.stop else compute.gradients(batch, lambda: control.stop is not None)
        if loss is None:  # asked to stop: the unfinished step is dropped
            return step - 1
        grad_norm = float(clip_grad_norm_(parameters, clip))
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            yield from _not_finite(setup, step, loss, grad_norm)
            return None
        learning_rate = float(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        tokens = sum(len(example.ids) for example in batch)
        seconds = time.perf_counter() - began
        yield StepTaken(step, step / plan.steps_per_epoch, loss, learning_rate, grad_norm, tokens, seconds)
        if plan.evaluates_at(step):
            yield from _evaluate(setup, control, step)
    return plan.total_steps


def _evaluate(setup: _Setup, control: Control, step: int) -> Iterator[Event]:
    """The whole validation set; a new best is saved at once. A stop cuts it short and counts for nothing."""
    yield PhaseEntered("evaluating")
    began = time.perf_counter()
    eval_loss = setup.compute.evaluate(setup.eval_set, lambda: control.stop is not None)
    if eval_loss is None:
        return
    tokens = sum(example.targets for example in setup.eval_set)
    found = Evaluated(step, step / setup.plan.steps_per_epoch, eval_loss, tokens, time.perf_counter() - began)
    yield found
    setup.last = found
    if step == 0:
        setup.untrained_loss = eval_loss
    elif math.isfinite(eval_loss) and (setup.best is None or eval_loss < setup.best.eval_loss):
        setup.best = found
        yield setup.store.save_best(step, eval_loss)


def _keep(spec: RunSpec, control: Control, setup: _Setup, step: int) -> Iterator[Event]:
    """Make model/: what the stop asked for, else what the spec says; the last step where nothing was evaluated."""
    if step == 0:
        yield Noted("No step was taken, so there is no model to keep.")
        return
    yield PhaseEntered("saving the model")
    stop = control.stop
    keep = (stop.keep if stop else None) or spec.keep
    saved = setup.store.keep_best(stop.step if stop else None) if keep == "best" else None
    if saved is None:
        last = setup.last.eval_loss if setup.last and setup.last.step == step else None
        saved = setup.store.keep_last(step, last)
    if setup.best and setup.best.eval_loss >= setup.untrained_loss:
        yield Noted(
            f"No evaluation was better than the untrained model's {setup.untrained_loss:.4g}: "
            "try a lower learning rate."
        )
    yield saved


def _not_finite(setup: _Setup, step: int, loss: float, grad_norm: float) -> Iterator[Event]:
    """A loss or gradient that is no number would ruin the weights: end before the step, keep the best so far."""
    what = f"The loss became {loss}" if not math.isfinite(loss) else f"The gradient norm became {grad_norm}"
    saved = setup.store.keep_best(None)
    if saved:
        yield saved
    kept = f"the best model so far (step {saved.step}) is kept" if saved else "no model is kept"
    yield Failed(step - 1, f"{what} at step {step}; {kept}. Try a third of the learning rate.")


def _tokenize(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], max_length: int, control: Control, kind: str
) -> Generator[Event, None, Examples]:
    """Examples that teach something, encoded, with progress; stops early when asked to."""
    encoded: list[Encoded] = []
    said = 0.0
    for done, example in enumerate(examples):
        if control.stop:
            return encoded
        if time.monotonic() - said > PROGRESS_SECONDS:
            said = time.monotonic()
            yield PhaseEntered("tokenizing", done, len(examples))
        one = encode(tokenizer, example.messages, max_length)
        if one.targets:
            encoded.append(one)
    if not encoded:
        raise RunError(f"No {kind} example has an answer left within max length {max_length}: raise max length.")
    return encoded


def _losses_by_cutting(rows: Sequence[Example], examples: Examples, longest: int) -> Iterator[Event]:
    """Cutting at max length is never silent."""
    if cut := sum(example.cut for example in examples):
        yield Noted(f"{cut} of {len(examples)} training examples are cut at {longest} tokens.")
    if lost := len(rows) - len(examples):
        yield Noted(f"{lost} of {len(rows)} training rows have no answer left within {longest} tokens: left out.")


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
