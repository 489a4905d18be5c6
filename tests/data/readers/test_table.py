"""CSV and TSV: delimiter, quotes, header, and rows that do not fit it."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

import pytest

from tests.data.readers.reading import read, refused, write
from trainer.data.readers import table
from trainer.data.source import find

ROW = {"prompt": "a", "completion": "b"}


def rows(folder: Path, text: str, name: str = "data.csv") -> list[tuple[int, object]]:
    return read(write(folder, text, name))


def how(folder: Path, text: str, name: str = "data.csv") -> str:
    return find(str(write(folder, text, name))).files[0].how


@pytest.mark.parametrize(("delimiter", "word"), [(",", "commas"), ("\t", "tabs"), (";", "semicolons"), ("|", "bars")])
@pytest.mark.parametrize("name", ["data.csv", "data.tsv"])
def test_the_delimiter_is_told_and_said(tmp_path: Path, delimiter: str, word: str, name: str) -> None:
    text = f"prompt{delimiter}completion\n" + f"a{delimiter}b\n" * 3
    assert rows(tmp_path, text, name) == [(2, ROW), (3, ROW), (4, ROW)]
    assert how(tmp_path, text, name) == f"cells are separated by {word}"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('prompt;completion\n"a, b, c";"d, e, f"\n', "semicolons"),
        ("prompt;completion\na, b, c;d, e, f\na;b\n", "semicolons"),
        ('prompt,completion\n"a;b",c\n', "commas"),
        ("sep=;\nprompt;completion\na,b;c\n", "semicolons"),
        ("text\nWell, yes\nNo\n", "commas"),
        ("prompt|completion, long\na|b\n", "bars"),
    ],
)
def test_delimiters_within_cells_do_not_count(tmp_path: Path, text: str, word: str) -> None:
    assert how(tmp_path, text) == f"cells are separated by {word}"


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("every", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_what_a_program_writes_is_read_with_its_lines(tmp_path: Path, delimiter: str, end: str, every: int) -> None:
    draw = random.Random(2)
    texts = ["a", "", "b c", 'say "so"', "x,y;z|w\tv", "two\nlines", "\n\n", "größe 漢字", '"', '""', "#", "'", "\\"]
    made = [[draw.choice(texts) * draw.randint(0, 2) for _ in range(3)] for _ in range(300)]
    target = io.StringIO(newline="")
    writer = csv.writer(target, delimiter=delimiter, lineterminator=end, quoting=every)  # type: ignore[arg-type]
    begins, line = [], 1
    for row in [["prompt", "completion", "note"], *made]:
        begins.append(line)
        writer.writerow(row)
        line = 1 + target.getvalue().count("\n")
    found = rows(tmp_path, target.getvalue())
    assert [line for line, _ in found] == begins[1:]
    assert [list(value.values()) for _, value in found if isinstance(value, dict)] == made


def test_names_are_stripped_and_a_nameless_index_in_front_is_left_out(tmp_path: Path) -> None:
    assert rows(tmp_path, " prompt , completion\na, b\n") == [(2, ROW)]
    assert rows(tmp_path, ",prompt,completion\n0,a,b\n") == [(2, ROW)]


def test_rows_that_do_not_fit_the_header_are_bad(tmp_path: Path) -> None:
    assert rows(tmp_path, "prompt,completion\na,b\na\n\na,b,c\na,b\n") == [
        (2, ROW), (3, "the row has 1 cell, the header 2"), (5, "the row has 3 cells, the header 2"), (6, ROW),
    ]  # fmt: skip


def test_a_badly_closed_quote_costs_its_row_where_it_takes_no_other_in(tmp_path: Path) -> None:
    found = rows(tmp_path, 'prompt,completion\na,b\n"a"x,b\na,b\n')
    assert found == [
        (2, ROW),
        (3, "text stands behind a closing quote; a quote within a cell is written twice"),
        (4, ROW),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('prompt,completion\na,b\nc,"d\ne,f\n', 3),
        ('prompt,completion\na,"b\nc,d\n"e",f\n', 2),
        ('prompt,"completion\na,b\n', 1),
    ],
)
def test_a_quote_that_swallows_rows_is_damage_of_the_file(tmp_path: Path, text: str, line: int) -> None:
    assert refused(write(tmp_path, text, "data.csv")).startswith(
        f"{line}: a quote that opens here is not closed rightly"
    )


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("What is one?,Two.", "'What is one?' is no name of a column"),
        ("hello there my dear old friend,x", "is no name of a column"),
        ("1,2", "'1' is no name of a column"),
        ("a,-1.5e3", "'-1.5e3' is no name of a column"),
        ('a,"b\nc"', r"'b\nc' is no name of a column"),
        ("a," + "b" * 65, "is no name of a column"),
        ("a,b,a", "the name 'a' stands twice"),
        ("a,,b", "a column has no name"),
        ("a,b,", "a column has no name"),
        ('"a"x,b', "text stands behind a closing quote"),
    ],
)
def test_a_missing_header_is_refused(tmp_path: Path, header: str, why: str) -> None:
    said = refused(write(tmp_path, f"\n{header}\n1,2\n", "data.csv"))
    assert said.startswith("2: the header is missing (")
    assert why in said
    assert said.endswith(": let the first line name the columns, as in prompt,completion.")


def test_a_header_alone_is_no_data(tmp_path: Path) -> None:
    assert refused(write(tmp_path, "prompt,completion\n", "data.csv")).startswith(" there is no row under the header")


def test_line_ends_of_the_old_macintosh_are_refused(tmp_path: Path) -> None:
    said = refused(write(tmp_path, "prompt,completion\ra,b\r", "data.csv"))
    assert said == "1: the lines end in a carriage return alone: save the file with LF line ends."


def test_other_encodings_name_the_line(tmp_path: Path) -> None:
    assert refused(write(tmp_path, "prompt\na\nö\n".encode("cp1252"), "data.csv")).startswith("3: this is not UTF-8")


def test_a_long_line_is_refused_and_a_long_cell_taken_for_an_open_quote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "LONGEST_LINE", 1 << 20)
    text = "a,b\n1,2\n" + "," * (2 << 20) + "\n"
    assert refused(write(tmp_path, text, "data.csv")) == "3: the line is longer than 1 MB: no row is."
    text = 'a,b\n1,2\n3,"' + "4,5\n" * (table.LONGEST_CELL // 3) + '"\n'
    assert refused(write(tmp_path, text, "data.csv")).startswith("3: a quote that opens here is not closed rightly")


def test_lines_are_counted_over_a_long_blank_stretch(tmp_path: Path) -> None:
    assert rows(tmp_path, "prompt,completion\na,b\n" + "\n" * 600_000 + "a,b\n") == [(2, ROW), (600_003, ROW)]
