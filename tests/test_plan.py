"""Steps and evaluation points, counted by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest

from trainer.plan import Plan, make_plan
from trainer.spec import RunSpec


def plan(examples: int, batch_size: int, epochs: int = 2, eval_every: int = 0) -> Plan:
    return make_plan(RunSpec(epochs=epochs, batch_size=batch_size, eval_every=eval_every), examples, 30)


def points(plan: Plan) -> list[int]:
    return [step for step in range(plan.total_steps + 1) if plan.evaluates_at(step)]


@pytest.mark.parametrize(
    ("examples", "batch_size", "steps"),
    [(8, 4, 2), (9, 4, 3), (7, 4, 2), (1, 4, 1), (4, 4096, 1), (270, 4, 68), (5, 1, 5)],
)
def test_the_last_batch_of_an_epoch_may_be_smaller(examples: int, batch_size: int, steps: int) -> None:
    made = plan(examples, batch_size, epochs=3)
    assert made.steps_per_epoch == steps
    assert made.total_steps == 3 * steps


def test_step_0_and_the_end_of_every_epoch_are_evaluated() -> None:
    assert points(plan(20, 4, epochs=3)) == [0, 5, 10, 15]
    assert points(plan(1, 4, epochs=3)) == [0, 1, 2, 3]


def test_a_long_epoch_is_evaluated_in_between() -> None:
    assert points(plan(270, 4)) == [0, 34, 68, 102, 136]


@pytest.mark.parametrize("steps", [1, 2, 39, 40, 41, 68, 79, 80, 99, 397, 400, 401, 1001, 12_345])
def test_points_are_spread_evenly_and_few(steps: int) -> None:
    made = plan(steps, 1, epochs=2)
    at = points(made)
    assert {0, steps, 2 * steps} <= set(at)
    first = [point for point in at if point <= steps]
    gaps = [b - a for a, b in pairwise(first)]
    assert len(gaps) <= 10
    assert max(gaps) <= max(40, -(-steps // 10) * 1.5)
    assert min(gaps) >= min(steps, made.eval_every / 2)
    assert [point - steps for point in at if point >= steps] == first


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (3, [0, 3, 6, 10, 13, 16, 20]),  # 9 is too near to 10 to show anything new
        (5, [0, 5, 10, 15, 20]),
        (10, [0, 10, 20]),
        (1000, [0, 10, 20]),
        (1, list(range(21))),
    ],
)
def test_a_distance_that_was_asked_for_holds_within_each_epoch(every: int, expected: list[int]) -> None:
    assert points(plan(10, 1, eval_every=every)) == expected
