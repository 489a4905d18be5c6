"""JSON: the forms a file of rows may have, the line of each row, and where a break is named."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.data.readers.reading import read, refused, write
from trainer.data import stream
from trainer.data.readers import scan
from trainer.data.readers.json_array import ROW_KEYS
from trainer.data.shapes import SHAPES

A, B, C = {"a": 1}, {"b": 2}, {"c": 3}
TALK = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}


def rows(folder: Path, text: str) -> list[tuple[int, object]]:
    return read(write(folder, text, "data.json"))


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
def test_a_list_is_a_row_an_element(tmp_path: Path, text: str, lines: list[int]) -> None:
    assert rows(tmp_path, text) == list(zip(lines, [A, B, C], strict=True))


def some_rows(count: int) -> list[Any]:
    """Rows alike and unlike, with all that could be taken for a border between them."""
    draw = random.Random(4)
    texts = ['},\n  {"prompt"', '"', "\\", '\\"', "]}", "{[", "größe 漢字", "line\nbreak", "", '}, {"prompt": "x"}']
    made: list[Any] = []
    for n in range(count):
        value = {
            "prompt": draw.choice(texts) * draw.randint(0, 3),
            "completion": [{"prompt": draw.choice(texts)}] * 2,
            "n": n,
        }
        made.append(draw.choice([value, value, value, TALK, n, None, [value], draw.choice(texts).strip("{["), {}]))
    return made


@pytest.mark.parametrize("indent", [None, 0, 1, 4])
@pytest.mark.parametrize("chunk", [5, 100, 1 << 18])
def test_rows_are_whole_wherever_they_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: int | None, chunk: int
) -> None:
    made = some_rows(200)
    text = json.dumps(made, indent=indent, ensure_ascii=False)
    monkeypatch.setattr(stream, "CHUNK", chunk)
    monkeypatch.setattr(scan, "CHUNK", chunk)
    found = rows(tmp_path, text)
    assert [value for _, value in found] == made
    begins = [line for line, _ in found]
    if indent is None:
        assert set(begins) == {1}
    else:
        step = ["\n".join(("", json.dumps(row, indent=indent, ensure_ascii=False))).count("\n") for row in made]
        assert begins == [2 + sum(step[:n]) for n in range(len(made))]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("row", [TALK, {"prompt": "a", "completion": "b"}, {"text": "a", "tags": [A]}])
def test_one_object_is_one_row(tmp_path: Path, row: dict[str, object], indent: int | None) -> None:
    assert rows(tmp_path, json.dumps(row, indent=indent)) == [(1, row)]
    assert rows(tmp_path, "\n\n" + json.dumps(row, indent=indent)) == [(3, row)]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('{"data": [{"a": 1}, {"b": 2}]}', [1, 1]),
        ('{"version": "1", "data": [{"a": 1}, {"b": 2}], "more": {"data": [1]}}\n', [1, 1]),
        (json.dumps({"info": {"x": [1, 2]}, "note": "[", "rows": [A, B]}, indent=1), [10, 13]),
        ('{\n"data" :\n [\n{"a": 1},\n{"b": 2}]}', [4, 5]),
        ('{"messages": [{"a": 1, "prompt": 2}, {"b": 2}]}', []),
    ],
)
def test_the_one_list_of_objects_in_an_object_holds_the_rows(tmp_path: Path, text: str, lines: list[int]) -> None:
    found = rows(tmp_path, text)
    if lines:
        assert found == list(zip(lines, [A, B], strict=True))
    else:
        assert found == [(1, {"a": 1, "prompt": 2}), (1, B)]


def test_a_list_within_a_row_is_not_taken_for_the_rows(tmp_path: Path) -> None:
    row = {"prompt": [{"role": "user", "content": "x"}], "completion": [{"role": "assistant", "content": "y"}]}
    alpaca = {"instruction": "a", "output": "b", "history": [{"x": 1}]}
    assert rows(tmp_path, json.dumps(row)) == [(1, row)]
    assert rows(tmp_path, json.dumps(alpaca)) == [(1, alpaca)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_single_row_of_any_shape_is_known_for_one(shape: Any) -> None:
    assert ROW_KEYS & set(shape.needs)


def test_columns_are_as_many_rows(tmp_path: Path) -> None:
    columns = {"prompt": ["a", "b"], "messages": [TALK["messages"], []], "n": [1, None]}
    assert rows(tmp_path, json.dumps(columns, indent=1)) == [
        (1, {"prompt": "a", "messages": TALK["messages"], "n": 1}), (2, {"prompt": "b", "messages": [], "n": None}),
    ]  # fmt: skip


def test_columns_by_number_are_as_many_rows_and_may_have_gaps(tmp_path: Path) -> None:
    columns = {"prompt": {"0": "a", "5": "b"}, "completion": {"0": "c"}}
    assert rows(tmp_path, json.dumps(columns)) == [
        (1, {"prompt": "a", "completion": "c"}), (2, {"prompt": "b", "completion": None}),
    ]  # fmt: skip


def test_rows_may_stand_under_their_names(tmp_path: Path) -> None:
    assert rows(tmp_path, json.dumps({"x1": A, "x2": B}, indent=1)) == [(2, A), (5, B)]


def test_objects_may_stand_one_behind_the_other(tmp_path: Path) -> None:
    text = "\n".join(json.dumps(row, indent=1) for row in (A, B, C))
    assert rows(tmp_path, text) == [(1, A), (4, B), (7, C)]
    assert refused(write(tmp_path, text + "\n[]", "data.json")) == (
        "10: there is something between the objects that is none: mend the file."
    )


def test_an_element_that_is_broken_in_itself_is_a_bad_row(tmp_path: Path) -> None:
    text = '[\n{"a": 1},\n{"b": NaN},\n{"b": "x},\n{"a": 1, "a": 2},\n{"c": 3}\n]'
    found = rows(tmp_path, text)
    assert [line for line, _ in found] == [2, 3, 4, 5, 6]
    assert [value for _, value in found if isinstance(value, dict)] == [A, C]
    assert found[1][1] == "it is not JSON (NaN is no JSON value; null is)"


def test_an_element_that_was_encoded_twice_is_a_bad_row(tmp_path: Path) -> None:
    found = rows(tmp_path, json.dumps([A, json.dumps(B)]))
    assert found == [(1, A), (1, "the row is JSON within a string (encoded twice); it must be the object itself")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[{"a": 1},\n{"b": ]', 2), ('[{"a": 1},\n{"b": 2}', 2), ('[{"a": 1}\n{"b": 2}]', 2), ("[", 1),
        ('[{"a": 1},\n\n{"b": "no end\n', 3), ('[\n{"a": 1}]\n{"b": 2}', 3), ("[\n\n,]", 3), ("[1 2]", 1),
        ('[{"a": 1},\n\n', 3), ('{"a": 1,\n"b": [\n{"c": 1}', 3), ('{"a": 1,\n"b" 2}', 2), ('{"a": 1,\n"b":\n}', 3),
        ('{"a":\n1}\n]', 3), ('{\n"a": 1,\n', 3), ('{\n"a": [1, 2,\n', 3), ('[{"a": 1},\n' + "[" * 100_000, 2),
        ('[{"a": 1},\n// b\n{"a": 1}]', 2), ('[\n{"a": 1}, # b\n{"a": 1}]', 2), ("{\na: 1}\n", 2),
    ],
)  # fmt: skip
def test_a_broken_file_names_the_line(tmp_path: Path, text: str, line: int) -> None:
    assert refused(write(tmp_path, text, "data.json")).startswith(f"{line}: ")


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    def said(text: str) -> str:
        return refused(write(tmp_path, text, "data.json"))

    assert said('[{"a": 1},\n{"b": 2}') == "2: the JSON breaks off: ] is missing at its end: mend the file."
    assert said('[{"a": 1}\n{"b": 2}]') == "2: a comma or ] is missing here: mend the file."
    assert said('[{"a": 1},\n{"b": ') == "2: the JSON breaks off: what begins here does not end: mend the file."
    assert "nested deeper than 1000 brackets" in said("[" * 2000)
    assert "differ in length ('a' 2, 'b' 1)" in said('{"a": [1, 2], "b": [1]}')
    assert "several lists of rows ('x', 'y')" in said('{"x": [{"a": 1}], "y": [{"a": 1}]}')


def test_latin_1_names_the_line_within_the_row(tmp_path: Path) -> None:
    file = write(tmp_path, '[\n{"a": 1,\n"b": "größe"}\n]'.encode("latin-1"), "data.json")
    assert refused(file) == "3: this is not UTF-8: save the file as UTF-8 and try again."


def test_nul_bytes_name_the_line(tmp_path: Path) -> None:
    assert refused(write(tmp_path, b'[\n{"a": 1},\n\0\0\0', "data.json")).startswith("3: there is a NUL byte")


def test_a_value_too_long_to_be_held_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "CHUNK", 1 << 10)
    monkeypatch.setattr(scan, "LONGEST", 1 << 20)
    file = write(tmp_path, '[{"a": 1},\n{"b": "' + "x" * (3 << 20) + '"}]', "data.json")
    assert refused(file) == "2: a value is longer than 1 MB: no row is; check how the file was made."
