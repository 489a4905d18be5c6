"""Unpacking Zstandard. Apart from the rest of the stream, so that the library is loaded only for such a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

import zstandard

from trainer.data.stream import BOMB, BOMB_BYTES, BOMB_RATIO, CHUNK, DENSE_READ, Damage, read

_SLICE = 1 << 10  # a block of 4 bytes can become 128 kB, so this is never more than 32 MB at once
_WINDOW = 1 << 27  # bytes of memory that a frame may ask for; the format's usual limit


def pieces(handle: BinaryIO) -> Iterator[bytes]:
    """The unpacked bytes of all frames. Raises Damage.

    The library's own reader takes the end of a truncated file for its end; this one says that it breaks off.
    """
    _check_claim(handle)
    unpacker, done, size = _unpacker(), [b""], 0
    try:
        while packed := read(handle, DENSE_READ):
            for at in range(0, len(packed), _SLICE):
                rest = packed[at : at + _SLICE]
                while rest:
                    if unpacker.eof:
                        unpacker = _unpacker()
                    done.append(unpacker.decompress(rest))
                    rest = unpacker.unused_data if unpacker.eof else b""
                    size += len(done[-1])
                    if size >= CHUNK:
                        yield from _cut(b"".join(done))
                        done, size = [], 0
        yield b"".join(done)
    except zstandard.ZstdError as error:
        yield b"".join(done)
        if "too much memory" in str(error):
            raise Damage("it wants more than 128 MB to unpack: pack it without --long.") from None
        raise Damage("the Zstandard data are damaged here: copy or make the file anew.") from None
    if not unpacker.eof:
        raise Damage("the Zstandard data break off here: copy or make the file anew.")


def _cut(data: bytes) -> Iterator[bytes]:
    return (data[at : at + CHUNK] for at in range(0, len(data), CHUNK))


def _check_claim(handle: BinaryIO) -> None:
    """Raises Damage when the first frame says itself that it is a bomb; others are found out by unpacking."""
    start = read(handle, 18)
    handle.seek(0)
    try:
        size = zstandard.get_frame_parameters(start).content_size
    except zstandard.ZstdError:
        return  # it is said in a moment that the data are damaged
    if size != zstandard.CONTENTSIZE_UNKNOWN and size > max(BOMB_BYTES, BOMB_RATIO * os.fstat(handle.fileno()).st_size):
        raise Damage(BOMB)


def _unpacker() -> zstandard.ZstdDecompressionObj:
    return zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
