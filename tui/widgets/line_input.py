"""An Input whose text can't reach the terminal as commands, and whose cursor stands still: idle, it sends nothing."""

from __future__ import annotations

from rich.text import Text
from textual.events import Key
from textual.suggester import Suggester
from textual.widgets import Input

from tui.safe import REPLACEMENT


class OrderedInput(Input):
    """Serves keys in the order they were pressed, also where a slow link hands over many at once.

    A plain Input takes signs at once, while keys like backspace, ctrl+u and tab travel to the app and back first.
    """

    async def _on_key(self, event: Key) -> None:
        focused = self.screen.focused
        if focused is not None and focused is not self:  # a tab before this key has moved on
            event.stop()
            event.prevent_default()
            focused.post_message(Key(event.key, event.character))
        elif event.is_printable:
            await super()._on_key(event)
        elif event.key in ("tab", "shift+tab"):
            event.stop()
            event.prevent_default()
            (self.screen.focus_next if event.key == "tab" else self.screen.focus_previous)()
        else:
            active = self.screen.active_bindings.get(event.key)
            if active is not None and active.node is self and active.enabled:
                event.stop()
                event.prevent_default()
                await self.run_action(active.binding.action)


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
