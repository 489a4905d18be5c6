"""A source → its rows in order, from one file or many, and where each stands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.data.rows import BadRow, DataError, Row, place, read_rows
from trainer.data.source import find

A, B, C = {"a": 1}, {"b": 2}, {"c": 3}


def test_the_files_of_a_folder_come_one_after_the_other_each_with_its_lines(tmp_path: Path) -> None:
    (tmp_path / "2.json").write_text(json.dumps([B, C], indent=1))
    (tmp_path / "1.jsonl").write_text('\n{"a": 1}\n{"a":\n')
    source = find(str(tmp_path))
    rows = list(read_rows(source))
    assert [(row.line, row.file) for row in rows] == [(2, 0), (3, 0), (2, 1), (5, 1)]
    assert [type(row) for row in rows] == [Row, BadRow, Row, Row]
    assert [place(source, row) for row in rows][1:3] == [f"{tmp_path}/1.jsonl:3", f"{tmp_path}/2.json:2"]


def test_what_can_not_be_printed_in_a_name_is_escaped_where_it_is_said(tmp_path: Path) -> None:
    file = tmp_path / "two\nlines.jsonl"
    file.write_text('{"a": 1}\n{"b": 2}')
    source = find(str(file))
    assert place(source, next(read_rows(source))) == f"{tmp_path}/two\\nlines.jsonl:1"


def test_rows_come_before_the_whole_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_bytes(b'{"a": 1}\n' * 100_000 + b"\xff\n")
    rows = read_rows(find(str(file)))
    assert [next(rows).line for _ in range(3)] == [1, 2, 3]
    with pytest.raises(DataError, match=":100001: this is not UTF-8"):
        list(rows)


def test_a_file_that_went_away_is_said_when_reading_comes_there(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text('{"a": 1}\n{"b": 2}\n')
    source = find(str(file))
    file.unlink()
    with pytest.raises(DataError, match="there is no such file"):
        list(read_rows(source))


def test_rows_may_be_made_with_the_names_of_their_parts() -> None:
    assert Row(line=3, value=A) == Row(3, A, 0)
    assert BadRow(line=3, why="x", file=1) == BadRow(3, "x", 1)


@pytest.mark.parametrize(
    ("name", "content"), [("a.jsonl", '{"a": 1}\n{"b": 2}\n'), ("a.csv", "a,b\n1,2\n"), ("a.txt", "one\ntwo\n")]
)
def test_usual_files_need_no_large_library(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    code = (
        "import sys\nfrom trainer.data.source import find\nfrom trainer.data.rows import read_rows\n"
        f"assert list(read_rows(find({str(tmp_path / name)!r})))\n"
        "print(*{'pyarrow', 'zstandard', 'datasets', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
