"""The line that opens and closes More, by Enter, space or mouse."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from tui.widgets.in_order import InOrder


class MoreLine(InOrder, Widget, can_focus=True):
    """Shows the state it is told; opening is the screen's business (its action `more`)."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "screen.more", "More", show=False, id="more_line.more", tooltip="Open or close More"),
    ]
    DEFAULT_CSS = """
    MoreLine { height: 1; padding: 0 2; color: $foreground-muted; }
    MoreLine:focus { color: $text-primary; text-style: bold; }
    MoreLine:hover { color: $foreground; }
    """
    opened: reactive[bool] = reactive(False)

    def render(self) -> Content:
        if self.opened:
            return Content("▾ More")
        return Content("▸ More: model, data, LoRA, optimizer, schedule, seed")

    async def on_click(self) -> None:
        await self.run_action("screen.more")
