"""The host: the process a run lives in. `python -P -m trainer RUN_DIR`.

Its trainer thread runs the backend's generator and appends what it yields to the log; its main thread reads
commands and signals and passes them on through Control. It has a session of its own and no terminal, so nothing
that happens to a screen reaches it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import platform
import signal
import statistics
import sys
import threading
import time
import traceback
from collections import deque
from pathlib import Path

from trainer import __version__, backends
from trainer.control import Control, Stop
from trainer.eventlog import EventLog
from trainer.events import (
    Evaluated,
    Event,
    Failed,
    Finished,
    Noted,
    PhaseEntered,
    Started,
    StepTaken,
    Stopped,
)
from trainer.keeper import keep
from trainer.rundir import Command, Lock, Locked, RunDir, RunError
from trainer.secrets import redact
from trainer.spec import RunSpec

POLL_SECONDS = 0.1
HANG_SECONDS, HANG_STEPS = 60.0, 10  # the longer of a minute and ten median steps
EXIT_FAILED = 1
EXIT_LOCKED = 75  # EX_TEMPFAIL: another host has the run
POLITE = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def main(run: RunDir, ready_fd: int | None = None, again: bool = False) -> int:
    """Drive the run to its end; returns the process's exit code. Says "ok" and its pid, or why not, on `ready_fd`.

    `again`: a host has died unasked and this one stands in for it, so what was asked of that one is for this one.
    """
    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        lock = Lock(run.path)
        spec = run.spec()
        log = EventLog(run)
    except RunError as error:
        _say(ready_fd, f"{'locked' if isinstance(error, Locked) else 'error'}: {error}")
        print(error, file=sys.stderr)
        return EXIT_LOCKED if isinstance(error, Locked) else EXIT_FAILED
    control = _settled(run, log.first)
    signalled = _listen(control)
    outcome: list[int] = []
    offset = _commands_from(run, again) if not log.first else 0
    log.append(Started(os.getpid(), platform.node(), __version__, offset))
    _say(ready_fd, f"ok: {os.getpid()}")
    watch = Watch(log)
    thread = threading.Thread(target=lambda: outcome.append(_drive(spec, control, log, watch)), name="trainer")
    thread.start()
    while thread.is_alive():
        commands, offset = run.read_commands(offset)
        for command in commands:
            _obey(command, control)
        watch.look(control.paused)
        log.flush()
        thread.join(POLL_SECONDS)
    written = log.close()
    lock.release()
    code = outcome[0] if outcome and written else EXIT_FAILED
    return 128 + signalled[0] if signalled and code == 0 else code


def _commands_from(run: RunDir, again: bool) -> int:
    """The byte from which on commands are for the host that begins now."""
    earlier = (entry.event for entry in reversed(run.read_events()[0])) if again else ()
    before = next((event for event in earlier if isinstance(event, Started)), None)
    return before.commands_from if before else run.commands_end()


def _settled(run: RunDir, first: bool) -> Control:
    """What earlier commands say about every later host of the run."""
    commands, _ = run.read_commands()
    factors = [command.factor for command in commands if command.command == "slower" and command.factor]
    skip = frozenset(command.step for command in commands if command.command == "skip" and command.step)
    return Control(folder=run.path, resuming=not first, rate_factor=math.prod(factors), skip=skip)


class Watch:
    """Notices when no step comes: says so in the log and writes all threads' stacks to host.log, once a hang.

    It begins with the first step; loading may take as long as it takes. An evaluation has three times its last time.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._sign = time.monotonic()
        self._steps: deque[float] = deque(maxlen=50)
        self._eval = 0.0
        self._said = False

    def seen(self, event: Event) -> None:
        """A sign of life; called by the trainer thread."""
        self._sign = time.monotonic()
        self._said = False
        if isinstance(event, StepTaken):
            self._steps.append(event.seconds)
        elif isinstance(event, Evaluated):
            self._eval = event.seconds

    def look(self, paused: bool) -> None:
        """Called by the main thread, often."""
        if paused or self._said or not self._steps:
            return
        silent = time.monotonic() - self._sign
        if silent > max(HANG_SECONDS, HANG_STEPS * statistics.median(self._steps), 3 * self._eval):
            self._said = True
            self._log.append(Noted(f"No step for {silent:.0f} s; what every thread is doing stands in host.log."))
            faulthandler.dump_traceback(sys.stderr, all_threads=True)


def _drive(spec: RunSpec, control: Control, log: EventLog, watch: Watch) -> int:
    """The trainer thread: whatever happens ends in one terminal event."""
    step = 0
    try:
        log.append(PhaseEntered("loading torch and transformers" if spec.backend == "local" else "loading"))
        for event in backends.load(spec.backend).train(spec, control):
            if isinstance(event, StepTaken):
                step = event.step
            log.append(event)
            watch.seen(event)
            if isinstance(event, Finished | Stopped):
                return 0
            if isinstance(event, Failed):
                return EXIT_FAILED
        raise RuntimeError("the backend ended without saying how")
    except RunError as error:
        print(error, file=sys.stderr)
        message = str(error)
    except BaseException as error:
        traceback.print_exc()
        said = redact(" ".join(str(error).split()))[:300]
        message = f"{type(error).__name__}: {said} (the whole traceback is in host.log)."
    with contextlib.suppress(OSError):  # the log itself may be what failed; host.log has the rest
        log.append(Failed(step, message))
    return EXIT_FAILED


def _obey(command: Command, control: Control) -> None:
    match command.command:
        case "stop":
            control.ask_stop(Stop(command.keep, command.step))
        case "pause":
            control.pause(True)
        case "continue":
            control.pause(False)
        case "slower" | "skip":
            pass  # for the next host


def _listen(control: Control) -> list[int]:
    """A polite signal finishes the step, saves and ends; a second one within 2 s leaves at once.

    Returns the list into which a polite signal's number goes.
    """
    signalled: list[int] = []
    last = 0.0

    def handle(number: int, _frame: object) -> None:
        nonlocal last
        now = time.monotonic()
        if last and now - last < 2.0:
            os._exit(128 + number)
        last = now
        signalled[:] = [number]
        control.ask_stop()

    for number in POLITE:
        signal.signal(number, handle)
    return signalled


def _say(ready_fd: int | None, line: str) -> None:
    if ready_fd is None:
        return
    with contextlib.suppress(OSError):
        os.write(ready_fd, line.encode() + b"\n")
        os.close(ready_fd)


def run_host(arguments: list[str]) -> int:
    """Entry of `python -m trainer RUN_DIR [READY_FD [again]]`."""
    if not 1 <= len(arguments) <= 3:
        print("usage: python -P -m trainer RUN_DIR", file=sys.stderr)
        return 2
    run = RunDir(Path(arguments[0]))
    ready_fd = int(arguments[1]) if len(arguments) > 1 else None
    again = arguments[2:] == ["again"]
    if _is_kept(run):
        return keep(run, lambda fd, anew: main(run, fd, anew), ready_fd, again)
    return main(run, ready_fd, again)


def _is_kept(run: RunDir) -> bool:
    with contextlib.suppress(RunError):
        return run.spec().auto_resume == "yes"
    return False  # `main` says what is wrong with the spec
