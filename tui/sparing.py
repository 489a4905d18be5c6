"""What stands in the terminal, and the least that has to be sent to bring it to the next picture.

Textual (8.2) sends whole widgets, and whole screens whenever one is opened, closed or focused: some 50 kB for a sheet
over a chart. It knows no widget: it compares finished rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.control import Control
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.app import App
from textual.screen import Screen
from textual.strip import Strip

from tui.stretches import changed

Stretch = tuple[int, int, Strip]  # column, row, and what stands there from now on


class Sparing(App[None]):
    """An app that sends of every picture only what differs from what its terminal shows."""

    _rows: list[Strip] | None = None  # what the terminal shows; None where that is not known

    def send_again(self) -> None:
        """Send the whole picture, to a terminal that has lost it."""
        self._rows = None
        self.screen.refresh()
        self.screen.refresh(layout=True)

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        """Textual's one way to the terminal. While it batches it shows nothing, and comes again."""
        if not self._batch_count and isinstance(renderable, LayoutUpdate | ChopsUpdate):
            renderable = self._news(renderable)
        super()._display(screen, renderable)

    def _news(self, update: LayoutUpdate | ChopsUpdate) -> LayoutUpdate | ChopsUpdate | Stretches | None:
        if isinstance(update, LayoutUpdate):
            before, self._rows = self._rows, [Strip.join(row) for row in update.strips]
            if before is None or _shape(before) != _shape(self._rows):
                return update
            parts = [(0, y, old, new) for y, (old, new) in enumerate(zip(before, self._rows, strict=True))]
        elif self._rows is None or any(y >= len(self._rows) for y, _, _ in update.spans):
            self._rows = None  # the terminal has grown, and its whole picture is on the way
            return update
        else:
            parts = list(_painted(self._rows, update))
        stretches = [
            (x + start, y, new.crop(start, end).simplify())
            for x, y, old, new in parts
            for start, end in differing(old, new)
        ]
        return Stretches(stretches) if stretches else None


class Stretches(CompositorUpdate):
    """Pieces of rows, each put where it belongs."""

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        self.stretches = stretches

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for x, y, strip in self.stretches:
            yield Control.move_to(x, y)
            yield from strip

    def render_segments(self, console: Console) -> str:
        return "".join(str(Control.move_to(x, y)) + strip.render(console) for x, y, strip in self.stretches)


def differing(old: Strip, new: Strip) -> Iterator[tuple[int, int]]:
    """The stretches [start, end) outside of which two strips of one length are equal.

    Where a sign is not one cell wide, all of it: terminals do not agree on the width of such signs, and what one of
    them shows to the right of it is not known.
    """
    if old == new:
        return
    if old.cell_length == new.cell_length and _one_cell_each(old) and _one_cell_each(new):
        yield from changed(old, new)
    else:
        yield 0, new.cell_length


def _one_cell_each(strip: Strip) -> bool:
    return all(text.isascii() or all(cell_len(sign) == 1 for sign in text) for text, _, _ in strip)


def _painted(rows: list[Strip], update: ChopsUpdate) -> Iterator[tuple[int, int, Strip, Strip]]:
    """Paint the update into the rows; yields (column, row, what stood there, what stands there now)."""
    for y, left, right in update.spans:
        row, pieces = rows[y], list[Strip]()
        start = 0
        for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if x < right and end > left:
                start = start if pieces else x
                pieces.append(row.crop(x, end) if strip is None else strip.crop(0, right - x))
        new = Strip.join(pieces)
        end = start + new.cell_length
        rows[y] = Strip.join([row.crop(0, start), new, row.crop(end)])
        yield start, y, row.crop(start, end), new


def _shape(rows: Sequence[Strip]) -> list[int]:
    return [row.cell_length for row in rows]
