"""The bytes of a data file: opened safely, unpacked, in chunks or lines, never more than a little in memory.

It knows nothing of formats. What it can't know: whether a file that reads well is the one that was meant.
"""

from __future__ import annotations

import importlib
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from trainer.data.errors import DataError, shown

Packing = Literal["", "gz", "zst"]
Part = tuple[int, int]  # from the first byte on, up to the last one and without it; only of what is not packed
WHOLE: Part = (0, 0)

CHUNK = 1 << 16  # bytes; larger ones leave the processor's cache between reading and splitting
LONGEST = 64 << 20  # bytes of one line or one JSON value; the most that is held at once
BOMB_BYTES, BOMB_RATIO = 32 << 20, 700  # one byte over and over comes to 1030 with gzip, real texts to 3 or 10
DENSE_READ = 1 << 13  # bytes; small, so that how far was read tells how dense the file is
_GLANCE, _DENSE = 1 << 20, 100  # bytes, and times its size: less than that is no bomb
BOMB = f"it unpacks to more than {BOMB_RATIO} times its size, like an archive bomb: leave it."
HEAD = 1 << 16  # bytes that the format is told by
_BOM = b"\xef\xbb\xbf"
_LONGEST_HEAD = 4 << 20
_ONE_LINE = re.compile(rb"(?:\xef\xbb\xbf)?+\s*+\{[^\n\0]*+\s*+")
_MAGIC: dict[bytes, Packing] = {b"\x1f\x8b": "gz", b"\x28\xb5\x2f\xfd": "zst"}
_SPECIAL = {
    stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


class Damage(Exception):
    """The bytes go wrong here; the text is what and what to do. Whoever reads on knows the line and adds it."""


def open_regular(path: Path) -> BinaryIO:
    """The file, unbuffered. Raises DataError for what is missing, closed to us or no regular file, without waiting.

    Looked at before it is opened: opening a FIFO waits for its writer, and opening a device may do anything.
    """
    try:
        _check_kind(path, path.stat().st_mode)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        handle = os.fdopen(fd, "rb", buffering=0)
        _check_kind(path, os.fstat(fd).st_mode)  # it may be another one by now
        return handle
    except FileNotFoundError:
        raise DataError(f"{shown(path)}: there is no such file: check the path.") from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{shown(path)}: it can't be read ({reason(error)}): check the path and its permissions."
        ) from None


def _check_kind(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise DataError(f"{shown(path)}: this is a folder: give the data file in it.")
    if not stat.S_ISREG(mode):
        kind = _SPECIAL.get(stat.S_IFMT(mode), "something special")
        raise DataError(f"{shown(path)}: this is {kind}, not a regular file: give a file with the rows in it.")


def reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def packing(path: Path) -> Packing:
    """How the file is packed, by its first bytes. Raises DataError when it can't be opened."""
    with open_regular(path) as handle:
        try:
            start = read(handle, 8)
        except Damage as damage:
            raise DataError(f"{shown(path)}: {damage}") from None
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "")


def chunks(path: Path, packed: Packing = "", part: Part = WHOLE) -> Iterator[bytes]:
    """The unpacked bytes of a text without its byte order mark, some hundred kB at a time. Raises DataError, Damage."""
    with open_regular(path) as handle:
        pieces = _unpacked(handle, packed) if part == WHOLE else _part(handle, part)
        if part[0]:  # a mark in the middle is none
            for piece in pieces:
                yield from _without_nul(piece)
            return
        start = b""
        for piece in pieces:
            start += piece
            if len(start) >= len(_BOM):
                break
        yield from _without_nul(start.removeprefix(_BOM))
        for piece in pieces:
            yield from _without_nul(piece)


def _without_nul(chunk: bytes) -> Iterator[bytes]:
    """The chunk; or what stands before a NUL byte in it, and then Damage: whoever counts lines knows where it is."""
    at = chunk.find(0)
    if at < 0:
        yield chunk
        return
    yield chunk[:at]
    raise Damage("there is a NUL byte: the file is damaged or no text; make it anew.")


def _unpacked(handle: BinaryIO, packed: Packing) -> Iterator[bytes]:
    pieces = _pieces(handle, CHUNK)
    if not packed:
        yield from pieces
        return
    unpack: Callable[[BinaryIO], Iterator[bytes]] = _gunzip
    if packed == "zst":
        unpack = importlib.import_module("trainer.data.zst").pieces
    size = 0
    for piece in unpack(handle):
        size += len(piece)
        if size > BOMB_BYTES and size > BOMB_RATIO * handle.tell():
            raise Damage(BOMB)
        yield piece


