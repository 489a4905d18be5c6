"""For the tests of the readers: write a file, read its rows, or get the sentence that refuses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.data.errors import DataError
from trainer.data.rows import Row, read_rows
from trainer.data.source import find


def write(folder: Path, content: bytes | str, name: str) -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def read(file: Path) -> list[tuple[int, object]]:
    """(line, value) of every row; a bad row's value is why."""
    return [(row.line, row.value if isinstance(row, Row) else row.why) for row in read_rows(find(str(file)))]


def refused(file: Path) -> str:
    """The sentence, without the file's name that it must begin with."""
    with pytest.raises(DataError) as caught:
        read(file)
    said = str(caught.value)
    assert said.startswith(f"{file}:")
    assert said.endswith(".")
    assert said.isprintable()
    return said.removeprefix(f"{file}:")
