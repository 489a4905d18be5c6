"""One try of each thing that a run does, for a dry run: a step, an evaluation, a checkpoint, with what it takes.

On the longest examples. It knows the time it may take: where one micro-batch would be too long it takes a part, and
what all of it takes is reckoned from that. Of what it does nothing is left but what `untouched` puts back.
"""

from __future__ import annotations

import heapq
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainer.backends.local import optim
from trainer.backends.local.batches import group_size, groups
from trainer.backends.local.chat import Encoded
from trainer.backends.local.compute import Compute, trained
from trainer.backends.local.memory import RandomState, free_bytes, memory_permitting
from trainer.backends.local.peak import Peak
from trainer.backends.local.prepare import Setup
from trainer.backends.local.tokens import TokenSet, lengths_of, targets_of
from trainer.backends.local.training import Saved
from trainer.control import Control
from trainer.rundir import RunError

PROBE = 32  # tokens of the first, short try
LONG = 5.0  # seconds that one pass over the micro-batch may take
ENOUGH = 8.0  # seconds after which nothing is taken twice
COPIED = 0.25  # of what is free may hold a copy of the optimizer's states
WRITTEN = 256_000_000  # bytes of a checkpoint that is written for a try; of a larger one a sample is
SAMPLE = 64_000_000  # bytes


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


def step(control: Control, setup: Setup, batch: Sequence[Encoded], began: float) -> Step | None:
    """Forward and backward over the micro-batch of the longest, twice where time allows, then the optimizer's step."""
    compute = setup.compute
    gradients = size_of(trained(compute.model))

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
    whole = largest(chosen, compute, compute.token_budget)  # it was cut again where memory ran out
    optimizing, idle = _idle_step(setup)
    return Step(whole, max(peak.bytes, idle), gradients, seconds / sum(lengths_of(chosen)), optimizing)


def _idle_step(setup: Setup) -> tuple[float, int]:
    """Seconds and peak bytes of the optimizer's step, taken without gradient and rate; zeros where there is no room
    for a copy of states that must come back."""
    optimizer, device = setup.optimizer, setup.compute.device
    states = states_of(setup)
    free = free_bytes(device)
    resumed = setup.progress.step > 0
    if resumed and (free is None or size_of(states) > COPIED * free):
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


def evaluation(control: Control, setup: Setup, most: int) -> float | None:
    """Seconds a token of the evaluation, from one micro-batch of the longest; None when stopped."""
    compute = setup.compute
    some = _first_micro_batch(longest(setup.eval_set, most), min(compute.eval_budget, compute.token_budget))
    at = time.perf_counter()
    if targets_of(some) and compute.evaluate(some, lambda: control.stop is not None) is None:
        return None
    return (time.perf_counter() - at) / sum(lengths_of(some))


def checkpoint(run: Path, setup: Setup) -> tuple[int, float]:
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
def untouched(setup: Setup) -> Iterator[None]:
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


def largest(batch: Sequence[Encoded], compute: Compute, budget: int) -> int:
    """Tokens of the largest micro-batch."""
    lengths, packed = lengths_of(batch), compute.ways.packed
    return max(group_size(lengths, group, packed) for group in groups(lengths, budget, packed))


def states_of(setup: Setup) -> list[torch.Tensor]:
    return [
        value for state in setup.optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)
    ]


def size_of(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
