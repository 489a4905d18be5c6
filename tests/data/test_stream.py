"""The bytes of a file: what is opened, how it is unpacked, and that damage is noticed where it is."""

from __future__ import annotations

import gzip
import io
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from trainer.data import stream
from trainer.data.errors import DataError
from trainer.data.stream import Lines, Packing, check_bomb, head, open_regular, packing

DRAW = random.Random(1)
TEXT = "".join(f"{DRAW.random()} größe\n" * (1 + n % 2) for n in range(40_000)).encode()
PACKERS: dict[Packing, Callable[[bytes], bytes]] = {
    "": bytes, "gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress,
}  # fmt: skip


def write(folder: Path, content: bytes) -> Path:
    (folder / "data").write_bytes(content)
    return folder / "data"


def lines(file: Path, packed: Packing = "") -> list[tuple[int, bytes]]:
    read = Lines(file, packed)
    found = []
    for block in read:
        for line in block.split(b"\n"):
            found.append((read.number, line))
            read.number += 1
    return found


@pytest.mark.parametrize("packed", ["", "gz", "zst"])
def test_lines_come_whole_and_numbered(tmp_path: Path, packed: Packing) -> None:
    file = write(tmp_path, PACKERS[packed](TEXT))
    assert packing(file) == packed
    assert lines(file, packed) == list(enumerate(TEXT.split(b"\n")[:-1], start=1))
    assert lines(write(tmp_path, PACKERS[packed](TEXT.rstrip())), packed)[-1][1] == TEXT.rstrip().split(b"\n")[-1]


@pytest.mark.parametrize("packed", ["gz", "zst"])
def test_parts_packed_one_behind_the_other_are_one(tmp_path: Path, packed: Packing) -> None:
    half = len(TEXT) // 2
    pack = PACKERS[packed]
    file = write(tmp_path, pack(TEXT[:half]) + pack(b"") + pack(TEXT[half:]))
    assert b"\n".join(line for _, line in lines(file, packed)) + b"\n" == TEXT


@pytest.mark.parametrize("packed", ["gz", "zst"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.9999])
def test_what_breaks_off_says_so_and_where(tmp_path: Path, packed: Packing, share: float) -> None:
    content = PACKERS[packed](TEXT)
    file = write(tmp_path, content[: int(len(content) * share)])
    with pytest.raises(DataError, match="data break off here: copy or make the file anew") as caught:
        lines(file, packed)
    line = int(str(caught.value).removeprefix(f"{file}:").partition(":")[0])
    assert 1 <= line <= TEXT.count(b"\n") + 1


@pytest.mark.parametrize("packed", ["gz", "zst"])
def test_overwritten_bytes_are_noticed(tmp_path: Path, packed: Packing) -> None:
    content = bytearray(PACKERS[packed](TEXT))
    content[len(content) // 2 : len(content) // 2 + 64] = b"\xa5" * 64
    with pytest.raises(DataError, match="data are damaged here"):
        lines(write(tmp_path, bytes(content)), packed)


def bomb(packed: Packing, size: int = 64) -> bytes:
    if packed == "gz":
        return gzip.compress(b"a\n" + b"\n" * (size << 20))
    target = io.BytesIO()
    zstandard.ZstdCompressor().copy_stream(io.BytesIO(b"a\n" + b"\n" * (size << 20)), target)
    return target.getvalue()


@pytest.mark.parametrize("packed", ["gz", "zst"])
def test_a_bomb_is_known_before_it_is_read_and_while(tmp_path: Path, packed: Packing) -> None:
    file = write(tmp_path, bomb(packed))
    with pytest.raises(DataError, match="more than 700 times its size"):
        check_bomb(file, packed)
    with pytest.raises(DataError, match=r":\d+: it unpacks to more than 700 times its size"):
        lines(file, packed)


@pytest.mark.parametrize("packed", ["", "gz", "zst"])
def test_usual_files_are_no_bombs(tmp_path: Path, packed: Packing) -> None:
    for content in (TEXT, b"x" * 5_000_000, b""):
        check_bomb(write(tmp_path, PACKERS[packed](content)), packed)


def test_a_frame_that_says_that_it_is_a_bomb_is_believed(tmp_path: Path) -> None:
    file = write(tmp_path, zstandard.ZstdCompressor().compress(b"a" * (64 << 20)))
    with pytest.raises(DataError, match=":1: it unpacks to more than 700 times"):
        lines(file, "zst")


def test_a_frame_that_wants_too_much_memory_is_refused(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    content = packer.compress(TEXT) + packer.flush()
    with pytest.raises(DataError, match="more than 128 MB to unpack"):
        lines(write(tmp_path, content), "zst")


@pytest.mark.parametrize("chunk", [1, 2, 3, 1000])
def test_only_a_mark_in_front_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(stream, "CHUNK", chunk)
    assert lines(write(tmp_path, b"\xef\xbb\xbfa\n\xef\xbb\xbfb")) == [(1, b"a"), (2, b"\xef\xbb\xbfb")]
    assert lines(write(tmp_path, b"\xef\xbb")) == [(1, b"\xef\xbb")]


def test_a_nul_byte_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=":3: there is a NUL byte"):
        lines(write(tmp_path, b"a\nb\nc\0d\ne\n"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", (b"", True)),
        (b" \n" * 99, (b"", True)),
        (b"abc\n", (b"abc\n", True)),
        (b"\t,b\n", (b"\t,b\n", True)),
    ],
)
def test_the_head_of_a_small_file_is_all_of_it(tmp_path: Path, content: bytes, expected: tuple[bytes, bool]) -> None:
    assert head(write(tmp_path, content)) == expected


def test_the_head_passes_over_blank_space_and_ends_somewhere(tmp_path: Path) -> None:
    file = write(tmp_path, b"\n" * (1 << 20) + b"abc\n" * (1 << 20))
    start, whole = head(file)
    assert not whole
    assert start.strip().startswith(b"abc")
    assert len(start) < 1 << 20


def test_the_head_of_a_long_object_goes_on_to_the_next_line_but_not_for_ever(tmp_path: Path) -> None:
    start, _ = head(write(tmp_path, b'{"a": "' + b"x" * (1 << 20) + b'"}\n' + b'{"a": 1}\n' * 100_000))
    assert b'\n{"a": 1}' in start
    start, whole = head(write(tmp_path, b'{"a": "' + b"x" * (20 << 20)))
    assert not whole
    assert len(start) < 10 << 20


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, kind in ((tmp_path / "fifo", "a FIFO"), (Path("/dev/zero"), "a device"), (tmp_path, "a folder")):
        with pytest.raises(DataError, match=f"this is {kind}"):
            open_regular(path)


def test_a_disk_that_fails_is_said_with_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= 8:
                raise OSError(5, "Input/output error")
            return super().read(4)

    monkeypatch.setattr(stream, "open_regular", lambda path: Failing(b"a\nb\nc\nd\n"))
    with pytest.raises(DataError, match=r":5: it can't be read on \(Input/output error\): check the disk"):
        lines(tmp_path)
