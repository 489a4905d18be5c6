"""The only file that knows plotext: points in, rows of plain characters out.

A picture is drawn as layers of one curve each, so that no colour codes are ever built or parsed
and a curve can stand in front of another. This module does not know colours, legends or widgets.

plotext 6 is a C++ library that does not forgive: a NaN in a lined signal ends the process, inf
and None raise. What comes in is therefore cleaned here, and lines are cut at the limits, so that
one huge value cannot make it walk a line of 1e300 dots. Its figures are not safe to share between
threads: every layer gets a figure of its own, and one lock stands around all of it.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Any

import plotext

BRAILLE = "braille"
_render_lock = threading.Lock()

Point = tuple[float, float]


@dataclass(frozen=True)
class Limits:
    """What the canvas spans: the value at the middle of its first and last column and row."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float


@lru_cache(maxsize=32)
def plot(
    points: tuple[Point, ...],
    width: int,
    height: int,
    limits: Limits,
    *,
    marker: str = BRAILLE,
    lined: bool = True,
) -> tuple[str, ...]:
    """Draw one curve; `height` rows of `width` characters, spaces where nothing is drawn.

    A point whose y (or x) is not finite is a gap that breaks the line. Of a line that leaves the
    limits only the part inside is drawn. Equal calls are answered from memory.
    """
    pieces = list(_cut(points, limits)) if lined else [[p] for p in points if _inside(p, limits)]
    if not pieces or width <= 0 or height <= 0:
        return _blank(width, height)
    with _render_lock:
        figure = _figure(width, height, limits)
        x = [at for piece in pieces for at, _ in piece]
        y = [value for piece in pieces for _, value in piece]
        signal = figure.signal(x, y, marker=plotext.marker(marker))
        if lined:
            signal.lines()
            start = 0
            for piece in pieces:
                signal.line(start, False)
                start += len(piece)
        _add(figure, signal)
        return _rows(figure, width, height)


@lru_cache(maxsize=8)
def frame(
    width: int,
    height: int,
    limits: Limits,
    x_ticks: tuple[tuple[float, str], ...],
    y_ticks: tuple[tuple[float, str], ...],
) -> tuple[str, ...]:
    """Rulers left and below with their ticks and dotted lines across at the y ticks; no curves.

    The canvas that is left starts `gutter(y_ticks)` columns from the left and leaves 2 rows below.
    """
    with _render_lock:
        figure = _figure(width, height, limits)
        figure.axes(True, axis=0, side=0)
        figure.axes(True, axis=1, side=0)
        for axis, side, ticks in (("x", "lower", x_ticks), ("y", "left", y_ticks)):
            ruler = figure.ruler(axis, side)
            ruler.ticks([at for at, _ in ticks], [label for _, label in ticks])
        figure.ruler("y", "left").grid(True, style="dotted")
        return _rows(figure, width, height)


def gutter(y_ticks: Sequence[tuple[float, str]]) -> int:
    """The columns that the y ruler of `frame` takes: its longest label and the axis."""
    return max((len(label) for _, label in y_ticks), default=0) + 1


def _figure(width: int, height: int, limits: Limits) -> Any:
    """An empty figure of its own (not the shared `plotext.figure`), without decoration.

    `_master` is private: plotext 6 has no public way to a second figure. Held by a test.
    """
    terminal = type(plotext.terminal)()
    terminal.limit(False, False)
    figure = terminal._master
    figure.plot_size(width, height)
    figure.theme("colorless")
    figure.canvas("default")
    figure.legend(False)
    figure.axes(False)
    for axis, low, high in (
        ("x", limits.x_low, limits.x_high),
        ("y", limits.y_low, limits.y_high),
    ):
        figure.ruler(axis).lim(low, high)
        figure.ruler(axis).ticks([])
    return figure


def _add(figure: Any, signal: Any) -> None:
    """`figure.draw(signal)` without its search for colours in use, which is half of the time."""
    figure._signals._add(signal)


def _rows(figure: Any, width: int, height: int) -> tuple[str, ...]:
    """Build the figure; its rows, brought to exactly height x width."""
    rows = figure.build().string(True).split("\n")[:height]
    rows += [""] * (height - len(rows))
    return tuple(row[:width].ljust(width) for row in rows)


def _blank(width: int, height: int) -> tuple[str, ...]:
    return (" " * max(0, width),) * max(0, height)


def _inside(point: Point, limits: Limits) -> bool:
    """Whether the point can be drawn; False for what is not finite."""
    x, y = point
    return limits.x_low <= x <= limits.x_high and limits.y_low <= y <= limits.y_high


def _cut(points: Sequence[Point], limits: Limits) -> Iterator[list[Point]]:
    """The unbroken pieces of a line that lie within the y limits, ends put onto the limit.

    Points outside in x are left out. A piece has at least one point.
    """
    piece: list[Point] = []
    before: Point | None = None
    for point in points:
        x, y = point
        if not (isfinite(y) and limits.x_low <= x <= limits.x_high):
            if piece:
                yield piece
            piece, before = [], None
            continue
        inside = limits.y_low <= y <= limits.y_high
        if before is not None and not (piece and inside):
            piece += _crossings(before, point, limits)
        if inside:
            piece.append(point)
        elif piece:
            yield piece
            piece = []
        before = point
    if piece:
        yield piece


def _crossings(start: Point, end: Point, limits: Limits) -> list[Point]:
    """Where the straight line between two points meets the y limits, in the order of the line."""
    crossed = []
    for level in (limits.y_low, limits.y_high):
        if (start[1] - level) * (end[1] - level) < 0:
            share = (level - start[1]) / (end[1] - start[1])
            crossed.append((share, (start[0] + share * (end[0] - start[0]), level)))
    return [point for _, point in sorted(crossed)]
