"""Which examples make a step, and how a step's examples are cut to fit the memory.

The batch is what the person chose; micro-batches are the engine's business and change no loss value beyond
rounding, because every part is divided by the supervised tokens of the whole batch.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from trainer.backends.local.chat import Encoded
from trainer.backends.local.packing import Sequences, sequences_of
from trainer.backends.local.tokens import lengths_of


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Examples in one tensor: either rows padded on the right, or end to end in one row without padding.

    `ids` is (rows, length). `attention`, of the same shape, marks what is no padding; None where there is none.
    `sequences` says where examples begin and end in the one row; None where every row is one. A supervised token is
    `targets[i]`, predicted from place `predictors[i]` of the flattened ids, and belongs to example `owners[i]`, a
    place in what was collated: made here, on the CPU, so that no device has to be asked where they are.
    """

    ids: Tensor
    attention: Tensor | None
    sequences: Sequences | None
    predictors: Tensor
    targets: Tensor
    owners: Tensor

    def to(self, device: torch.device) -> MicroBatch:
        """On `device`; a copy from pinned memory does not wait for it."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> MicroBatch:
        """In memory that a graphics card can read by itself."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> MicroBatch:
        return MicroBatch(
            change(self.ids),
            None if self.attention is None else change(self.attention),
            None if self.sequences is None else self.sequences.each(change),
            change(self.predictors),
            change(self.targets),
            change(self.owners),
        )


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


def groups(lengths: Sequence[int], token_budget: int, packed: bool = False) -> Iterator[list[int]]:
    """Places of examples by length, in groups whose size is within `token_budget` (one example always goes).

    The size is that of `group_size`: with its padding, or without where examples lie end to end.
    """
    group: list[int] = []
    size = 0
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[place]
        size = size + length if packed else (len(group) + 1) * length
        if group and size > token_budget:
            yield group
            group, size = [], length
        group.append(place)
    if group:
        yield group


def group_size(lengths: Sequence[int], group: Sequence[int], packed: bool = False) -> int:
    """Tokens of a group as one micro-batch, padding included where there is any."""
    found = [lengths[place] for place in group]
    return sum(found) if packed else len(found) * max(found)


def micro_batches(examples: Sequence[Encoded], token_budget: int, packed: bool = False) -> Iterator[MicroBatch]:
    """The examples as micro-batches, see `groups`; `owners` are places in `examples`.

    An example is looked up when its group is made, so that those of a large set are not in memory together.
    """
    for group in groups(lengths_of(examples), token_budget, packed):
        micro = collate([examples[place] for place in group], packed)
        yield replace(micro, owners=torch.tensor(group)[micro.owners])


def smaller_parts(examples: Sequence[Encoded], before: int, now: int, packed: bool = False) -> str:
    """What a smaller budget makes of the examples, in words."""
    lengths = lengths_of(examples)
    were, are = list(groups(lengths, before, packed)), list(groups(lengths, now, packed))
    largest = max(group_size(lengths, group, packed) for group in were)
    return f"micro-batches now hold {now:,} tokens (was {largest:,}), and there are {len(are)} (was {len(were)})"


def collate(examples: Sequence[Encoded], packed: bool = False) -> MicroBatch:
    """End to end, or padded to the longest. Padding is id 0 under attention 0: no real token ever sees it.

    The first token of an example is predicted from nothing, so it is never a target.
    """
    lengths = [len(example.ids) for example in examples]
    width = max(lengths)
    begins = [0, *accumulate(lengths)][:-1] if packed else [row * width for row in range(len(lengths))]
    found = [example.supervised[1:].nonzero().flatten() for example in examples]
    predictors = torch.cat([begin + places for begin, places in zip(begins, found, strict=True)])
    owners = torch.repeat_interleave(torch.arange(len(found)), torch.tensor([len(places) for places in found]))
    if packed:
        ids = torch.cat([example.ids for example in examples])[None]
        return MicroBatch(ids, None, sequences_of(lengths), predictors, ids[0][predictors + 1], owners)
    ids = torch.zeros((len(examples), width), dtype=torch.int64)
    attention = torch.zeros_like(ids)
    for row, example in enumerate(examples):
        ids[row, : lengths[row]] = example.ids
        attention[row, : lengths[row]] = 1
    return MicroBatch(ids, attention, None, predictors, ids.flatten()[predictors + 1], owners)
