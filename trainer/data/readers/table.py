"""CSV and TSV: a row a record, its keys from the header; every value is a text.

The delimiter is told by the first records, and the header is required. A quote that is never closed swallows whatever
comes behind it, so it is damage of the file; a record with too few or too many cells costs that record only.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from trainer.data.errors import DataError, quoted, shown
from trainer.data.readers.text import check_line_ends, texts
from trainer.data.rows import BadRow, Row
from trainer.data.source import DataFile
from trainer.data.stream import head

LONGEST_LINE = 16 << 20  # characters; they may all be commas, and a cell takes eight bytes
LONGEST_CELL = 4 << 20  # characters; more than that in quotes is a quote that was never closed
_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_SNIFFED = 50  # records that the delimiter is told by
_LONGEST_NAME = 64
_SENTENCE = re.compile(r"[.?!]$|(?:\S+\s+){5}")
_EXCEL = re.compile(r"sep=(.)")

csv.field_size_limit(LONGEST_CELL)


class _CSV(csv.Dialect):
    """As most programs write it, quotes doubled within a cell; anything else in quotes is an error."""

    quotechar, doublequote, quoting = '"', True, csv.QUOTE_MINIMAL
    lineterminator, strict = "\n", True


def how(start: bytes) -> str:
    return f"cells are separated by {_DELIMITERS[_delimiter(start)]}"


def rows(file: DataFile, index: int) -> Iterator[Row | BadRow]:
    """The records in order, blank lines passed over. Raises DataError."""
    start, _ = head(file.path, file.packing)
    check_line_ends(file, start)
    names: list[str] = []
    width = read = 0
    for line, cells in _records(file, start):
        if isinstance(cells, str):
            if not names:
                raise _no_header(file, line, cells)
            yield BadRow(line, cells, index)
        elif not names:
            if not cells[0].startswith("sep="):  # what Excel may write above the header
                names, width = _header(file, line, cells), len(cells)
            continue
        elif len(cells) != width:
            yield BadRow(
                line, f"the row has {len(cells)} cell{'s' if len(cells) > 1 else ''}, the header {width}", index
            )
        else:
            yield Row(line, dict(zip(names, cells[width - len(names) :], strict=True)), index)
        read += 1
    if not read:
        raise DataError(f"{shown(file.path)}: there is no row under the header: give a file with rows.")


class _Lines:
    """The lines of a file for the parser, which remembers where the record it reads begins and ends."""

    def __init__(self, file: DataFile) -> None:
        self._path, self._texts = shown(file.path), texts(file)
        self.first = self.last = 0  # line numbers; first is 0 until a line of the record was read

    def __iter__(self) -> Iterator[str]:
        for number, text in self._texts:
            self.last = number
            self.first = self.first or number
            if len(text) > LONGEST_LINE:
                raise DataError(f"{self._path}:{number}: the line is longer than {LONGEST_LINE >> 20} MB: no row is.")
            yield text + "\n"


def _records(file: DataFile, start: bytes) -> Iterator[tuple[int, list[str] | str]]:
    """(line it begins on, cells) of each record; instead of its cells, what is wrong with it."""
    delimiter = _delimiter(start)
    padded = delimiter != "\t" and delimiter.encode() + b" " in start.partition(b"\n")[0]
    lines = _Lines(file)
    parser = csv.reader(iter(lines), _CSV, delimiter=delimiter, skipinitialspace=padded)
    while True:
        lines.first = 0
        try:
            cells = next(parser, None)
        except csv.Error as error:
            yield lines.first, _wrong(file, lines.first, lines.last, str(error))
            continue
        if cells is None:
            return
        if cells:
            yield lines.first, cells


def _wrong(file: DataFile, line: int, until: int, error: str) -> str:
    """What is wrong with a record in a few words. Raises DataError when it took other records in."""
    if until > line or "unexpected end" in error or "larger than" in error:
        raise DataError(
            f"{shown(file.path)}:{line}: a quote that opens here is not closed rightly, and swallows what comes "
            'behind it: close it, and write a quote within a cell twice ("").'
        )
    if "new-line" in error:
        return "a carriage return stands bare in a cell; put the cell in quotes"
    return "text stands behind a closing quote; a quote within a cell is written twice"


def _header(file: DataFile, line: int, cells: list[str]) -> list[str]:
    """The names of the columns; a first one without name is an index and left out. Raises DataError."""
    names = [cell.strip() for cell in cells]
    if len(names) > 1 and not names[0]:
        del names[0]
    for name in names:
        if not name:
            raise _no_header(file, line, "a column has no name")
        if names.count(name) > 1:
            raise _no_header(file, line, f"the name {quoted(name)} stands twice")
        if len(name) > _LONGEST_NAME or "\n" in name or _SENTENCE.search(name) or _is_number(name):
            raise _no_header(file, line, f"{quoted(name)} is no name of a column")
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _no_header(file: DataFile, line: int, why: str) -> DataError:
    return DataError(
        f"{shown(file.path)}:{line}: the header is missing ({why}): "
        "let the first line name the columns, as in prompt,completion."
    )


def _delimiter(start: bytes) -> str:
    """What separates the cells: what cuts the most of the first records into as many cells as the header."""
    text = start.decode("utf-8-sig", "replace")
    if told := _EXCEL.match(text):
        return told[1] if told[1] in _DELIMITERS else ","
    lines = text.splitlines(keepends=True)
    return max(_DELIMITERS, key=lambda delimiter: _fit(lines, delimiter))


def _fit(lines: list[str], delimiter: str) -> tuple[float, int]:
    """How well a delimiter suits: the share of records with as many cells as the header, and how many; 0 for one."""
    sizes: list[int] = []
    parser = csv.reader(lines, _CSV, delimiter=delimiter, strict=False)
    try:
        while len(sizes) < _SNIFFED:
            if cells := next(parser):
                sizes.append(len(cells))
    except (StopIteration, csv.Error):
        pass
    if not sizes or sizes[0] == 1:
        return 0.0, 0
    return sizes.count(sizes[0]) / len(sizes), sizes[0]
