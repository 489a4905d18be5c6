"""Follows one run for one screen: reads in a thread, hands over one View when something changed.

One look at a time, the next one only after the last was taken in: however long a terminal stands still, nothing
queues up. It draws nothing and knows no widget but the screen that owns it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from textual.screen import Screen

from trainer.follow import Follower, View
from trainer.rundir import RunDir

LIVE_SECONDS = 0.25
ENDED_SECONDS = 1.0  # an ended run can be taken up again, or its folder removed


@dataclass(frozen=True, slots=True)
class Look:
    """What the feed hands over: the newest view, or a sentence that says why the run can't be read."""

    view: View
    problem: str = ""


class Feed:
    """Reads one run for as long as its screen stands; `take` is called in the event loop with each new Look."""

    def __init__(self, run: RunDir, take: Callable[[Look], None]) -> None:
        self._follower = Follower(run)
        self._take = take
        self._last: Look | None = None
        self.made = 0  # looks so far

    def start(self, screen: Screen[None]) -> None:
        """Follow until the screen is removed."""
        screen.run_worker(self._follow(), name="feed", group="feed", exclusive=True)

    async def _follow(self) -> None:
        while True:
            look = await asyncio.to_thread(self.look)
            self.made += 1
            if look != self._last:
                self._last = look
                self._take(look)
            await asyncio.sleep(LIVE_SECONDS if look.view.live else ENDED_SECONDS)

    def look(self) -> Look:
        """One reading of the run; blocks for the disk, so it is made in a thread."""
        run = self._follower.run
        if not run.path.is_dir():
            return Look(self._follower.view, f"{run.path} is not there any more.")
        try:
            return Look(self._follower.look())
        except OSError as error:
            return Look(self._follower.view, f"{run.path} can't be read: {error.strerror or error}.")
