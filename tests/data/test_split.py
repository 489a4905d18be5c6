"""The split: drawn by the seed, whole, in the file's order, and never empty on either side."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.data import DataError, DataSet, Example, Message, split


def data(rows: int, name: str = "data.jsonl") -> DataSet:
    messages = (Message("user", "q"), Message("assistant", "a"))
    return DataSet(Path(name), "messages", tuple(Example(messages, line) for line in range(1, rows + 1)), ())


def lines(examples: tuple[Example, ...]) -> list[int]:
    return [example.line for example in examples]


def test_the_same_seed_gives_the_same_split() -> None:
    first = split(data(100), None, 0.1, 42)
    assert split(data(100), None, 0.1, 42) == first
    assert split(data(100), None, 0.1, 43) != first


def test_the_split_of_a_seed_is_the_same_for_ever() -> None:
    assert lines(split(data(20), None, 0.2, 42).eval) == [1, 4, 8, 9]


@pytest.mark.parametrize(("rows", "share"), [(2, 0.5), (10, 0.1), (100, 0.1), (318, 0.1), (7, 0.9), (1000, 0.001)])
def test_every_row_is_on_one_side_in_the_files_order(rows: int, share: float) -> None:
    parts = split(data(rows), None, share, 1)
    assert parts.eval
    assert parts.train
    assert len(parts.eval) == round(rows * share)
    for side in (parts.train, parts.eval):
        assert lines(side) == sorted(lines(side))
    assert sorted(lines(parts.train) + lines(parts.eval)) == list(range(1, rows + 1))


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
    assert (lines(parts.train), lines(parts.eval)) == ([1], [1, 2, 3])


def test_files_without_a_usable_row_are_named() -> None:
    with pytest.raises(DataError, match=r"^data\.jsonl: no row of it can be used"):
        split(data(0), None, 0.1, 42)
    with pytest.raises(DataError, match=r"^eval\.jsonl: no row of it can be used"):
        split(data(5), data(0, "eval.jsonl"), 0.1, 42)
