"""Who drives a run: the lock its host holds for its life, and how a reader asks for the holder without taking it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
import sys
import time
from pathlib import Path

from trainer.files import reason


class RunError(Exception):
    """Something about a run directory is wrong; the text is one sentence for a person."""


class Locked(RunError):
    """Another process holds the run."""


class Lock:
    """The host's hold on a run, for its life. `lockf`, not `flock`: a forked data worker must not inherit it.

    Raises Locked with the owner's pid when another process has it. Never open the lock file again in the process
    that holds it: closing that second handle would give the lock up.
    """

    def __init__(self, run: Path) -> None:
        self._fd = os.open(run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = lock_owner(self._fd)  # None where it has just gone
            os.close(self._fd)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise RunError(f"{run}/lock can't be locked: {reason(error)}.") from None
            raise Locked(f"{run.name} is already driven by {f'process {owner}' if owner else 'another'}.") from None
        os.ftruncate(self._fd, 0)
        os.write(self._fd, json.dumps({"pid": os.getpid(), "started": time.time()}).encode())

    def release(self) -> None:
        os.close(self._fd)


def lock_owner(fd: int) -> int | None:
    """Who holds a POSIX lock on this file, by F_GETLK (fcntl(2)); the struct differs by system."""
    mac = sys.platform == "darwin"
    layout = "qqihh" if mac else "hhqqi4x"
    whole = (0, 0, 0, fcntl.F_WRLCK, 0) if mac else (fcntl.F_WRLCK, 0, 0, 0, 0)
    answer = struct.unpack(layout, fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack(layout, *whole)))
    kind, pid = (answer[3], answer[2]) if mac else (answer[0], answer[4])
    return None if kind == fcntl.F_UNLCK else int(pid)
