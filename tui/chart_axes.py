"""What a chart spans and where its ticks stand. Pure arithmetic; draws nothing.

Axes are made to change seldom: a live chart whose axes stand still redraws only what is new.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log2, log10
from typing import Protocol

from trainer.insight.series import bounds, decimate

HUGE = 1e100  # values beyond count as gaps: their differences would overflow
FENCE_COLUMNS = 200  # as many columns as a wide chart has
SHORTEST = 40.0  # steps that the x axis spans at the least
NICE = (1.0, 2.0, 2.5, 5.0)
DECADE = (1.0, 2.0, 5.0)

Tick = tuple[float, str]


@dataclass(frozen=True)
class Axes:
    """What the picture spans, in steps and in the unit of y (never logarithms)."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float


class Series(Protocol):
    """The part of a curve that axes depend on."""

    @property
    def x(self) -> Sequence[float]: ...
    @property
    def y(self) -> Sequence[float | None]: ...
    @property
    def faint(self) -> bool: ...


def reach(at: float, whole: float = SHORTEST) -> float:
    """Where an x axis ends that holds `at`: at `whole`, or that halved or doubled as often as it takes.

    So the last axis of a run ends where the run does, and the curve fills half of every axis but the first.
    """
    whole = max(1.0, whole)
    return float(whole * 2.0 ** ceil(log2(max(at, min(SHORTEST, whole)) / whole)))


def grow_axes(previous: Axes | None, curves: Sequence[Series], *, log_y: bool = False, x_end: float = 0.0) -> Axes:
    """Axes that hold the curves and change seldom, so that most ticks redraw few rows.

    Both directions only widen. x ends at `x_end` where that holds the curves, else where `reach` says, y on round
    values. All of the plain curves is inside; of faint ones outliers may be cut (`fence`).
    """
    if previous is not None and log_y and previous.y_low <= 0:
        previous = None
    spans = [(curve.x[0], curve.x[-1]) for curve in curves if len(curve.x)]
    x_low = min((low for low, _ in spans), default=0.0)
    x_high = max((high for _, high in spans), default=0.0)
    x_low = min(0.0, x_low) if x_low <= max(1.0, x_high / 2) else float(floor(x_low))
    x_high = x_end if x_end >= x_high and x_end > x_low else x_low + reach(x_high - x_low)
    y_spans = [span for curve in curves if (span := _y_span(curve, log_y)) is not None]
    if previous is not None:
        x_low, x_high = min(x_low, previous.x_low), max(x_high, previous.x_high)
        y_spans.append((previous.y_low, previous.y_high))
    if not y_spans:
        return Axes(x_low, x_high, 0.1 if log_y else 0.0, 1.0)
    low = min(low for low, _ in y_spans)
    high = max(high for _, high in y_spans)
    if previous is None or low < previous.y_low or high > previous.y_high:
        low, high = (_widen_log if log_y else _widen)(low, high, previous)
    return Axes(x_low, x_high, low, high)


def fence(values: Sequence[float]) -> tuple[float, float]:
    """The span of the values without outliers.

    Outliers lie further from the median than 2.5 times the 10 % or 90 % quantile does; of a
    normal distribution that is beyond 3.2 standard deviations. Fewer than 8 values have none.
    """
    ordered = sorted(values)
    if len(ordered) < 8:
        return ordered[0], ordered[-1]
    last = len(ordered) - 1
    tenth, median, ninetieth = (ordered[round(last * share)] for share in (0.1, 0.5, 0.9))
    low = max(ordered[0], median - 2.5 * (median - tenth))
    return low, min(ordered[-1], median + 2.5 * (ninetieth - median))


