"""Files → rows: where each row begins, and what is said of a file that is none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trainer.data.rows import BadRow, DataError, Row, read_rows


def write(folder: Path, content: str | bytes, name: str = "data.json") -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def read(folder: Path, content: str | bytes, name: str = "data.json") -> list[tuple[int, object]]:
    """(line, value) of every row; a bad row's value is why."""
    rows = read_rows(write(folder, content, name))
    return [(row.line, row.value if isinstance(row, Row) else row.why) for row in rows]


def refused(file: Path) -> str:
    """The sentence, without the file's name that it must begin with."""
    with pytest.raises(DataError) as caught:
        list(read_rows(file))
    said = str(caught.value)
    assert said.startswith(f"{file}:")
    assert said.endswith(".")
    assert "\n" not in said
    return said.removeprefix(f"{file}:")


A, B, C = {"a": 1}, {"b": 2}, {"c": 3}


@pytest.mark.parametrize("name", ["data.jsonl", "data.json", "data.txt", "data"])
def test_jsonl_is_a_row_a_line_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, '{"a": 1}\n\n  \n{"b": 2}\n{"c": 3}', name) == [(1, A), (4, B), (5, C)]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('[{"a": 1}, {"b": 2}, {"c": 3}]', [1, 1, 1]),
        ('[\n{"a": 1},\n{"b": 2},\n\n{"c": 3}\n]\n', [2, 3, 5]),
        ('\n\n[{"a":\n1},{"b":2}\n,{"c":3}\n]', [3, 4, 5]),
        (json.dumps([A, B, C], indent=2), [2, 5, 8]),
        ('[{"a": 1}, {"b": 2}, {"c": 3},]', [1, 1, 1]),
    ],
    ids=["one line", "a line each", "ragged", "pretty", "comma at the end"],
)
def test_a_json_list_is_a_row_an_element(tmp_path: Path, text: str, lines: list[int]) -> None:
    assert read(tmp_path, text) == list(zip(lines, [A, B, C], strict=True))


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("row", [{"messages": [{"role": "user", "content": "x"}]}, {"prompt": "a", "completion": "b"}])
def test_one_object_is_one_row(tmp_path: Path, row: dict[str, object], indent: int | None) -> None:
    assert read(tmp_path, json.dumps(row, indent=indent)) == [(1, row)]
    assert read(tmp_path, "\n\n" + json.dumps(row, indent=indent)) == [(3, row)]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('{"data": [{"a": 1}, {"b": 2}]}', [1, 1]),
        ('{"version": "1", "data": [{"a": 1}, {"b": 2}], "more": {"data": [1]}}\n', [1, 1]),
        (json.dumps({"info": {"x": [1, 2]}, "note": "[", "rows": [A, B]}, indent=1), [10, 13]),
        ('{\n"data" :\n [\n{"a": 1},\n{"b": 2}]}', [4, 5]),
    ],
)
def test_the_one_list_of_objects_in_an_object_holds_the_rows(tmp_path: Path, text: str, lines: list[int]) -> None:
    assert read(tmp_path, text) == list(zip(lines, [A, B], strict=True))


def test_a_list_within_a_row_is_not_taken_for_the_rows(tmp_path: Path) -> None:
    row = {"prompt": [{"role": "user", "content": "x"}], "completion": [{"role": "assistant", "content": "y"}]}
    alpaca = {"instruction": "a", "output": "b", "history": [{"x": 1}]}
    assert read(tmp_path, json.dumps(row)) == [(1, row)]
    assert read(tmp_path, json.dumps(alpaca)) == [(1, alpaca)]


