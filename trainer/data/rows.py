"""A JSON or JSONL file → its rows with their line numbers. What a row means is not its question."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainer.data.shapes import shape_of
from trainer.secrets import redact


class DataError(Exception):
    """A data file can't be used; the text is one sentence: file:line: what: what to do."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't be used, where it begins and why."""

    line: int
    why: str


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    value: object


def read_rows(file: Path) -> Iterator[Row | BadRow]:
    """All rows in order. Raises DataError for damage of the file as a whole."""
    text = _text(file)
    if not text.strip():
        raise DataError(f"{file}: the file is empty: give one with a row for each example.")
    start = text.lstrip()[0]
    if start == "[":
        return _array(file, text, text.index("["))
    if start == "{" and (whole := _one_object(file, text)) is not None:
        return whole
    if start != "{" and file.suffix.lower() not in (".jsonl", ".ndjson"):
        raise DataError(
            f"{file}:1: this is neither JSON nor JSONL (it begins with {redact(text.lstrip()[:200])[:20]!r}): "
            "give a file with one JSON object a line, or a JSON list of objects."
        )
    return _lines(text)


def _text(file: Path) -> str:
    try:
        mode = file.stat().st_mode
        if stat.S_ISDIR(mode):
            raise DataError(f"{file}: this is a folder: give the data file in it.")
        if not stat.S_ISREG(mode):
            raise DataError(f"{file}: this is not a regular file: give a JSON or JSONL file.")
        return file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file: check the path.") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file}:{line}: this is not UTF-8: save the file as UTF-8 and try again.") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise DataError(f"{file}: it can't be read ({reason}): check the path and its permissions.") from None


def _lines(text: str) -> Iterator[Row | BadRow]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield Row(number, json.loads(line))
        except (ValueError, RecursionError) as error:
            yield BadRow(number, f"the line is not JSON ({_why(error)})")


def _array(file: Path, text: str, start: int, inside: bool = False) -> Iterator[Row | BadRow]:
    """One element after the other, so that each has its line and a break is named where it is.

    The list begins at `start`; it is the whole text unless it stands `inside` an object.
    """
    decoder = json.JSONDecoder()
    at, line = start + 1, 1
    counted = 0
    while True:
        at = _skip_space(text, at)
        line, counted = line + text.count("\n", counted, at), at
        if text[at : at + 1] == "]":
            if not inside and text[at + 1 :].strip():
                raise DataError(f"{file}:{line}: there is more text after the list's end: remove it.")
            return
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            where = line + text.count("\n", at, getattr(error, "pos", at))
            raise DataError(f"{file}:{where}: the JSON breaks off here ({_why(error)}): mend the file.") from None
        yield Row(line, value)
        at = _skip_space(text, end)
        if text[at : at + 1] == ",":
            at += 1
        elif text[at : at + 1] != "]":
            where = line + text.count("\n", counted, at)
            raise DataError(f"{file}:{where}: a comma or ] is missing between rows: mend the file.")


def _one_object(file: Path, text: str) -> Iterator[Row | BadRow] | None:
    """Rows of a file that is one JSON object: the one list of rows in it, or itself. None for anything else."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return None
    lists = [k for k, v in whole.items() if isinstance(v, list) and v and all(isinstance(r, dict) for r in v)]
    if len(lists) == 1 and shape_of(whole) is None:
        return _array(file, text, _list_at(text, lists[0]), inside=True)
    line = text.count("\n", 0, text.index("{")) + 1
    return iter([Row(line, whole)])


def _list_at(text: str, key: str) -> int:
    """Where the list under a key of the one object begins; the text is known to be JSON."""
    decoder = json.JSONDecoder()
    at = text.index("{")
    while True:
        name, at = decoder.raw_decode(text, _skip_space(text, at + 1))
        at = _skip_space(text, _skip_space(text, at) + 1)  # behind the colon
        if name == key and text[at] == "[":
            return at
        _, at = decoder.raw_decode(text, at)
        at = _skip_space(text, at)  # the comma


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.lower()} at column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
