"""A dry run before the first step: what a step costs in memory and time, an evaluation, a checkpoint, the whole run.

It takes the micro-batch of the longest examples through our own step, and leaves no trace: gradients are thrown away,
the optimizer's step is taken without gradient and rate, its states, the random numbers and the order of the data stay
as they were. It knows the time it may take: where one micro-batch would be too long it takes a part and reckons the
rest from that.

The size of the micro-batches is found here too: from the estimate before anything is tried, then from what was
measured. The batch never changes, and where memory is no question neither do the micro-batches.
"""

from __future__ import annotations

import copy
import heapq
import logging
import os
import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils import logging as transformers_logging

from trainer.backends.local import fits, meta, optim
from trainer.backends.local.batches import group_size, groups
from trainer.backends.local.chat import Encoded
from trainer.backends.local.compute import Compute, DoesNotFit, trained
from trainer.backends.local.memory import RandomState, free_bytes, memory_permitting
from trainer.backends.local.peak import Peak
from trainer.backends.local.prepare import Setup, prepare
from trainer.backends.local.tokens import TokenSet, lengths_of, targets_of
from trainer.backends.local.training import Saved
from trainer.control import Control
from trainer.events import Event, Measured, Noted, PhaseEntered, Stopped
from trainer.insight import estimate
from trainer.rundir import RunError
from trainer.spec import RunSpec

PROBE = 32  # tokens of the first, short try
LONG = 5.0  # seconds that one pass over the micro-batch may take
ENOUGH = 8.0  # seconds after which nothing is taken twice
SHARE = 0.9  # of what is free may be filled
COPIED = 0.25  # of what is free may hold a copy of the optimizer's states
LARGE = 20_000_000  # parameters from which on the estimate is worth a second: the step on meta
WRITTEN = 256_000_000  # bytes of a checkpoint that is written for a try; of a larger one a sample is
SAMPLE = 64_000_000  # bytes

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
    with _untouched(setup):
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
    batch = longest(setup.train_set, spec.batch_size)
    estimated, passing = _estimated(spec, compute, batch, thorough)
    held = _bytes(compute.model.parameters()) + _bytes(_states(setup))
    least, free = len(batch[0].ids), free_bytes(compute.device) or 0
    if fresh and free:
        compute.token_budget = _within(budget, least, lambda tokens: tokens * passing <= SHARE * free)
    tried = compute.token_budget
    step = _step(control, setup, batch, began)
    if step is None or control.stop:
        return None
    if fresh and free and compute.token_budget == tried:  # else memory ran out, and what fits is known
        compute.token_budget = _within(
            budget, least, lambda tokens: step.reckoned(_largest(batch, compute, tokens)) <= SHARE * free
        )
    if compute.token_budget < budget:
        yield Noted(_said(batch, budget, compute.token_budget))
    if not step.optimizing:
        yield Noted("Dry run: a copy of the optimizer's states does not fit, so the time is without its step.")
    of_eval = _evaluation(control, setup, len(batch))
    if of_eval is None:
        return None
    try:
        size, writing = _checkpoint(control.folder, setup)
    except RunError as error:
        yield Noted(f"Dry run: {error}")
        size, writing = 0, 0.0
    tokens = setup.train_set.tokens / plan.steps_per_epoch
    per_step = step.per_token * tokens + step.optimizing
    left = plan.total_steps - setup.progress.step
    halts = left / plan.eval_every + (left / spec.save_every if spec.save_every else 0)
    total = left * per_step + left / plan.eval_every * of_eval * setup.eval_set.tokens + halts * writing
    peak = held + step.reckoned(_largest(batch, compute, compute.token_budget)) if step.peak else 0
    return Measured(
        peak, estimated, held + free, per_step, size, writing, total, compute.token_budget, time.perf_counter() - began
    )


# --- the step ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """What one pass over `tokens` (padding included) took; `peak` and `gradients` are bytes, the rest seconds."""

    tokens: int
    peak: int
    gradients: int
    per_token: float
    optimizing: float

    def reckoned(self, tokens: int) -> int:
        """The peak for a micro-batch of so many tokens: what is computed grows with them."""
        return self.gradients + max(0, self.peak - self.gradients) * tokens // max(1, self.tokens)


