"""Where two rows of a screen differ, in as few stretches as are worth sending. It knows no widget and no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from rich.cells import cell_len
from rich.style import Style
from textual.strip import Strip

NEAR = 8  # equal cells between two changed ones that are cheaper to send than a new cursor position

UNCOLOURED = Style(color="default")


def changed(old: Strip, new: Strip) -> Iterator[tuple[int, int]]:
    """The stretches [start, end) of cells outside of which two rows are equal; all of it where their cells differ in
    number. Two changes with at most NEAR equal cells between them are one stretch.
    """
    if old == new:
        return
    before, after = _cells(old), _cells(new)
    if len(before) != len(after):
        yield 0, max(old.cell_length, new.cell_length)
        return
    start = end = -1
    for at, (a, b) in enumerate(zip(before, after, strict=True)):
        if a == b:
            continue
        if start >= 0 and at - end > NEAR:
            yield start, end
            start = -1
        start = at if start < 0 else start
        end = at + 1
    if start >= 0:
        yield start, end


def _cells(row: Strip) -> list[tuple[str, Style | None]]:
    """Sign and style of each cell. A wide sign's second cell is empty text; a blank has no colour of its own."""
    found: list[tuple[str, Style | None]] = []
    for text, style, _ in row:
        blank = (" ", _of_blanks(style))
        if text.isascii():
            found += [blank if sign == " " else (sign, style) for sign in text]
            continue
        for sign in text:
            found.append(blank if sign == " " else (sign, style))
            found += [("", style)] * (cell_len(sign) - 1)
    return found


@lru_cache(maxsize=256)
def _of_blanks(style: Style | None) -> Style | None:
    """The style without its colour, where that can't be seen unless something is written."""
    if style is None or style.reverse or style.underline or style.underline2 or style.strike or style.overline:
        return style
    return style + UNCOLOURED
