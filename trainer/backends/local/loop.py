"""The training loop: prepare, then step by step to the end or to the stop. Read it top to bottom.

`train` yields what happened; who listens is not its business. Between two micro-batches it looks whether it was
asked to stop, between two steps also whether to pause.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress

import torch
from transformers.utils import logging as transformers_logging

from trainer.backends.local import fits
from trainer.backends.local.ahead import ahead
from trainer.backends.local.batches import BatchOrder, smaller_parts
from trainer.backends.local.blackbox import write_black_box
from trainer.backends.local.compute import Cut, DoesNotFit, trained
from trainer.backends.local.dry_run import dry_run
from trainer.backends.local.guard import Guard
from trainer.backends.local.memory import memory_permitting, ran_out, release
from trainer.backends.local.prepare import Setup, prepare
from trainer.backends.local.tokens import Stored
from trainer.backends.local.training import Saved
from trainer.control import Control
from trainer.events import (
    Continued,
    Evaluated,
    Event,
    Failed,
    Finished,
    ModelSaved,
    Noted,
    NotFinite,
    Paused,
    PhaseEntered,
    StepTaken,
    Stopped,
)
from trainer.rundir import RunError
from trainer.spec import RunSpec

LAST_TRIES, LAST_TRY_SECONDS = 3, 2.0  # for the result, when the disk takes no more


def train(spec: RunSpec, control: Control) -> Iterator[Event]:
    """A whole run, or the rest of one. Raises RunError with one sentence for what a person can mend."""
    transformers_logging.disable_progress_bar()
    went_back = -1  # from which step, where memory ran out
    while True:
        torch.manual_seed(spec.seed)
        setup = yield from prepare(spec, control, frugal=went_back >= 0)
        if isinstance(setup, Stopped):
            yield setup
            return
        with memory_permitting():
            yield from _train(spec, control, setup)
            return
        # Not within a micro-batch: weights may be half-way between two steps, so they are not to be used.
        step, device = setup.progress.step, setup.compute.device
        if step <= went_back:
            yield from _save_the_best(setup)
            raise RunError(f"Out of memory at step {step + 1} again: free some memory and resume, or use LoRA.")
        yield Noted(f"Out of memory at step {step + 1}, outside the micro-batches: going back to the last checkpoint.")
        went_back, control.resuming = step, True
        del setup
        release(device)


def _train(spec: RunSpec, control: Control, setup: Setup) -> Iterator[Event]:
    """From the next step to the end."""
    try:
        made = _batches(spec, control, setup)
        # Beside a CPU's own work a thread costs a small step more than it saves: the two wait for each other.
        with closing(ahead(made) if setup.compute.device.type == "cuda" else made) as batches:
            step = yield from _fit(spec, control, setup, batches)
    except DoesNotFit as error:
        yield from _save_the_best(setup)
        yield PhaseEntered("looking for what would fit")
        fitting = fits.instead_of_example(spec, setup.compute, setup.optimizer, error.example)
        raise RunError(f"{error} {fitting}") from None
    except Exception as error:
        if not ran_out(error):  # whatever ends it: the best model so far is not lost
            yield from _save_the_best(setup)
        raise
    if step is None:
        return  # it failed, and said so
    yield from _keep(spec, control, setup, step)
    yield Finished(step) if step == setup.plan.total_steps else Stopped(step)


def _save_the_best(setup: Setup) -> Generator[Event, None, ModelSaved | None]:
    """Of a run that ends by an error, which is not to be lost to another one in here."""
    saved = None
    with suppress(RunError):
        saved = setup.store.keep_best(None)
    if saved:
        yield saved
    return saved


def _batches(spec: RunSpec, control: Control, setup: Setup) -> Generator[tuple[list[Stored], Cut], None, None]:
    """Those of all steps that are left and are not skipped, read from the disk and cut to micro-batches."""
    order = BatchOrder(len(setup.train_set), spec.batch_size, spec.seed)
    for step in range(setup.progress.step + 1, setup.plan.total_steps + 1):
        if step not in control.skip:
            epoch, place = divmod(step - 1, setup.plan.steps_per_epoch)
            batch = [setup.train_set[index] for index in order.batch(epoch, place)]
            yield batch, setup.compute.cut(batch)


def _fit(
    spec: RunSpec, control: Control, setup: Setup, batches: Iterator[tuple[list[Stored], Cut]]
) -> Generator[Event, None, int | None]:
    """All steps that are left; returns the last one taken, or None after Failed."""
    yield from dry_run(spec, control, setup)
    plan, compute, progress = setup.plan, setup.compute, setup.progress
    optimizer, schedule = setup.optimizer, setup.schedule
    guard = Guard(optimizer, trained(compute.model), spec.max_grad_norm or math.inf)

    if progress.step == 0:
        yield from _evaluate(setup, control, 0)
    for step in range(progress.step + 1, plan.total_steps + 1):
        if control.paused:
            yield Paused(step - 1)
            control.wait_while_paused()
            yield Continued(step - 1)
        if control.stop:
            break
        if step in control.skip:
            schedule.step()
            progress.step = step
            yield Noted(f"The batch of step {step} was left out, as asked.")
        else:
            began = time.perf_counter()
            batch, cut = next(batches)
            fit = compute.token_budget, compute.recompute
            found = compute.gradients(batch, lambda: control.stop is not None, cut)
            if change := compute.change(batch, *fit):
                setup.step_cost.begin()
                yield Noted(f"Out of memory at step {step}: {change}; the batch is still {len(batch)} examples.")
            if found is None:  # asked to stop: the unfinished step is dropped
                break
            loss, grad_norm = guard.step(found)
            if not (math.isfinite(loss) and math.isfinite(grad_norm)):
                yield from _not_finite(setup, control, step, batch, loss, grad_norm)
                return None
            learning_rate = float(schedule.get_last_lr()[0])
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            progress.step = step
            tokens = sum(len(example.ids) for example in batch)
            seconds = time.perf_counter() - began
            yield StepTaken(step, step / plan.steps_per_epoch, loss, learning_rate, grad_norm, tokens, seconds)
            if not change and (cost := setup.step_cost.took(seconds / tokens)):
                yield Noted(cost)
        yield from _milestone(spec, setup, control, step)
    return progress.step


def _milestone(spec: RunSpec, setup: Setup, control: Control, step: int) -> Iterator[Event]:
    """Between two steps: an evaluation where the plan has one, a checkpoint after it or where the spec wants one."""
    best = False
    if setup.plan.evaluates_at(step):
        best = yield from _evaluate(setup, control, step)
    elif not (spec.save_every and step % spec.save_every == 0):
        return
    yield setup.store.save(_as_saved(setup, step, best))


def _as_saved(setup: Setup, step: int, best: bool) -> Saved:
    last = setup.progress.last
    eval_loss = last.eval_loss if last and last.step == step else None
    return Saved(step, eval_loss, best, step % setup.plan.steps_per_epoch == 0)


def _evaluate(setup: Setup, control: Control, step: int) -> Generator[Event, None, bool]:
    """The whole validation set; whether it is a new best. A stop cuts it short and it counts for nothing."""
    yield PhaseEntered("evaluating")
    progress, compute = setup.progress, setup.compute
    budget = compute.eval_budget
    began = time.perf_counter()
    losses = compute.evaluate(setup.eval_set, lambda: control.stop is not None)
    seconds = time.perf_counter() - began
    fitted = compute.eval_budget == budget
    if not fitted:
        setup.eval_cost.begin()
        parts = smaller_parts(setup.eval_set, budget, compute.eval_budget, compute.ways.packed)
        yield Noted(f"Out of memory in the evaluation: {parts}; it still takes all {len(setup.eval_set)} examples.")
    if losses is None:
        return False
    eval_loss = losses.mean
    found = Evaluated(step, step / setup.plan.steps_per_epoch, eval_loss, losses.targets, seconds)
    yield found
    if fitted and (cost := setup.eval_cost.took(seconds)):
        yield Noted(cost)
    progress.last = found
    if step == 0:
        progress.untrained_loss = eval_loss
    elif math.isfinite(eval_loss) and (progress.best is None or eval_loss < progress.best.eval_loss):
        progress.best = found
        return True
    return False


def _keep(spec: RunSpec, control: Control, setup: Setup, step: int) -> Iterator[Event]:
    """Make model/: what the stop asked for, else what the spec says; the last step where nothing was evaluated.

    Before it a checkpoint of the last step, so that a run that was stopped can go on.
    """
    if step == 0:
        yield Noted("No step was taken, so there is no model to keep.")
        return
    yield PhaseEntered("saving the model")
    store, progress = setup.store, setup.progress
    if not store.has(step):
        yield store.save(_as_saved(setup, step, False))
    for left in reversed(range(LAST_TRIES)):
        try:
            saved = _result(spec, control, setup, step)
            break
        except RunError as error:
            if not left:
                newest = store.newest()
                whole = f"The checkpoint of step {newest} is whole" if newest else "There is no checkpoint"
                raise RunError(f"{error} {whole}: make room, then resume the run.") from None
            yield Noted(f"{error} Trying again.")
            time.sleep(LAST_TRY_SECONDS)
    if progress.best and progress.best.eval_loss >= progress.untrained_loss:
        yield Noted(
            f"No evaluation was better than the untrained model's {progress.untrained_loss:.4g}: "
            "try a lower learning rate."
        )
    yield saved


def _result(spec: RunSpec, control: Control, setup: Setup, step: int) -> ModelSaved:
    stop, last = control.stop, setup.progress.last
    keep = (stop.keep if stop else None) or spec.keep
    best = setup.store.keep_best(stop.step if stop else None) if keep == "best" else None
    return best or setup.store.keep_last(step, last.eval_loss if last and last.step == step else None)


def _not_finite(
    setup: Setup, control: Control, step: int, batch: Sequence[Stored], loss: float, grad_norm: float
) -> Iterator[Event]:
    """A loss or gradient that is no number would ruin the weights: end before the step, keep the best so far."""
    what, value = ("loss", loss) if not math.isfinite(loss) else ("grad_norm", grad_norm)
    box = ""
    with suppress(OSError):
        box = write_black_box(setup, control.folder, step, batch, loss, grad_norm).name
    yield NotFinite(step, what, value, box)
    saved = yield from _save_the_best(setup)
    kept = f"the best model so far (step {saved.step}) is kept" if saved else "no model is kept"
    words = {"loss": "loss", "grad_norm": "gradient norm"}[what]
    yield Failed(step - 1, f"The {words} became {value} at step {step}; {kept}. Try a third of the learning rate.")
