"""The split: drawn by the seed, whole, never empty on a side, and what says the same never stands on both."""

from __future__ import annotations

import random
from array import array
from dataclasses import replace
from pathlib import Path

import pytest

from trainer.data import DataError, DataSet, split
from trainer.data.duplicates import Duplicates
from trainer.data.shapes import SHAPES
from trainer.data.source import DataFile, Source
from trainer.data.split import Split, draw


def data(rows: int, name: str = "data.jsonl", groups: list[int] | None = None) -> DataSet:
    """An account of so many rows; `groups` has the first row of each one's group."""
    source = Source(name, (DataFile(Path(name), "jsonl", "", 1),))
    return DataSet(source, SHAPES[0], rows, duplicates=Duplicates(leaders=array("q", groups or [])))


def held_out(parts: Split) -> list[int]:
    return [row for row, chosen in enumerate(parts.held_out) if chosen]


def test_the_same_seed_gives_the_same_split() -> None:
    first = split(data(100), None, 0.1, 42)
    assert split(data(100), None, 0.1, 42) == first
    assert split(data(100), None, 0.1, 43) != first


def test_the_split_of_a_seed_is_the_same_for_ever() -> None:
    assert held_out(split(data(20), None, 0.2, 42)) == [0, 3, 7, 8]


@pytest.mark.parametrize(("rows", "share"), [(2, 0.5), (10, 0.1), (100, 0.1), (318, 0.1), (7, 0.9), (1000, 0.001)])
def test_every_row_is_on_one_side(rows: int, share: float) -> None:
    parts = split(data(rows), None, share, 1)
    assert len(parts.held_out) == rows
    assert parts.eval == len(held_out(parts)) == round(rows * share)
    assert parts.train == rows - parts.eval


def test_groups_of_one_change_nothing() -> None:
    rows = list(range(200))
    assert draw(200, 20, 5, array("q", rows)) == draw(200, 20, 5, array("q"))


@pytest.mark.parametrize("seed", range(20))
def test_duplicates_never_stand_on_both_sides_and_the_share_is_met(seed: int) -> None:
    drawing = random.Random(seed)
    rows = 400
    leaders: list[int] = []
    for row in range(rows):  # about a third of the rows repeat an earlier one
        leaders.append(leaders[drawing.randrange(row)] if row and drawing.random() < 0.3 else row)
    parts = split(data(rows, groups=leaders), None, 0.1, seed)
    chosen = parts.held_out
    assert all(chosen[row] == chosen[leader] for row, leader in enumerate(leaders))
    assert parts.eval == 40
    assert split(data(rows, groups=leaders), None, 0.1, seed) == parts


def test_what_has_no_like_stays_where_it_would_have_been() -> None:
    """Two rows that are alike move no other row from its side, but for one in exchange."""
    rows = list(range(300))
    before = set(held_out(split(data(300), None, 0.1, 7)))
    rows[250] = 3
    after = set(held_out(split(data(300, groups=rows), None, 0.1, 7)))
    assert len(before ^ after) <= 4


def test_pairs_fill_an_odd_share_as_far_as_they_can() -> None:
    pairs = [row - row % 2 for row in range(100)]
    assert split(data(100, groups=pairs), None, 0.15, 1).eval == 14


def test_groups_too_large_for_the_share_stay_in_training() -> None:
    parts = split(data(100, groups=[0] * 60 + list(range(60, 100))), None, 0.3, 1)
    assert parts.eval == 30
    assert min(held_out(parts)) >= 60


def test_rows_that_are_all_alike_can_not_be_split() -> None:
    with pytest.raises(DataError) as caught:
        split(data(1000, groups=[0] * 1000), None, 0.1, 42)
    assert str(caught.value) == (
        "data.jsonl: its 1,000 rows are duplicates of each other, in groups larger than a validation share of 0.1: "
        "change the share, or give a validation file."
    )


@pytest.mark.parametrize(
    ("rows", "share", "side"),
    [(1, 0.1, "validation"), (4, 0.1, "validation"), (100, 0.001, "validation"), (1, 0.9, "training")],
)
def test_a_share_that_leaves_a_side_empty_is_refused(rows: int, share: float, side: str) -> None:
    plural = "" if rows == 1 else "s"
    with pytest.raises(DataError) as caught:
        split(data(rows), None, share, 42)
    assert str(caught.value) == (
        f"data.jsonl: a validation share of {share:g} of {rows} usable row{plural} leaves no {side} example: "
        "change the share, or give a validation file."
    )


def test_a_validation_file_is_used_whole() -> None:
    parts = split(data(1), data(3, "eval.jsonl"), 0.1, 42)
    assert (parts.train, parts.eval, parts.held_out) == (1, 3, b"")


def test_validation_rows_that_stand_in_training_are_counted() -> None:
    training, validation = (
        replace(data(len(digests)), duplicates=Duplicates(digests=array("q", digests)))
        for digests in ([1, 2, 3, 3], [3, 3, 4])
    )
    assert split(training, validation, 0.1, 42).leak == 2


def test_large_data_that_were_only_looked_at_have_sizes_and_no_rows() -> None:
    parts = split(replace(data(9_800_000), estimated=True), None, 0.1, 42)
    assert parts == Split(8_820_000, 980_000)


def test_files_without_a_usable_row_are_named() -> None:
    with pytest.raises(DataError, match=r"^data\.jsonl: no row of it can be used"):
        split(data(0), None, 0.1, 42)
    with pytest.raises(DataError, match=r"^eval\.jsonl: no row of it can be used"):
        split(data(5), data(0, "eval.jsonl"), 0.1, 42)
