"""An Input whose text can't reach the terminal as commands, and whose cursor stands still: idle, it sends nothing."""

from __future__ import annotations

from rich.text import Text
from textual.events import Key
from textual.suggester import Suggester
from textual.widgets import Input

from tui.safe import REPLACEMENT
from tui.widgets.in_order import InOrder


class OrderedInput(InOrder, Input):
    """An Input that serves keys in the order they were pressed."""

    def takes(self, event: Key) -> bool:
        return event.is_printable


class LineInput(OrderedInput):
    """What can't be printed is shown as U+FFFD, sign for sign; the value stays as it is, for others to refuse."""

    def __init__(
        self,
        text: str,
        *,
        name: str | None = None,
        id: str | None = None,
        placeholder: str = "",
        max_length: int | None = None,
        suggester: Suggester | None = None,
        select_on_focus: bool = True,
    ) -> None:
        super().__init__(
            text,
            placeholder,
            name=name,
            id=id,
            max_length=max_length or 0,
            suggester=suggester,
            select_on_focus=select_on_focus,
        )
        self.cursor_blink = False

    @property
    def _value(self) -> Text:
        return Text(printable(self.value), no_wrap=True, overflow="ignore", end="")


def printable(text: str) -> str:
    """The text, as long as it was, with U+FFFD for every control, bidi or surrogate character."""
    return "".join(sign if sign.isprintable() else REPLACEMENT for sign in text)
