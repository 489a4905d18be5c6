"""Parquet: row groups → rows, some hundred in memory at a time; structs and lists become dicts and lists."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.data.errors import DataError, shown
from trainer.data.readers.arrow import ROWS_AT_ONCE, broken, check_names, rows_of
from trainer.data.rows import BadRow, Row
from trainer.data.source import DataFile
from trainer.data.stream import BOMB, BOMB_BYTES, BOMB_RATIO, open_regular

_BUFFER = 1 << 20  # bytes of each column; without it a whole row group is read at once


def how(start: bytes) -> str:
    return ""


def rows(file: DataFile, index: int) -> Iterator[Row | BadRow]:
    """The rows, numbered from 1. Raises DataError."""
    number = 1
    with open_regular(file.path) as handle:
        try:
            with pq.ParquetFile(handle, buffer_size=_BUFFER) as found:
                _check(file, found)
                for batch in found.iter_batches(ROWS_AT_ONCE):
                    yield from rows_of(batch, number, index)
                    number += batch.num_rows
        except (pa.ArrowException, OSError, MemoryError):
            raise broken(file, number, "Parquet") from None


def _check(file: DataFile, found: pq.ParquetFile) -> None:
    """Raises DataError for what would not be read rightly, as far as the file's own account of itself tells."""
    check_names(file, found.schema_arrow)
    if not found.metadata.num_rows:
        raise DataError(
            f"{shown(file.path)}: there are no rows in this Parquet file: give one with a row for each example."
        )
    for group in range(found.metadata.num_row_groups):
        part = found.metadata.row_group(group)
        columns = [part.column(at) for at in range(part.num_columns)]
        size = sum(column.total_uncompressed_size for column in columns)
        if size > BOMB_BYTES and size > BOMB_RATIO * sum(column.total_compressed_size for column in columns):
            raise DataError(f"{shown(file.path)}: {BOMB}")
