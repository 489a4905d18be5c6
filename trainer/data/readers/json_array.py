"""JSON: a list of rows, or an object in one of the forms that hold rows, told apart by all of its keys.

The object may be one row, hold one list of rows, columns (name → values, as lists or by number) or rows by name; and
several objects may stand one behind the other. Lists of rows and rows by name are read row by row. An object is looked
through once before, since its last key may say what its first one is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from trainer.data.errors import DataError, quoted
from trainer.data.readers.parse import NotJson, NotUtf8, parse, parse_first, rows_in
from trainer.data.readers.scan import Scanner
from trainer.data.rows import BadRow, Row
from trainer.data.source import DataFile

# Keys that a row has. An object with one of them is a row and what lists it holds are within the row.
ROW_KEYS = frozenset({
    "messages", "conversations", "conversation", "instruction", "prompt", "completion", "question", "answer", "query",
    "response", "text", "text_input", "output", "chosen", "rejected", "contents", "history", "problem", "solution",
    "assistant", "target",
})  # fmt: skip
_MOST_COLUMNS = 1000
_WRONG_GUESSES = 8


@dataclass(slots=True)
class _Survey:
    """What stands under the keys of one object."""

    is_row: bool = False
    lists_of_rows: list[str] = field(default_factory=list)
    columns: dict[str, int] = field(default_factory=dict)  # name → length
    objects: int = 0
    numbered: int = 0  # of these objects, those whose keys are 0, 1, ...
    others: int = 0


def how(start: bytes) -> str:
    return ""


def rows(file: DataFile, index: int) -> Iterator[Row | BadRow]:
    """The rows in order. Raises DataError."""
    scan = Scanner(file)
    if scan.peek() == b"[":
        yield from _list(scan, index)
        if scan.peek():
            raise scan.broken("there is more text after the list's end: remove it, or put all rows into one list")
        return
    survey = _look_through(scan)
    following = scan.peek()
    if following not in (b"", b"{"):
        raise scan.broken(
            "there is more text after the object's end: a list of rows needs [ and ] around it, JSONL no commas"
        )
    yield from _one_after_the_other(file, index) if following else _held(file, index, survey)


def _list(scan: Scanner, index: int) -> Iterator[Row | BadRow]:
    """The elements of the list that begins here, which is passed."""
    scan.take(b"[")
    wrong = 0
    while not scan.take(b"]"):
        yield from _row(scan, index)
        while wrong < _WRONG_GUESSES and (guessed := scan.alike()):
            values = parse_first([raw for _, raw in guessed])
            scan.pass_alike(guessed[: len(values)])
            for (line, _), value in zip(guessed, values, strict=False):
                yield Row(line, value, index)
            wrong = wrong + 1 if not values else 0
            if len(values) < len(guessed):
                break
        _go_on(scan, b"]")


def _go_on(scan: Scanner, close: bytes) -> None:
    """Pass the comma behind an element, if it was not the last. Raises DataError."""
    if not scan.take(b",") and (found := scan.peek()) != close:
        what = "a comma or {} is missing here" if found else "the JSON breaks off: {} is missing at its end"
        raise scan.broken(f"{what.format(close.decode())}: mend the file")


def _row(scan: Scanner, index: int) -> Iterator[Row | BadRow]:
    """The row that begins here, which is passed."""
    scan.peek()
    line = scan.line
    try:
        yield from rows_in(scan.value(), line, index)
    except NotUtf8 as error:
        raise DataError(f"{scan.path}:{line + error.line}: {error}") from None


def _one_after_the_other(file: DataFile, index: int) -> Iterator[Row | BadRow]:
    scan = Scanner(file)
    while scan.peek():
        if scan.peek() != b"{":
            raise scan.broken("there is something between the objects that is none: mend the file")
        yield from _row(scan, index)


def _held(file: DataFile, index: int, survey: _Survey) -> Iterator[Row | BadRow]:
    """The rows that the only object of a file holds or is."""
    scan = Scanner(file)
    if not survey.is_row:
        if len(survey.lists_of_rows) == 1:
            return _list_under(scan, survey.lists_of_rows[0], index)
        if len(survey.lists_of_rows) > 1:
            names = ", ".join(quoted(name) for name in survey.lists_of_rows[:6])
            raise scan.broken(f"the object holds several lists of rows ({names}): save each as a file of its own")
        if survey.columns and not survey.objects and not survey.others:
            return _columns(scan, survey.columns, index)
        if survey.objects and not survey.columns and not survey.others:
            return _numbered(scan, index) if survey.numbered == survey.objects else _by_name(scan, index)
    return _row(scan, index)


def _look_through(scan: Scanner) -> _Survey:
    """What the object holds that begins here; it is passed."""
    found = _Survey()
    for name in _keys(scan):
        first = scan.peek()
        if first == b"[":
            _look_through_list(scan, name, found)
        elif first == b"{":
            found.objects += 1
            value = _lenient(scan.value())
            found.numbered += isinstance(value, dict) and bool(value) and all(key.isdigit() for key in value)
        else:
            scan.value()
            found.others += 1
            found.is_row |= name in ROW_KEYS
    return found


def _look_through_list(scan: Scanner, name: str, found: _Survey) -> None:
    size, first = 0, None
    for row in _list(scan, 0):
        first = row.value if isinstance(row, Row) and not size else first
        size += 1
    if not isinstance(first, dict):
        if len(found.columns) < _MOST_COLUMNS:
            found.columns[name] = size
    elif name in ROW_KEYS and not ROW_KEYS & first.keys():
        found.is_row = True  # the list holds the turns of a conversation
    else:
        found.lists_of_rows.append(name)


def _keys(scan: Scanner) -> Iterator[str]:
    """The keys of the object that begins here; between two of them the caller passes the value."""
    scan.take(b"{")
    while not scan.take(b"}"):
        if scan.peek() != b'"':
            raise scan.broken("a key in double quotes is missing here: mend the file")
        name = _lenient(scan.value())
        if not scan.take(b":"):
            raise scan.broken("a colon is missing behind the key: mend the file")
        yield name if isinstance(name, str) else ""
        _go_on(scan, b"}")


def _lenient(raw: bytes) -> object:
    try:
        return parse(raw)
    except (NotJson, NotUtf8):
        return None


def _list_under(scan: Scanner, wanted: str, index: int) -> Iterator[Row | BadRow]:
    for name in _keys(scan):
        if name == wanted and scan.peek() == b"[":
            yield from _list(scan, index)
        else:
            scan.value()


def _by_name(scan: Scanner, index: int) -> Iterator[Row | BadRow]:
    for _ in _keys(scan):
        yield from _row(scan, index)


def _columns(scan: Scanner, lengths: Mapping[str, int], index: int) -> Iterator[Row | BadRow]:
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{quoted(name)} {length}" for name, length in list(lengths.items())[:6])
        raise scan.broken(f"the columns differ in length ({said}): save the rows as JSONL")
    whole = _whole(scan)
    for number, values in enumerate(zip(*whole.values(), strict=True), start=1):
        yield Row(number, dict(zip(whole, values, strict=True)), index)


def _numbered(scan: Scanner, index: int) -> Iterator[Row | BadRow]:
    whole = _whole(scan)
    numbers = dict.fromkeys(number for column in whole.values() for number in column)
    for place, number in enumerate(numbers, start=1):
        yield Row(place, {name: column.get(number) for name, column in whole.items()}, index)


def _whole(scan: Scanner) -> dict[str, Any]:
    """The object with its columns, held in memory. Raises DataError."""
    scan.peek()
    line = scan.line
    raw = scan.value()
    try:
        return cast(dict[str, Any], parse(raw))
    except NotJson as error:
        raise DataError(f"{scan.path}:{line}: the columns are not JSON ({error}): mend the file.") from None
    except NotUtf8 as error:
        raise DataError(f"{scan.path}:{line + error.line}: {error}") from None
