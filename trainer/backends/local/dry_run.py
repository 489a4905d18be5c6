"""A dry run before the first step: what a step costs in memory and time, an evaluation, a checkpoint, the whole run.

It takes the longest examples through our own step (`trial`) and leaves no trace: gradients are thrown away, the
optimizer's step is taken without gradient and rate, its states, the random numbers and the order of the data stay as
they were.

The size of the micro-batches is found here too: from the estimate before anything is tried, then from what was
measured. The batch never changes, and where memory is no question neither do the micro-batches.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from trainer.backends.local import fits, meta, trial
from trainer.backends.local.chat import Encoded
from trainer.backends.local.compute import Compute, DoesNotFit, trained
from trainer.backends.local.memory import free_bytes
from trainer.backends.local.prepare import Setup, prepare
from trainer.control import Control
from trainer.events import Event, Measured, Noted, PhaseEntered, Stopped
from trainer.insight import estimate
from trainer.rundir import RunError
from trainer.spec import RunSpec

SHARE = 0.9  # of what is free may be filled
LARGE = 20_000_000  # parameters from which on the estimate is worth a second: the step on meta

log = logging.getLogger(__name__)  # ends up in host.log


def dry_run(
    spec: RunSpec, control: Control, setup: Setup, *, thorough: bool = False
) -> Generator[Event, None, Measured | None]:
    """Measure; None when a stop was asked meanwhile. `thorough`: the estimate from the step on `meta` at any size.

    Raises DoesNotFit where the longest example alone does not fit.
    """
    if setup.progress.step >= setup.plan.total_steps:
        return None
    yield PhaseEntered("dry run")
    began = time.perf_counter()
    with trial.untouched(setup):
        found = yield from _measured(spec, control, setup, began, thorough)
    if found is not None:
        yield found
    return found


def alone(spec: RunSpec, control: Control) -> Iterator[Event]:
    """A dry run without a run: what stands before it, and what it found. Raises RunError."""
    transformers_logging.disable_progress_bar()
    torch.manual_seed(spec.seed)
    setup = yield from prepare(spec, control)
    if isinstance(setup, Stopped):
        return
    try:
        yield from dry_run(spec, control, setup, thorough=True)
    except DoesNotFit as error:
        yield PhaseEntered("looking for what would fit")
        fitting = fits.instead_of_example(spec, setup.compute, setup.optimizer, error.example)
        raise RunError(f"{error} {fitting}") from None


def _measured(
    spec: RunSpec, control: Control, setup: Setup, began: float, thorough: bool
) -> Generator[Event, None, Measured | None]:
    """The four things in turn; the budgets are settled on the way."""
    compute, plan, fresh = setup.compute, setup.plan, not setup.progress.step
    budget = compute.token_budget
    batch = trial.longest(setup.train_set, spec.batch_size)
    estimated, passing = _estimated(spec, compute, batch, thorough)
    held = trial.size_of(compute.model.parameters()) + trial.size_of(trial.states_of(setup))
    least, free = len(batch[0].ids), free_bytes(compute.device) or 0
    if fresh and free:
        compute.token_budget = _within(budget, least, lambda tokens: tokens * passing <= SHARE * free)
    tried = compute.token_budget
    step = trial.step(control, setup, batch, began)
    if step is None or control.stop:
        return None
    if fresh and free and compute.token_budget == tried:  # else memory ran out, and what fits is known
        compute.token_budget = _within(
            budget, least, lambda tokens: step.reckoned(trial.largest(batch, compute, tokens)) <= SHARE * free
        )
    if compute.token_budget < budget:
        yield Noted(_said(batch, budget, compute.token_budget))
    if not step.optimizing:
        yield Noted("Dry run: a copy of the optimizer's states does not fit, so the time is without its step.")
    of_eval = trial.evaluation(control, setup, len(batch))
    if of_eval is None:
        return None
    try:
        size, writing = trial.checkpoint(control.folder, setup)
    except RunError as error:
        yield Noted(f"Dry run: {error}")
        size, writing = 0, 0.0
    tokens = setup.train_set.tokens / plan.steps_per_epoch
    per_step = step.per_token * tokens + step.optimizing
    left = plan.total_steps - setup.progress.step
    halts = left / plan.eval_every + (left / spec.save_every if spec.save_every else 0)
    total = left * per_step + left / plan.eval_every * of_eval * setup.eval_set.tokens + halts * writing
    peak = held + step.reckoned(trial.largest(batch, compute, compute.token_budget)) if step.peak else 0
    return Measured(
        peak, estimated, held + free, per_step, size, writing, total, compute.token_budget, time.perf_counter() - began
    )


# --- what fits ---------------------------------------------------------------------------------------------------


def _estimated(spec: RunSpec, compute: Compute, batch: Sequence[Encoded], thorough: bool) -> tuple[int, float]:
    """The peak in bytes before anything is tried, and what of it a token of a micro-batch takes; zeros: not known."""
    base: Any = compute.model.get_base_model() if spec.method == "lora" else compute.model  # type: ignore[operator]
    half, parameters = compute.device.type == "cuda", sum(p.numel() for p in base.parameters())
    if spec.method == "lora":
        parameters -= sum(p.numel() for p in trained(base))
    longest_one = len(batch[0].ids)
    shape = estimate.shape_of(base.config.to_dict(), parameters)
    passing, closed = 0.0, 0
    if shape is not None and shape.like_llama:
        found = estimate.memory(
            shape,
            method=spec.method,
            lora_rank=spec.lora_rank,
            optimizer=spec.optimizer,
            batch_size=len(batch),
            longest=longest_one,
            device=estimate.Device(None, half),
            budget=compute.token_budget,
        )
        tokens = longest_one * max(1, min(len(batch), compute.token_budget // longest_one))
        passing, closed = (found.activations + found.loss) / tokens, (found.low + found.high) // 2
    if thorough or parameters >= LARGE:
        try:
            step = meta.one_step(
                spec,
                "",
                batch,
                half=half,
                token_budget=compute.token_budget,
                config=copy.deepcopy(base.config),
                ways=compute.ways,
            )
        except Exception as error:  # a model that can't be built without weights: the formula has to do
            log.warning("No step on meta: %s: %s", type(error).__name__, error)
        else:
            return step.peak, step.activations / trial.largest(batch, compute, compute.token_budget)
    return closed, passing


def _within(budget: int, least: int, fits: Callable[[int], bool]) -> int:
    """The largest of the budget and its halves that fits; one example of `least` tokens always goes."""
    found = budget
    while found > least and not fits(found):
        found //= 2
    return found if found == budget else max(found, least)


def _said(batch: Sequence[Encoded], before: int, now: int) -> str:
    return (
        f"Micro-batches hold {now:,} tokens (not {before:,}), so that a step fits in the memory; "
        f"the batch is still {len(batch)} examples."
    )
