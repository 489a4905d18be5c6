"""How long rows are in one model's tokens, and what a cut at max length costs. Pure counts; no tokenizer, no row.

The counts are kept by length and not by row, so that one pass over the data answers for every max length, and ten
million rows are a few thousand numbers.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

NEVER = 2**31
ROUND = 64  # tokens that a max length to try is a multiple of
LINEAR = 8  # the longest row is less than so many times the shortest: bins of equal width


@dataclass(frozen=True, slots=True)
class Extreme:
    """The longest or the shortest row: tokens, and where it stands ("file:line")."""

    tokens: int
    place: str


@dataclass(frozen=True, slots=True)
class Cut:
    """What max length costs: rows that are longer, tokens behind it, and rows that have no token to learn before it."""

    rows: int
    tokens: int
    nothing_left: int


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of at most `end` tokens, and more than the bin before it has."""

    end: int
    rows: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of all rows that are used, before any cut.

    `by_length` is rows by their tokens, `by_begin` rows by the place of their first supervised token (NEVER for those
    that have none). `limit` is what the model has positions for (0: not known). `refused` rows are besides these: the
    chat template takes them no way; `refusal` is where the first of them stands and why.
    """

    model: str
    by_length: Mapping[int, int]
    by_begin: Mapping[int, int]
    supervised: int
    longest: Extreme | None = None
    shortest: Extreme | None = None
    limit: int = 0
    refused: int = 0
    refusal: str = ""

    @property
    def rows(self) -> int:
        return sum(self.by_length.values())

    @property
    def tokens(self) -> int:
        return sum(length * rows for length, rows in self.by_length.items())

    def within(self, max_length: int) -> int:
        """Where rows are cut: at max length, or at the model's last position where that comes first."""
        return min(max_length, self.limit) if self.limit else max_length

    def cut(self, max_length: int) -> Cut:
        at = self.within(max_length)
        longer = {length: rows for length, rows in self.by_length.items() if length > at}
        return Cut(
            sum(longer.values()),
            sum((length - at) * rows for length, rows in longer.items()),
            sum(rows for begin, rows in self.by_begin.items() if begin >= at),
        )

    def cut_sentence(self, max_length: int) -> str:
        """ "23 of 999 rows are longer than 512 tokens: cut; 2 keep nothing to learn"."""
        cut, at = self.cut(max_length), self.within(max_length)
        if not cut.rows:
            return f"no row is longer than {at:,} tokens"
        are = "is" if cut.rows == 1 else "are"
        lost = f"; {cut.nothing_left:,} keep nothing to learn" if cut.nothing_left else ""
        return f"{cut.rows:,} of {self.rows:,} rows {are} longer than {at:,} tokens: cut{lost}"

    def lost(self, max_length: int) -> int:
        """Rows that are used no more: the template refuses them, or they keep nothing to learn."""
        return self.refused + self.cut(max_length).nothing_left

    def enough(self, spare: int) -> int:
        """See `enough`."""
        return enough(self.by_begin, spare - self.refused, self.limit)

    def fields(self) -> dict[str, Any]:
        """As JSON takes it: lengths as pairs, since JSON has no numbers for keys."""
        pairs = {name: sorted(getattr(self, name).items()) for name in ("by_length", "by_begin")}
        return asdict(self) | pairs | {"rows": self.rows, "tokens": self.tokens}

    def rungs(self) -> tuple[int, ...]:
        """Max lengths worth trying: powers of two that cut something, up to the first that cuts nothing more."""
        if not self.by_length:
            return ()
        first, last = min(self.by_length).bit_length(), (max(self.by_length) - 1).bit_length()
        found = {self.within(2**power) for power in range(max(3, first), max(3, last) + 1)}
        return tuple(sorted(found))

    def histogram(self, max_length: int, most: int) -> tuple[Bin, ...]:
        """At most `most` bins (2 or more), in equal steps or in powers of two; a bin ends where max length cuts."""
        if not self.by_length:
            return ()
        ends = _ends(min(self.by_length), max(self.by_length), self.within(max_length), most)
        counted = [0] * len(ends)
        for length, rows in self.by_length.items():
            counted[bisect_left(ends, length)] += rows
        return tuple(Bin(end, rows) for end, rows in zip(ends, counted, strict=True))


def enough(by_begin: Mapping[int, int], spare: int, limit: int = 0) -> int:
    """The least max length, a multiple of 64, at which no more than `spare` rows keep nothing to learn.

    `by_begin` as in `Lengths`. 0 where none helps: the model has no positions for it, or too many rows teach nothing.
    """
    if spare < 0:
        return 0
    for begin in sorted(by_begin, reverse=True):
        spare -= by_begin[begin]
        if spare < 0:
            if begin >= (limit or NEVER):
                return 0
            wanted = math.ceil((begin + 1) / ROUND) * ROUND
            return min(wanted, limit) if limit else wanted
    return ROUND


def from_fields(raw: Mapping[str, Any]) -> Lengths:
    """What `Lengths.fields` wrote down. Raises KeyError, TypeError or ValueError for anything else."""
    known = {name: raw[name] for name in Lengths.__slots__}
    for name in ("by_length", "by_begin"):
        known[name] = {int(length): int(rows) for length, rows in raw[name]}
    for name in ("longest", "shortest"):
        known[name] = Extreme(**raw[name]) if raw[name] else None
    return Lengths(**known)


def _ends(shortest: int, longest: int, cut: int, most: int) -> list[int]:
    """The last length of each bin; the cut is one of them where a row is longer."""
    cuts = shortest <= cut < longest
    if longest >= LINEAR * shortest:
        return _doubling(shortest, longest, cut if cuts else 2 ** (longest - 1).bit_length(), most)
    ends = _even(shortest, longest, most - 1)
    return sorted({*ends, cut}) if cuts else ends


def _even(shortest: int, longest: int, most: int) -> list[int]:
    """A round step apart: 1, 2 or 5 and zeros."""
    steps = (digit * 10**power for power in range(20) for digit in (1, 2, 5))
    step = next(step for step in steps if math.ceil(longest / step) - math.ceil(shortest / step) < most)
    return [step * at for at in range(math.ceil(shortest / step), math.ceil(longest / step) + 1)]


def _doubling(shortest: int, longest: int, anchor: int, most: int) -> list[int]:
    """Each twice the one before it, `anchor` among them; four, eight times, ... where those would be too many."""
    below, above = math.log2(anchor / max(1, shortest)), math.log2(longest / anchor)
    strides = (s for s in range(1, 64) if math.floor(below / s) + 1 + max(0, math.ceil(above / s)) <= most)
    stride = next(strides)
    powers = range(-math.floor(below / stride), max(0, math.ceil(above / stride)) + 1)
    return [math.ceil(anchor * 2.0 ** (stride * power)) for power in powers]