def _step(control: Control, setup: Setup, batch: Sequence[Encoded], began: float) -> Step | None:
    """Forward and backward over the micro-batch of the longest, twice where time allows, then the optimizer's step."""
    compute = setup.compute
    gradients = _bytes(trained(compute.model))

    def learn(examples: Sequence[Encoded]) -> float | None:
        at = time.perf_counter()
        loss = compute.gradients(examples, lambda: control.stop is not None)
        if loss is not None:
            float(loss)  # a card has done it only then
        seconds = time.perf_counter() - at
        compute.model.zero_grad(set_to_none=True)
        return None if loss is None else max(seconds, 1e-9)

    short = _shortened(batch[0], PROBE)
    first = learn([short])  # what is only done once, weights that are read from the disk by now
    second = learn([short]) if first is not None and first < LONG else first
    if second is None:
        return None
    chosen = _in_time(_first_micro_batch(batch, compute.token_budget), LONG * len(short.ids) / second)
    with Peak(compute.device) as peak:
        seconds = learn(chosen)
    if seconds is not None and time.perf_counter() - began + seconds < ENOUGH:
        seconds = learn(chosen)
    if seconds is None:
        return None
    whole = _largest(chosen, compute, compute.token_budget)  # it was cut again where memory ran out
    optimizing, idle = _idle_step(setup)
    return Step(whole, max(peak.bytes, idle), gradients, seconds / sum(lengths_of(chosen)), optimizing)


def _idle_step(setup: Setup) -> tuple[float, int]:
    """Seconds and peak bytes of the optimizer's step, taken without gradient and rate; zeros where there is no room
    for a copy of states that must come back."""
    optimizer, device = setup.optimizer, setup.compute.device
    states = _states(setup)
    free = free_bytes(device)
    resumed = setup.progress.step > 0
    if resumed and (free is None or _bytes(states) > COPIED * free):
        return 0.0, 0
    with memory_permitting():
        kept = [state.clone() for state in states] if resumed else []
        with Peak(device) as peak:
            at = time.perf_counter()
            optim.idle_step(optimizer)
            seconds = time.perf_counter() - at
        for state, before in zip(states, kept, strict=resumed):
            state.copy_(before)
        return seconds, peak.bytes
    return 0.0, 0


def _evaluation(control: Control, setup: Setup, most: int) -> float | None:
    """Seconds a token of the evaluation, from one micro-batch of the longest; None when stopped."""
    compute = setup.compute
    some = _first_micro_batch(longest(setup.eval_set, most), min(compute.eval_budget, compute.token_budget))
    at = time.perf_counter()
    if targets_of(some) and compute.evaluate(some, lambda: control.stop is not None) is None:
        return None
    return (time.perf_counter() - at) / sum(lengths_of(some))


def _checkpoint(run: Path, setup: Setup) -> tuple[int, float]:
    """Bytes of a checkpoint and the seconds it takes. Raises RunError where it can't be written."""
    size = setup.store.size
    if size <= WRITTEN:
        return setup.store.trial(Saved(setup.progress.step, None, False, False))
    at = time.perf_counter()
    file = run / ".tmp-dry-run"
    try:
        with file.open("wb") as out:
            for _ in range(SAMPLE // 2**22):
                out.write(os.urandom(2**22))
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise RunError(f"{file} can't be written: {error.strerror}.") from None
    finally:
        file.unlink(missing_ok=True)
    return size, (time.perf_counter() - at) * size / SAMPLE


@contextmanager
def _untouched(setup: Setup) -> Iterator[None]:
    """Random numbers and gradients are as before when this is left, however."""
    compute = setup.compute
    here = RandomState(compute.device)
    python, legacy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        compute.model.zero_grad(set_to_none=True)
        here.put_back()
        random.setstate(python)
        np.random.set_state(legacy)


# --- which examples ----------------------------------------------------------------------------------------------


def longest(examples: TokenSet, most: int) -> list[Encoded]:
    """The longest examples, longest first."""
    lengths = lengths_of(examples)
    return [examples[place] for place in heapq.nlargest(most, range(len(lengths)), key=lengths.__getitem__)]


def _first_micro_batch(batch: Sequence[Encoded], budget: int) -> list[Encoded]:
    """Of a batch, longest first, as many as one micro-batch holds."""
    return list(batch[: max(1, budget // len(batch[0].ids))])


def _in_time(batch: Sequence[Encoded], tokens: float) -> list[Encoded]:
    """As many as may be taken in time; at least a part of one."""
    whole = int(tokens) // len(batch[0].ids)
    return list(batch[:whole]) if whole else [_shortened(batch[0], max(PROBE, int(tokens)))]


def _shortened(example: Encoded, tokens: int) -> Encoded:
    """The beginning of it, all of which is learnt."""
    ids = example.ids[:tokens]
    return replace(example, ids=ids, supervised=torch.ones(len(ids), dtype=torch.bool))


def _largest(batch: Sequence[Encoded], compute: Compute, budget: int) -> int:
    """Tokens of the largest micro-batch."""
    lengths, packed = lengths_of(batch), compute.ways.packed
    return max(group_size(lengths, group, packed) for group in groups(lengths, budget, packed))


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
            return step.peak, step.activations / _largest(batch, compute, compute.token_budget)
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


def _states(setup: Setup) -> list[torch.Tensor]:
    return [
        value for state in setup.optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)
    ]


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
