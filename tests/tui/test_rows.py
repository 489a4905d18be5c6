"""Rows that send only what differs: the stretches, and that nothing is refreshed when nothing changed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from rich.style import Style
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tests.tui.stage import text_of
from tui.stretches import changed
from tui.widgets.rows import LABEL, VALUE, Rows, spread, strip


@pytest.mark.parametrize(
    ("old", "new", "stretches"),
    [
        ("loss 2.314   step 163", "loss 2.314   step 163", []),
        ("loss 2.314   step 163", "loss 2.315   step 163", [(9, 10)]),
        ("loss 2.314   step 163", "loss 2.399   step 164", [(8, 10), (20, 21)]),
        ("loss 2.314 step 9", "loss 2.315 step 8", [(9, 17)]),  # too near to be worth a jump
        ("模型 12", "模型 13", [(6, 7)]),
        ("short", "longer", [(0, 6)]),
        ("abcdef", "abXYef", [(2, 4)]),
        ("abcdef", "XbcdeX", [(0, 6)]),
        ("a" + "-" * 20 + "b", "X" + "-" * 20 + "Y", [(0, 1), (21, 22)]),
    ],
)
def test_changed(old: str, new: str, stretches: list[tuple[int, int]]) -> None:
    assert list(changed(strip_of(old), strip_of(new))) == stretches


def test_a_colour_alone_is_a_change() -> None:
    red, blue = (Strip([*strip([("paused", Style(color=color))], 6)]) for color in ("red", "blue"))
    assert list(changed(red, blue)) == [(0, 6)]


def test_a_blank_has_no_colour_but_its_ground() -> None:
    def row(**how: str | bool) -> Strip:
        return strip([("a ", VALUE), ("  ", Style(**how)), ("b", VALUE)], 5)  # type: ignore[arg-type]

    assert list(changed(row(color="red"), row(color="blue"))) == []
    assert list(changed(row(color="red"), row(bgcolor="blue"))) == [(2, 4)]
    assert list(changed(row(color="red"), row(underline=True))) == [(2, 4)]


def test_what_is_cut_in_other_pieces_is_the_same() -> None:
    assert list(changed(strip([("ab", VALUE), ("c", VALUE)], 3), strip([("abc", VALUE)], 3))) == []


def test_both_ends_of_a_row() -> None:
    assert spread([("left", LABEL)], [("right", VALUE)], 12).text == "left   right"
    assert spread([("left", LABEL)], [("right", VALUE)], 7).text == "left ri"


class Words(Rows):
    """One row of whatever words it was given."""

    DEFAULT_CSS = "Words { height: 1; }"
    words = "loss 2.314"

    def rows(self, width: int) -> Sequence[Strip]:
        return (strip([(self.words, VALUE)], width),)


class WordsApp(App[None]):
    def compose(self) -> ComposeResult:
        yield Words()


async def test_only_the_stretch_that_differs_is_refreshed(monkeypatch: pytest.MonkeyPatch) -> None:
    app = WordsApp()
    async with app.run_test(size=(40, 3)) as pilot:
        await pilot.pause()
        words = app.query_one(Words)
        refreshed: list[tuple[Widget, tuple[Region, ...]]] = []
        refresh = Widget.refresh

        def noting(self: Widget, *regions: Region, **how: bool) -> Widget:
            refreshed.append((self, regions))
            return refresh(self, *regions, **how)

        monkeypatch.setattr(Widget, "refresh", noting)
        words.redraw()
        assert refreshed == []
        words.words = "loss 2.319"
        words.redraw()
        assert refreshed == [(words, (Region(9, 0, 1, 1),))]
        await pilot.pause()
        assert "loss 2.319" in text_of(app)


def strip_of(text: str) -> Strip:
    whole = strip([(text, VALUE)], 99)
    return whole.crop(0, len(text.rstrip()) + sum(character > "\u2e7f" for character in text))
