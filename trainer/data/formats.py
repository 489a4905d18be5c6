"""The first bytes of a file → its format, by what they are, and only then by the file's name.

It sees a head of some kB, not the file: that the rest is of the same kind is found out by reading it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePath
from typing import Literal

from trainer.data.errors import DataError, quoted, shown

Format = Literal["jsonl", "json", "csv", "tsv", "parquet", "arrow", "text"]

JSON_LINES, JSON = (".jsonl", ".ndjson"), (".json",)
TABLE = (".csv", ".tsv", ".tab")
TEXT = (".txt", ".text", ".md", ".markdown")
BINARY = (".parquet", ".arrow", ".feather")
PACKED = (".gz", ".zst", ".zstd", ".xz", ".bz2", ".zip", ".tar", ".tgz", ".7z", ".rar")
SUFFIXES = (*JSON_LINES, *JSON, *TABLE, *TEXT, *BINARY)

_PARQUET, _ARROW_FILE, _ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
_BINARY = (_PARQUET, _ARROW_FILE, _ARROW_STREAM)
_BOM = b"\xef\xbb\xbf"
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive (or an Office file): unpack it, or save its table as CSV"),
    (b"PK\x05\x06", "an empty zip archive: give the data file"),
    (b"\xfd7zXZ\x00", "packed by xz: unpack it with `unxz`"),
    (b"BZh", "packed by bzip2: unpack it with `bunzip2`"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it"),
    (b"Rar!", "a RAR archive: unpack it"),
    (b"\x1f\x8b", "packed twice: unpack it once"),
    (b"\x28\xb5\x2f\xfd", "packed twice: unpack it once"),
    (b"PARE", "an encrypted Parquet file: save it without encryption"),
    (b"\x89PNG", "a picture: give texts"), (b"\xff\xd8\xff", "a picture: give texts"),
    (b"GIF8", "a picture: give texts"),
    (b"RIFF", "a sound or a picture: give texts"), (b"OggS", "a sound: give texts"), (b"ID3", "a sound: give texts"),
    (b"%PDF", "a PDF: save its text as .txt"),
    (b"SQLite format 3\x00", "an SQLite data base: save the table as CSV"),
    (b"\x89HDF", "an HDF5 file: save the rows as JSONL"), (b"\x93NUMPY", "a NumPy file: save the rows as JSONL"),
    (b"\x80\x04\x95", "a Python pickle, which could run code: save the rows as JSONL"),
    (b"\x80\x05\x95", "a Python pickle, which could run code: save the rows as JSONL"),
    (b"ORC", "an ORC file: save it as Parquet"), (b"Obj\x01", "an Avro file: save it as Parquet"),
    (b"GGUF", "the weights of a model: give the data file"), (b"\x7fELF", "a program: give the data file"),
)  # fmt: skip
_LFS, _WEB_PAGE = b"version https://git-lfs", (b"<!doctype", b"<html")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_WIDE = {b"\xff\xfe\x00\x00": "UTF-32", b"\x00\x00\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_SURELY_JSON = re.compile(rb'\{\s*"|\[\s*\{')  # a text may begin with a bracket, hardly with these
_COMMENT = re.compile(rb"//|/\*|#")


def kind_of_name(path: PurePath) -> str:
    """The suffix that tells the format: `.jsonl` for data.jsonl and data.jsonl.gz, "" where there is none."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    while suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def detect(path: Path, packed: str, head: bytes, whole: bool) -> Format:
    """The format of a file whose unpacked bytes begin with `head` (`whole`: that is all). Raises DataError."""
    _check_packing(path, packed)
    _check_known(path, head)
    if head.startswith(_BINARY):
        if packed:
            raise _refused(path, "a Parquet or Arrow file is packed inside: unpack it first")
        return "parquet" if head.startswith(_PARQUET) else "arrow"
    text = head.removeprefix(_BOM).strip()
    if not text:
        if not whole:
            raise _refused(path, "it begins with nothing but blank space: check how it was made", 1)
        raise _refused(path, "the file is empty: give one with a row for each example")
    return _text_format(path, text, whole)


