"""What hangs before the screens while the terminal is too small for any of them: one sentence, until there is room.

It knows no screen and touches none: behind it they stand as they were, with their size, focus and what was typed.
"""

from __future__ import annotations

import textwrap

from rich.console import RenderableType
from rich.segment import Segment
from textual._compositor import LayoutUpdate
from textual.events import Event, InputEvent, Key, Paste, Resize
from textual.geometry import Size
from textual.screen import Screen
from textual.strip import Strip

from tui.sparing import Sparing
from tui.terminal_kind import LEAST_HEIGHT, LEAST_WIDTH, is_too_small

SENTENCE = f"Make me bigger: {LEAST_WIDTH}x{LEAST_HEIGHT} at least"
LEAST = Size(LEAST_WIDTH, LEAST_HEIGHT)  # what screens that open behind the curtain are laid out for


class Curtained(Sparing):
    """An app that is told every size of its terminal here, before its screens are.

    While the curtain hangs, nothing but the sentence is sent, and only the app's own keys are heard.
    """

    curtain: Size | None = None  # the size of the terminal while it is too small, else None
    _hung = False  # whether the sentence stands in the terminal

    async def on_event(self, event: Event) -> None:
        if isinstance(event, Resize):
            await self._resized(event)
        elif self.curtain is None or not isinstance(event, InputEvent | Paste) or self._is_own(event):
            await super().on_event(event)

    async def _resized(self, event: Resize) -> None:
        """Only sizes with room are passed on. After any other, and after one that is no news, all is sent again.

        A terminal that was made smaller and larger again may tell only the last size, and has lost what it showed.
        """
        known = self._size
        self.curtain = event.size if is_too_small(*event.size) else None
        if self.curtain is None:
            await super().on_event(event)
        elif known is None:
            await super().on_event(Resize(LEAST, LEAST))
        if self.curtain is not None or event.size == known:
            self.send_again()

    def send_again(self) -> None:
        """The whole picture, or the sentence."""
        self._hung = False
        super().send_again()

    def _is_own(self, event: Event) -> bool:
        return isinstance(event, Key) and event.key in self._bindings.key_to_bindings

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        """Textual's one way to the terminal: a screen's picture, or once the sentence."""
        if self.curtain is None:
            super()._display(screen, renderable)
        elif not self._hung and not self._batch_count:
            self._hung = True
            super()._display(screen, sentence(self.curtain))


def sentence(size: Size) -> LayoutUpdate:
    """The sentence in the middle of a terminal of this size, whatever part of it fits."""
    width, height = size
    lines = [line.center(width) for line in textwrap.wrap(SENTENCE, max(1, width))][:height]
    rows = [""] * ((height - len(lines)) // 2) + lines
    rows += [""] * (height - len(rows))
    return LayoutUpdate([[Strip([Segment(row.ljust(width))])] for row in rows], size.region)
