"""A spare host: a process that has loaded torch, transformers and peft while a form is filled in, and waits for a run.

    python -P -m trainer.spare FD

FD is one end of a socket pair; at the other end is whoever may start a run. One JSON line gives it that run, and from
then on it is that run's host like any other: it has a session of its own, no terminal, nothing on its command line,
and the environment a host has. Before that line it is nobody's: it ends when the other end is closed, however that
came about. Until it has a run its loading stands back behind everything else.

It takes about 350 MB while it waits, so `Spare.start` makes none where memory is short.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from trainer import machine, secrets
from trainer.host import run_host

VARIABLE = "FINETUNEGEM_SPARE"  # "no": none is made
NEEDED = 2_000_000_000  # bytes that must be free
GENTLE = 15
VOLATILE = ("OMP_WAIT_POLICY",)  # follows the load of the moment
LIBRARIES = ("torch", "transformers", "peft")


class Spare:
    """The screen's side: one process, from `start` until `give` or `end`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._environment: Mapping[str, str] = {}
        self._code: object = None
        self._mutex = threading.Lock()
        self._over = False

    @property
    def pid(self) -> int | None:
        """The process that waits; None where there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self, environment: Mapping[str, str]) -> bool:
        """Make it, with the environment of a host; whether there is one now. It may take some milliseconds."""
        free = machine.free_bytes()
        if environment.get(VARIABLE) == "no" or (free is not None and free < NEEDED):
            return False
        with self._mutex:
            if self._over or self.pid is not None:
                return not self._over
            self._drop()
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    self._process = subprocess.Popen(
                        [sys.executable, "-P", "-m", "trainer.spare", str(theirs.fileno())],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                        cwd="/",
                        env=environment,
                        pass_fds=(theirs.fileno(),),
                        start_new_session=True,
                    )
                except OSError:
                    ours.close()
                    return False
            self._line, self._environment, self._code = ours, environment, code_stamp()
            return True

    def give(self, run: Path, log: Path, environment: Mapping[str, str]) -> tuple[str, subprocess.Popen[bytes] | None]:
        """Give it a run; what its host says ("ok: PID", "locked: why", ...) and its process. "" where it can't take
        one: it is dead, or the code or the environment is another one now."""
        with self._mutex:
            process, line = self._process, self._line
            same = _lasting(environment) == _lasting(self._environment) and code_stamp() == self._code
            if process is None or line is None or process.poll() is not None or not same:
                self._drop()
                return "", None
            self._process = self._line = None
        with line, contextlib.suppress(OSError):
            line.sendall(json.dumps({"run": str(run), "log": str(log)}).encode() + b"\n")
            with line.makefile("r", encoding="utf-8") as answers:
                return answers.readline().strip(), process
        return "", process

    def end(self) -> None:
        """There is none any more, and there will be none. Returns at once."""
        with self._mutex:
            self._over = True
            self._drop()

    def _drop(self) -> None:
        """Let it end by itself; it is reaped by a thread, so that no zombie stays."""
        process, line = self._process, self._line
        self._process = self._line = None
        if line is not None:
            line.close()
        if process is not None:
            threading.Thread(target=process.wait, name="spare", daemon=True).start()


def code_stamp() -> object:
    """What the code is known again by: sizes and times of every file of ours, and of the libraries' first."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    found = (importlib.util.find_spec(name) for name in LIBRARIES)
    files += [Path(spec.origin) for spec in found if spec is not None and spec.origin]
    return tuple(_stamp(file) for file in files)


def _stamp(file: Path) -> tuple[str, int, int]:
    with contextlib.suppress(OSError):
        seen = file.stat()
        return str(file), seen.st_size, seen.st_mtime_ns
    return str(file), -1, -1


def _lasting(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in VOLATILE}


# --- the process -------------------------------------------------------------------------------------------------


def main(fd: int) -> int:
    """Load, wait, and be the host of the run that comes; the exit code is that host's."""
    os.set_inheritable(fd, False)
    threading.Thread(target=_load, name="loading", daemon=True).start()
    asked = b""
    with socket.socket(fileno=fd) as line:
        while not asked.endswith(b"\n"):
            piece = line.recv(65536)
            if not piece:  # the other end is gone, and no run came
                os._exit(0)
            asked += piece
        line.detach()
    given = json.loads(asked)
    _write_to(given["log"])
    secrets.install()
    return run_host([given["run"], str(fd)])


def _load() -> None:
    """What every local run imports. Only this thread stands back: nobody but root can take niceness back."""
    with contextlib.suppress(OSError, AttributeError):
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), GENTLE)
    with contextlib.suppress(Exception):  # the host imports it again, and says what is wrong
        importlib.import_module("trainer.backends.local")


def _write_to(log: str) -> None:
    """Standard output and error go into the run's log from now on, as those of any host."""
    target = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
