"""Which examples are held out for eval loss: a share drawn by the seed, or a file of its own."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.data.dataset import DataError, DataSet, Example


@dataclass(frozen=True, slots=True)
class Split:
    train: tuple[Example, ...]
    eval: tuple[Example, ...]


def sizes(rows: int, share: float) -> tuple[int, int]:
    """(train, validation) counts for a share of `rows`, rounded to the nearest row."""
    held_out = round(rows * share)
    return rows - held_out, held_out


def split(data: DataSet, eval_data: DataSet | None, share: float, seed: int) -> Split:
    """Raises DataError when either side would be empty. Both sides keep the file's order."""
    if not data.examples:
        raise DataError(f"{data.file}: no row of it can be used: see `finetunegem data`.")
    if eval_data is not None:
        if not eval_data.examples:
            raise DataError(f"{eval_data.file}: no row of it can be used: see `finetunegem data`.")
        return Split(data.examples, eval_data.examples)
    train, held_out = sizes(len(data.examples), share)
    if held_out == 0 or train == 0:
        raise DataError(_nothing_left(data, share, held_out))
    chosen = set(random.Random(seed).sample(range(len(data.examples)), held_out))
    return Split(_pick(data.examples, chosen, False), _pick(data.examples, chosen, True))


def _pick(examples: Sequence[Example], chosen: set[int], inside: bool) -> tuple[Example, ...]:
    return tuple(example for i, example in enumerate(examples) if (i in chosen) is inside)


def _nothing_left(data: DataSet, share: float, held_out: int) -> str:
    rows = len(data.examples)
    side = "validation" if held_out == 0 else "training"
    return (
        f"{data.file}: a validation share of {share:g} of {rows} usable row{'s' if rows != 1 else ''} leaves no "
        f"{side} example: change the share, or give a validation file."
    )
