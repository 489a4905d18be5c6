"""The training loop: prepare, then step by step to the end or to the stop. Read it top to bottom.

`train` yields what happened; who listens is not its business. Between two micro-batches it looks whether it was
asked to stop, between two steps also whether to pause.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator

import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import LRScheduler
from transformers.utils import logging as transformers_logging

from trainer.backends.local.batches import BatchOrder
from trainer.backends.local.compute import trained
from trainer.backends.local.optim import make_optimizer, make_schedule
from trainer.backends.local.prepare import Setup, prepare
from trainer.control import Control
from trainer.events import (
    Continued,
    Evaluated,
    Event,
    Failed,
    Finished,
    Noted,
    Paused,
    PhaseEntered,
    StepTaken,
    Stopped,
)
from trainer.spec import RunSpec


def train(spec: RunSpec, control: Control) -> Iterator[Event]:
    """A whole run. Raises RunError with one sentence for what a person can mend."""
    torch.manual_seed(spec.seed)
    transformers_logging.disable_progress_bar()
    setup = yield from prepare(spec, control)
    if setup is None:
        yield Stopped(0)
        return
    try:
        step = yield from _fit(spec, control, setup)
    except Exception:  # whatever ends it: the best model so far is not lost
        if saved := setup.store.keep_best(None):
            yield saved
        raise
    if step is None:
        return  # it failed, and said so
    yield from _keep(spec, control, setup, step)
    yield Finished(step) if step == setup.plan.total_steps else Stopped(step)


def _fit(spec: RunSpec, control: Control, setup: Setup) -> Generator[Event, None, int | None]:
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


def _evaluate(setup: Setup, control: Control, step: int) -> Iterator[Event]:
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


def _keep(spec: RunSpec, control: Control, setup: Setup, step: int) -> Iterator[Event]:
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


def _not_finite(setup: Setup, step: int, loss: float, grad_norm: float) -> Iterator[Event]:
    """A loss or gradient that is no number would ruin the weights: end before the step, keep the best so far."""
    what = f"The loss became {loss}" if not math.isfinite(loss) else f"The gradient norm became {grad_norm}"
    saved = setup.store.keep_best(None)
    if saved:
        yield saved
    kept = f"the best model so far (step {saved.step}) is kept" if saved else "no model is kept"
    yield Failed(step - 1, f"{what} at step {step}; {kept}. Try a third of the learning rate.")