def x_ticks(axes: Axes, columns: int) -> tuple[Tick, ...]:
    """Round steps, one about every 14 columns, as (step, label)."""
    span = axes.x_high - axes.x_low
    step = max(1.0, _nice_step(span / max(2, min(8, columns // 14))))
    return tuple((at, _short_count(at)) for at in _multiples(axes.x_low, axes.x_high, step))


def y_ticks(axes: Axes, rows: int, log_y: bool) -> tuple[Tick, ...]:
    """Round values, one about every 5 rows and two at least, as (value, label of at most 4 significant digits)."""
    wanted = max(2, min(8, rows // 5))
    if log_y:
        at = _log_ticks(axes.y_low, axes.y_high, wanted)
        return tuple((value, f"{value:.4g}") for value in at)
    for parts in (wanted, 2 * wanted):
        step = _nice_step((axes.y_high - axes.y_low) / parts)
        at = _multiples(axes.y_low, axes.y_high, step)
        if len(at) >= 2:
            break
    decimals = max(0, -floor(log10(step) + 1e-9))
    if abs(float(f"{step:.{decimals}f}") - step) > step * 1e-3:
        decimals += 1  # a step of 2.5, 0.25, ...
    largest = max((abs(value) for value in at), default=0.0)
    plain = decimals <= 4 and largest < 1e4 and len(f"{int(largest)}") + decimals <= 5
    return tuple((v, f"{v:.{decimals}f}" if plain else f"{v:.4g}") for v in at)


def _y_span(curve: Series, log_y: bool) -> tuple[float, float] | None:
    """Lowest and highest value that the axes have to hold; None when there is nothing."""
    values: Sequence[float | None] = curve.y
    if curve.faint:
        values = decimate(curve.x, curve.y, FENCE_COLUMNS)[1]
    span = bounds(values)
    lowest = 1.0 / HUGE if log_y else -HUGE
    if span is None or (lowest <= span[0] and span[1] <= HUGE and not curve.faint):
        return span
    usable = [v for v in values if v is not None and lowest <= v <= HUGE]
    if not usable:
        return None
    return fence(usable) if curve.faint else (min(usable), max(usable))


def _widen(low: float, high: float, previous: Axes | None) -> tuple[float, float]:
    """Round bounds at or outside low..high, a third further out on a side that has to move.

    The first ones span a third of the highest value at least: what begins there is about to fall.
    """
    least = max(abs(low), abs(high), 1e-90) * 1e-6
    if high - low < least:
        low, high = low - max(least, abs(low) * 0.05), high + max(least, abs(high) * 0.05)
    if previous is None:
        below = max(0.0, abs(high) / 3 - (high - low))
        above = below / 4
    else:
        room = max((high - low) / 3, abs(high) / 20)
        below = room if low < previous.y_low else 0.0
        above = room if high > previous.y_high else 0.0
    low, high = (max(0.0, low - below) if low >= 0.0 else low - below), high + above
    step = _nice_step((high - low) / 16)
    return floor(low / step + 1e-9) * step, ceil(high / step - 1e-9) * step


def _widen_log(low: float, high: float, previous: Axes | None) -> tuple[float, float]:
    """The 1, 2 or 5 of a decade at or below low, and at or above high."""
    low = min(low, high / 2)
    first = 10.0 ** floor(log10(low))
    last = 10.0 ** floor(log10(high))
    down = max(digit * first for digit in DECADE if digit == 1.0 or digit * first <= low)
    up = min(digit * last for digit in (*DECADE, 10.0, 20.0) if digit * last >= high)
    return down, up


def _nice_step(step: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is not below the step."""
    decade = 10.0 ** floor(log10(step))
    return next((nice * decade for nice in NICE if nice * decade >= step * 0.999), 10 * decade)


def _multiples(low: float, high: float, step: float) -> list[float]:
    """The multiples of the step within low..high."""
    first, last = ceil(low / step - 1e-6), floor(high / step + 1e-6)
    return [min(high, max(low, index * step)) for index in range(first, min(last, first + 50) + 1)]


def _log_ticks(low: float, high: float, wanted: int) -> list[float]:
    """1, 2, 5 of each decade within low..high, or decades only, thinned to about `wanted`."""
    decades = range(floor(log10(low) + 1e-9), ceil(log10(high)) + 1)
    for digits in (DECADE, (1.0,)):
        at = [d * 10.0**decade for decade in decades for d in digits]
        at = [value for value in at if low * 0.999 <= value <= high * 1.001]
        if 2 <= len(at) <= wanted + 2:
            return at
    return at[:: max(1, len(at) // wanted)] or [low, high]


def _short_count(value: float) -> str:
    """A count of steps in few characters: 500, 2500, 10k, 12.5k, 2M."""
    if abs(value) >= 1e15:
        return f"{value:.3g}"
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(unit, 1e4):
            return f"{value / unit:.4g}{suffix}"
    return f"{value:.6g}"
