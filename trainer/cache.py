"""What can be made again, kept for the next run: folders by key, within a bound, the longest unused going first.

    <cache>/tokens/KEY/         an entry: put in place by one rename, so that it is there whole or not at all
    <cache>/tokens/.new-.../    one that is being made

Who makes or reads an entry holds a lock on it, and one that is held is never taken away. What an entry holds, and
whether a bit of it has flipped, is the question of who reads it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

VARIABLE = "FINETUNEGEM_CACHE"
MOST_BYTES, SHARE_OF_DISK = 20_000_000_000, 0.1
_LOCK = "lock"
_GRACE = 60.0  # seconds that a folder without a lock file has to get one


def root() -> Path:
    """Where models and tokens are kept: FINETUNEGEM_CACHE, else the person's cache folder."""
    given = os.environ.get(VARIABLE)
    return Path(given).absolute() if given else Path(platformdirs.user_cache_dir("finetunegem", appauthor=False))


class Held:
    """An entry that stays as long as this object does, or until `release`. `path` is its folder."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.release = weakref.finalize(self, os.close, fd)


@dataclass
class New:
    """An entry that is being made: write into `path`. It stands in its place, `held`, when the block has ended."""

    path: Path
    held: Held


@dataclass(frozen=True, slots=True)
class Cleared:
    """What `Cache.clear` took away, in bytes and entries, and how many entries stay since a run reads them."""

    entries: int
    size: int
    in_use: int


class Cache:
    """Its folder is made when the first entry is. `limit` is in bytes."""

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self.folder = folder or root() / "tokens"
        self._limit = limit

    def find(self, key: str) -> Held | None:
        """The entry of that name, which counts as used now; None where there is none."""
        held = _hold(self.folder / key)
        if held is not None:
            with contextlib.suppress(OSError):
                os.utime(held.path / _LOCK)
        return held

    @contextmanager
    def make(self, key: str) -> Iterator[New]:
        """A folder that takes its place as an entry when the block ends well, and goes when not. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.folder / f".new-{key[:16]}-{secrets.token_hex(4)}"
        path.mkdir(mode=0o700)
        try:
            (path / _LOCK).touch()
            new = New(path, _needed(path))
            yield new
            new.held = self._put(new, self.folder / key)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        self.prune()

    def drop(self, held: Held) -> None:
        """Take a damaged entry away, whoever reads it: what is open stays readable."""
        held.release()
        self._remove(held.path)

    def prune(self) -> None:
        """Down to the bound, the longest unused first; and what a killed process left half made."""
        entries = sorted(self._folders(), key=_used)
        sizes = {path: _size(path) for path in entries if not _hidden(path)}
        too_much = sum(sizes.values()) - self._most(sum(sizes.values()))
        for path in entries:
            if (_hidden(path) or too_much > 0) and self._take_away(path):
                too_much -= sizes.get(path, 0)

    def clear(self) -> Cleared:
        """Everything that no process holds."""
        sizes = {path: _size(path) for path in self._folders()}
        gone = [path for path in sizes if self._take_away(path)]
        return Cleared(len(gone), sum(sizes[path] for path in gone), len(sizes) - len(gone))

    def _most(self, held: int) -> int:
        if self._limit is not None:
            return self._limit
        return min(MOST_BYTES, int((shutil.disk_usage(self.folder).free + held) * SHARE_OF_DISK))

    def _folders(self) -> list[Path]:
        with contextlib.suppress(OSError):
            return [path for path in self.folder.iterdir() if path.is_dir() and not path.is_symlink()]
        return []

    def _put(self, new: New, place: Path) -> Held:
        try:
            new.path = new.held.path = new.path.rename(place)
        except OSError:  # another process was quicker, and its entry is as good; this one goes when it is let go
            other = _needed(place)
            shutil.rmtree(new.path, ignore_errors=True)
            return other
        return new.held

    def _take_away(self, path: Path) -> bool:
        """Whether it is gone; not so while a process holds it, or may be about to."""
        lock = _lock(path, fcntl.LOCK_EX)
        if lock is None and ((path / _LOCK).exists() or time.time() - _used(path) < _GRACE):
            return False
        self._remove(path)
        if lock is not None:
            os.close(lock)
        return True

    def _remove(self, path: Path) -> None:
        """First out of its place, so that nobody finds half of it."""
        with contextlib.suppress(OSError):
            path = path.rename(self.folder / f".old-{secrets.token_hex(4)}")
        shutil.rmtree(path, ignore_errors=True)


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _used(path: Path) -> float:
    """When it was last found, or made; seconds since the epoch."""
    for there in (path / _LOCK, path):
        with contextlib.suppress(OSError):
            return there.stat().st_mtime
    return 0.0


def _size(path: Path) -> int:
    total = 0
    with contextlib.suppress(OSError):  # it may go while it is counted
        for file in path.iterdir():
            total += file.stat().st_size
    return total


def _hold(path: Path) -> Held | None:
    fd = _lock(path, fcntl.LOCK_SH)
    return None if fd is None else Held(path, fd)


def _needed(path: Path) -> Held:
    held = _hold(path)
    if held is None:
        raise OSError(f"{path} was taken away")
    return held


def _lock(path: Path, kind: int) -> int | None:
    """An open lock on the folder, or None where it is gone or (for LOCK_EX) somebody holds it.

    flock(2): the lock is the open file's and not the process's, so that two parts of one process may hold it.
    """
    try:
        fd = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
        if os.fstat(fd).st_ino == (path / _LOCK).stat().st_ino:  # not one that was taken away meanwhile
            return fd
    os.close(fd)
    return None
