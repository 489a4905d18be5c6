"""The order of examples and their cut into micro-batches: nothing is lost, nothing comes twice."""

from __future__ import annotations

import math

import pytest
import torch

from trainer.backends.local.batches import BatchOrder, collate, micro_batches
from trainer.backends.local.chat import Encoded


def example(length: int, mark: int = 1) -> Encoded:
    """All ids are `mark`, so that an example is known again; the second half is supervised."""
    supervised = torch.arange(length) >= length // 2
    return Encoded(torch.full((length,), mark, dtype=torch.int64), supervised, cut=False)


def epoch_order(order: BatchOrder, epoch: int, batches: int) -> list[int]:
    return [index for place in range(batches) for index in order.batch(epoch, place)]


@pytest.mark.parametrize(("examples", "size"), [(1, 1), (1, 8), (10, 3), (12, 4), (101, 7), (5, 100)])
def test_every_epoch_holds_every_example_once(examples: int, size: int) -> None:
    order = BatchOrder(examples, size, seed=3)
    batches = math.ceil(examples / size)
    for epoch in range(4):
        assert sorted(epoch_order(order, epoch, batches)) == list(range(examples))
        sizes = [len(order.batch(epoch, place)) for place in range(batches)]
        assert sizes[:-1] == [size] * (batches - 1)
        assert 1 <= sizes[-1] <= size


def test_order_changes_with_epoch_and_seed_only() -> None:
    first, again, other = BatchOrder(50, 5, 1), BatchOrder(50, 5, 1), BatchOrder(50, 5, 2)
    epochs = [epoch_order(first, epoch, 10) for epoch in range(3)]
    assert epochs == [epoch_order(again, epoch, 10) for epoch in range(3)]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert epochs[0] != epoch_order(other, 0, 10)
    assert epochs[0] != list(range(50))


def test_order_does_not_hang_on_where_reading_begins() -> None:
    """A resumed run asks for the middle of a later epoch first."""
    whole = BatchOrder(20, 4, 9)
    expected = [whole.batch(epoch, place) for epoch in range(3) for place in range(5)][13]
    assert BatchOrder(20, 4, 9).batch(2, 3) == expected


@pytest.mark.parametrize("budget", [1, 10, 32, 100, 10_000])
def test_micro_batches_hold_every_example_once_within_the_budget(budget: int) -> None:
    lengths = [3, 17, 4, 9, 30, 5, 5, 2, 12]
    examples = [example(length, mark=index + 1) for index, length in enumerate(lengths)]
    seen: list[tuple[int, int]] = []
    for micro in micro_batches(examples, budget):
        rows, width = micro.ids.shape
        assert rows == 1 or rows * width <= budget
        for row in range(rows):
            length = int(micro.attention[row].sum())
            mark = int(micro.ids[row, 0])
            assert micro.ids[row, :length].tolist() == [mark] * length
            assert micro.attention[row].tolist() == [1] * length + [0] * (width - length)
            assert int(micro.supervised[row].sum()) == examples[mark - 1].targets
            seen.append((mark, length))
    assert sorted(seen) == [(index + 1, length) for index, length in enumerate(lengths)]


def test_a_budget_for_all_makes_one_micro_batch() -> None:
    assert len(list(micro_batches([example(n) for n in (3, 8, 5)], 24))) == 1


def test_the_first_column_is_never_a_target() -> None:
    whole = Encoded(torch.tensor([5, 6, 7]), torch.tensor([True, True, True]), cut=False)
    assert collate([whole]).supervised.tolist() == [[False, True, True]]
    assert whole.targets == 2
