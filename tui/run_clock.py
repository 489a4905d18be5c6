"""How long a run has run, between the entries of its log: the log's own clock and what passed since. No widget."""

from __future__ import annotations

import time
from collections.abc import Callable

from trainer.follow import View


class RunClock:
    """Elapsed seconds of one run. The wall clock is asked once, at the first view, and may jump afterwards."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._seq = -1
        self._elapsed = 0.0
        self._since = 0.0  # of the monotonic clock, when `_elapsed` was true
        self._goes = False

    def take(self, view: View) -> None:
        """Set by the newest entry; goes on from there while somebody drives the run and it is not paused."""
        state = view.state
        now = self._monotonic()
        if state.next_seq != self._seq:
            late = max(0.0, self._wall() - state.updated) if self._seq < 0 and state.updated else 0.0
            self._seq, self._elapsed, self._since = state.next_seq, state.elapsed, now - late
        self._goes = bool(state.next_seq) and view.live and view.status != "paused"

    def elapsed(self) -> float:
        """Seconds since the run began; stands still for a paused or ended run."""
        return self._elapsed + (max(0.0, self._monotonic() - self._since) if self._goes else 0.0)
