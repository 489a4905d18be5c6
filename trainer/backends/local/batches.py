"""Which examples make a step, and how a step's examples are cut to fit the memory.

The batch is what the person chose; micro-batches are the engine's business and change no loss value beyond
rounding, because every part is divided by the supervised tokens of the whole batch.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.backends.local.chat import Encoded
from trainer.backends.local.tokens import lengths_of


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows padded on the right: `ids` and `attention` (rows, length); `supervised` marks targets, never column 0."""

    ids: Tensor
    attention: Tensor
    supervised: Tensor


class BatchOrder:
    """The batches of a run: each epoch a new permutation, the same for the same seed."""

    def __init__(self, examples: int, batch_size: int, seed: int) -> None:
        self._examples = examples
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = -1
        self._order = array("I")  # 4 bytes an example: there may be ten million

    def batch(self, epoch: int, place: int) -> list[int]:
        """Example indices of batch `place` (from 0) of `epoch` (from 0); the last one may be smaller."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = array("I", range(self._examples))
            random.Random(f"{self._seed}/{epoch}").shuffle(self._order)
        begin = place * self._batch_size
        return self._order[begin : begin + self._batch_size].tolist()


def groups(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Places of examples by length, in groups whose padded size is within `token_budget` (one example always goes)."""
    group: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and (len(group) + 1) * lengths[place] > token_budget:
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def padded(lengths: Sequence[int], group: Sequence[int]) -> int:
    """Tokens of a group as one micro-batch, padding included."""
    return len(group) * max(lengths[place] for place in group)


def micro_batches(examples: Sequence[Encoded], token_budget: int) -> Iterator[MicroBatch]:
    """The examples as micro-batches, see `groups`.

    An example is looked up when its group is made, so that those of a large set are not in memory together.
    """
    for group in groups(lengths_of(examples), token_budget):
        yield collate([examples[place] for place in group])


def smaller_parts(examples: Sequence[Encoded], before: int, now: int) -> str:
    """What a smaller budget makes of the examples, in words."""
    lengths = lengths_of(examples)
    were, are = list(groups(lengths, before)), list(groups(lengths, now))
    largest = max(padded(lengths, group) for group in were)
    return f"micro-batches now hold {now:,} tokens (was {largest:,}), and there are {len(are)} (was {len(were)})"


def collate(examples: Sequence[Encoded]) -> MicroBatch:
    """Pad to the longest. Padding is id 0 under attention 0: no real token ever sees it."""
    shape = (len(examples), max(len(example.ids) for example in examples))
    ids = torch.zeros(shape, dtype=torch.int64)
    attention = torch.zeros(shape, dtype=torch.int64)
    supervised = torch.zeros(shape, dtype=torch.bool)
    for row, example in enumerate(examples):
        length = len(example.ids)
        ids[row, :length] = example.ids
        attention[row, :length] = 1
        supervised[row, :length] = example.supervised
    supervised[:, 0] = False
    return MicroBatch(ids, attention, supervised)
