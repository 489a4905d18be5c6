"""The app: which screen stands where, and nothing a screen can do itself.

The screens are imported when they are first opened, so that the first frame waits for one form and not for charts
and tables. It reads and starts runs through `trainer`; it never trains.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
import threading
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
from tui.curtain import Curtained
from tui.hardened import HardenedDriver, output_encoding
from tui.safe import safe
from tui.safefilter import AsciiFilter, SafeFilter
from tui.screens.room import once_shown

SCREENS = ("new_run", "live", "home")
MOST_COPIED = 16_000  # characters: at most 64 kB, and 85 in base64


class FinetuneApp(Curtained, PlainCrash):
    """Opens on New run, filled in with the starter preset; or on `run` when one is given."""

    TITLE = "finetunegem"
    CSS_PATH = "finetunegem.tcss"
    ENABLE_COMMAND_PALETTE = False
    keeps_spare = True  # whether a form has a host loaded before it is started
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
        self._filters += [SafeFilter(), *([AsciiFilter(ascii_in)] if ascii_in else [])]

    def on_mount(self) -> None:
        self.app_resume_signal.subscribe(self, lambda _: self.send_again())
        self.theme = "textual-dark"
        self.animation_level = "none"  # every frame of an animation is bytes on the link
        if self._first_run is not None:
            self.open_live(self._first_run)
        else:
            self.open_new_run(presets.load(presets.STARTER), presets.STARTER)
        once_shown(self, self._begin_work)

    def _begin_work(self) -> None:
        """What the first frame does not wait for."""
        gc.enable()
        threading.Thread(target=_import_screens, name="screens", daemon=True).start()
        self.run_worker(self._revive, thread=True)

    def _revive(self) -> None:
        """Runs that died with the machine and shall go on by themselves do so now."""
        launch = importlib.import_module("trainer.launch")
        for run in launch.revive(self.runs_dir):
            said = safe(f"{run.name} had died unasked and goes on.", limit=200, one_line=True)
            self.call_from_thread(self.notify, said, markup=False)

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


def open_app(runs_dir: Path, run: RunDir | None = None) -> int:
    """Open the screen; returns the exit code."""
    if why := terminal_kind.why_no_screen():
        print(safe(why), file=sys.stderr)
        return 2
    encoding = output_encoding() if terminal_kind.needs_ascii() else ""
    app = FinetuneApp(runs_dir, run, driver_class=HardenedDriver, ascii_in=encoding)
    app.run(mouse=True)
    return 1 if app.return_code is None else app.return_code  # None: it was left by none of its ways out


def _import_screens() -> None:
    """All of them, in a thread: the first key that opens one does not wait for its imports."""
    with contextlib.suppress(Exception):  # whoever opens it will see it
        for module in SCREENS:
            importlib.import_module(f"tui.screens.{module}")


def _screen(module: str, name: str) -> Callable[..., Screen[None]]:
    """A screen's class, imported now."""
    kind: Callable[..., Screen[None]] = getattr(importlib.import_module(f"tui.screens.{module}"), name)
    return kind
