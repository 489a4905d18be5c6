"""The order of examples and their cut into micro-batches: nothing is lost, nothing comes twice."""

from __future__ import annotations

import math

import pytest
import torch

from trainer.backends.local.batches import BatchOrder, collate, group_size, groups, micro_batches
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


LENGTHS = [3, 17, 4, 9, 30, 5, 5, 2, 12]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("budget", [1, 10, 32, 100, 10_000])
def test_groups_hold_every_example_once_within_the_budget(budget: int, packed: bool) -> None:
    found = list(groups(LENGTHS, budget, packed))
    assert sorted(place for group in found for place in group) == list(range(len(LENGTHS)))
    sizes = [group_size(LENGTHS, group, packed) for group in found]
    assert all(size <= budget or len(group) == 1 for size, group in zip(sizes, found, strict=True))
    if packed:
        assert sum(sizes) == sum(LENGTHS)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("budget", [1, 32, 10_000])
def test_micro_batches_hold_every_token_and_every_target_once(budget: int, packed: bool) -> None:
    examples = [example(length, mark=index + 1) for index, length in enumerate(LENGTHS)]
    targets: dict[int, int] = {}
    for micro in micro_batches(examples, budget, packed):
        rows, width = micro.ids.shape
        assert rows == 1 or not packed
        real = micro.ids.flatten() if packed else micro.ids[micro.attention == 1]
        if micro.sequences:
            assert micro.sequences.edges.tolist()[-1] == width
            assert micro.sequences.positions[0].tolist() == [p for n in micro.sequences.lengths for p in range(n)]
        else:
            assert int((micro.ids != 0).sum()) == len(real)
        assert torch.equal(micro.targets, micro.ids.flatten()[micro.predictors + 1])
        assert torch.equal(micro.targets, micro.owners + 1)  # an example is known by its mark
        assert set(real.tolist()) == set((micro.owners + 1).tolist())
        for mark in micro.targets.tolist():
            targets[mark] = targets.get(mark, 0) + 1
    assert targets == {mark + 1: one.targets for mark, one in enumerate(examples)}


def test_a_budget_for_all_makes_one_micro_batch() -> None:
    some = [example(n) for n in (3, 8, 5)]
    assert len(list(micro_batches(some, 24))) == 1
    assert len(list(micro_batches(some, 16, packed=True))) == 1
    assert len(list(micro_batches(some, 16))) == 2


@pytest.mark.parametrize("packed", [False, True])
def test_the_first_token_is_never_a_target(packed: bool) -> None:
    whole = Encoded(torch.tensor([5, 6, 7]), torch.tensor([True, True, True]), cut=False)
    micro = collate([whole, whole], packed)
    assert micro.targets.tolist() == [6, 7, 6, 7]
    assert micro.predictors.tolist() == [0, 1, 3, 4]
    assert whole.targets == 2
