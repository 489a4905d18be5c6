"""A data file → its rows: one module a format, imported when such a file turns up.

The libraries behind some of them take a second to load, which the first frame of the screen must not wait for.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, cast

from trainer.data.formats import Format

if TYPE_CHECKING:
    from trainer.data.rows import BadRow, Row
    from trainer.data.source import DataFile

_MODULES: dict[Format, str] = {
    "jsonl": "jsonl", "json": "json_array", "csv": "table", "tsv": "table",
    "parquet": "parquet", "arrow": "arrow", "text": "text",
}  # fmt: skip


class Reader(Protocol):
    """What a module of this package offers; `rows` raises DataError."""

    def rows(self, file: DataFile, index: int) -> Iterator[Row | BadRow]:
        """The rows of a file, which is the `index`-th of its source, in order."""

    def how(self, start: bytes) -> str:
        """What the reader takes for granted by the first bytes, in words; "" when nothing is to say."""


def reader(format: Format) -> Reader:
    return cast(Reader, importlib.import_module(f"{__name__}.{_MODULES[format]}"))
