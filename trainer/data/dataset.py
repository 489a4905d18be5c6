"""A data file as conversations, with an account of what was read and what was left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer.data.rows import BadRow, DataError, Row, read_rows
from trainer.data.shapes import WANTED, Message, RowError, Shape, conversation, shape_of
from trainer.secrets import redact

__all__ = ["MAX_BAD_SHARE", "BadRow", "DataError", "DataSet", "Example", "Message", "load"]

MAX_BAD_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation to learn from, and the line it begins on."""

    messages: tuple[Message, ...]
    line: int


@dataclass(frozen=True, slots=True)
class DataSet:
    file: Path
    shape: str
    examples: tuple[Example, ...]
    bad: tuple[BadRow, ...]

    @property
    def rows(self) -> int:
        return len(self.examples) + len(self.bad)

    def check(self) -> DataSet:
        """Itself, if few enough rows are bad; else raises DataError naming the first."""
        if len(self.bad) > MAX_BAD_SHARE * self.rows:
            first = self.bad[0]
            others = f" (and {len(self.bad) - 1} more bad rows)" if len(self.bad) > 1 else ""
            raise DataError(
                f"{self.file}:{first.line}: {first.why}{others}: {len(self.bad)} of {self.rows} rows are bad, "
                f"more than {MAX_BAD_SHARE:.0%}; mend or remove them."
            )
        return self


def load(file: Path) -> DataSet:
    """Read a whole file. Raises DataError when it is damaged or none of its rows has a known shape.

    Bad rows are left out and listed; whether they are too many is `DataSet.check`'s question.
    """
    rows: list[Row] = []
    bad: list[BadRow] = []
    for row in read_rows(file):
        rows.append(row) if isinstance(row, Row) else bad.append(row)
    shapes = [shape_of(row.value) for row in rows]
    counted = Counter(shape.name for shape in shapes if shape)
    if not counted:
        raise _no_shape(file, rows, bad)
    main = counted.most_common(1)[0][0]
    examples: list[Example] = []
    for row, shape in zip(rows, shapes, strict=True):
        result = _example(row, shape, main)
        examples.append(result) if isinstance(result, Example) else bad.append(result)
    return DataSet(file, main, tuple(examples), tuple(sorted(bad, key=lambda row: row.line)))


def _example(row: Row, shape: Shape | None, main: str) -> Example | BadRow:
    if not isinstance(row.value, Mapping):
        return BadRow(row.line, "the row is not an object")
    if shape is None:
        return BadRow(row.line, f"the row has {_keys(row.value)}, not the keys of {main}")
    if shape.name != main:
        return BadRow(row.line, f"the row is {shape.name} while most are {main}")
    try:
        return Example(conversation(row.value, shape), row.line)
    except RowError as error:
        return BadRow(row.line, str(error))


def _no_shape(file: Path, rows: list[Row], bad: list[BadRow]) -> DataError:
    if bad:
        return DataError(f"{file}:{bad[0].line}: {bad[0].why}: mend the file; no row of it can be read.")
    if not rows:
        return DataError(f"{file}: the list is empty: give one with a row for each example.")
    value = rows[0].value
    found = _keys(value) if isinstance(value, Mapping) else f"{_kind(value)}, not an object"
    return DataError(f"{file}:{rows[0].line}: the rows have {found}: wanted are {WANTED}.")


def _kind(value: object) -> str:
    """What a JSON value is, in JSON's words."""
    kinds: dict[type, str] = {list: "a list", str: "a string", int: "a number", float: "a number"}
    return kinds.get(type(value)) or json.dumps(value)


def _keys(row: Mapping[str, object]) -> str:
    names = ", ".join(" ".join(redact(str(key))[:30].split()) for key in list(row)[:6])
    return f"the keys {names}" if names else "no keys"
