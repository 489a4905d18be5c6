"""Files that are read while they are written: whole texts by rename, whole lines by appending."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Replace a file by one rename, so that a reader sees the old text or the new one, never a part."""
    new = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        new.replace(file)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def whole_lines(file: Path, offset: int) -> tuple[list[bytes], int]:
    try:
        with file.open("rb") as handle:
            handle.seek(offset)
            data = handle.read()
    except FileNotFoundError:
        return [], offset
    end = data.rfind(b"\n") + 1
    return data[:end].split(b"\n")[:-1] if end else [], offset + end


def append_line(file: Path, line: str) -> None:
    fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        write_line(fd, line)
    finally:
        os.close(fd)


def write_line(fd: int, line: str) -> int:
    """One write of one line; returns its bytes. If only a part fits (disk full), that part is taken back."""
    data = line.encode("ascii") + b"\n"
    before = os.fstat(fd).st_size
    written = os.write(fd, data)
    if written != len(data):
        os.ftruncate(fd, before)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return written


def reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def sized(size: float) -> str:
    """Bytes in words: 4.0 MB, 1.2 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
