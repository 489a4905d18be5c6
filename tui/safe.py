"""Text from outside, made harmless for a terminal: file names, exception texts, model answers, presets.

`safe` must stand between such text and every widget. Turning markup off is not enough: an escape sequence in a
file name would still reach the terminal, retitle it and fill its clipboard. It does not wrap or align.
"""

from __future__ import annotations

import re
import unicodedata

LIMIT = 20_000  # characters; a widget takes seconds to lay out much more
MOST_MARKS = 3  # combining marks on one character; piles of them climb over other rows
REPLACEMENT = "\ufffd"
DOT = "·"


def safe(text: str, limit: int = LIMIT, one_line: bool = False) -> str:
    """The text with nothing in it that a terminal obeys, cut to `limit` characters.

    Control characters become their pictures (␛), C1, bidi controls and lone surrogates U+FFFD, what has no width
    a dot. Newlines stay and tabs become spaces, unless `one_line`: then newlines are pictures too.
    """
    cut = text[:limit]
    cut = cut.replace("\r\n", "\n").translate(_ONE_LINE if one_line else _LINES)
    cut = _MARKS.sub(_fewer_marks, cut)
    return cut if len(text) <= limit else cut[: max(0, limit - 1)] + "…"


def _table(one_line: bool) -> dict[int, str]:
    table = {code: chr(0x2400 + code) for code in range(0x20)} | {0x7F: "␡"}
    table |= dict.fromkeys(range(0x80, 0xA0), REPLACEMENT)
    table |= dict.fromkeys(range(0xD800, 0xE000), REPLACEMENT)
    bidi = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    table |= dict.fromkeys((*bidi, 0xFFFE, 0xFFFF), REPLACEMENT)
    no_width = (0x00AD, 0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0x3164, 0xFEFF, 0xFFA0)
    table |= dict.fromkeys((*no_width, *range(0x200B, 0x200E), *range(0x2060, 0x2066)), DOT)
    table |= dict.fromkeys((*range(0x206A, 0x2070), *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080)), DOT)
    table |= {0x2028: "␤", 0x2029: "␤", 0x09: " " if one_line else "    "}
    if not one_line:
        del table[0x0A]
    return table


_LINES = _table(one_line=False)
_ONE_LINE = _table(one_line=True)
_MARKS = re.compile(f"[^\\x00-\\u02ff]{{{MOST_MARKS + 1},}}")  # a run long enough to hold a pile


def _fewer_marks(run: re.Match[str]) -> str:
    kept: list[str] = []
    pile = 0
    for character in run.group():
        pile = pile + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        if pile <= MOST_MARKS:
            kept.append(character)
    return "".join(kept)
