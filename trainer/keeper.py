"""The keeper of a run whose spec says `auto_resume`: starts its host again when it dies and nobody looks.

It is the process that `launch` started; every host is a fork of it, made before the heavy imports, and its own death
touches no host. A host that ends by itself, by a stop or by a polite signal says so with its exit code and is not
started again; one that a signal ends (kill -9, the system's out-of-memory killer, a crash in a library) goes on from
its newest whole checkpoint, and what was asked of the dead one (a pause, a stop) is asked of the new one. The keeper
looks at the run only when its host has died.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

from trainer.eventlog import EventLog
from trainer.events import Event, Failed, Noted
from trainer.follow import Follower
from trainer.lock import Lock, RunError
from trainer.rundir import RunDir

TRIES = 3  # new hosts in a row without a new checkpoint; the death after that is the run's end
FIRST_WAIT = 1.0  # seconds before a new host; twice as long with every death in a row

Host = Callable[
    [int | None, bool], int
]  # drives the run here; told where to say "ok", and whether it is another's heir


class Keeper:
    """Keeps one run going; `leaving` is set by a polite signal to the keeper itself."""

    def __init__(self, run: RunDir, host: Host) -> None:
        self._run, self._host = run, host
        self._leaving = False
        self._deaths, self._reached = 0, 0

    def keep(self, ready_fd: int | None, again: bool = False) -> int:
        """Drive the run through as many hosts as it takes; returns the last one's exit code.

        `ready_fd` is the first host's; it is closed here, so that its end is seen when that host dies.
        """
        code = self._drive(ready_fd, again)
        while code < 0 and self._goes_on(signal.Signals(-code)):
            code = self._drive(None, True)
        return code if code >= 0 else 128 - code

    def leave(self) -> None:
        """Start no new host after the one that runs now."""
        self._leaving = True

    def _drive(self, ready_fd: int | None, again: bool) -> int:
        """One host, from fork to end; its exit code, or minus the signal that ended it."""
        pid = os.fork()
        if pid == 0:
            _be_host(lambda: self._host(ready_fd, again))
        if ready_fd is not None:
            os.close(ready_fd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _goes_on(self, how: signal.Signals) -> bool:
        """Say how the host died and wait for a new one's time; whether there shall be one."""
        state = Follower(self._run).look().state
        if state.ending is not None or self._leaving:
            return False
        newest = max((saved.step for saved in state.checkpoints), default=0)
        self._deaths = self._deaths + 1 if newest <= self._reached else 1
        self._reached = max(newest, self._reached)
        died = f"The host was ended by {how.name} after step {state.step}"
        if how is signal.SIGKILL:
            died += " (somebody's kill -9, or the system was out of memory)"
        if self._deaths > TRIES:
            self._say(Failed(state.step, f"{died}, for the {self._deaths}th time without a checkpoint between."))
            return False
        said = self._say(Noted(f"{died}; it is started again from its newest checkpoint."))
        time.sleep(FIRST_WAIT * 2 ** (self._deaths - 1))
        return said and not self._leaving

    def _say(self, event: Event) -> bool:
        """One line in the log, between two hosts; False when somebody else has the run."""
        try:
            lock = Lock(self._run.path)
            log = EventLog(self._run)
        except (RunError, OSError):
            return False
        log.append(event)
        log.close()
        lock.release()
        return True


def keep(run: RunDir, host: Host, ready_fd: int | None, again: bool) -> int:
    """See `Keeper.keep`; a polite signal to this process is for the time after its host."""
    keeper = Keeper(run, host)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, lambda *_: keeper.leave())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return keeper.keep(ready_fd, again)


def _be_host(host: Callable[[], int]) -> None:
    """What the fork does: the host's whole life. It never comes back into the keeper's code."""
    code = 1
    try:
        code = host()
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
