"""What all screens of this app are: a place on which sheets can lie. Which ones is the screens' own business."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar, cast

from textual.app import App
from textual.geometry import Region
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget

from tui.sheets.sheet import Sheet

if TYPE_CHECKING:
    from tui.app import FinetuneApp

Answer = TypeVar("Answer")
TICK = 0.02  # seconds


def once_shown(node: App[None] | Screen[None], do: Callable[[], object]) -> None:
    """Do this when the first frame stands. (While an app starts, Textual's `call_after_refresh` waits for none.)"""
    if node.app._batch_count:
        node.set_timer(TICK, partial(once_shown, node, do))
    else:
        node.call_after_refresh(do)


class Room(Screen[None]):
    """A screen whose sheets have the keyboard and the mouse to themselves; the last one laid is the uppermost."""

    focused: Reactive[Widget | None] = Reactive(None, repaint=False)  # the two concerned repaint; Textual's all

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """A new layout paints what it has moved; Textual paints the whole screen besides."""
        return super().refresh(*regions, repaint=repaint and not layout, layout=layout, recompose=recompose)

    @property
    def cockpit(self) -> FinetuneApp:
        """The app, for going to another screen."""
        return cast("FinetuneApp", self.app)

    @property
    def sheet(self) -> Sheet[object] | None:
        """The uppermost sheet."""
        return next((child for child in self.children if isinstance(child, Sheet) and child.open), None)

    def lay(self, sheet: Sheet[Answer], then: Callable[[Answer], object] = lambda _: None) -> None:
        """Lay a sheet over the screen; from now on keys are its own, and `then` takes its answer."""
        sheet.lie(then, self.focused)
        self.mount(sheet, before=0)  # Textual draws and sends again whatever stands before a new widget
        self.set_focus(sheet)

    def action_help(self) -> None:
        from tui.sheets.help import HelpSheet  # the first frame does not wait for it

        self.lay(HelpSheet(self.active_bindings))

    def get_widget_at(self, x: int, y: int) -> tuple[Widget, Region]:
        """Under a sheet, the mouse finds nothing but the sheet."""
        widget, region = super().get_widget_at(x, y)
        sheet = self.sheet
        if sheet is None or sheet in widget.ancestors_with_self:
            return widget, region
        return sheet, sheet.region
