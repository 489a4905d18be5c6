"""Large data read by several processes come to what one process finds."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Generator
from itertools import pairwise
from pathlib import Path

import pytest

from trainer.data import DataError, DataSet, dataset, parts
from trainer.data.source import find

BOM = b"\xef\xbb\xbf"


def line(number: int) -> bytes:
    prompt, tail = f"question {number} über {number * number}", " and so on, over and over" * (number % 7)
    return json.dumps({"prompt": prompt, "completion": f"answer {number % 900}{tail}"}).encode()


def lines(count: int, begin: int = 0) -> list[bytes]:
    return [line(number) for number in range(begin, begin + count)]


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three processes, for data of any size."""
    monkeypatch.setattr(parts, "FROM", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})


def alone(source: Path, *, near: bool, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    with monkeypatch.context() as patch:
        patch.setattr(parts, "FROM", 10**12)
        return dataset.load(str(source), near=near)


def together(source: Path, *, near: bool, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """Fails where the processes were of no use."""
    answers: list[bool] = []
    real = parts.Parts.read

    def told(self: parts.Parts, tally: dataset.Tally) -> Generator[int, None, bool]:
        answers.append((yield from real(self, tally)))
        return answers[-1]

    with monkeypatch.context() as patch:
        patch.setattr(parts.Parts, "read", told)
        found = dataset.load(str(source), near=near)
    assert answers == [True]
    return found


def file_of(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def many(folder: Path) -> Path:
    broken = {1: b"{broken", 700: b"", 1500: b'{"prompt": 1, "completion": "x"}', 1501: b"\xc3\xa9", 2900: b"[]"}
    rows = [broken.get(number, row) for number, row in enumerate(lines(3000))]
    return file_of(folder, "rows.jsonl", b"\n".join(rows) + b"\n")


def mark_inside(folder: Path) -> Path:
    rows = lines(900)
    half = b"\n".join(rows[:450]) + b"\n"
    return file_of(folder, "rows.jsonl", BOM + half + BOM + half)


def one_huge_line(folder: Path) -> Path:
    long = json.dumps({"prompt": "x" * 200_000, "completion": "y"}).encode()
    return file_of(folder, "rows.jsonl", b"\n".join([*lines(10), long, *lines(10)]))


def windows(folder: Path) -> Path:
    return file_of(folder, "rows.jsonl", b"\r\n".join(lines(2000)))


def folder_of_all_kinds(folder: Path) -> Path:
    inside = folder / "inside"
    inside.mkdir()
    file_of(inside, "a.jsonl", b"\n".join([*lines(400), b"{", *lines(300, 400)]))
    file_of(inside, "b.jsonl.gz", gzip.compress(b"\n".join([*lines(500, 200), b"{"])))
    file_of(inside, "c.json", b"[" + b",".join(lines(50)) + b"]")
    file_of(inside, "d.csv", b"prompt,completion\n" + b"\n".join(b"q%d,a%d" % (n, n) for n in range(300)))
    file_of(inside, "e.jsonl", b"\n".join([*lines(2), b"{", *lines(900, 5000)]))
    return inside


@pytest.mark.parametrize("near", [False, True])
@pytest.mark.parametrize("made", [many, mark_inside, one_huge_line, windows, folder_of_all_kinds])
@pytest.mark.usefixtures("several")
def test_they_find_what_one_finds(made: object, near: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = made(tmp_path)  # type: ignore[operator]
    monkeypatch.setattr(dataset, "MAX_BAD_SHARE", 1.0)
    found = together(source, near=near, monkeypatch=monkeypatch)
    wanted = alone(source, near=near, monkeypatch=monkeypatch)
    assert found == wanted
    assert found.rows > 0
    assert [found.place(row) for row in found.bad] == [wanted.place(row) for row in wanted.bad]
    assert len(list(found.examples())) == found.used


@pytest.mark.usefixtures("several")
def test_damage_is_said_with_its_line(tmp_path: Path) -> None:
    rows = lines(3000)
    rows[2500] = b'{"prompt": "\xff", "completion": "x"}'
    file = file_of(tmp_path, "rows.jsonl", b"\n".join(rows))
    with pytest.raises(DataError, match=r"rows\.jsonl:2501: this is not UTF-8"):
        dataset.load(str(file))


@pytest.mark.usefixtures("several")
def test_processes_that_cannot_work_are_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = many(tmp_path)
    wanted = alone(file, near=True, monkeypatch=monkeypatch)
    for command in (("false",), ("echo", "{"), ("echo", '{"rows": 3}'), ("no-such-program",)):
        monkeypatch.setattr(parts, "_COMMAND", command)
        assert dataset.load(str(file), near=True) == wanted


@pytest.mark.usefixtures("several")
def test_none_is_left_behind_by_a_reading_that_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    real = subprocess.Popen

    def popen(*given: object, **more: object):  # type: ignore[no-untyped-def]
        started.append(real(*given, **more))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    going = dataset.reading(find(str(file_of(tmp_path, "rows.jsonl", b"\n".join(lines(20_000))))))
    next(going)
    going.close()
    assert len(started) == 3
    assert all(process.poll() is not None for process in started)


def test_small_data_are_read_by_one(tmp_path: Path) -> None:
    source = find(str(many(tmp_path)))
    assert len(parts.shares_of(source, 4)) == 1


@pytest.mark.usefixtures("several")
def test_shares_have_every_byte_once(tmp_path: Path) -> None:
    file = file_of(tmp_path, "rows.jsonl", b"\n".join(lines(1000)))
    for processes in (2, 3, 7):
        shares = parts.shares_of(find(str(file)), processes)
        stretches = [stretch for share in shares for stretch in share]
        assert stretches[0][1] == 0
        assert stretches[-1][2] == file.stat().st_size
        assert all(one[2] == other[1] for one, other in pairwise(stretches))
        assert all(file.read_bytes()[end - 1 : end] == b"\n" for _, _, end in stretches[:-1])
