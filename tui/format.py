"""Numbers as a person reads them: durations, losses, counts, moments, sparklines. Pure; knows no widget.

What is not a number is shown as such ("NaN", "inf"), what is not known yet as an en dash.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from math import isfinite, isnan

from rich.cells import cell_len

UNKNOWN = "–"
BARS = "▁▂▃▄▅▆▇█"
GAP = "·"


def duration(seconds: float | None) -> str:
    """3:07 below an hour, then 1h 02m, then 2d 03h. Whole seconds, never negative."""
    if seconds is None or not isfinite(seconds):
        return UNKNOWN
    minutes, second = divmod(max(0, int(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    if not hours:
        return f"{minute}:{second:02d}"
    days, hour = divmod(hours, 24)
    return f"{days:,}d {hour:02d}h" if days else f"{hours}h {minute:02d}m"


def loss(value: float | None) -> str:
    """Four significant digits, trailing zeros kept so that a live figure keeps its width."""
    if value is None:
        return UNKNOWN
    if not isfinite(value):
        return not_finite(value)
    return f"{value:#.4g}".rstrip(".")


def rate(value: float | None) -> str:
    """A learning rate: 9.41e-4."""
    if value is None:
        return UNKNOWN
    if not isfinite(value):
        return not_finite(value)
    if value == 0:
        return "0"
    digits, _, power = f"{value:.2e}".partition("e")
    return f"{digits}e{int(power)}"


def count(value: float | None) -> str:
    """A whole count: 950, 12,345, then 1.23M, 4.50G."""
    if value is None:
        return UNKNOWN
    if not isfinite(value):
        return not_finite(value)
    for unit, suffix in ((1e9, "G"), (1e6, "M")):
        if abs(value) >= unit:
            return f"{value / unit:.2f}{suffix}" if abs(value) < 1e12 else f"{value:.2e}"
    return f"{value:,.0f}"


def gigabytes(size: float) -> str:
    """Bytes as the number of gigabytes: 0.05, 0.4, 2.6, 22."""
    size /= 1e9
    return f"{size:.0f}" if size >= 10 else f"{size:.1f}" if size >= 0.1 else f"{size:.2f}"


def not_finite(value: float) -> str:
    return "NaN" if isnan(value) else "inf" if value > 0 else "-inf"


def when(time: float, now: float) -> str:
    """A moment in local time as seen from `now`: today 14:12, yesterday 14:12, Nov 21 14:12, 2025-11-21."""
    try:
        at, today = datetime.fromtimestamp(time), datetime.fromtimestamp(now)
    except (ValueError, OverflowError, OSError):
        return UNKNOWN
    if not time:
        return UNKNOWN
    if at.date() == today.date():
        return f"today {at:%H:%M}"
    if at.date() == today.date() - timedelta(days=1):
        return f"yesterday {at:%H:%M}"
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    return f"{months[at.month - 1]} {at.day} {at:%H:%M}" if at.year == today.year else f"{at:%Y-%m-%d}"


def sparkline(values: Sequence[float], width: int) -> str:
    """At most `width` block characters, one for each value or the mean of neighbours; a gap is a dot."""
    if width <= 0 or not values:
        return ""
    cells = min(width, len(values))
    edges = [round(i * len(values) / cells) for i in range(cells + 1)]
    means = [_mean(values[start:stop]) for start, stop in pairwise(edges)]
    known = [mean for mean in means if mean is not None]
    if not known:
        return GAP * cells
    low, high = min(known), max(known)
    scale = (len(BARS) - 1) / (high - low) if high > low and isfinite(high - low) else 0.0
    return "".join(GAP if mean is None else BARS[round((mean - low) * scale)] for mean in means)


def cut_middle(text: str, width: int) -> str:
    """The text in at most `width` cells, its middle replaced by … when it is longer."""
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    tail = _ending(text, (width - 1) // 2)
    return f"{_beginning(text, width - 1 - cell_len(tail))}…{tail}"


def _beginning(text: str, width: int) -> str:
    text = text[: max(0, width)]
    while cell_len(text) > width:
        text = text[:-1]
    return text


def _ending(text: str, width: int) -> str:
    text = text[max(0, len(text) - width) :] if width > 0 else ""
    while cell_len(text) > width:
        text = text[1:]
    return text


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if isfinite(value) and abs(value) < 1e100]
    return sum(known) / len(known) if known else None
