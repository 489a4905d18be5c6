"""Curves in, a picture in text out: rows of styled characters of an exact size.

Pure: the same curves give the same rows; no widget, no file and no clock is known here. Drawing
is plotext's work (`plotext_adapter`), what the axes span is `chart_axes`', thinning is that of
`trainer.insight.series`. Every curve is a layer of its own and stands in front of those before
it: a smoothed line stays a clean line across the noise that it is made of.

plotext costs 0.1 s to import: import this module only where a live chart opens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, log10, nan

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from trainer.insight.series import decimate, finite
from tui.chart_axes import HUGE, Axes, grow_axes, x_ticks, y_ticks
from tui.plotext_adapter import Limits, Point, frame, gutter, plot

__all__ = ["Axes", "Curve", "Mark", "draw", "grow_axes"]

# At least 3:1 (WCAG 2.2, 1.4.11) on #121212 and on white; the raw loss is meant to recede.
RAW_COLOR = "#68748e"
SMOOTHED_COLOR = "#0fa3b8"
EVAL_COLOR = "#e8780c"
BEST_COLOR = "#2f9e44"
RULER_COLOR = "#808080"
GRID_ON_DARK, GRID_ON_LIGHT = "#454a55", "#bcc0c8"  # hardly there, on either

SMALLEST_FRAME = (24, 6)  # columns and rows; below, the canvas alone is drawn
LINE, FAINT_LINE, DOT, BEST, CUT_ABOVE, CUT_BELOW, GUIDE = "━", "─", "◆", "●", "▲", "▼", "┊"

Rows = tuple[str, ...]


@dataclass(frozen=True)
class Curve:
    """One line: x (steps, never falling) and y of equal length; None, NaN and inf in y are gaps.

    `faint` curves lie behind the others and do not hold the y axis open for outliers.
    `dots` marks every point: for curves of few points, such as eval_loss.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    color: str
    faint: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Mark:
    """One point worth finding again, such as the best eval_loss.

    Drawn as ● with a dotted line down to its step.
    """

    x: float
    y: float
    label: str
    color: str


