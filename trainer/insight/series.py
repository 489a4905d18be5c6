"""Smoothing, thinning and minima of one series of numbers, in plain Python.

A series is a pair of equally long sequences: `x` (steps, finite, never falling) and `y` (values).
A value of `y` that is None, NaN or infinite is a *gap*: nothing was measured there. Gaps are kept
as NaN where a line has to break, and never enter an average, a minimum or a maximum.

This module does not draw, does not read runs and does not know what the numbers mean.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from math import isfinite, nan
from typing import TypeGuard


def finite(value: float | None) -> bool:
    """Whether the value was measured: neither None nor NaN nor infinite."""
    return value is not None and isfinite(value)


class Ema:
    """Exponential moving average that is fed one value at a time, so that a redraw walks nothing.

    The average is corrected for its start at zero as in Adam (Kingma and Ba 2015, section 3):
    the weighted sum is divided by the sum of the weights, so the first result is the first value.
    A gap answers NaN and leaves the average as it was. The state is two numbers.
    """

    __slots__ = ("_keep", "_sum", "_weight")

    def __init__(self, *, half_life: float | None = None, alpha: float | None = None) -> None:
        """Give exactly one: half_life (in values, > 0) or alpha (weight of a new value, 0 to 1).

        Raises ValueError when both or neither are given, or one is out of its bounds.
        """
        if (half_life is None) == (alpha is None):
            raise ValueError("give either half_life or alpha")
        if half_life is not None:
            if not half_life > 0:
                raise ValueError(f"half_life must be above 0, not {half_life}")
            alpha = 1.0 - 0.5 ** (1.0 / half_life)
        assert alpha is not None
        if not 0.0 < alpha <= 1.0:
            raise ValueError(f"alpha must be above 0 and at most 1, not {alpha}")
        self._keep = 1.0 - alpha
        self._sum = 0.0
        self._weight = 0.0

    def push(self, value: float | None) -> float:
        """Take one value in; the average after it, or NaN when the value is a gap."""
        if value is None or not isfinite(value):
            return nan
        self._sum = self._keep * self._sum + (1.0 - self._keep) * value
        self._weight = self._keep * self._weight + (1.0 - self._keep)
        return self._sum / self._weight


def ema(values: Iterable[float | None], *, half_life: float | None = None, alpha: float | None = None) -> list[float]:
    """Exponential moving average of all values, one result for each; see `Ema`."""
    average = Ema(half_life=half_life, alpha=alpha)
    return [average.push(value) for value in values]


def best(x: Sequence[float], y: Sequence[float | None]) -> tuple[float, float] | None:
    """The lowest measured value as (its x, the value); the first of equals; None without any."""
    lowest: tuple[float, float] | None = None
    for at, value in zip(x, y, strict=False):
        if value is not None and isfinite(value) and (lowest is None or value < lowest[1]):
            lowest = (at, value)
    return lowest


def bounds(y: Sequence[float | None]) -> tuple[float, float] | None:
    """The lowest and highest measured value; None when every value is a gap."""
    if _all_finite(y):
        return min(y), max(y)
    measured = [value for value in y if value is not None and isfinite(value)]
    return (min(measured), max(measured)) if measured else None


def decimate(
    x: Sequence[float],
    y: Sequence[float | None],
    columns: int,
    low: float | None = None,
    high: float | None = None,
) -> tuple[list[float], list[float]]:
    """Thin a series to what a picture of `columns` columns between x = low and x = high can show.

    Of each column the lowest and the highest value stay, in time order, so at most 2 points a
    column and no spike is lost (min/max decimation; unlike LTTB its extremes are exact). A gap
    stays as one NaN between the points it parts. Without `low` and `high` the columns span the
    series. Fix them, and a longer series gives the same points in all columns but the last.
    Points outside low..high are left out. Cost: a few passes in C over what is inside.
    """
    count = min(len(x), len(y))
    if count == 0 or columns <= 0:
        return [], []
    low = x[0] if low is None else low
    high = x[count - 1] if high is None else high
    start, end = bisect_left(x, low, 0, count), bisect_right(x, high, 0, count)
    width = (high - low) / columns
    out_x: list[float] = []
    out_y: list[float] = []
    column = 0
    while start < end:
        if width > 0:
            column = max(column, min(columns - 1, int((x[start] - low) / width)))
        stop = end
        if column < columns - 1:
            stop = max(start + 1, bisect_left(x, low + (column + 1) * width, start, end))
        _keep_extremes(x, y, start, stop, out_x, out_y)
        start = stop
        column += 1
    return out_x, out_y


def _all_finite(values: Sequence[float | None]) -> TypeGuard[Sequence[float]]:
    """Whether no value is a gap. One pass in C: a sum is finite only if all its terms are."""
    try:
        return bool(values) and isfinite(sum(values))  # type: ignore[arg-type]
    except (TypeError, OverflowError):
        return False


def _keep_extremes(
    x: Sequence[float],
    y: Sequence[float | None],
    start: int,
    stop: int,
    out_x: list[float],
    out_y: list[float],
) -> None:
    """Append one column's lowest and highest point, and NaN where gaps part what is kept."""
    part = y[start:stop]
    if _all_finite(part):
        first, last = sorted((part.index(min(part)), part.index(max(part))))
        gaps: list[int] = []
    else:
        measured = [(v, i) for i, v in enumerate(part) if v is not None and isfinite(v)]
        gaps = [i for i, v in enumerate(part) if v is None or not isfinite(v)]
        if not measured:
            _append_gap(x[start], out_x, out_y)
            return
        first, last = sorted((min(measured)[1], max(measured)[1]))
    if gaps and gaps[0] < first:
        _append_gap(x[start + gaps[0]], out_x, out_y)
    _append_point(x[start + first], part[first], out_x, out_y)
    between = next((i for i in gaps if first < i < last), None)
    if between is not None:
        _append_gap(x[start + between], out_x, out_y)
    if last != first:
        _append_point(x[start + last], part[last], out_x, out_y)
    if gaps and gaps[-1] > last:
        _append_gap(x[start + gaps[-1]], out_x, out_y)


def _append_gap(at: float, out_x: list[float], out_y: list[float]) -> None:
    """One NaN, unless the line is broken here already."""
    if not out_y or out_y[-1] == out_y[-1]:
        out_x.append(at)
        out_y.append(nan)


def _append_point(at: float, value: float | None, out_x: list[float], out_y: list[float]) -> None:
    """One measured point as a float."""
    assert value is not None
    out_x.append(at)
    out_y.append(float(value))