def test_a_broken_line_is_a_bad_row_and_the_rest_is_read(tmp_path: Path) -> None:
    rows = read(tmp_path, '{"a": 1}\n{"b": \n{"c": 3}\n', "data.jsonl")
    assert [line for line, _ in rows] == [1, 2, 3]
    assert rows[0] == (1, A)
    assert str(rows[1][1]).startswith("the line is not JSON (expecting value at column ")
    assert rows[2] == (3, C)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[{"a": 1},\n{"b": ]', 2), ('[{"a": 1},\n{"b": 2}', 2), ('[{"a": 1}\n{"b": 2}]', 2), ("[", 1),
        ('[{"a": 1},\n\n{"b": "no end\n', 3), ('[\n{"a": 1}]\n{"b": 2}', 2), ("[\n\n,]", 3), ("[1 2]", 1),
    ],
)  # fmt: skip
def test_a_broken_list_names_the_line(tmp_path: Path, text: str, line: int) -> None:
    assert refused(write(tmp_path, text)).startswith(f"{line}: ")


@pytest.mark.parametrize("content", [b"", b" \n\t\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
def test_an_empty_file_is_said_to_be_empty(tmp_path: Path, content: bytes, name: str) -> None:
    assert refused(write(tmp_path, content, name)) == " the file is empty: give one with a row for each example."


def test_a_byte_order_mark_and_windows_line_ends_are_no_matter(tmp_path: Path) -> None:
    assert read(tmp_path, b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"b": 2}\r\n', "data.jsonl") == [(1, A), (3, B)]
    assert read(tmp_path, b'\xef\xbb\xbf[\r\n{"a": 1},\r\n{"b": 2}\r\n]\r\n') == [(2, A), (3, B)]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252"])
def test_another_encoding_names_the_line(tmp_path: Path, encoding: str) -> None:
    text = '{"a": "x"}\n{"a": "größe"}\n'
    line = 1 if encoding == "utf-16" else 2
    assert refused(write(tmp_path, text.encode(encoding), "data.jsonl")).startswith(f"{line}: this is not UTF-8: save")


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "<html>", "hello", "\x00\x00", "PK\x03\x04"])
def test_what_is_neither_json_nor_jsonl_says_so(tmp_path: Path, content: str) -> None:
    assert "this is neither JSON nor JSONL (it begins with " in refused(write(tmp_path, content))


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere.jsonl") == " there is no such file: check the path."
    assert "can't be read" in refused(write(tmp_path, "{}") / "below-a-file.jsonl")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert refused(tmp_path) == " this is a folder: give the data file in it."


def test_a_fifo_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    fifo = tmp_path / "data.jsonl"
    os.mkfifo(fifo)
    assert refused(fifo) == " this is not a regular file: give a JSON or JSONL file."


def test_a_device_that_never_ends_is_refused() -> None:
    assert "not a regular file" in refused(Path("/dev/zero"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_says_so(tmp_path: Path) -> None:
    file = write(tmp_path, "{}")
    file.chmod(0)
    assert "can't be read (Permission denied)" in refused(file)


@pytest.mark.parametrize("name", ["x" * 5000, "x/" * 3000])
def test_a_name_that_is_too_long_says_so(tmp_path: Path, name: str) -> None:
    assert "File name too long" in refused(tmp_path / name)


def test_endless_nesting_is_a_bad_row_or_names_the_line(tmp_path: Path) -> None:
    deep = "[" * 100_000
    rows = read(tmp_path, '{"a": 1}\n{"a": ' + deep + '\n{"c": 3}\n', "data.jsonl")
    assert rows == [(1, A), (2, "the line is not JSON (nested too deeply)"), (3, C)]
    assert refused(write(tmp_path, '[{"a": 1},\n' + deep)).startswith("2: the JSON breaks off here (nested too deeply)")
    assert list(read_rows(write(tmp_path, '{"data": ' + deep)))


def test_a_number_of_thousands_of_digits_is_a_bad_row(tmp_path: Path) -> None:
    rows = list(read_rows(write(tmp_path, '{"a": 1}\n{"a": ' + "9" * 5000 + "}\n", "data.jsonl")))
    assert isinstance(rows[1], BadRow)


def test_rows_that_are_no_objects_are_handed_on(tmp_path: Path) -> None:
    assert read(tmp_path, '[1, "x", null, {"a": 1}]') == [(1, 1), (1, "x"), (1, None), (1, A)]