def draw(
    curves: Sequence[Curve],
    marks: Sequence[Mark],
    width: int,
    height: int,
    *,
    axes: Axes | None = None,
    log_y: bool = False,
    x_label: str = "step",
    placeholder: str = "",
    dark: bool = True,
) -> tuple[Strip, ...]:
    """Draw the curves: `height` rows of `width` cells: a legend, the canvas and its rulers.

    `axes` (low below high) should come from `grow_axes`; without, or where they cannot be those of
    a log axis, they are fitted. On a log axis values <= 0 are gaps. `placeholder` stands in the
    middle while there is nothing to draw. `dark` says what the grid lies on. Small sizes lose the
    rulers, then the legend; none fails.
    """
    if width <= 0 or height <= 0:
        return (Strip([], 0),) * max(0, height)
    if axes is None or (log_y and axes.y_low <= 0):
        axes = grow_axes(None, curves, log_y=log_y)
    legend = [_legend(curves, marks, width)] if height >= 4 else []
    cells = _Cells(width, height - len(legend))
    if not any(finite(value) for curve in curves for value in curve.y):
        left, below = _draw_frame(cells, axes, log_y, "", "", ticks=False)
        text = _plain(placeholder, cells.width - left)
        column = left + (cells.width - left - len(text)) // 2
        cells.write(text, RULER_COLOR, column, (cells.height - below) // 2)
    else:
        grid = GRID_ON_DARK if dark else GRID_ON_LIGHT
        left, below = _draw_frame(cells, axes, log_y, x_label, grid)
        canvas = (width - left, cells.height - below)
        for layer, color in _layers(curves, marks, *canvas, axes, log_y):
            cells.put(layer, color, left)
    return (*legend, *cells.strips())


class _Cells:
    """A grid of one-cell characters with a colour each; later layers replace earlier ones."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._characters = [[" "] * width for _ in range(height)]
        self._colors = [[""] * width for _ in range(height)]

    def put(self, rows: Rows, color: str, left: int) -> None:
        """Lay rows over the grid from column `left` on, spaces being clear."""
        for row, characters, colors in zip(rows, self._characters, self._colors, strict=False):
            if row.isspace():
                continue
            for column, character in enumerate(row, left):
                if character != " ":
                    characters[column] = character
                    colors[column] = color

    def write(self, text: str, color: str, column: int, row: int) -> None:
        """Write over the grid, spaces included. The text has only one-cell characters."""
        for at, character in enumerate(text, max(0, column)):
            if at < self.width:
                self._characters[row][at] = character
                self._colors[row][at] = color

    def strips(self) -> Iterator[Strip]:
        """The rows. A space has no colour of its own and joins the run before it: fewer bytes."""
        for characters, colors in zip(self._characters, self._colors, strict=True):
            text = "".join(characters)
            segments = []
            start, current = 0, ""
            for column, color in enumerate(colors):
                if color and color != current and text[column] != " ":
                    if column > start:
                        segments.append(Segment(text[start:column], _style(current)))
                    start, current = column, color
            segments.append(Segment(text[start:], _style(current)))
            yield Strip(segments, self.width)


def _draw_frame(
    cells: _Cells, axes: Axes, log_y: bool, x_label: str, grid: str, *, ticks: bool = True
) -> tuple[int, int]:
    """Draw rulers and grid where there is room; the columns and rows they take."""
    if cells.width < SMALLEST_FRAME[0] or cells.height < SMALLEST_FRAME[1]:
        return 0, 0
    values = y_ticks(axes, cells.height - 2, log_y) if ticks else ()
    upright = [(_scaled(at, log_y), label) for at, label in values]
    left = gutter(upright)
    label = _plain(x_label, cells.width // 4)
    room = cells.width - left - cell_len(label) - 2
    steps = x_ticks(axes, cells.width - left)
    across = [
        (at, text) for at, text in steps if ticks and _column(at, axes, cells.width - left) + len(text) / 2 < room
    ]
    across = across or list(steps[:1])  # without any tick, plotext has no row for them
    limits = _limits(axes, log_y)
    rows = frame(cells.width, cells.height, limits, tuple(across), tuple(upright))
    cells.put(tuple(" " * left + row[left:] for row in rows[:-2]), grid, 0)
    cells.put(tuple(row[:left] for row in rows[:-2]), RULER_COLOR, 0)
    bottom = tuple(" " * cells.width for _ in rows[:-2]) + rows[-2:]
    cells.put(bottom, RULER_COLOR, 0)
    cells.write(label, RULER_COLOR, cells.width - cell_len(label), cells.height - 1)
    return left, 2


def _layers(
    curves: Sequence[Curve],
    marks: Sequence[Mark],
    columns: int,
    rows: int,
    axes: Axes,
    log_y: bool,
) -> Iterator[tuple[Rows, str]]:
    """What lies on the canvas, from the back to the front, each with its colour."""
    limits = _limits(axes, log_y)

    def points_as(marker: str, points: Sequence[Point]) -> Rows:
        return plot(tuple(points), columns, rows, limits, marker=marker, lined=False)

    for mark in marks:
        if axes.x_low <= mark.x <= axes.x_high:
            guide = ((mark.x, _scaled(mark.y, log_y)), (mark.x, limits.y_low))
            yield plot(guide, columns, rows, limits, marker=GUIDE), mark.color
    pairs = [(curve, _thin(curve, axes, columns, log_y)) for curve in curves]
    for curve, points in sorted(pairs, key=lambda pair: (not pair[0].faint, not pair[0].dots)):
        yield plot(tuple(points), columns, rows, limits), curve.color
    for curve, points in pairs:
        if curve.dots:
            yield points_as(DOT, points), curve.color
        above = [(x, limits.y_high) for x, y in points if y > limits.y_high]
        below = [(x, limits.y_low) for x, y in points if y < limits.y_low]
        yield points_as(CUT_ABOVE, above), curve.color
        yield points_as(CUT_BELOW, below), curve.color
    for mark in marks:
        yield points_as(BEST, [(mark.x, _scaled(mark.y, log_y))]), mark.color


def _thin(curve: Curve, axes: Axes, columns: int, log_y: bool) -> list[Point]:
    """At most 2 points a column, y as it is drawn; columns stand still while the axes do."""
    x, y = decimate(curve.x, curve.y, columns, axes.x_low, axes.x_high)
    return [(at, _scaled(value, log_y)) for at, value in zip(x, y, strict=True)]


def _scaled(value: float, log_y: bool) -> float:
    """The value as plotext gets it: its logarithm on a log axis, NaN where it cannot be drawn."""
    if not isfinite(value) or abs(value) > HUGE or (log_y and value < 1.0 / HUGE):
        return nan
    return log10(value) if log_y else value


def _limits(axes: Axes, log_y: bool) -> Limits:
    """The axes as plotext gets them."""
    low, high = _scaled(axes.y_low, log_y), _scaled(axes.y_high, log_y)
    return Limits(axes.x_low, axes.x_high, low, high)


@lru_cache(maxsize=64)
def _style(color: str) -> Style | None:
    """The foreground colour as a style; the background is the widget's."""
    return Style(color=color) if color else None


def _column(x: float, axes: Axes, columns: int) -> float:
    """The column of the canvas in which x falls."""
    return (x - axes.x_low) / (axes.x_high - axes.x_low) * (columns - 1)


def _plain(text: str, cells: int) -> str:
    """The text on one line without control characters and wide ones, cut to the cells."""
    text = "".join(c if c.isprintable() and cell_len(c) == 1 else "·" for c in text)
    return text if len(text) <= cells else text[: max(0, cells - 1)] + "…"[: max(0, cells)]


def _legend(curves: Sequence[Curve], marks: Sequence[Mark], width: int) -> Strip:
    """One row that names every line by glyph and colour; what has no room is left out whole.

    When it is narrow the faint curves go first: their line explains itself.
    """
    entries = [(curve.faint, FAINT_LINE if curve.faint else DOT if curve.dots else LINE, curve) for curve in curves]
    items = [(faint, glyph, item.color, _plain(item.label, 60)) for faint, glyph, item in entries]
    items += [(False, BEST, mark.color, _plain(mark.label, 60)) for mark in marks]
    while items and sum(len(item[3]) + 4 for item in items) - 2 > width:
        drop = next((item for item in items if item[0]), items[-1])
        items.remove(drop)
    segments = []
    for _, glyph, color, label in items:
        segments += [Segment(glyph, _style(color)), Segment(f" {label}  ")]
    text = Strip(segments)
    return text.adjust_cell_length(width)
