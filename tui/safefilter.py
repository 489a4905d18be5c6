"""The last thing between a widget's text and the terminal: two filters that every row on the screen goes through.

`SafeFilter` takes out what a terminal would obey. Text from outside goes through `tui.safe` long before; this holds
for the text that somebody forgot. `AsciiFilter` replaces lines, dots and signs where the terminal has none.
Both keep every row as wide as it was.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter

# C0, DEL and C1; the line and paragraph separators; bidi controls; surrogates; what is no character.
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
BRAILLE = range(0x2800, 0x2900)


class SafeFilter(LineFilter):
    """Takes control characters out of every segment, and hyperlinks (OSC 8) out of every style."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [_harmless(segment) for segment in segments]


class AsciiFilter(LineFilter):
    """Draws in ASCII. Letters that the terminal's encoding has stay as they are."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment if segment.text.isascii() else Segment(in_ascii(segment.text, self._encoding), segment.style)
            for segment in segments
        ]


def _harmless(segment: Segment) -> Segment:
    text, style, _ = segment
    if UNSAFE.search(text):
        text = UNSAFE.sub(_as_wide, text)
    if style is not None and style.link:
        style = _without_link(style)
    return Segment(text, style)  # a control segment would be sent as it is


def _as_wide(found: re.Match[str]) -> str:
    """U+FFFD in as many cells as were counted for the character: for most that is none."""
    return "\ufffd" * cell_len(found.group())


@lru_cache(maxsize=256)
def _without_link(style: Style) -> Style:
    return style.update_link(None)


@lru_cache(maxsize=4096)
def in_ascii(text: str, encoding: str = "ascii") -> str:
    """The text for a terminal without lines and dots, as wide as it was."""
    return "".join(_sign(character, encoding) for character in text)


@lru_cache(maxsize=4096)
def _sign(character: str, encoding: str) -> str:
    if character.isascii():
        return character
    if ord(character) in BRAILLE:
        return _dots(ord(character) - BRAILLE.start)
    if character in SIGNS:
        return SIGNS[character]
    try:
        character.encode(encoding)
        return character
    except UnicodeEncodeError:
        width = cell_len(character)
        plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
        return plain if plain and cell_len(plain) == width else "?" * width


def _dots(pattern: int) -> str:
    """The ASCII sign for a braille cell: dots 1 2 3 7 are its left column from the top, 4 5 6 8 its right one."""
    rows = [
        (pattern & left != 0, pattern & right != 0)
        for left, right in ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
    ]
    used = [at for at, row in enumerate(rows) if any(row)]
    if not used:
        return " "
    if len(used) > 2:
        return _steep(rows, used)
    if used[-1] <= 1:
        return "'" if used == [0] and not all(rows[0]) else '"' if used == [0] else "-" if all(rows[1]) else "'"
    return "-" if used[0] <= 2 and used[-1] <= 2 else "." if not all(rows[3]) and used == [3] else "_"


def _steep(rows: list[tuple[bool, bool]], used: list[int]) -> str:
    """A line through most of a cell: which way it leans."""
    (top_left, top_right), (low_left, low_right) = rows[used[0]], rows[used[-1]]
    if top_left and low_right and not (top_right or low_left):
        return "\\"
    if top_right and low_left and not (top_left or low_right):
        return "/"
    return "#" if sum(map(sum, rows)) > 5 else "|"


def _signs() -> dict[str, str]:
    """Every sign that the screen draws with, one cell each."""
    signs = (
        dict.fromkeys("─╌╍┄┅╴╶", "-")
        | dict.fromkeys("━╸╺═╾╼", "=")
        | dict.fromkeys("┈┉", ".")
        | dict.fromkeys("│┃┆┇┊┋╎╏║╷╵╹╻▌▐▏▎▍▕", "|")
    )
    signs |= dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯┏┓┗┛┣┫┳┻╋╔╗╚╝╠╣╦╩╬┤┠┨┯┷┿┝┥", "+")
    signs |= dict(zip("▁▂▃▄▅▆▇█", "__..--=#", strict=True)) | dict.fromkeys("▀▔", '"') | dict.fromkeys("░▒▓■▪", "#")
    signs |= {
        "◆": "o",
        "●": "*",
        "○": "o",
        "◐": "~",
        "‖": "=",
        "✓": "+",
        "✗": "x",
        "▲": "^",
        "▼": "v",
        "▶": ">",
        "▸": ">",
        "▾": "v",
        "⏎": "+",
        "▎": "|",
    }
    signs |= {"…": "~", "·": ".", "–": "-", "—": "-", "−": "-", "×": "x", "↑": "^", "↓": "v", "←": "<", "→": ">"}
    return signs | {"‘": "'", "’": "'", "“": '"', "”": '"', "•": "*", "◉": "*", "◼": "#", "⋅": ".", "\ufffd": "?"}


SIGNS = _signs()
