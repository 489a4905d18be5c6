"""The app: which screen stands where, and nothing a screen can do itself.

The screens are imported when they are first opened, so that the first frame waits for one form and not for charts
and tables. It reads and starts runs through `trainer`; it never trains.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from trainer.rundir import RunDir

from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import Screen

from trainer import presets
from trainer.spec import Value


class FinetuneApp(App[None]):
    """Opens on New run, filled in with the starter preset; or on `run` when one is given."""

    TITLE = "finetunegem"
    CSS_PATH = "finetunegem.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", id="app.quit", tooltip="Leave; runs go on", priority=True),
    ]

    def __init__(self, runs_dir: Path, run: RunDir | None = None) -> None:
        super().__init__()
        self.runs_dir = runs_dir
        self._first_run = run

    def on_mount(self) -> None:
        self.theme = "textual-dark"
        self.animation_level = "none"  # every frame of an animation is bytes on the link
        if self._first_run is not None:
            self.open_live(self._first_run)
        else:
            self.open_new_run(presets.load(presets.STARTER), presets.STARTER)

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
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print("The screen needs a terminal; `finetunegem run` works without one (see --help).", file=sys.stderr)
        return 2
    app = FinetuneApp(runs_dir, run)
    app.run(mouse=True)
    return app.return_code or 0


def _screen(module: str, name: str) -> Callable[..., Screen[None]]:
    """A screen's class, imported now."""
    kind: Callable[..., Screen[None]] = getattr(importlib.import_module(f"tui.screens.{module}"), name)
    return kind
