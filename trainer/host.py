"""The host: the process a run lives in. `python -P -m trainer RUN_DIR`.

Its trainer thread runs the backend's generator and appends what it yields to the log; its main thread reads
commands and signals and passes them on through Control. It has a session of its own and no terminal, so nothing
that happens to a screen reaches it.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from trainer import __version__, backends
from trainer.control import Control, Stop
from trainer.events import Failed, Finished, PhaseEntered, Started, StepTaken, Stopped
from trainer.rundir import Command, EventLog, Lock, Locked, RunDir, RunError
from trainer.spec import RunSpec

POLL_SECONDS = 0.1
EXIT_FAILED = 1
EXIT_LOCKED = 75  # EX_TEMPFAIL: another host has the run
NEVER_QUIET = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def main(run: RunDir, ready_fd: int | None = None) -> int:
    """Drive the run to its end; returns the process's exit code. Says "ok" or why not on `ready_fd`."""
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
    control = Control(folder=run.path)
    _listen(control)
    outcome: list[int] = []
    log.append(Started(os.getpid(), platform.node(), __version__))
    _say(ready_fd, "ok")
    thread = threading.Thread(target=lambda: outcome.append(_drive(spec, control, log)), name="trainer")
    thread.start()
    offset = 0
    while thread.is_alive():
        commands, offset = run.read_commands(offset)
        for command in commands:
            _obey(command, control)
        thread.join(POLL_SECONDS)
    log.close()
    lock.release()
    return outcome[0] if outcome else EXIT_FAILED


def _drive(spec: RunSpec, control: Control, log: EventLog) -> int:
    """The trainer thread: whatever happens ends in one terminal event."""
    step = 0
    try:
        log.append(PhaseEntered("loading torch and transformers" if spec.backend == "local" else "loading"))
        for event in backends.load(spec.backend).train(spec, control):
            if isinstance(event, StepTaken):
                step = event.step
            log.append(event)
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
        said = " ".join(str(error).split())[:300]
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


def _listen(control: Control) -> None:
    """A polite signal finishes the step and keeps what the spec says; a second one within 2 s leaves at once."""
    last = 0.0

    def handle(number: int, _frame: object) -> None:
        nonlocal last
        now = time.monotonic()
        if last and now - last < 2.0:
            os._exit(128 + number)
        last = now
        control.ask_stop()

    for number in NEVER_QUIET:
        signal.signal(number, handle)


def _say(ready_fd: int | None, line: str) -> None:
    if ready_fd is None:
        return
    with contextlib.suppress(OSError):
        os.write(ready_fd, line.encode() + b"\n")
        os.close(ready_fd)


def run_host(arguments: list[str]) -> int:
    """Entry of `python -m trainer RUN_DIR [READY_FD]`."""
    if not 1 <= len(arguments) <= 2:
        print("usage: python -P -m trainer RUN_DIR", file=sys.stderr)
        return 2
    return main(RunDir(Path(arguments[0])), int(arguments[1]) if len(arguments) == 2 else None)
