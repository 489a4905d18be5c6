"""Which examples are held out for eval loss: a share drawn by the seed, or a file of its own.

Rows that say the same stand on one side, so that eval loss never praises what was learnt by heart.
"""

from __future__ import annotations

import math
import random
from array import array
from collections import Counter
from dataclasses import dataclass

from trainer.data.dataset import DataSet
from trainer.data.duplicates import leaks
from trainer.data.errors import DataError


@dataclass(frozen=True, slots=True)
class Split:
    """How many examples each side has. Both keep the order of the data.

    `held_out` has a byte for each used row of the data, 1 where it is validation; empty with validation data of their
    own, or where the data were only looked at. `leak` counts validation examples that stand in training as well.
    """

    train: int
    eval: int
    held_out: bytes = b""
    leak: int = 0


def sizes(rows: int, share: float) -> tuple[int, int]:
    """(train, validation) counts for a share of `rows`, rounded to the nearest row."""
    held_out = round(rows * share)
    return rows - held_out, held_out


def without(lost: int, train: int, held_out: int, *, own_eval: bool = False) -> tuple[int, int]:
    """(train, validation) when `lost` rows go, about: of both sides alike, for which are whose is not known here."""
    theirs = 0 if own_eval else round(lost * held_out / max(1, train + held_out))
    return max(0, train - (lost - theirs)), max(0, held_out - theirs)


def split(data: DataSet, eval_data: DataSet | None, share: float, seed: int) -> Split:
    """Raises DataError when either side would be empty."""
    _check_used(data)
    if eval_data is not None:
        _check_used(eval_data)
        return Split(data.used, eval_data.used, leak=leaks(data.duplicates, eval_data.duplicates))
    train, held_out = sizes(data.used, share)
    if held_out == 0 or train == 0:
        raise DataError(_nothing_left(data, share, held_out))
    if data.estimated:
        return Split(train, held_out)
    chosen = draw(data.used, held_out, seed, data.duplicates.leaders)
    found = chosen.count(1)
    if not found:
        raise DataError(
            f"{data.name}: its {data.used:,} rows are duplicates of each other, in groups larger than a validation "
            f"share of {share:g}: change the share, or give a validation file."
        )
    return Split(data.used - found, found, bytes(chosen))


def draw(rows: int, held_out: int, seed: int, leaders: array[int]) -> bytearray:
    """A byte a row, 1 for `held_out` of them: as many as there are groups to make that number of, or fewer.

    `leaders` has for each row the first one of its group, and is empty where each is alone. Rows are drawn as they
    would be without groups; each brings its group along, if there is room, and what is then still missing is drawn
    from the rest.
    """
    chosen = bytearray(rows)
    drawing = random.Random(seed)
    drawn = drawing.sample(range(rows), held_out)
    if not leaders:
        for row in drawn:
            chosen[row] = 1
        return chosen
    sizes = Counter(leader for row, leader in enumerate(leaders) if leader != row)  # of a group without its leader
    room = held_out
    for row in (*drawn, *_all_rows(rows, drawing)):
        leader = leaders[row]
        if room == 0:
            break
        if not chosen[leader] and sizes[leader] < room:
            chosen[leader] = 1
            room -= 1 + sizes[leader]
    for row, leader in enumerate(leaders):
        chosen[row] = chosen[leader]
    return chosen


def _all_rows(rows: int, drawing: random.Random) -> list[int]:
    """Every row once, scattered: steps around a circle whose length has no divisor in common with theirs."""
    step = drawing.randrange(1, rows + 1)
    while math.gcd(step, rows) > 1:
        step += 1
    start = drawing.randrange(rows)
    return [(start + step * number) % rows for number in range(rows)]


def _check_used(data: DataSet) -> None:
    if not data.used:
        raise DataError(f"{data.name}: no row of it can be used: see `finetunegem data`.")


def _nothing_left(data: DataSet, share: float, held_out: int) -> str:
    side = "validation" if held_out == 0 else "training"
    return (
        f"{data.name}: a validation share of {share:g} of {data.used:,} usable row{'s' if data.used != 1 else ''} "
        f"leaves no {side} example: change the share, or give a validation file."
    )
