"""Texts that share most of their pieces, found among millions without comparing each with each. numpy, so host only.

A piece is 8 bytes in a row of a text's letters and digits (`duplicates.letters`): so it works for any script, and one
changed word changes about a dozen pieces. Two texts are near when they share at least 80 % of all their different
pieces (Jaccard), estimated from 64 samples a text: one permutation hashing (Li, Owen & Zhang 2012), empty bins filled
by rotation (Shrivastava & Li 2014), candidates by 16 bands of 4 (Leskovec, Rajaraman & Ullman, "Mining of Massive
Datasets", ch. 3). So the 80 % are good to about five points either way, and a pair well above is found with 99.9 %.
Texts of fewer than 71 letters and digits are too short to be near by this; those count by their letters alone.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIECE, BINS, BANDS = 8, 64, 16
LIKE = 0.8
SHORTEST = PIECE + BINS - 1  # bytes: as many pieces as bins
MOST_ROWS = 1_000_000  # at 128 bytes a row
TEMPLATE_ROWS, TEMPLATE_SHARE = 100, 0.05  # larger groups share a long prompt and are no copies
ROOM = 1 << 17  # bytes of text that are sampled at once, and the most of one text
_AT_ONCE = 50_000  # pairs that are compared at once
_EMPTY = np.uint32(0xFFFFFFFF)
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))

U64 = NDArray[np.uint64]
U16 = NDArray[np.uint16]


class Sketches:
    """Takes each row's letters; `join` then says which rows belong together."""

    def __init__(self) -> None:
        self._texts: list[bytes] = []
        self._held = 0  # bytes in _texts
        self._rows = 0
        self._long = array("q")  # the rows of the sketches
        self._sketches = bytearray()  # BINS numbers of 16 bits each
        # Kept from one batch to the next: asking the system for new memory takes longer than the sums.
        self._hashed, self._spare = np.empty(ROOM, np.uint64), np.empty(ROOM, np.uint64)
        self._values = np.empty(ROOM, np.uint32)

    def add(self, text: bytes) -> None:
        row = self._rows
        self._rows += 1
        if len(text) < SHORTEST or len(self._long) >= MOST_ROWS:
            return
        text = text[:ROOM]
        if self._held + len(text) > ROOM:
            self._flush()
        self._long.append(row)
        self._texts.append(text)
        self._held += len(text)

    def held(self) -> dict[str, bytes]:
        """All that it holds of the rows so far, for `take`."""
        self._flush()
        return {"rows": str(self._rows).encode(), "long": self._long.tobytes(), "sketches": bytes(self._sketches)}

    def take(self, held: Mapping[str, bytes]) -> None:
        """What another one held of the rows that come next."""
        self._flush()
        more = array("q", held["long"])[: MOST_ROWS - len(self._long)]
        self._long.extend(array("q", (row + self._rows for row in more)))
        self._sketches += held["sketches"][: len(more) * BINS * 2]
        self._rows += int(held["rows"])

    def join(self, leaders: array[int]) -> tuple[array[int], str]:
        """`leaders` with near rows joined (see `Duplicates.leaders`), and a sentence on what was not looked at."""
        self._flush()
        leader = np.array(leaders, np.int64) if leaders else np.arange(self._rows)
        drawn = np.frombuffer(self._sketches, np.uint16).reshape(-1, BINS)
        joined = _joined(leader, np.array(self._long, np.int64), drawn) if len(drawn) else leader
        joined, template = _without_templates(leader, joined)
        notes = []
        if len(self._long) >= MOST_ROWS:
            notes.append(f"near duplicates were looked for among the first {MOST_ROWS:,} longer rows only")
        if template:
            notes.append(f"{template:,} rows share most of a long prompt and are not taken for near duplicates")
        alone = bool((joined == np.arange(self._rows)).all())
        return array("q", b"" if alone else joined.tobytes()), "; ".join(notes)

    def _flush(self) -> None:
        if self._texts:
            self._sketches += self._sketch(self._texts).tobytes()
            self._texts, self._held = [], 0

    def _sketch(self, texts: list[bytes]) -> U16:
        """(texts, BINS): the least hash of each text's pieces in each bin, 16 bits of it."""
        size = sum(map(len, texts))
        joined = b"".join(texts) + bytes(PIECE)
        pieces = np.ndarray(size, dtype="<u8", buffer=joined, strides=(1,))  # one begins at every byte
        hashed, spare, values = (a[:size] for a in (self._hashed, self._spare, self._values))
        np.multiply(pieces, _MIX[0], out=hashed)
        np.right_shift(hashed, np.uint64(29), out=spare)
        np.bitwise_xor(hashed, spare, out=hashed)
        np.multiply(hashed, _MIX[1], out=hashed)
        values[:] = np.right_shift(hashed, np.uint64(24), out=spare)
        bins = np.right_shift(hashed, np.uint64(58), out=spare).view(np.int64)
        lengths = np.array(list(map(len, texts)))
        bins += np.repeat(np.arange(0, len(texts) * BINS, BINS), lengths)
        beyond = np.cumsum(lengths)[:, None] - np.arange(1, PIECE)  # these pieces reach into the next text
        bins[beyond.ravel()] = len(texts) * BINS  # and go nowhere
        least = np.full((len(texts) + 1) * BINS, _EMPTY, dtype=np.uint32)
        np.minimum.at(least, bins, values)
        filled = least[:-BINS].reshape(len(texts), BINS)
        gaps = (filled == _EMPTY).any(axis=1)
        filled[gaps] = _rotated(filled[gaps])
        return ((filled * np.uint32(0x85EBCA6B)) >> np.uint32(16)).astype(np.uint16)


