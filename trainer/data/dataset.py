"""The account of a source: how many rows it has, what shape they are, which are bad and why, and what stands twice.

It holds counts and not rows, so that ten million rows are as light as ten: who wants the examples reads them again,
one by one, in the same order. Whether a model can use a row (its template, its max length) is not known here.
"""

from __future__ import annotations

import importlib
import itertools
import math
import zlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace

import orjson

from trainer.data import parts
from trainer.data.duplicates import Duplicates, Finder
from trainer.data.errors import DataError, shown
from trainer.data.messages import Conversation, LeftOut, RowError
from trainer.data.rows import BadRow, Row, place, read_rows
from trainer.data.shapes import Shape, conversation, detect
from trainer.data.source import Source, find
from trainer.data.stream import head

MAX_BAD_SHARE = 0.01
FIRST_BAD = 20  # of the bad rows are kept with their reason
LOOKED_AT = 1000  # rows that the shape is told by
GLANCE = 8_000_000  # bytes of rows that `look` reads
OFTEN = 2000  # rows between two words of progress
BATCH = 50  # rows that go through one step after the other: a fifth faster than one row through all of them


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation to learn from, the line it begins on, and the index of its file in the source."""

    conversation: Conversation
    line: int
    file: int = 0


@dataclass(frozen=True, slots=True)
class DataSet:
    """`rows` are used, bad, or left out since they are not to be learnt from (a KTO set's bad answers).

    `bad` holds the first of the `bad_count` bad rows. Where only the beginning was looked at, `estimated` is true and
    all counts are worked out from it.
    """

    source: Source
    shape: Shape
    rows: int
    bad_count: int = 0
    left_out: int = 0
    bad: tuple[BadRow, ...] = ()
    duplicates: Duplicates = field(default_factory=Duplicates)
    estimated: bool = False

    @property
    def used(self) -> int:
        return self.rows - self.bad_count - self.left_out

    @property
    def name(self) -> str:
        """For sentences: the file's path, or what the person named."""
        files = self.source.files
        return shown(files[0].path) if len(files) == 1 else shown(self.source.named)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what a person may not expect."""
        note = self.duplicates.note
        return (*self.source.notes, *((f"{self.name}: {note}.",) if note else ()))

    def place(self, row: BadRow | Example) -> str:
        """ "path:line"."""
        return place(self.source, BadRow(row.line, "", row.file))

    def examples(self) -> Iterator[Example]:
        """All rows that are used, in order, read again."""
        for row in read_rows(self.source):
            found = _understood(row, self.shape)
            if isinstance(found, Conversation):
                yield Example(found, row.line, row.file)

    def check(self, allow_bad: float = MAX_BAD_SHARE) -> DataSet:
        """Itself, if few enough rows are bad; else raises DataError naming the first."""
        if self.bad_count > allow_bad * self.rows:
            raise DataError(
                too_many_bad(self.place(self.bad[0]), self.bad[0].why, self.bad_count, self.rows, allow_bad)
            )
        return self


def too_many_bad(where: str, why: str, bad: int, rows: int, allowed: float, longer: int = 0) -> str:
    """The sentence that refuses data, naming the first of its bad rows; `longer` is a max length that helps, or 0."""
    others = f" (and {bad - 1:,} more bad row{'s' if bad > 2 else ''})" if bad > 1 else ""
    return (
        f"{where}: {why}{others}: {bad:,} of {rows:,} rows are bad, more than {100 * allowed:g}%; "
        f"{what_helps(bad, rows, longer)}."
    )


def what_helps(bad: int, rows: int, longer: int = 0) -> str:
    """ "raise max length to 1,408, mend or remove them, or allow more with --allow-bad 9%"."""
    raised = f"raise max length to {longer:,}, " if longer else ""
    return f"{raised}mend or remove them, or allow more with --allow-bad {math.ceil(100 * bad / rows)}%"


def load(named: str, columns: str = "", *, near: bool = False) -> DataSet:
    """The account of a whole source, see `reading`."""
    going = reading(find(named), columns, near=near)
    while True:
        try:
            next(going)
        except StopIteration as done:
            found: DataSet = done.value
            return found


def reading(source: Source, columns: str = "", *, near: bool = False) -> Generator[int, None, DataSet]:
    """Read all of a source; yields now and then how many rows that are so far, and returns the account.

    `near` looks for near duplicates too, and not only for exact ones: it takes half as long again, and loads numpy.
    Raises DataError when a file is damaged or the rows have no shape that is known; whether too many are bad is
    `DataSet.check`'s question.
    """
    with parts.Parts(source, columns, near=near) as processes:
        shape = shape_of(source, list(itertools.islice(read_rows(source), LOOKED_AT)), columns)
        tally = Tally(shape, near)
        together = yield from processes.read(tally)
    if not together:
        yield from tally.read(read_rows(source))
    return tally.account(source)


class Tally:
    """What is found of rows while they go by."""

    def __init__(self, shape: Shape, near: bool) -> None:
        self.shape, self.near = shape, near
        self.rows = self.bad_count = self.left_out = 0
        self.bad: list[BadRow] = []
        self.finder = Finder(importlib.import_module("trainer.data.near").Sketches() if near else None)

    def read(self, rows: Iterator[Row | BadRow]) -> Iterator[int]:
        """Take them all; yields now and then how many rows that are so far."""
        told = self.rows
        while batch := list(itertools.islice(rows, BATCH)):
            self._add([_understood(row, self.shape) for row in batch])
            if self.rows - told >= OFTEN:
                told = self.rows
                yield told

    def _add(self, found: Sequence[Conversation | BadRow | None]) -> None:
        talks = [one for one in found if isinstance(one, Conversation)]
        bad = [one for one in found if isinstance(one, BadRow)]
        self.finder.add(talks)
        self.rows += len(found)
        self.bad_count += len(bad)
        self.left_out += len(found) - len(talks) - len(bad)
        self.bad += bad[: FIRST_BAD - len(self.bad)]

    def account(self, source: Source) -> DataSet:
        counts = (self.rows, self.bad_count, self.left_out)
        return DataSet(source, self.shape, *counts, tuple(self.bad), self.finder.found())


def look(named: str, columns: str = "", most: int = GLANCE) -> DataSet:
    """The account of the beginning of a source, about `most` bytes of rows, and how many rows there may be in all.

    Exact, and not `estimated`, where the source is no larger. Raises DataError as `reading` does.
    """
    source = find(named)
    rows = read_rows(source)
    taken: list[Row | BadRow] = []
    size = 0
    for row in rows:
        taken.append(row)
        size += _size(row)
        if size > most:
            break
    else:
        return load(named, columns)
    shape = shape_of(source, taken[:LOOKED_AT], columns)
    found = [_understood(row, shape) for row in taken]
    bad = [one for one in found if isinstance(one, BadRow)]
    scale = estimate(source, taken) / len(taken)
    account = DataSet(source, shape, len(taken), len(bad), found.count(None), tuple(bad[:FIRST_BAD]), estimated=True)
    counts = {name: round(scale * getattr(account, name)) for name in ("rows", "bad_count", "left_out")}
    return replace(account, **counts)


def estimate(source: Source, rows: Sequence[Row | BadRow]) -> int:
    """How many rows there may be in a source that begins with these."""
    first = source.files[0]
    if not first.packing and first.format in ("jsonl", "csv", "tsv", "text"):
        start, _ = head(first.path)
        lines = rows[-1].line - rows[0].line + 1 if rows[-1].file == 0 else len(rows)
        mean = len(start) / max(1, start.count(b"\n")) * lines / len(rows)
    else:
        sample = b",".join(orjson.dumps(row.value) for row in rows[:LOOKED_AT] if isinstance(row, Row))
        packs = first.packing or first.format == "parquet"  # each in its own way, this is one
        mean = len(zlib.compress(sample) if packs else sample) / max(1, min(LOOKED_AT, len(rows)))
    return max(len(rows), round(source.size / max(1.0, mean)))


def _size(row: Row | BadRow) -> int:
    return len(orjson.dumps(row.value)) if isinstance(row, Row) else 100


def _understood(row: Row | BadRow, shape: Shape) -> Conversation | BadRow | None:
    """What the row says; why it is bad; or None for one that is not to be learnt from."""
    if isinstance(row, BadRow):
        return row
    try:
        return conversation(row.value, shape)
    except LeftOut:
        return None
    except RowError as error:
        return BadRow(row.line, str(error), row.file)


def shape_of(source: Source, first: Sequence[Row | BadRow], columns: str) -> Shape:
    """The shape of a source that begins with these rows. Raises DataError, with the place in front."""
    rows = [row for row in first if isinstance(row, Row)]
    if not first:
        raise DataError(f"{shown(source.files[0].path)}: there is no row in it: give data with a row for each example.")
    if not rows:
        bad = first[0]
        assert isinstance(bad, BadRow)
        raise DataError(f"{place(source, bad)}: {bad.why}: mend the file; no row of it can be read.")
    try:
        shape = detect([row.value for row in rows], columns)
    except DataError as error:
        raise DataError(f"{place(source, rows[0])}: {error}") from None
    assert shape is not None
    return shape
