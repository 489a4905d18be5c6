"""Room on the disk, kept for a file that is appended to, so that others who fill the disk do not silence it.

It knows files, not what stands in them. Where the system has no such call no room is kept, and what is appended has
to wait until there is some: fallocate(2) with KEEP_SIZE is Linux's, and some network file systems don't have it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE of linux/falloc.h: the size stays, the room behind the end grows


class Room:
    """Up to `size` bytes behind the end of a file, for as long as `keep` is called now and then."""

    def __init__(self, file: Path, size: int) -> None:
        self._file = file
        self._size = size
        self._until = 0  # up to which byte of the file there is room

    def keep(self) -> None:
        """Make it whole again when half of it is used."""
        with suppress(OSError), _opened(self._file) as fd:
            end = os.fstat(fd).st_size
            if self._until < end + self._size // 2 and _allocate(fd, end, self._size):
                self._until = end + self._size

    def give_back(self) -> None:
        with suppress(OSError), _opened(self._file) as fd:
            os.ftruncate(fd, os.fstat(fd).st_size)


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    fd = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _allocate(fd: int, begin: int, size: int) -> bool:
    call = getattr(ctypes.CDLL(None), "fallocate64", None)  # the one whose off_t has 64 bits on every machine
    if call is None:
        return False
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return bool(call(fd, KEEP_SIZE, begin, size) == 0)
