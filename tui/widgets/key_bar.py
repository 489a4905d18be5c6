"""The keys of a screen on its last row. One widget for all of them: quick to show, and one row to repaint.

Textual's Footer is a widget for each key, made anew whenever one is greyed.
"""

from __future__ import annotations

from textual.binding import ActiveBinding
from textual.content import Content
from textual.events import Click
from textual.screen import Screen
from textual.widget import Widget

DIM = "$foreground 60%"
GREY = "$foreground 35%"


class KeyBar(Widget, can_focus=False):
    """Shows the screen's bindings that have `show`, greyed where `check_action` says so; a click does them."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    KeyBar { dock: bottom; height: 1; padding: 0 2; background: $surface; }
    """

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, screen: Screen[object]) -> None:
        if screen.app.app_focus:
            self.refresh()

    def render(self) -> Content:
        return Content(" " * self._gap()).join(
            Content.assemble(
                (key, "$text-accent" if active.enabled else GREY),
                (f" {active.binding.description}", DIM if active.enabled else GREY),
            )
            for key, active in self._shown()
        )

    async def on_click(self, event: Click) -> None:
        left, gap = self.styles.padding.left, self._gap()
        for key, active in self._shown():
            width = len(key) + 1 + len(active.binding.description)
            if left <= event.x < left + width:
                await self.app.run_action(active.binding.action, active.node)
                return
            left += width + gap

    def _gap(self) -> int:
        """Columns between two keys: two where all of them fit so."""
        shown = self._shown()
        words = sum(len(key) + 1 + len(active.binding.description) for key, active in shown)
        return 2 if words + 2 * (len(shown) - 1) <= self.size.width else 1

    def _shown(self) -> list[tuple[str, ActiveBinding]]:
        """(key as it is shown, binding), each action once, in the order of the screen's bindings."""
        shown: dict[str, tuple[str, ActiveBinding]] = {}
        for active in self.screen.active_bindings.values():
            if active.binding.show:
                shown.setdefault(active.binding.action, (self.app.get_key_display(active.binding), active))
        return list(shown.values())
