"""What all sheets are: a box over its screen that has every key and click until it is answered.

A widget and not a Textual ModalScreen, which lays out, draws and sends the screen below it again, several times: what
a sheet covers goes on as it was, and only the box is drawn. `Room.lay` puts one on a screen.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from textual._time import get_time
from textual.containers import VerticalScroll
from textual.events import Key
from textual.widget import Widget

if TYPE_CHECKING:
    from tui.screens.room import Room

Answer = TypeVar("Answer")


class Sheet(VerticalScroll, Generic[Answer], can_focus=True):
    """Answers once, by `give`, and goes. `FIRST` is the part that has the focus first, else the sheet itself."""

    FIRST = ""
    DEFAULT_CSS = """
    Sheet {
        layer: sheet; width: 72; max-width: 100%; height: auto; max-height: 100%; scrollbar-size-vertical: 1;
        padding: 1 2; border: round $primary; border-title-color: $text; background: $surface;
        .title { text-style: bold; color: $text-primary; margin-bottom: 1; }
        .hint { color: $foreground 60%; margin-top: 1; }
        .told { color: $text-error; }
        OptionList { height: auto; max-height: 16; padding: 0; background: $surface; }
        OptionList, OptionList:focus { border: none; background-tint: transparent; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._then: Callable[[Answer], object] | None = None
        self._before: Widget | None = None
        self._ready = inf  # when its parts stood
        self.trap_focus()

    @property
    def is_modal(self) -> bool:
        """Textual looks no further up than here for what a key does."""
        return True

    @property
    def room(self) -> Room:
        """The screen it lies on."""
        return cast("Room", self.screen)

    @property
    def open(self) -> bool:
        """Whether it still waits for its answer."""
        return self._then is not None

    def lie(self, then: Callable[[Answer], object], before: Widget | None) -> None:
        """The screen calls this: `then` takes the answer, `before` is what had the focus."""
        self._then, self._before = then, before

    def give(self, answer: Answer) -> None:
        """Answer and go; a second answer is none."""
        then, self._then = self._then, None
        if then is not None:
            self.screen.set_focus(self._before)
            self.remove()
            then(answer)

    def on_mount(self) -> None:
        if self.FIRST and self.screen.focused is self:
            self.screen.set_focus(self.query(self.FIRST).first())
        self._ready = get_time()

    def on_key(self, event: Key) -> None:
        """What was typed before the parts stood is for the one that has the focus since."""
        focused = self.screen.focused
        if event.time < self._ready and event.is_printable and focused is not None and focused is not self:
            event.stop()
            focused.post_message(Key(event.key, event.character))
