"""A whole data file: what was read, what was left out, and when too much is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.data import DataError, DataSet, load

GOOD = {"prompt": "q", "completion": "a"}
ALPACA = {"instruction": "q", "input": "", "output": "a"}
BAD = {"prompt": "q", "completion": ""}


def jsonl(folder: Path, *rows: object) -> Path:
    file = folder / "data.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), "utf-8")
    return file


def read(folder: Path, *rows: object) -> DataSet:
    return load(jsonl(folder, *rows))


def refused(folder: Path, *rows: object) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, *rows).check()
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said.removeprefix(f"{folder / 'data.jsonl'}:")


@pytest.mark.parametrize(
    ("row", "shape"),
    [
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, "messages"),
        (ALPACA, "instruction/input/output"),
        (GOOD, "prompt/completion"),
        ({"text_input": "q", "output": "a"}, "text_input/output"),
    ],
)
def test_all_four_shapes_are_read(tmp_path: Path, row: dict[str, Any], shape: str) -> None:
    data = read(tmp_path, row, row, row).check()
    assert (data.shape, data.rows, data.bad) == (shape, 3, ())
    assert [example.line for example in data.examples] == [1, 2, 3]
    assert [m.content for m in data.examples[0].messages] == ["q", "a"]


def test_wrong_keys_are_named_with_those_that_would_do(tmp_path: Path) -> None:
    said = refused(tmp_path, {"question": "q", "reply": "a"}, {"question": "q", "reply": "a"})
    assert said == (
        "1: the rows have the keys question, reply: wanted are messages; or instruction and output; "
        "or prompt and completion; or text_input and output."
    )


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({}, "no keys"),
        ([[1]], "a list, not an object"),
        ("x", "a string, not an object"),
        ([1.5], "a number, not an object"),
        ([None], "null, not an object"),
        ([True], "true, not an object"),
        ({"k" * 500: 1}, f"the keys {'k' * 30}"),
        ({"two\nlines": 1, "": 2}, "the keys two lines, "),
    ],
)
def test_rows_of_no_shape_say_what_they_are(tmp_path: Path, row: object, found: str) -> None:
    assert refused(tmp_path, json.dumps(row)).startswith(f"1: the rows have {found}: wanted are ")


def test_a_broken_line_in_a_small_file_is_named(tmp_path: Path) -> None:
    said = refused(tmp_path, GOOD, '{"prompt": ', GOOD)
    assert said.startswith("2: the line is not JSON (expecting value at column ")
    assert said.endswith(": 1 of 3 rows are bad, more than 1%; mend or remove them.")


def test_a_file_of_nothing_but_broken_lines_is_named_by_its_first(tmp_path: Path) -> None:
    assert refused(tmp_path, "", "{{", "{{").startswith("2: the line is not JSON (")


def test_an_empty_list_is_said_to_be_empty(tmp_path: Path) -> None:
    assert refused(tmp_path, "[]") == " the list is empty: give one with a row for each example."


@pytest.mark.parametrize(("rows", "allowed"), [(99, False), (100, True), (101, True)])
def test_one_bad_row_in_a_hundred_is_left_out(tmp_path: Path, rows: int, allowed: bool) -> None:
    data = read(tmp_path, *[GOOD] * (rows - 1), BAD)
    assert (data.rows, len(data.examples), len(data.bad)) == (rows, rows - 1, 1)
    assert (data.bad[0].line, data.bad[0].why) == (rows, "an assistant message is blank")
    if allowed:
        assert data.check() is data
    else:
        with pytest.raises(DataError, match=rf":{rows}: an assistant message is blank: 1 of {rows} rows are bad"):
            data.check()


def test_several_bad_rows_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    said = refused(tmp_path, GOOD, BAD, GOOD, "{", 5)
    assert said.startswith("2: an assistant message is blank (and 2 more bad rows): 3 of 5 rows are bad")


def test_mixed_shapes_go_by_the_majority(tmp_path: Path) -> None:
    data = read(tmp_path, GOOD, ALPACA, GOOD, {"x": 1}, GOOD, "7")
    assert data.shape == "prompt/completion"
    assert [(row.line, row.why) for row in data.bad] == [
        (2, "the row is instruction/input/output while most are prompt/completion"),
        (4, "the row has the keys x, not the keys of prompt/completion"),
        (6, "the row is not an object"),
    ]
    assert [example.line for example in data.examples] == [1, 3, 5]


def test_bad_rows_stand_in_the_files_order(tmp_path: Path) -> None:
    data = read(tmp_path, GOOD, BAD, "{", BAD, "{", GOOD)
    assert [row.line for row in data.bad] == [2, 3, 4, 5]


def test_the_starter_data_are_all_good() -> None:
    file = Path(__file__).parents[2] / "presets" / "codephreak.jsonl"
    data = load(file).check()
    assert data.shape == "messages"
    assert data.bad == ()
    assert len(data.examples) >= 250
