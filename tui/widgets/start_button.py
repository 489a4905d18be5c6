"""The Start button: one row, greyed while the run can't be started. Enter, space or a click presses it."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget

from tui.widgets.in_order import InOrder

WIDTH = 11


class StartButton(InOrder, Widget, can_focus=True):
    """It does the screen's action `start`. Smaller than Textual's Button, whose rules cost the first frame."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "screen.start", "Start", show=False, id="start_button.press", tooltip="Start the run"),
    ]
    DEFAULT_CSS = """
    StartButton { width: 11; height: 1; background: $primary; color: $text; text-style: bold; pointer: pointer; }
    StartButton:focus { text-style: bold reverse; }
    StartButton:disabled { background: $surface; color: $foreground 35%; text-style: none; }
    """

    def render(self) -> Content:
        return Content("Start").center(WIDTH)

    async def on_click(self) -> None:
        await self.run_action("screen.start")
