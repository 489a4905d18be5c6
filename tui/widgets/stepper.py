"""The large number field: a value three rows tall that is typed or stepped, with its bounds, unit and guidance.

One widget draws all of it, so that a form of three is quick to show. It steps on its knob's ladder and says what it
is told (a problem, a note); it checks nothing itself. It posts `Input.Changed` with the knob's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.content import Content
from textual.reactive import reactive
from textual.strip import Strip
from textual.widgets import Input

from trainer.spec import Knob
from tui.form import stepped
from tui.widgets import big_digits
from tui.widgets.line_input import OrderedInput, printable

BAR = 2  # the focus bar and a space
ROOM = 18  # columns for the value: four large digits and a point, or more of them closer together
FIELD = ROOM + 2
GAP = 2
TEXT = 76  # columns of guidance, at most: longer lines are tiring to read
HINTS = {"one": "↑↓ one by one", "two": "↑↓ double or halve", "log": "↑↓ 1, 3, 10"}


class Stepper(OrderedInput, inherit_css=False):
    """`problem` and `note` stand where the bounds stand, the problem before the note."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "step(True)", "Step up", show=False, id="stepper.up", tooltip="The next larger usual value"),
        Binding("down", "step(False)", "Step down", show=False, id="stepper.down", tooltip="The next smaller one"),
    ]
    DEFAULT_CSS = "Stepper { width: 1fr; height: 5; background: $background; scrollbar-size: 0 0; pointer: text; }"

    problem: reactive[str] = reactive("")
    note: reactive[str] = reactive("")

    def __init__(self, knob: Knob, text: str) -> None:
        super().__init__(text, name=knob.name, id=knob.name.replace("_", "-"), max_length=24)
        self.knob = knob
        self.cursor_blink = False
        self._styles: dict[str, Style] | None = None

    def put(self, text: str) -> None:
        """Show `text` without saying that a person edited it."""
        if text != self.value:
            with self.prevent(Input.Changed):
                self.value = text
                self.cursor_position = len(text)

    def action_step(self, up: bool) -> None:
        self.value = stepped(self.knob.name, self.value, up)
        self.cursor_position = len(self.value)

    def render_line(self, y: int) -> Strip:
        """Left the label over the value, right the bounds (or what is wrong) over the guidance."""
        left = self._left(y)
        width = self.size.width
        room = min(TEXT, width - BAR - FIELD - GAP - 1)
        text, part = self._right(room)[y] if room > 10 else ("", "dim")
        right = Segment(text, self._style(part))
        strip = Strip([*left, Segment(" " * GAP), right])
        return strip.adjust_cell_length(width).apply_style(self.rich_style)

    def _style(self, part: str) -> Style:
        if self._styles is None:
            self._styles = _palette(self.app.theme_variables)
        return self._styles[part]

    def _left(self, y: int) -> list[Segment]:
        """BAR + FIELD columns of row y."""
        bar = Segment("▌ " if self.has_focus and y <= big_digits.HEIGHT else "  ", self._style("bar"))
        if y == 0:
            return [bar, Segment(set_cell_size(self.knob.label, FIELD), self._style("label"))]
        if y > big_digits.HEIGHT:
            return [bar, Segment(" " * FIELD)]
        style = self._style("wrong" if self.problem else "value")
        drawn = big_digits.glyphs(self.value, ROOM)
        signs = [glyph[y - 1] for glyph in drawn] if drawn else [_small(sign, y) for sign in self.value]
        field = Strip([Segment(" ", style), *self._marked([*signs, " "], style)])
        return [bar, *field.adjust_cell_length(FIELD, style)]

    def _marked(self, signs: list[str], style: Style) -> list[Segment]:
        """The value's signs with the cursor and the selection shown; the last is the place after the end."""
        if not self.has_focus:
            return [Segment(sign, style) for sign in signs]
        start, end = sorted(self.selection)
        selected, cursor = self._style("selected"), self._style("cursor")
        return [
            Segment(sign, selected if start <= at < end else cursor if at == start == end else style)
            for at, sign in enumerate(signs)
        ]

    def _right(self, room: int) -> list[tuple[str, str]]:
        """Five rows of (text, part) right of the value."""
        knob = self.knob
        first = self.problem or self.note or f"{knob.bounds} {knob.unit}"
        part = "bad" if self.problem else "note" if self.note else "label"
        if part == "label" and self.has_focus and room > 60:
            first = f"{first} · {HINTS[knob.ladder]}"
        rows = [(line, part) for line in _wrap(first, room)] + [(line, "dim") for line in _wrap(knob.help, room)]
        return [*rows, *[("", "dim")] * 5][: max(5, self.size.height)]

    def _cell_offset_to_index(self, offset: int) -> int:
        """Which character a mouse click means: large ones are three columns wide."""
        drawn = big_digits.glyphs(self.value, ROOM)
        widths = [len(glyph[0]) for glyph in drawn] if drawn else [1] * len(self.value)
        left = BAR + 1
        for index, width in enumerate(widths):
            if offset < left + width:
                return index
            left += width
        return len(self.value)


@lru_cache(maxsize=64)
def _wrap(text: str, width: int) -> tuple[str, ...]:
    return tuple(line.plain.rstrip() for line in Content(text).wrap(width))


def _small(sign: str, y: int) -> str:
    """A sign that has no large form, on the middle row of three."""
    shown = printable(sign)
    return shown if y == 2 else " " * cell_len(shown)


def _palette(theme: Mapping[str, str]) -> dict[str, Style]:
    """A style for each part. Not component classes: three fields times nine of them would cost the first frame."""

    def on(ground: str, color: str, share: float = 1.0, bold: bool = False) -> Style:
        below = Color.parse(theme[ground])
        above = below.blend(Color.parse(theme[color]), share)
        return Style(color=above.rich_color, bgcolor=below.rich_color, bold=bold)

    return {
        "bar": on("background", "primary"),
        "label": on("background", "foreground", bold=True),
        "value": on("surface", "text-primary", bold=True),
        "wrong": on("surface", "text-error", bold=True),
        "selected": on("primary-muted", "text-primary", bold=True),
        "cursor": on("text-primary", "background", bold=True),
        "dim": on("background", "foreground", 0.6),
        "bad": on("background", "text-error"),
        "note": on("background", "text-success"),
    }