def _rotated(least: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Empty bins filled from the next one that is not, and marked by how far that is."""
    places = np.arange(2 * BINS)
    twice = np.where(np.tile(least, 2) != _EMPTY, places, 4 * BINS)
    source = np.minimum.accumulate(twice[:, ::-1], axis=1)[:, ::-1][:, :BINS]
    distance = (source - places[:BINS]).astype(np.uint32)
    taken: NDArray[np.uint32] = np.take_along_axis(least, source % BINS, axis=1)
    return taken + distance * np.uint32(0x9E3779B1)


def _joined(leader: NDArray[np.int64], rows: NDArray[np.int64], drawn: U16) -> NDArray[np.int64]:
    """Groups joined where two of their rows are near. `rows` are those that the sketches are of.

    Of a band's equals, each is compared with the first of them and with its neighbour.
    """
    bands = drawn.view(np.uint64)  # four bins are a band
    for band in range(BANDS):
        order = np.argsort(bands[:, band], kind="stable")
        values = bands[order, band]
        new = np.concatenate([[True], values[1:] != values[:-1]])
        first = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
        again = np.flatnonzero(~new)
        for other in (order[again - 1], first[again]):
            pairs = np.stack([other, order[again]], axis=1)
            pairs = pairs[leader[rows[pairs[:, 0]]] != leader[rows[pairs[:, 1]]]]
            leader = _connected(leader, rows[pairs[_share(drawn, pairs) >= LIKE]])
    return leader


def _share(drawn: U16, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share of bins that agree, for each pair; some at a time, since there may be millions."""
    shares = np.empty(len(pairs))
    for at in range(0, len(pairs), _AT_ONCE):
        one, other = pairs[at : at + _AT_ONCE].T
        shares[at : at + _AT_ONCE] = (drawn[one] == drawn[other]).mean(axis=1)
    return shares


def _connected(leader: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Groups joined by pairs of rows; the leader of a group is its first row."""
    if not len(pairs):
        return leader
    parent = array("q", leader.tobytes())

    def top(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    for at in range(0, len(pairs), _AT_ONCE):
        for one, other in pairs[at : at + _AT_ONCE].tolist():
            low, high = sorted((top(one), top(other)))
            parent[high] = low
    joined = np.array(parent, np.int64)
    while not np.array_equal(above := joined[joined], joined):
        joined = above
    return joined


def _without_templates(leader: NDArray[np.int64], joined: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Groups so large that they can be no copies are taken apart again; and how many rows those have."""
    sizes = np.bincount(joined, minlength=len(joined))
    groups = np.bincount(joined[leader == np.arange(len(leader))], minlength=len(joined))
    large = (sizes > max(TEMPLATE_ROWS, TEMPLATE_SHARE * len(joined))) & (groups > 1)
    apart = large[joined]
    return np.where(apart, leader, joined), int(apart.sum())


def distinct(values: array[int]) -> int:
    """How many different numbers there are."""
    ordered = np.sort(np.frombuffer(values, dtype=np.int64))
    return int((ordered[1:] != ordered[:-1]).sum()) + (len(ordered) > 0)


def first_of_each(values: array[int]) -> array[int]:
    """For every place the first one with the same number."""
    _, first, which = np.unique(np.frombuffer(values, dtype=np.int64), return_index=True, return_inverse=True)
    found: Any = first[which]
    return array("q", found.astype(np.int64).tobytes())
