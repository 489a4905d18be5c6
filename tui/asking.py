"""What can be asked of a run, and what was asked of it and does not stand in its log yet. It shows nothing."""

from __future__ import annotations

from typing import Literal

from trainer.follow import View
from trainer.rundir import Command, RunDir
from trainer.state import RunState
from tui.feed import Look

OBEYS = ("starting", "running", "paused")  # the states in which a host still takes requests
RESUMABLE = ("stopped", "failed", "crashed")


class Asking:
    """One run: `look` is the newest look at it, `wish` what was asked last and nothing shows yet."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self.look = Look(View(RunState(), "starting"))
        self.seen = False  # whether the run has been looked at yet
        self.wish: Literal["pause", "continue", ""] = ""

    def take(self, look: Look) -> bool:
        """A new look; whether it changes what can be asked."""
        before, self.look = (self._matters() if self.seen else None), look
        self.seen = True
        if look.view.state.paused == (self.wish == "pause") or not self.obeys:
            self.wish = ""
        return self._matters() != before

    def _matters(self) -> tuple[object, ...]:
        return self.look.view.status, bool(self.look.view.state.saved), self.look.problem

    @property
    def obeys(self) -> bool:
        """Whether there is a host that takes requests."""
        return self.seen and not self.look.problem and self.look.view.status in OBEYS

    @property
    def held(self) -> bool:
        """Whether the run is paused, or will be once the host has seen what was asked."""
        return self.wish == "pause" if self.wish else self.look.view.state.paused

    def can(self, action: str, with_spec: bool) -> bool | None:
        """For Textual's check_action: None greys what can't be done now, False hides what never can be again."""
        view, gone = self.look.view, bool(self.look.problem)
        match action:
            case "stop" | "pause" | "go_on":
                if not view.live or gone or (action != "stop" and (action == "go_on") != self.held):
                    return False
                return True if self.obeys else None
            case "resume" | "slower" | "skip":
                broke = action == "resume" or view.state.not_finite is not None
                return broke and view.status in RESUMABLE and with_spec and not gone
            case "copy":
                return bool(view.state.saved) and not view.live
            case "again":
                return True if with_spec else None
        return True

    def pause(self) -> None:
        """Ask the host to hold; raises RunError where that can't be written."""
        self._run.ask(Command("pause"))
        self.wish = "pause"

    def go_on(self) -> None:
        """Ask a paused host to go on; raises RunError where that can't be written."""
        self._run.ask(Command("continue"))
        self.wish = "continue"
