"""One question at a time on one row: a word, and what is typed behind it. Hidden until something is asked."""

from __future__ import annotations

from dataclasses import dataclass

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from tui.widgets.line_input import LineInput


class AskLine(Horizontal):
    """`Answered` comes with Enter; `close` takes the question back."""

    DEFAULT_CSS = """
    AskLine { display: none; height: 1; padding: 0 2; }
    AskLine Static { width: auto; color: $text-accent; }
    AskLine LineInput, AskLine LineInput:focus { width: 1fr; border: none; padding: 0; height: 1; }
    """

    @dataclass
    class Answered(Message):
        what: str
        text: str

    def __init__(self) -> None:
        super().__init__()
        self.asked = ""

    def compose(self) -> ComposeResult:
        yield Static(markup=False)
        yield LineInput("", max_length=2000, select_on_focus=False)

    def ask(self, what: str, prompt: str, text: str, example: str = "") -> None:
        """Show the line, with `text` in it; `what` comes back with the answer."""
        self.asked, self.display = what, True
        self.query_one(Static).update(Content(prompt + " "))
        field = self.query_one(LineInput)
        field.value, field.placeholder = text, example
        field.cursor_position = len(text)
        field.focus()

    def close(self) -> None:
        self.asked, self.display = "", False
        self.screen.set_focus(None)

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        what = self.asked
        self.close()
        self.post_message(self.Answered(what, event.value.strip()))
