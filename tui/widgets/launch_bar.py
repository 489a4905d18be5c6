"""The bottom of the form, always in sight: what this run will be, Start, and why it can't be started."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from tui.format import cut_middle
from tui.safe import safe
from tui.widgets.start_button import WIDTH, StartButton

WORD = 7
DIM = "$foreground 60%"


class LaunchBar(Widget, can_focus=False):
    """`lines` are (word, name, rest), the name shortened where room is scarce.

    `reason` stands next to Start, or `said` where nothing is wrong, or else `doubt` or `warning`.
    """

    DEFAULT_CSS = """
    LaunchBar { height: 6; padding: 0 2; border-top: solid $surface-lighten-1; }
    LaunchBar StartButton { offset: 0 3; }
    """
    lines: reactive[Sequence[tuple[str, str, str]]] = reactive(())
    reason: reactive[str] = reactive("")
    said: reactive[str] = reactive("")
    doubt: reactive[str] = reactive("")
    warning: reactive[str] = reactive("")

    def __init__(self, lines: Sequence[tuple[str, str, str]]) -> None:
        super().__init__()
        self.set_reactive(LaunchBar.lines, lines)

    def compose(self) -> ComposeResult:
        yield StartButton(id="start")

    def render(self) -> Content:
        width = self.size.width
        rows = [
            Content.assemble((word.ljust(WORD), DIM), _fit(name, rest, max(1, width - WORD)))
            for word, name, rest in self.lines
        ]
        news = (
            (self.reason, "$text-error"),
            (self.said, "$text-success"),
            (self.doubt, "$text-error"),
            (self.warning, "$text-warning"),
        )
        text, style = next((one for one in news if one[0]), ("", ""))
        beside = width - WIDTH - 2
        wrapped = Content(safe(text, 1000)).wrap(max(10, beside))[:2]
        rows += [Content(" " * (WIDTH + 2)) + line.rstrip().stylize(style) for line in wrapped]
        return Content("\n").join(rows)


def _fit(name: str, rest: str, width: int) -> Content:
    """Name and rest on one row; a long name (a path) loses its middle."""
    name = cut_middle(safe(name, one_line=True), max(12, width - cell_len(rest)))
    return Content(name + safe(rest, one_line=True)).truncate(width, ellipsis=True)
