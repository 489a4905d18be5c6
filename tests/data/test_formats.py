"""The format of a file by its first bytes, and by its name only where they do not tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.data.errors import DataError
from trainer.data.formats import detect, kind_of_name


def told(name: str, head: bytes, whole: bool = True, packed: str = "") -> str:
    return detect(Path(name), packed, head, whole)


@pytest.mark.parametrize(
    ("name", "head", "format"),
    [
        ("a.jsonl", b'{"a": 1}\n{"b": 2}\n', "jsonl"),
        ("a.json", b'{"a": 1}\n{"b": 2}\n', "jsonl"),
        ("a", b'\xef\xbb\xbf\n {"a": 1}\r\n{"b": 2}\r\n', "jsonl"),
        ("a.jsonl", b'[{"a": 1}]', "json"),
        ("a.jsonl", b'{"a": 1}', "json"),
        ("a.jsonl", b'{\n"a": 1\n}\n{\n"a": 2\n}', "json"),
        ("a.json", b'{"a": 1,\n"b": 2}', "json"),
        ("a.jsonl", b'{"a": \n{"b": 2}\n', "jsonl"),
        ("a.jsonl", b'{"a": ', "jsonl"),
        ("a.jsonl", b"// a comment\n{}", "jsonl"),
        ("a.ndjson", b"7\n8\n", "jsonl"),
        ("a.txt", b'{"a": 1}\n{"b": 2}\n', "jsonl"),
        ("a.csv", b'[{"a": 1}]', "json"),
        ("a.parquet", b'{"a": 1}\n{"b": 2}\n', "jsonl"),
        ("a.md", b"[A link](https://example.invalid)\n", "text"),
        ("a.md", b"# Title\n", "text"),
        ("a.txt", b"{curly} words\n", "text"),
        ("a.txt", b"<html> is a tag\n", "text"),
        ("a.txt", b"ID3 is what a tag is called, GIF89a and BZh too", "text"),
        ("a.text.gz", b"words", "text"),
        ("a.csv", b"a,b\n1,2\n", "csv"),
        ("a.tsv", b"a\tb\n", "tsv"),
        ("a.TAB", b"a\tb\n", "tsv"),
        ("a.json", b"PAR1\x15\x04", "parquet"),
        ("a", b"ARROW1\x00\x00", "arrow"),
        ("a.bin", b"\xff\xff\xff\xff\xd8\x01\x00\x00", "arrow"),
    ],
)
def test_content_tells_before_the_name(name: str, head: bytes, format: str) -> None:
    assert told(name, head, packed="gz" if name.endswith(".gz") else "") == format


def test_an_object_whose_line_has_no_end_in_sight_may_be_json() -> None:
    assert told("a.jsonl", b'{"a": "' + b"x" * 99, whole=False) == "json"
    assert told("a.jsonl", b'{"a": 1}\n{"a": "' + b"x" * 99, whole=False) == "jsonl"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", ".jsonl"), ("a.JSONL.GZ", ".jsonl"), ("a.csv.zst", ".csv"), ("a.gz", ""), ("a", ""), (".jsonl", ""),
        ("a.tar.gz", ""), ("a.v2.json", ".json"), ("a.json.old", ".old"), ("-rf.jsonl", ".jsonl"),
    ],
)  # fmt: skip
def test_a_name_is_read_without_its_packing(name: str, kind: str) -> None:
    assert kind_of_name(Path(name)) == kind


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"PK\x03\x04\x14\x00", "zip"), (b"\xfd7zXZ\x00\x00", "unxz"), (b"BZh91AY&SY\x8e", "bunzip2"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"), (b"%PDF-1.7\n\xb5\xb5", "PDF"), (b"SQLite format 3\x00", "SQLite"),
        (b"\x89PNG\r\n\x1a\n", "picture"), (b"\xff\xd8\xff\xe0", "picture"), (b"GGUF\x03\x00", "weights"),
        (b"\x80\x04\x95\x10\x00", "pickle"), (b"\x93NUMPY\x01", "NumPy"), (b"\x89HDF\r\n", "HDF5"),
        (b"data.jsonl" + b"\0" * 247 + b"ustar\x0000", "tar"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.jsonl", "a.txt"])
def test_what_is_known_and_can_not_be_read_is_named(name: str, head: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        told(name, head)


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".zstd", ".tgz"])
def test_a_packed_name_must_be_true(suffix: str) -> None:
    with pytest.raises(DataError, match=rf"it is named {suffix} but is not"):
        told(f"a.jsonl{suffix}", b"{}")


def test_blank_space_without_end_is_refused() -> None:
    with pytest.raises(DataError, match=":1: it begins with nothing but blank space"):
        told("a.jsonl", b"", whole=False)
