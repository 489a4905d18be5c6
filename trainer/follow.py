"""Reading a run as it grows: a Follower folds what was appended since the last look.

The screen's feed, `finetunegem run`, `list` and the tests all read runs through it. It only reads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from trainer.events import Entry
from trainer.rundir import LIVE, Command, RunDir, Status, just_made, status
from trainer.state import RunState, apply_all


@dataclass(frozen=True, slots=True)
class View:
    """One look at a run: what its log says, what was asked, and whether somebody drives it."""

    state: RunState
    status: Status
    stop: Command | None = None  # the stop that was asked for and has not taken effect yet
    pid: int | None = None  # of the host that holds the lock

    @property
    def live(self) -> bool:
        return self.status in LIVE


class Follower:
    """Keeps a place in a run's two logs; `look()` reads on from there and costs nothing when nothing was added."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.view = View(RunState(), "starting")
        self.fresh: list[Entry] = []  # what the last look added
        self._events_at = 0
        self._commands_at = 0
        self._stop: Command | None = None

    @property
    def place(self) -> int:
        """The byte of the log up to which it has looked."""
        return self._events_at

    def look(self) -> View:
        """The newest view; the same object as before when nothing changed."""
        pid = self.run.holder()  # before the log: a host writes its ending before it lets go
        self.fresh, self._events_at, bad = self.run.read_events(self._events_at)
        commands, self._commands_at = self.run.read_commands(self._commands_at)
        state = apply_all(self.view.state, self.fresh)
        if bad:
            state = replace(state, bad_lines=state.bad_lines + bad)
        self._stop = next((c for c in reversed(commands) if c.command == "stop"), self._stop)
        stop = self._pending_stop(state) if pid is not None and state.ending is None else None
        young = pid is None and not state.next_seq and just_made(self.run)
        view = View(state, status(state, pid is not None, stop is not None, young), stop, pid)
        if view != self.view:
            self.view = view
        return self.view

    def _pending_stop(self, state: RunState) -> Command | None:
        """The stop that is for the host that runs now, not for one before it."""
        if self._stop is None or (state.started and self._stop.at < state.started.commands_from):
            return None
        return self._stop
