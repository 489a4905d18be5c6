"""The writing side of events.jsonl: a line an event, in order, whatever the disk does. `trainer.rundir` reads it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque

from trainer.events import Entry, Event, encode
from trainer.files import write_line
from trainer.room import Room
from trainer.rundir import RunDir
from trainer.secrets import redact

SYNC_SECONDS = 1.0
LAST_TRY_SECONDS = 5.0
ROOM, SMALL_ROOM = 2**20, 2**16  # bytes; some thousand events, some hundred commands


class EventLog:
    """The one writer of events.jsonl. A torn last line of a killed host is cut off before the first append.

    Some room on the disk is kept for it, for commands.jsonl and for host.log, so that a disk which others fill makes
    a run neither dumb nor deaf. When that is used up, lines wait in memory and are written, in order, as soon as there
    is more: a full disk ends no run. What was written is synced to the disk at most once a second.
    """

    def __init__(self, run: RunDir) -> None:
        entries, self._end, _ = run.read_events()
        self._fd = os.open(run.events_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._fd, self._end)
        self.first = not entries  # no host has written here before
        self._seq = entries[-1].seq + 1 if entries else 0
        self._began = time.monotonic() - (entries[-1].elapsed if entries else 0.0)
        self._mutex = threading.Lock()
        self._waiting: deque[str] = deque()
        self._synced = time.monotonic()
        with contextlib.suppress(OSError):
            run.commands_file.touch(0o600)
        small = (Room(file, SMALL_ROOM) for file in (run.commands_file, run.host_log))
        self._rooms = (Room(run.events_file, ROOM), *small)
        for room in self._rooms:
            room.keep()

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
            written = not self._waiting
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self._sync()
        return written

    def gone(self) -> bool:
        """Whether the run was removed: nobody can read what is written."""
        return os.fstat(self._fd).st_nlink == 0

    def close(self) -> bool:
        """Whether all was written; where the disk is full it is tried for some seconds more."""
        until = time.monotonic() + LAST_TRY_SECONDS
        while not (written := self.flush()) and time.monotonic() < until:
            time.sleep(0.2)
        for room in self._rooms:
            room.give_back()
        self._sync()
        os.close(self._fd)
        return written

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            while self._waiting:
                if os.fstat(self._fd).st_size != self._end:  # a part of a line that could not be taken back
                    os.ftruncate(self._fd, self._end)
                self._end += write_line(self._fd, self._waiting[0])
                self._waiting.popleft()

    def _sync(self) -> None:
        """Without the mutex: a slow disk is not to hold up the training."""
        self._synced = time.monotonic()
        for room in self._rooms:
            room.keep()
        with contextlib.suppress(OSError):
            os.fdatasync(self._fd) if hasattr(os, "fdatasync") else os.fsync(self._fd)
