"""The app: which screen stands where, and nothing a screen can do itself.

The screens are imported when they are first opened, so that the first frame waits for one form and not for charts
and tables. It reads and starts runs through `trainer`; it never trains.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from trainer.rundir import RunDir

from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.screen import Screen

from trainer import presets
from trainer.spec import Value
from tui import terminal_kind
from tui.crash import PlainCrash
from tui.hardened import HardenedDriver, output_encoding
from tui.safe import safe
from tui.safefilter import AsciiFilter, SafeFilter

MOST_COPIED = 16_000  # characters: at most 64 kB, and 85 in base64


class FinetuneApp(PlainCrash):
    """Opens on New run, filled in with the starter preset; or on `run` when one is given."""

    TITLE = "finetunegem"
    CSS_PATH = "finetunegem.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", id="app.quit", tooltip="Leave; runs go on", priority=True),
        Binding("ctrl+c", "copy", "Copy", show=False, id="app.copy", tooltip="What is selected", priority=True),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False, id="app.suspend", tooltip="Shell; fg comes back"),
    ]

    def __init__(
        self,
        runs_dir: Path,
        run: RunDir | None = None,
        *,
        driver_class: type[Driver] | None = None,
        ascii_in: str = "",
    ) -> None:
        """`ascii_in`: the encoding of a terminal for which everything is drawn in ASCII; "" for others."""
        super().__init__(driver_class=driver_class)
        self.runs_dir = runs_dir
        self._first_run = run
        self._too_small: Screen[None] | None = None
        self._filters += [SafeFilter(), *([AsciiFilter(ascii_in)] if ascii_in else [])]

    def on_mount(self) -> None:
        self.app_resume_signal.subscribe(self, lambda _: self.refresh(layout=True))
        self.theme = "textual-dark"
        self.animation_level = "none"  # every frame of an animation is bytes on the link
        if self._first_run is not None:
            self.open_live(self._first_run)
        else:
            self.open_new_run(presets.load(presets.STARTER), presets.STARTER)
        self._fit()
        self.call_after_refresh(gc.enable)

    def on_resize(self) -> None:
        self._fit()

    def action_copy(self) -> None:
        """Ctrl-C copies what is selected and says how to leave, which it may have been pressed for."""
        selected = getattr(self.focused, "selected_text", "") or self.screen.get_selected_text()
        if selected:
            self.copy_to_clipboard(selected)
        self.notify(f"{'Copied. ' if selected else ''}ctrl+q leaves; runs go on.", markup=False, timeout=4)

    def copy_to_clipboard(self, text: str) -> None:
        """Only ever at a person's key, and never more than a terminal takes in one piece."""
        super().copy_to_clipboard(text[:MOST_COPIED].encode("utf-8", "replace").decode("utf-8"))

    def open_new_run(self, values: Mapping[str, Value], origin: str = "") -> None:
        """The form, filled in with `values`; `origin` says where they come from (a preset's or a run's name)."""
        self._show(_screen("new_run", "NewRunScreen")(values, origin))

    def open_live(self, run: RunDir) -> None:
        """A run, live or ended."""
        self._show(_screen("live", "LiveScreen")(run))

    def open_home(self) -> None:
        """All runs, newest first."""
        self._show(_screen("home", "HomeScreen")(self.runs_dir))

    def _show(self, screen: Screen[None]) -> None:
        """The screens stand side by side, not on a pile: one is shown, the one before it is gone."""
        if len(self.screen_stack) > 1:
            self.switch_screen(screen)
        else:
            self.push_screen(screen)

    def _fit(self) -> None:
        """In a terminal too small for anything, one sentence stands over what was open; it goes by itself."""
        opened = len(self.screen_stack) > 1  # the first size comes before the first screen
        if opened and terminal_kind.is_too_small(*self.size) and self._too_small not in self.screen_stack:
            self._too_small = _screen("too_small", "TooSmallScreen")()
            self.push_screen(self._too_small)


def open_app(runs_dir: Path, run: RunDir | None = None) -> int:
    """Open the screen; returns the exit code."""
    if why := terminal_kind.why_no_screen():
        print(safe(why), file=sys.stderr)
        return 2
    encoding = output_encoding() if terminal_kind.needs_ascii() else ""
    app = FinetuneApp(runs_dir, run, driver_class=HardenedDriver, ascii_in=encoding)
    app.run(mouse=True)
    return 1 if app.return_code is None else app.return_code  # None: it was left by none of its ways out


def _screen(module: str, name: str) -> Callable[..., Screen[None]]:
    """A screen's class, imported now."""
    kind: Callable[..., Screen[None]] = getattr(importlib.import_module(f"tui.screens.{module}"), name)
    return kind
