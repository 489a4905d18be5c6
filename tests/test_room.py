"""Room on the disk for what is appended: kept, made whole again, given back. On a full disk: e2e/test_disk.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trainer import room
from trainer.room import Room

linux = pytest.mark.skipif(sys.platform != "linux", reason="fallocate(2) is Linux's")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "log"
    file.write_bytes(b"one\n")
    return file


def room_behind(file: Path) -> int:
    """Bytes of the disk that the file has and does not use."""
    return 512 * file.stat().st_blocks - file.stat().st_size


@pytest.fixture
def kept(file: Path) -> Room:
    """A room of a million bytes behind the file."""
    kept = Room(file, 10**6)
    kept.keep()
    if room_behind(file) < 10**6:
        pytest.skip("this file system keeps no room")
    return kept


@linux
def test_the_file_looks_as_before(file: Path, kept: Room) -> None:
    assert file.read_bytes() == b"one\n"
    with file.open("ab") as log:
        log.write(b"two\n")
    assert file.read_bytes() == b"one\ntwo\n"


@linux
def test_it_is_made_whole_when_half_of_it_is_used(file: Path, kept: Room) -> None:
    with file.open("ab") as log:
        log.write(b"x" * 600_000)
    assert room_behind(file) < 500_000
    kept.keep()
    assert room_behind(file) >= 10**6


@linux
def test_it_is_given_back(file: Path, kept: Room) -> None:
    kept.give_back()
    assert room_behind(file) < 10_000
    assert file.read_bytes() == b"one\n"


def test_without_a_file_or_a_call_for_it_nothing_happens(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = Room(tmp_path / "nowhere", 10**6)
    nowhere.keep()
    nowhere.give_back()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    monkeypatch.setattr(room.ctypes, "CDLL", lambda _: object())  # type: ignore[attr-defined]
    without = Room(file, 10**6)
    without.keep()
    without.give_back()
    assert file.read_bytes() == b"one\n"
