"""Numbers three rows tall, in box-drawing lines. Knows what a number is made of and nothing else."""

from __future__ import annotations

_DIGITS = {
    "0": "┏━┓┃ ┃┗━┛",
    "1": "╺┓  ┃ ╺┻╸",
    "2": "╺━┓┏━┛┗━╸",
    "3": "╺━┓ ━┫╺━┛",
    "4": "╻ ╻┗━┫  ╹",
    "5": "┏━╸┗━┓╺━┛",
    "6": "┏━╸┣━┓┗━┛",
    "7": "╺━┓  ┃  ╹",
    "8": "┏━┓┣━┫┗━┛",
    "9": "┏━┓┗━┫╺━┛",
    "e": "┏━╸┣━ ┗━╸",
    "-": "   ╺━╸   ",
    "+": "   ╺╋╸   ",
}
GLYPHS = {
    **{sign: (rows[:3], rows[3:6], rows[6:]) for sign, rows in _DIGITS.items()},
    "E": ("┏━╸", "┣━ ", "┗━╸"),
    ".": (" ", " ", "."),
}
HEIGHT = 3


def glyphs(text: str, width: int) -> list[tuple[str, ...]] | None:
    """One glyph a character, three rows each, a space to the right where that fits into `width` columns.

    None where the text is no number's or does not fit.
    """
    if any(sign not in GLYPHS for sign in text):
        return None
    for space in (" ", ""):
        drawn = [tuple(row + space for row in GLYPHS[sign]) for sign in text]
        if sum(len(glyph[0]) for glyph in drawn) <= width:
            return drawn
    return None
