"""JSONL: a row a line. A line that is no JSON costs that row only; one that is no UTF-8 says that the file is not."""

from __future__ import annotations

from collections.abc import Iterator

from trainer.data.errors import DataError, shown
from trainer.data.readers.parse import NotUtf8, parse_lines, rows_in
from trainer.data.rows import BadRow, Row
from trainer.data.source import DataFile
from trainer.data.stream import Lines


def how(start: bytes) -> str:
    return ""


def rows(file: DataFile, index: int) -> Iterator[Row | BadRow]:
    """The rows in order, blank lines passed over. Raises DataError."""
    lines = Lines(file.path, file.packing, file.part)
    for block in lines:
        number = lines.number
        if values := parse_lines(block):
            lines.number += len(values)
            for line, value in enumerate(values, number):
                yield Row(line, value, index)
        else:
            for raw in block.split(b"\n"):
                yield from _one(file, raw, lines.number, index)
                lines.number += 1


def _one(file: DataFile, raw: bytes, number: int, index: int) -> Iterator[Row | BadRow]:
    try:
        yield from rows_in(raw, number, index)
    except NotUtf8 as error:
        raise DataError(f"{shown(file.path)}:{number}: {error}") from None
