"""Smoothing, thinning and minima, on kind and on hostile series."""

import random
from math import inf, isfinite, isnan, nan

import pytest

from trainer.insight.series import Ema, best, bounds, decimate, ema, finite

SPIKE = 1e6


def noisy(count: int, seed: int = 7) -> tuple[list[float], list[float | None]]:
    source = random.Random(seed)
    return [float(i) for i in range(count)], [source.gauss(2.0, 0.3) for _ in range(count)]


def measured(values: list[float]) -> list[float]:
    return [value for value in values if isfinite(value)]


def test_ema_starts_at_the_first_value() -> None:
    assert ema([5.0, 5.0, 5.0], half_life=10) == pytest.approx([5.0, 5.0, 5.0])


def test_ema_agrees_with_the_weighted_mean_it_stands_for() -> None:
    values, alpha = [4.0, 2.0, 3.0, 7.0], 0.3
    weights = [(1 - alpha) ** age for age in range(3, -1, -1)]
    mean = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    assert ema(values, alpha=alpha)[-1] == pytest.approx(mean)


def test_half_life_halves_the_weight_of_a_value() -> None:
    # A one followed by zeros: after half_life more values, its weight is half of what it was.
    average = Ema(half_life=5)
    for _ in range(2000):
        average.push(0.0)
    first = average.push(1.0)
    for _ in range(5):
        later = average.push(0.0)
    assert later == pytest.approx(first / 2, rel=1e-6)


@pytest.mark.parametrize("gap", [nan, inf, -inf, None])
def test_a_gap_is_nan_and_leaves_the_average_alone(gap: float | None) -> None:
    with_gap = ema([3.0, 4.0, gap, 5.0], alpha=0.5)
    assert isnan(with_gap[2])
    assert [*with_gap[:2], with_gap[3]] == ema([3.0, 4.0, 5.0], alpha=0.5)


def test_pushing_one_by_one_is_the_whole_series() -> None:
    _, y = noisy(500)
    average = Ema(half_life=20)
    assert [average.push(value) for value in y] == ema(y, half_life=20)


@pytest.mark.parametrize(("half_life", "alpha"), [(None, None), (3.0, 0.1), (0.0, None), (nan, None), (None, 1.5)])
def test_ema_refuses_senseless_settings(half_life: float | None, alpha: float | None) -> None:
    with pytest.raises(ValueError):
        Ema(half_life=half_life, alpha=alpha)


def test_best_is_the_first_lowest_measured_value() -> None:
    assert best([1, 2, 3, 4, 5], [3.0, nan, 1.0, 1.0, None]) == (3, 1.0)
    assert best([1, 2], [nan, -inf]) is None
    assert best([], []) is None


def test_bounds_leave_gaps_out() -> None:
    assert bounds([3.0, nan, 1.0, None, inf]) == (1.0, 3.0)
    assert bounds([2.0, 1.0]) == (1.0, 2.0)
    assert bounds([nan]) is None
    assert bounds([]) is None


def test_a_spike_of_one_step_in_a_million_survives() -> None:
    x, y = noisy(1_000_000)
    y[654_321] = SPIKE
    thin_x, thin_y = decimate(x, y, 100)
    assert thin_x[thin_y.index(SPIKE)] == 654_321.0
    assert len(thin_y) <= 200


@pytest.mark.parametrize("count", [1, 2, 3, 10, 199, 200, 201, 5000])
@pytest.mark.parametrize("columns", [1, 2, 7, 100])
def test_decimation_keeps_extremes_and_time_order(count: int, columns: int) -> None:
    x, y = noisy(count, seed=count)
    thin_x, thin_y = decimate(x, y, columns)
    assert len(thin_x) == len(thin_y) <= 2 * columns
    assert thin_x == sorted(thin_x)
    assert bounds(thin_y) == bounds(y)
    assert set(zip(thin_x, thin_y, strict=True)) <= set(zip(x, y, strict=True))


def test_few_points_all_stay() -> None:
    x, y = [0.0, 1.0, 2.0, 3.0], [4.0, 3.0, 2.0, 1.0]
    assert decimate(x, y, 10) == (x, y)


def test_a_gap_parts_its_neighbours() -> None:
    thin_x, thin_y = decimate([0, 1, 2, 3, 4], [1.0, 2.0, None, 4.0, 5.0], 50)
    assert measured(thin_y) == [1.0, 2.0, 4.0, 5.0]
    assert isnan(thin_y[thin_x.index(2)])


def test_a_gap_within_a_column_parts_its_lowest_and_highest() -> None:
    _, thin = decimate([0, 1, 2], [1.0, nan, 2.0], 1)
    assert thin[0] == 1.0
    assert isnan(thin[1])
    assert thin[2] == 2.0


def test_many_gaps_become_one() -> None:
    _, thin = decimate(range(1000), [1.0, *[nan] * 998, 2.0], 100)
    assert len(thin) == 3


def test_fixed_columns_stand_still_while_the_series_grows() -> None:
    x, y = noisy(3000)
    before = decimate(x[:2000], y[:2000], 50, 0.0, 4000.0)
    after = decimate(x, y, 50, 0.0, 4000.0)
    kept = sum(1 for at in before[0] if at < 1920.0)
    assert before[0][:kept] == after[0][:kept]
    assert before[1][:kept] == after[1][:kept]


def test_points_outside_are_left_out() -> None:
    thin_x, _ = decimate([0, 1, 2, 3, 4], [1.0] * 5, 10, 1, 3)
    assert thin_x == [1, 2, 3]


@pytest.mark.parametrize("seed", range(20))
def test_decimation_survives_hostile_series(seed: int) -> None:
    source = random.Random(seed)
    hostile: list[float | None] = [nan, inf, -inf, None, 0.0, -1.0, 1e308, -1e308, 5e-324]
    count = source.randrange(0, 400)
    y = [source.choice(hostile) for _ in range(count)]
    x = sorted(source.choice([0.0, 1.0, 1e9, source.random()]) for _ in range(count))
    columns = source.randrange(0, 40)
    thin_x, thin_y = decimate(x, y, columns)
    assert len(thin_x) == len(thin_y)
    assert len(measured(thin_y)) <= 2 * columns
    if columns:
        assert bounds(thin_y) == bounds(y)


def test_finite() -> None:
    assert finite(0.0)
    assert not any(finite(value) for value in (None, nan, inf, -inf))
