"""Rows of text that are redrawn in place, and of them only the stretches that differ.

What the rows say is the business of the widgets that extend it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui import format
from tui.stretches import changed

LABEL = Style(color="#8f97a6")
VALUE = Style(color="#e6e8ec")
PLAIN = Style()

Piece = tuple[str, Style]


class Rows(Widget, can_focus=False):
    """A widget of a few rows; a subclass says what they are in `rows`, and calls `redraw` when that changed."""

    ALLOW_SELECT = False

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.strips: tuple[Strip, ...] = ()

    def rows(self, width: int) -> Sequence[Strip]:
        """The rows at this width; each exactly that many cells."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Make the rows anew and refresh what differs."""
        width = self.size.width
        if not width or not self.is_attached:
            return
        before, self.strips = self.strips, tuple(self.rows(width))
        if [row.cell_length for row in before] != [row.cell_length for row in self.strips]:
            self.refresh()
            return
        regions = [
            Region(start, y, end - start, 1)
            for y, (old, new) in enumerate(zip(before, self.strips, strict=True))
            for start, end in changed(old, new)
        ]
        if regions:
            self.refresh(*regions)

    def on_resize(self) -> None:
        self.strips = ()
        self.redraw()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        row = self.strips[y].adjust_cell_length(width) if y < len(self.strips) else Strip.blank(width)
        ground = Style(bgcolor=self.rich_style.bgcolor)  # what says its own colour is sent no other
        return Strip([Segment(text, ground + (style or PLAIN)) for text, style, _ in row], row.cell_length)


def strip(pieces: Iterable[Piece], width: int) -> Strip:
    """Pieces one after the other, cut or filled to the width."""
    return Strip([Segment(text, style) for text, style in pieces if text]).adjust_cell_length(width)


def spread(left: Sequence[Piece], right: Sequence[Piece], width: int) -> Strip:
    """Pieces at both ends of a row; where they do not fit, the right end is cut."""
    room = width - sum(cell_len(text) for text, _ in (*left, *right))
    return strip((*left, (" " * max(1, room), PLAIN), *right), width)


def cut(text: str, width: int) -> str:
    """The text in exactly `width` cells."""
    text = format.cut_middle(text, width)
    return text + " " * (width - cell_len(text))