def _check_packing(path: Path, packed: str) -> None:
    suffix = path.suffix.lower()
    names = {".gz": ("gz", "gzip"), ".tgz": ("gz", "gzip"), ".zst": ("zst", "Zstandard"), ".zstd": ("zst", "Zstandard")}
    if suffix in names and names[suffix][0] != packed:
        raise _refused(path, f"it is named {suffix} but is not {names[suffix][1]}: copy it anew, or rename it")


def _check_known(path: Path, head: bytes) -> None:
    """Raises DataError for what is known and can't be read."""
    if _is_binary(head[:256]):
        if what := next((what for start, what in _OTHERS if head.startswith(start)), ""):
            raise _refused(path, f"this is {what}")
        if head[257:262] == b"ustar":
            raise _refused(path, "this is a tar archive: unpack it and give the folder")
    if head.startswith(_LFS):
        raise _refused(path, "this is a pointer of Git LFS, not the file: fetch it with `git lfs pull`")
    if head[:9].lower().startswith(_WEB_PAGE) and kind_of_name(path) not in TEXT:
        raise _refused(path, "this is a web page: the download went wrong; fetch the file anew", 1)
    for mark, encoding in _WIDE.items():
        if head.startswith(mark) and not head.startswith(_ARROW_STREAM):
            raise _not_utf8(path, encoding)
    if head[:2].count(0) == 1 and head[:400].count(0) >= len(head[:400]) // 3 and not head.startswith(_BINARY):
        raise _not_utf8(path, "UTF-16")


def _is_binary(start: bytes) -> bool:
    """Whether the bytes are no text: a text may begin with the letters of a signature."""
    try:
        text = start[:-3] if len(start) == 256 else start  # a character may be cut
        return _CONTROL.search(text.decode().encode()) is not None
    except UnicodeDecodeError:
        return True


def _text_format(path: Path, text: bytes, whole: bool) -> Format:
    suffix = kind_of_name(path)
    by_name = _format_by_name(suffix)
    if by_name in ("csv", "tsv", "text") and not _SURELY_JSON.match(text):
        return by_name
    if text.startswith(b"["):
        return "json"
    if text.startswith(b"{"):
        return _objects(text, whole)
    if by_name == "jsonl":
        return "jsonl"
    if _COMMENT.match(text) and suffix in JSON:
        raise _refused(path, "this begins with a comment, which JSON does not know: remove it", 1)
    begins = f"it begins with {quoted(text[:200].decode('utf-8', 'replace'))}"
    if suffix in BINARY:
        raise _refused(path, f"it is named {suffix} but is none ({begins}): copy it anew, or rename it")
    if suffix in JSON:
        raise _refused(
            path, f"this is neither JSON nor JSONL ({begins}): "
            "give a file with one JSON object a line, or a JSON list of objects", 1
        )  # fmt: skip
    raise _refused(path, f"its name does not say what it is ({begins}): let it end in .csv, .tsv, .txt, .md or .jsonl")


def _format_by_name(suffix: str) -> Format | None:
    if suffix in TABLE:
        return "csv" if suffix == ".csv" else "tsv"
    return "text" if suffix in TEXT else "jsonl" if suffix in JSON_LINES else None


def _objects(text: bytes, whole: bool) -> Format:
    """JSONL, or JSON that begins with an object: by the first two lines that say something."""
    first, ended, rest = text.partition(b"\n")
    if not ended and not whole:
        return "json"  # it may be JSONL, whose rows are objects one behind the other
    second = rest.lstrip()[:1]
    if _is_object(first):
        return "jsonl" if second or not whole else "json"
    if not second:
        return "jsonl"  # of one line, which is broken and will be said to be
    opened = first.rstrip().endswith((b"{", b"[", b","))
    return "jsonl" if second == b"{" and not opened else "json"


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _not_utf8(path: Path, encoding: str) -> DataError:
    return _refused(path, f"this is not UTF-8 but {encoding}: save the file as UTF-8 and try again", 1)


def _refused(path: Path, what: str, line: int = 0) -> DataError:
    return DataError(f"{shown(path)}:{f'{line}:' if line else ''} {what}.")
