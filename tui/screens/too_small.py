"""What a terminal too small for anything else shows: one sentence, until it is larger."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Static

from tui.terminal_kind import LEAST_HEIGHT, LEAST_WIDTH, is_too_small


class TooSmallScreen(Screen[None]):
    """Stands over whatever was open, and goes when there is room; no key does anything but the app's own."""

    DEFAULT_CSS = "TooSmallScreen { align: center middle; } TooSmallScreen Static { text-align: center; }"

    def compose(self) -> ComposeResult:
        yield Static(f"Make me bigger: {LEAST_WIDTH}x{LEAST_HEIGHT} at least", markup=False)

    def on_resize(self) -> None:
        self._go()

    def on_screen_resume(self) -> None:
        self._go()

    def _go(self) -> None:
        """Only from the top: what came to lie over it goes first."""
        if self.is_current and not is_too_small(*self.app.size):
            self.dismiss()
