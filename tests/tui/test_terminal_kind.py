"""What kind of terminal is made of the environment, and how text is drawn in ASCII."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from tests.hostile import SHORT
from tui.safefilter import UNSAFE, in_ascii
from tui.states import BADGES
from tui.terminal_kind import is_too_small, needs_ascii, why_no_screen
from tui.widgets.big_digits import GLYPHS


@pytest.mark.parametrize(
    ("environment", "encoding", "expected"),
    [
        ({"TERM": "xterm-256color"}, "utf-8", False),
        ({"TERM": "tmux-256color", "LC_ALL": "C.UTF-8"}, "utf-8", False),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, "utf-8", False),
        ({"TERM": "xterm-kitty"}, "utf-8", False),
        ({"TERM": "xterm-direct"}, "UTF8", False),
        ({"TERM": "xterm"}, "utf-8", True),
        ({"TERM": "linux"}, "utf-8", True),
        ({}, "utf-8", True),
        ({"TERM": "xterm-256color"}, "iso8859-1", True),
        ({"TERM": "xterm-256color", "LC_ALL": "C"}, "utf-8", True),
        ({"TERM": "linux", "FINETUNEGEM_ASCII": "0"}, "utf-8", False),
        ({"TERM": "xterm-256color", "FINETUNEGEM_ASCII": "1"}, "utf-8", True),
    ],
)
def test_ascii_is_for_few_colours_and_other_encodings(
    environment: dict[str, str], encoding: str, expected: bool
) -> None:
    assert needs_ascii(environment, encoding) is expected


def test_no_screen_without_a_terminal() -> None:
    assert "needs a terminal" in why_no_screen({"TERM": "xterm"})  # pytest's streams are none


@pytest.mark.parametrize(("size", "small"), [((40, 10), False), ((39, 10), True), ((40, 9), True), ((0, 0), True)])
def test_too_small(size: tuple[int, int], small: bool) -> None:
    assert is_too_small(*size) is small


def test_every_sign_of_ours_has_one_in_ascii() -> None:
    ours = "".join(badge.glyph for badge in BADGES.values()) + "".join(chr(code) for code in range(0x2800, 0x2900))
    ours += "".join(row for rows in GLYPHS.values() for row in rows) + "◆●▲▼┊┈━─╸╺▁▂▃▄▅▆▇█│└┬┼…·–↑↓▸"
    assert in_ascii(ours).isascii()
    assert len(in_ascii(ours)) == len(ours)
    assert "?" not in in_ascii(ours)
    assert len({in_ascii(badge.glyph) for badge in BADGES.values()} - {"!"}) >= 6  # states still look different


def test_text_stays_as_wide_as_it_was() -> None:
    for text in SHORT.values():
        shown = UNSAFE.sub("", text)
        assert cell_len(in_ascii(shown)) >= 0
        assert in_ascii(shown).isascii()
    assert in_ascii("modèle 漢", "latin-1") == "modèle ??"
    assert in_ascii("modèle") == "modele"
