"""The rows above and below the chart: the run's headline, its figures, and how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.style import Style
from textual.strip import Strip

from trainer.follow import View
from trainer.spec import RunSpec
from tui import figures, format
from tui.safe import safe
from tui.states import Badge
from tui.widgets.rows import LABEL, PLAIN, VALUE, Piece, Rows, cut, spread, strip

BAR_DONE, BAR_LEFT = Style(color="#0fa3b8"), Style(color="#4a4f5a")
WIDE = 100  # columns from which on the longer words fit
LEAVE_OUT = (4, 0, 3, 1)  # which columns of figures a narrow screen does without, first to last


@dataclass(frozen=True)
class Headline:
    """A run's name and state, and what was asked of it (None: the spec can't be read)."""

    name: str
    badge: Badge
    spec: RunSpec | None


class RunHeader(Rows):
    """One row: name and state on the left, model, method and the three settings on the right."""

    DEFAULT_CSS = "RunHeader { height: 1; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._headline: Headline | None = None

    def show(self, headline: Headline) -> None:
        if headline != self._headline:
            self._headline = headline
            self.redraw()

    def rows(self, width: int) -> Sequence[Strip]:
        return () if self._headline is None else (header_row(self._headline, width),)


def header_row(headline: Headline, width: int) -> Strip:
    """What gives way where room is short: first the words around the settings, then the model's and the run's names."""
    badge, spec = headline.badge, headline.spec
    name = safe(headline.name, limit=120, one_line=True)
    model = safe(spec.model, limit=200, one_line=True) if spec else ""
    state = Style(color=badge.color, bold=True)
    room = width - 4 - cell_len(badge.text)  # a space at both ends, two between name and state
    for wide in (True, False):
        asked = f"{spec.method}{' · ' if wide else ' '}{figures.settings(spec, wide)}" if spec else ""
        if cell_len(name) + cell_len(model) + cell_len(asked) + 5 <= room:
            break
    else:
        room -= cell_len(asked) + 5
        model = format.cut_middle(model, max(12, room - cell_len(name)))
        name = format.cut_middle(name, max(8, room - cell_len(model)))
    left: list[Piece] = [(" ", PLAIN), (name, Style(color="#ffffff", bold=True)), ("  ", PLAIN), (badge.text, state)]
    right: list[Piece] = [(model, VALUE), (" · " if wide else "  ", LABEL), (asked, LABEL), (" ", PLAIN)]
    return spread(left, right if spec else (), width)


class StatusRows(Rows):
    """Two rows of five figures, in columns."""

    DEFAULT_CSS = "StatusRows { height: 2; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._view: View | None = None
        self._elapsed = 0.0

    def show(self, view: View, elapsed: float) -> None:
        self._view, self._elapsed = view, elapsed
        self.redraw()

    def rows(self, width: int) -> Sequence[Strip]:
        return () if self._view is None else status_rows(self._view, self._elapsed, width)


def status_rows(view: View, elapsed: float, width: int) -> tuple[Strip, ...]:
    """The figures in equal columns where they fit, else as close as they must stand."""
    grid, labels, columns = _layout(view, elapsed, width)
    rows = []
    for row in grid:
        pieces: list[Piece] = [(" ", PLAIN)]
        for (label, value), room, column in zip(row, labels, columns, strict=True):
            pieces += [(label.ljust(room), LABEL), (value + " " * max(1, column - room - cell_len(value)), VALUE)]
        rows.append(strip(pieces, width))
    return tuple(rows)


def _layout(
    view: View, elapsed: float, width: int
) -> tuple[Sequence[Sequence[figures.Figure]], Sequence[int], Sequence[int]]:
    """The figures, the width of each column's labels, and of each column.

    Where every figure fits into a fifth, columns are equal, else each has its own need and an equal share of what
    is left. A step has the room of the last one from the start, and a loss, where it can be spared, that of a smaller
    one, so that nothing moves as they change. Where even that is too much, whole columns are left out: half a number
    is a wrong one.
    """
    grid = figures.status_figures(view, elapsed, width >= WIDE)
    last = cell_len(figures.step_of(view.state, last=True))
    labels = [max(cell_len(row[at][0]) for row in grid) + 1 for at in range(len(grid[0]))]
    for least in ((6, last, 7, 7, 6), (6, last, 5, 5, 5)):
        needed = [
            room + max(least[at], *(cell_len(row[at][1]) for row in grid)) for at, room in enumerate(labels)
        ]  # fmt: skip
        if sum(needed) + len(needed) <= width:
            break
    room = width - 2
    kept = list(range(len(needed)))
    for at in LEAVE_OUT:
        if sum(needed[other] for other in kept) + len(kept) > width:
            kept.remove(at)
    shown = tuple(tuple(row[at] for at in kept) for row in grid)
    labels, needed = [labels[at] for at in kept], [needed[at] for at in kept]
    if max(needed) + 2 <= room // len(needed):
        return shown, labels, [room // len(needed)] * len(needed)
    gap = max(1, (room - sum(needed)) // max(1, len(needed) - 1))
    return shown, labels, [need + gap for need in needed]


class ProgressRow(Rows):
    """One row: a bar that moves by half a cell, and what there is to say."""

    DEFAULT_CSS = "ProgressRow { height: 1; width: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._progress: figures.Progress | None = None

    def show(self, progress: figures.Progress) -> None:
        if progress != self._progress:
            self._progress = progress
            self.redraw()

    def rows(self, width: int) -> Sequence[Strip]:
        return () if self._progress is None else (progress_row(self._progress, width),)


def progress_row(progress: figures.Progress, width: int) -> Strip:
    """Bar and text; the text alone where no total is known."""
    if not progress.total:
        return strip([(" ", PLAIN), (progress.text, VALUE)], width)
    words = max(24, cell_len(progress.text) + 1)
    cells = max(0, width - words - 3)
    halves = int(progress.share * cells * 2)
    done = "━" * (halves // 2) + "╸" * (halves % 2)
    bar: list[Piece] = [(" ", PLAIN), (done, BAR_DONE), ("─" * (cells - len(done)), BAR_LEFT), ("  ", PLAIN)]
    return strip([*bar, (cut(progress.text, words), VALUE)], width)
