"""The writing side of events.jsonl: a line an event, in order, whatever the disk does. `trainer.rundir` reads it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque

from trainer.events import Entry, Event, encode
from trainer.files import write_line
from trainer.rundir import RunDir
from trainer.secrets import redact

SYNC_SECONDS = 1.0
LAST_TRY_SECONDS = 5.0


class EventLog:
    """The one writer of events.jsonl. A torn last line of a killed host is cut off before the first append.

    Where the disk takes no more, lines wait in memory and are written, in order, as soon as it does again: a full
    disk ends no run. What was written is synced to the disk at most once a second.
    """

    def __init__(self, run: RunDir) -> None:
        self._file = run.events_file
        entries, offset, _ = run.read_events()
        self._fd = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._fd, offset)
        self.first = not entries  # no host has written here before
        self._seq = entries[-1].seq + 1 if entries else 0
        self._began = time.monotonic() - (entries[-1].elapsed if entries else 0.0)
        self._mutex = threading.Lock()
        self._waiting: deque[str] = deque()
        self._synced = time.monotonic()

    def append(self, event: Event) -> None:
        with self._mutex:
            entry = Entry(self._seq, time.time(), time.monotonic() - self._began, event)
            self._waiting.append(redact(encode(entry)))
            self._seq += 1
            self._write()

    def flush(self) -> bool:
        """Try to write what waits; whether nothing waits any more. Syncs when a second has passed."""
        with self._mutex:
            self._write()
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self._synced = time.monotonic()
                with contextlib.suppress(OSError):
                    os.fdatasync(self._fd) if hasattr(os, "fdatasync") else os.fsync(self._fd)
            return not self._waiting

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            while self._waiting:
                write_line(self._fd, self._waiting[0])
                self._waiting.popleft()

    def close(self) -> bool:
        """Whether all was written; where the disk is full it is tried for some seconds more."""
        until = time.monotonic() + LAST_TRY_SECONDS
        while not (written := self.flush()) and time.monotonic() < until:
            time.sleep(0.2)
        os.close(self._fd)
        return written
