"""A question that is answered by yes or no."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Button, Static

from tui.safe import safe
from tui.sheets.sheet import Sheet


class ConfirmSheet(Sheet[bool]):
    """True on yes. Escape is no, and no has the focus: nothing is lost by a key too many."""

    FIRST = "#no"
    DEFAULT_CSS = """
    ConfirmSheet .buttons { height: 1; margin-top: 1; }
    ConfirmSheet .buttons Button { margin-right: 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", id="confirm.yes"),
        Binding("n,escape", "answer(False)", "No", id="confirm.no"),
        Binding("left,right", "app.focus_next", "Other answer", show=False, id="confirm.other"),
    ]

    def __init__(self, question: str, yes: str = "Yes", no: str = "No") -> None:
        super().__init__()
        self._question, self._yes, self._no = safe(question, 2000), yes, no

    def compose(self) -> ComposeResult:
        yield Static(self._question, markup=False)
        with Horizontal(classes="buttons"):
            yield Button(f"{self._yes} (y)", id="yes", compact=True)
            yield Button(f"{self._no} (n)", id="no", compact=True)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.give(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        self.give(yes)
