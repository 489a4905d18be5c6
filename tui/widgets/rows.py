"""Rows of text that are redrawn in place: only the stretches that differ are sent to the terminal.

What the rows say is the business of the widgets that extend it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.app import ComposeResult
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui import format
from tui.stretches import unequal

LABEL = Style(color="#8f97a6")
VALUE = Style(color="#e6e8ec")
PLAIN = Style()

Piece = tuple[str, Style]


class Rows(Widget, can_focus=False):
    """A widget of a few rows; a subclass says what they are in `rows`, and calls `redraw` when that changed.

    It stands on tiles, as the chart does: Textual (8.2, `ChopsUpdate`) sends a changed stretch from the left edge
    of its widget on, so one wide widget would send a row again for its last figure. `tiles` says how wide they are.
    """

    ALLOW_SELECT = False
    DEFAULT_CSS = "Rows { layout: horizontal; overflow: hidden; }"
    TILES: ClassVar[int] = 1

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.strips: tuple[Strip, ...] = ()
        self._tiles: tuple[int, ...] = ()

    def rows(self, width: int) -> Sequence[Strip]:
        """The rows at this width; each exactly that many cells."""
        raise NotImplementedError

    def tiles(self, width: int) -> Sequence[int]:
        """The widths of the tiles; equal ones where this is empty. Best cut just before what changes often."""
        return ()

    def compose(self) -> ComposeResult:
        for _ in range(self.TILES):
            yield _Tile()

    def redraw(self) -> None:
        """Make the rows anew and send what differs."""
        width = self.size.width
        if not width or not self.is_attached:
            return
        before, self.strips = self.strips, tuple(self.rows(width))
        tiles = tuple(self.tiles(width))
        whole = tiles != self._tiles or [row.cell_length for row in before] != [row.cell_length for row in self.strips]
        stretches = [] if whole else [
            (y, start, end)
            for y, (old, new) in enumerate(zip(before, self.strips, strict=True))
            for start, end in changed(old, new)
        ]  # fmt: skip
        for at, tile in enumerate(self.query(_Tile)):
            if tiles != self._tiles:
                tile.styles.width = tiles[at]
            if whole:
                tile.refresh()
            elif stretches:
                tile.refresh_stretches(stretches)
        self._tiles = tiles

    def on_resize(self) -> None:
        self.strips = ()
        self.redraw()


class _Tile(Widget, can_focus=False):
    """Some columns of the rows it stands on."""

    ALLOW_SELECT = False
    DEFAULT_CSS = "_Tile { width: 1fr; height: 1fr; background: transparent; }"

    @property
    def _left(self) -> int:
        assert isinstance(self.parent, Widget)
        return self.region.x - self.parent.region.x

    def render_line(self, y: int) -> Strip:
        assert isinstance(self.parent, Rows)
        strips, width = self.parent.strips, self.size.width
        row = strips[y].crop(self._left, self._left + width) if y < len(strips) else Strip.blank(width)
        ground = Style(bgcolor=self.rich_style.bgcolor)  # what says its own colour is sent no other
        return Strip([Segment(text, ground + (style or PLAIN)) for text, style, _ in row], row.cell_length)

    def refresh_stretches(self, stretches: Iterable[tuple[int, int, int]]) -> None:
        """Refresh what of these stretches (row, start, end) lies on this tile."""
        left, right = self._left, self._left + self.size.width
        regions = [
            Region(max(left, start) - left, y, min(right, end) - max(left, start), 1)
            for y, start, end in stretches
            if start < right and end > left
        ]
        if regions:
            self.refresh(*regions)


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


def changed(old: Strip, new: Strip) -> Iterator[tuple[int, int]]:
    """Stretches [start, end) outside of which two rows of one length are equal."""
    if old == new:
        return
    before, after = _cells(old), _cells(new)
    if len(before) == len(after):
        yield from unequal(before, after)
    else:
        yield 0, max(old.cell_length, new.cell_length)


def _cells(row: Strip) -> list[tuple[str, Style | None]]:
    """One entry a cell; a wide character's second cell is empty text."""
    return [
        (part, segment.style)
        for segment in row
        for character in segment.text
        for part in (character, *([""] * (cell_len(character) - 1)))
    ]
