"""JSONL: a row a line, and what a line that is none costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.readers.reading import read, refused, write
from trainer.data import stream

A, B, C = {"a": 1}, {"b": 2}, {"c": 3}


@pytest.mark.parametrize("name", ["data.jsonl", "data.json", "data.txt", "data"])
def test_it_is_a_row_a_line_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    file = write(tmp_path, '{"a": 1}\n\n  \n{"b": 2}\n{"c": 3}', name)
    assert read(file) == [(1, A), (4, B), (5, C)]


def test_a_broken_line_is_a_bad_row_and_the_rest_is_read(tmp_path: Path) -> None:
    rows = read(write(tmp_path, '{"a": 1}\n{"b": \n{"c": 3}\n', "data.jsonl"))
    assert rows == [(1, A), (2, "it is not JSON (it breaks off; what is begun at column 7 does not end)"), (3, C)]


def test_a_byte_order_mark_and_windows_line_ends_are_no_matter(tmp_path: Path) -> None:
    file = write(tmp_path, b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"b": 2}\r\n', "data.jsonl")
    assert read(file) == [(1, A), (3, B)]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_lines_are_whole_wherever_the_chunks_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    rows = [{"text": "größe 漢字 " * n} for n in range(30)]
    content = (
        b"\xef\xbb\xbf"
        + "".join(json.dumps(row, ensure_ascii=False) + "\n" * (1 + n % 3) for n, row in enumerate(rows)).encode()
    )
    file = write(tmp_path, content, "data.jsonl")
    whole = read(file)
    monkeypatch.setattr(stream, "CHUNK", chunk)
    assert read(file) == whole
    assert [value for _, value in whole] == rows


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_another_encoding_names_the_line(tmp_path: Path, encoding: str) -> None:
    file = write(tmp_path, '{"a": "x"}\n{"a": "größe"}\n'.encode(encoding), "data.jsonl")
    assert refused(file) == "2: this is not UTF-8: save the file as UTF-8 and try again."


def test_several_objects_on_a_line_are_as_many_rows(tmp_path: Path) -> None:
    file = write(tmp_path, '{"a": 1} {"b": 2}{"c": 3}\n{"a": 1}[]\n{"a": 1}{"b"\n', "data.jsonl")
    rows = read(file)
    assert rows[:3] == [(1, A), (1, B), (1, C)]
    assert rows[3] == (2, "it is not JSON (there is more text behind the row's end)")
    assert str(rows[4][1]).startswith("it is not JSON (it breaks off")


def test_rows_that_are_no_objects_are_handed_on(tmp_path: Path) -> None:
    file = write(tmp_path, '{"a": 1}\n1\n"x"\nnull\n[2]\n', "data.jsonl")
    assert read(file) == [(1, A), (2, 1), (3, "x"), (4, None), (5, [2])]


def test_a_long_stretch_of_blank_lines_counts_as_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CHUNK", 1 << 10)
    file = write(tmp_path, '{"a": 1}\n' + "\n" * 10_000 + '{"b": 2}\n', "data.jsonl")
    assert read(file) == [(1, A), (10_002, B)]


def test_a_line_too_long_to_be_held_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CHUNK", 1 << 10)
    monkeypatch.setattr(stream, "LONGEST", 1 << 20)
    file = write(tmp_path, '{"a": 1}\n{"b": 2}\n{"c": "' + "x" * (2 << 20) + '"}\n', "data.jsonl")
    assert refused(file) == "3: the line is longer than 1 MB: no row is; check how the file was made."
