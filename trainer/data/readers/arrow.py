"""Arrow files, as `datasets` saves and caches them: record batches → rows, some hundred in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from trainer.data.errors import DataError, quoted, shown
from trainer.data.rows import BadRow, Row
from trainer.data.source import DataFile
from trainer.data.stream import open_regular

ROWS_AT_ONCE = 512
_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # what a stream closes with


def how(start: bytes) -> str:
    return ""


def rows(file: DataFile, index: int) -> Iterator[Row | BadRow]:
    """The rows, numbered from 1. Raises DataError."""
    number = 1
    with open_regular(file.path) as handle:
        try:
            for batch in _batches(file, handle):
                for at in range(0, batch.num_rows, ROWS_AT_ONCE):
                    part = batch.slice(at, ROWS_AT_ONCE)
                    yield from rows_of(part, number, index)
                    number += part.num_rows
        except (pa.ArrowException, OSError, MemoryError):
            raise broken(file, number, "Arrow") from None


def _batches(file: DataFile, handle: BinaryIO) -> Iterator[pa.RecordBatch]:
    start = handle.read(6)
    handle.seek(0)
    if start == b"ARROW1":
        with pa.ipc.open_file(handle) as found:
            check_names(file, found.schema)
            for at in range(found.num_record_batches):
                yield found.get_batch(at)
        return
    handle.seek(-len(_END), os.SEEK_END)
    if handle.read() != _END:
        raise OSError
    handle.seek(0)
    with pa.ipc.open_stream(handle) as stream:
        check_names(file, stream.schema)
        yield from stream


def rows_of(batch: pa.RecordBatch, number: int, index: int) -> Iterator[Row | BadRow]:
    """The rows of a batch whose first has a number. A value that Python has none for costs its row only."""
    try:
        for at, value in enumerate(batch.to_pylist(), number):
            yield Row(at, value, index)
    except (ValueError, OverflowError):
        if batch.num_rows == 1:
            yield BadRow(number, "a value can't be read: a text that is no UTF-8, or a date out of all bounds", index)
            return
        for at in range(batch.num_rows):
            yield from rows_of(batch.slice(at, 1), number + at, index)


def check_names(file: DataFile, schema: pa.Schema) -> None:
    """Raises DataError when a column's name stands twice: a row could hold only one of them."""
    twice = next((name for name in schema.names if schema.names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{shown(file.path)}: the column {quoted(twice)} stands twice: rename one of the two.")


def broken(file: DataFile, number: int, kind: str) -> DataError:
    return DataError(f"{shown(file.path)}:{number}: the {kind} file is damaged or cut short here: make it anew.")
