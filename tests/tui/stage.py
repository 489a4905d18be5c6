"""A bare app for one screen: it records where the screen wanted to go, instead of going there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.segment import Segment
from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen

import tui
from tests.builders import RunBuilder
from trainer.rundir import RunDir
from trainer.spec import Value
from tui.screens.live import LiveScreen
from tui.screens.room import Room
from tui.sheets.sheet import Sheet

SMALL, MIDDLE, LARGE = (80, 24), (120, 40), (200, 50)


class Stage(App[None]):
    """Shows the screen it is given. `went` holds what the screen asked the app to open."""

    CSS_PATH = Path(tui.__file__).parent / "finetunegem.tcss"
    ENABLE_COMMAND_PALETTE = False
    keeps_spare = False

    def __init__(self, screen: Screen[None]) -> None:
        super().__init__()
        self._shown = screen
        self.went: list[tuple[object, ...]] = []

    def on_mount(self) -> None:
        self.push_screen(self._shown)

    def open_new_run(self, values: Mapping[str, Value], origin: str = "") -> None:
        self.went.append(("new_run", dict(values), origin))

    def open_live(self, run: RunDir) -> None:
        self.went.append(("live", run))

    def open_home(self) -> None:
        self.went.append(("home",))


def live_stage(builder: RunBuilder) -> Stage:
    return Stage(LiveScreen(builder.run))


def live_screen(app: App[None]) -> LiveScreen:
    """The live screen, whatever sheet stands over it."""
    return next(screen for screen in reversed(app.screen_stack) if isinstance(screen, LiveScreen))


def sheet_of(app: App[None]) -> Sheet[Any] | None:
    """The sheet that lies uppermost on the screen."""
    return app.screen.sheet if isinstance(app.screen, Room) else None


def text_of(app: App[None]) -> str:
    """What stands on the screen, row by row."""
    console = app.console
    update = app.screen._compositor.render_update(full=True)
    assert update is not None
    return "".join(
        segment.text
        for segment in console.render(update, console.options)
        if isinstance(segment, Segment) and not segment.control
    )


async def until(pilot: Pilot[None], condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Let the app work until the condition holds; fails with the screen's text when it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain; the screen says:\n{text_of(pilot.app)}"
        await pilot.pause(0.02)


async def shows(pilot: Pilot[None], *texts: str) -> str:
    """Wait until all texts stand on the screen; the whole screen's text."""
    await until(pilot, lambda: all(text in text_of(pilot.app) for text in texts))
    return text_of(pilot.app)