def _part(handle: BinaryIO, part: Part) -> Iterator[bytes]:
    handle.seek(part[0])
    left = part[1] - part[0]
    while left > 0 and (piece := read(handle, min(CHUNK, left))):
        left -= len(piece)
        yield piece


def _pieces(handle: BinaryIO, size: int) -> Iterator[bytes]:
    while piece := read(handle, size):
        yield piece


def read(handle: BinaryIO, size: int) -> bytes:
    """The next bytes. Raises Damage when the disk or the network behind it fails."""
    try:
        return handle.read(size) or b""  # None, where it is none of the files that one need not wait for
    except OSError as error:
        raise Damage(f"it can't be read on ({reason(error)}): check the disk.") from None


def check_bomb(path: Path, packed: Packing) -> None:
    """Raises DataError for an archive bomb that is one from its first bytes on; it costs next to nothing for others.

    One that begins harmlessly is found out when reading comes there, as the rows before it take their time.
    """
    with open_regular(path) as handle:
        size = 0
        try:
            for piece in _unpacked(handle, packed) if packed else ():
                size += len(piece)
                if size > BOMB_BYTES or (size > _GLANCE and size < _DENSE * handle.tell()):
                    return
        except Damage as damage:
            if str(damage) == BOMB:
                raise DataError(f"{shown(path)}: {damage}") from None


def _gunzip(handle: BinaryIO) -> Iterator[bytes]:
    """All members one after the other; zeros behind the last are padding. Output is bounded, whatever the input."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        for packed in _pieces(handle, DENSE_READ):
            while packed:
                if unpacker.eof:
                    packed = packed.lstrip(b"\0")
                    if not packed:
                        break
                    unpacker = zlib.decompressobj(wbits=31)
                yield unpacker.decompress(packed, CHUNK)
                packed = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    except zlib.error:
        raise Damage("the gzip data are damaged here: copy or make the file anew.") from None
    if not unpacker.eof:
        raise Damage("the gzip data break off here: copy or make the file anew.")


class Lines:
    """A text in blocks of whole lines, some hundred at a time: \\n between them and none at the end.

    Whoever reads them counts them, which costs nothing there: `number` is the line that the next block begins on.
    Where there are blank lines only, one stands for all of them. Raises DataError.
    """

    def __init__(self, path: Path, packed: Packing = "", part: Part = WHOLE) -> None:
        self._path, self._chunks = path, chunks(path, packed, part)
        self.number = 1

    def __iter__(self) -> Iterator[bytes]:
        begun = [b""]
        try:
            for chunk in self._chunks:
                cut = chunk.rfind(b"\n")
                begun.append(chunk[:cut] if cut >= 0 else chunk)
                if cut >= 0:
                    block = b"".join(begun)
                    if not block.strip():
                        self.number += block.count(b"\n")
                        block = b""
                    yield block
                    begun = [chunk[cut + 1 :]]
                elif sum(map(len, begun)) > LONGEST:
                    raise Damage(f"the line is longer than {LONGEST >> 20} MB: no row is; check how the file was made.")
        except Damage as damage:
            raise DataError(f"{shown(self._path)}:{self.number}: {damage}") from None
        if last := b"".join(begun):
            yield last


def head(path: Path, packed: Packing = "") -> tuple[bytes, bool]:
    """The first bytes as they are, and whether they are all: `HEAD` or more.

    Where they are an object, up to 8 MB of it, so that a second line begins. Blank space in front counts for nothing.
    Raises DataError.
    """
    start, blank, wanted = bytearray(), 0, HEAD
    with open_regular(path) as handle:
        try:
            for piece in _unpacked(handle, packed):
                if start or piece.strip():
                    start += piece
                else:
                    blank += len(piece)
                if len(start) >= wanted:
                    if wanted > _LONGEST_HEAD or not _ONE_LINE.fullmatch(start):
                        break
                    wanted *= 2
                if len(start) + blank > LONGEST:
                    break
            else:
                return bytes(start), True
        except Damage as damage:
            if not start:
                raise DataError(f"{shown(path)}:1: {damage}") from None
            # what is whole so far tells the format, and the damage is said with its line when reading comes there
    return bytes(start), False
