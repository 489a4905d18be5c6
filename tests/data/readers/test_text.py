"""Plain text: what a document is, and the line it begins on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.readers.reading import read, refused, write
from trainer.data.readers import text as reader


def rows(folder: Path, content: str | bytes, name: str = "data.txt") -> list[tuple[int, str]]:
    return [(line, value["text"]) for line, value in read(write(folder, content, name)) if isinstance(value, dict)]


@pytest.mark.parametrize("name", ["data.txt", "data.md", "data.text"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_without_blank_lines_a_line_is_a_document(tmp_path: Path, name: str, end: str) -> None:
    assert rows(tmp_path, end.join(["one", "  two  ", "three"]), name) == [(1, "one"), (2, "  two  "), (3, "three")]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_with_blank_lines_a_paragraph_is_a_document(tmp_path: Path, end: str) -> None:
    content = end.join(["# Title", "", "one", "two", " ", "", "three", ""])
    assert rows(tmp_path, content) == [(1, "# Title"), (3, "one\ntwo"), (7, "three")]


def test_a_blank_line_once_in_a_while_makes_no_paragraphs(tmp_path: Path) -> None:
    content = "one\n" * 30 + "\n" + "two\n" * 30
    found = rows(tmp_path, content)
    assert len(found) == 60
    assert found[30] == (32, "two")


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    assert rows(tmp_path, b"\xef\xbb\xbfone\ntwo") == [(1, "one"), (2, "two")]


def test_a_separator_of_unicode_ends_no_line(tmp_path: Path) -> None:
    assert rows(tmp_path, "one\u2028more\x0b\x85\ntwo") == [(1, "one\u2028more\x0b\x85"), (2, "two")]


def test_damage_names_the_line(tmp_path: Path) -> None:
    assert refused(write(tmp_path, b"one\ntwo\n\xfc\n", "data.txt")).startswith("3: this is not UTF-8")
    assert refused(write(tmp_path, b"one\ntwo\nth\0ee\n", "data.txt")).startswith("3: there is a NUL byte")
    assert refused(write(tmp_path, "one\rtwo\r", "data.txt")).startswith("1: the lines end in a carriage return")


def test_a_paragraph_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "LONGEST_PARAGRAPH", 50)
    said = refused(write(tmp_path, "a\n\n" * 100 + "b\n" * 60, "data.txt"))
    assert said == "201: a paragraph has more than 50 lines: divide it."
