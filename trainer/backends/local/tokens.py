"""Examples as tokens on the disk: made once for the same data, tokenizer and code, and read one by one from there.

    <cache>/tokens/KEY/  tokens      uint32, example after example, uncut; the highest bit says supervised
                         index       one record an example, see INDEX
                         facts.json  counts, checksums, and the first of the examples that the template refuses

The cut at max length and the split are made when examples are read, so another max length, seed or share takes the
same entry. Reading takes bytes from the file (pread) and not from a mapping: memory does not grow with the data. Which
examples are used, and in which order, is not known here.
"""

from __future__ import annotations

import json
import os
import weakref
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.backends.local.chat import Encoded
from trainer.cache import Held
from trainer.data.lengths import NEVER
from trainer.rundir import RunError

SUPERVISED = np.uint32(1 << 31)
INDEX = np.dtype(
    [
        ("begin", "<i8"),  # of its tokens within the file
        ("length", "<i4"),  # tokens; 0 for an example that the template refuses
        ("first", "<i4"),  # place of the first token that the loss predicts; `length` where there is none
        ("targets", "<i4"),  # how many it predicts
        ("file", "<i4"),  # its place in the source
        ("line", "<i8"),
    ]
)
FIRST_REFUSED = 20
_CHUNK = 1 << 24  # bytes that are checked at once

Words = NDArray[np.uint32]
Index = NDArray[np.void]


class Damaged(Exception):
    """An entry is not what was written."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An example that the chat template takes no way, where it stands and why."""

    file: int
    line: int
    why: str


@dataclass(slots=True)
class Facts:
    """What is known of all tokens together. `largest` is the largest id, -1 without any."""

    examples: int = 0
    tokens: int = 0
    largest: int = -1
    refused: int = 0
    first_refused: list[Refused] = field(default_factory=list)
    checksums: list[int] = field(default_factory=lambda: [0, 0])  # CRC-32 of tokens and index


@dataclass(frozen=True, slots=True)
class Packed:
    """Some examples, ready to be written: their tokens one behind the other, and index records that begin at 0."""

    words: bytes
    index: bytes
    refused: tuple[Refused, ...] = ()


def pack(encoded: Sequence[Encoded | RunError], places: Sequence[tuple[int, int]]) -> Packed:
    """`places` are (file, line) of each."""
    index = np.zeros(len(encoded), INDEX)
    words: list[Words] = []
    refused: list[Refused] = []
    begin = 0
    for number, (one, (file, line)) in enumerate(zip(encoded, places, strict=True)):
        index[number] = (begin, 0, 0, 0, file, line)
        if isinstance(one, RunError):
            refused.append(Refused(file, line, str(one)))
            continue
        supervised = one.supervised.numpy()
        word = one.ids.numpy().astype(np.uint32)
        word[supervised] |= SUPERVISED
        targets = np.flatnonzero(supervised[1:])
        first = int(targets[0]) + 1 if len(targets) else len(word)
        index[number] = (begin, len(word), first, len(targets), file, line)
        words.append(word)
        begin += len(word)
    return Packed(b"".join(word.tobytes() for word in words), index.tobytes(), tuple(refused))


class Writer:
    """Writes packed examples one behind the other into two files and keeps count."""

    def __init__(self, tokens: IO[bytes], index: IO[bytes]) -> None:
        self._tokens, self._index = tokens, index
        self.facts = Facts()

    def add(self, packed: Packed) -> None:
        facts = self.facts
        words = np.frombuffer(packed.words, np.uint32)
        records = np.frombuffer(packed.index, INDEX).copy()
        records["begin"] += facts.tokens
        if len(words):
            facts.largest = max(facts.largest, int((words & ~SUPERVISED).max()))
        facts.examples += len(records)
        facts.tokens += len(words)
        facts.refused += len(packed.refused)
        facts.first_refused += packed.refused[: FIRST_REFUSED - len(facts.first_refused)]
        for number, (file, data) in enumerate(((self._tokens, packed.words), (self._index, records.tobytes()))):
            file.write(data)
            facts.checksums[number] = zlib.crc32(data, facts.checksums[number])


class Tokens:
    """All examples of a source, uncut. `words` are in memory or an open file, which is closed when this goes.

    `held` is the cache's folder they are in: it stays while this does.
    """

    def __init__(self, words: bytes | int, index: Index, facts: Facts, held: Held | None = None) -> None:
        self._words, self._held = words, held
        self.index, self.facts = index, facts
        if isinstance(words, int):
            weakref.finalize(self, os.close, words)

    def read(self, number: int, longest: int) -> Words:
        """The words of one example, up to `longest`: a writable copy."""
        record = self.index[number]
        begin, size = 4 * int(record["begin"]), 4 * min(int(record["length"]), longest)
        file = self._words
        data = os.pread(file, size, begin) if isinstance(file, int) else file[begin : begin + size]
        if len(data) != size:
            raise RunError("The token cache was changed while the run read it: start the run again.")
        return np.frombuffer(data, np.uint32).copy()

    def checksum(self) -> int:
        """CRC-32 of all tokens as they are now. Raises ValueError where it is not as many as there should be."""
        total = at = 0
        assert isinstance(self._words, int)
        while chunk := os.pread(self._words, _CHUNK, at):
            total, at = zlib.crc32(chunk, total), at + len(chunk)
        if at != 4 * self.facts.tokens:
            raise ValueError(f"{at} bytes of tokens")
        return total

    def begins(self) -> dict[int, int]:
        """See `begins`."""
        return begins(self.index)

    def teaches(self, longest: int) -> NDArray[np.bool_]:
        """For each example whether anything is left to learn when it is cut there."""
        return np.asarray(self.index["first"] < np.minimum(self.index["length"], longest))


def begins(index: Index) -> dict[int, int]:
    """Examples by the place of their first token to learn; `NEVER` for those that have none."""
    kept = index[index["length"] > 0]
    return counted(np.where(kept["first"] < kept["length"], kept["first"], NEVER))


def counted(values: NDArray[Any]) -> dict[int, int]:
    """How often each number occurs."""
    found, times = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), times.tolist(), strict=True))


def save_facts(folder: Path, facts: Facts) -> None:
    (folder / "facts.json").write_text(json.dumps(asdict(facts)), "utf-8")


def open_tokens(held: Held) -> Tokens:
    """What stands in a folder of the cache. Raises Damaged, also where a bit has flipped."""
    try:
        facts = _facts((held.path / "facts.json").read_text("utf-8"))
        index = np.frombuffer((held.path / "index").read_bytes(), INDEX)
        tokens = Tokens(os.open(held.path / "tokens", os.O_RDONLY | os.O_CLOEXEC), index, facts, held)
        sums = [tokens.checksum(), zlib.crc32(index.view(np.uint8).data)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{held.path.name}: {error}") from None
    if len(index) != facts.examples or sums != facts.checksums:
        raise Damaged(f"{held.path.name}: it does not hold what was written")
    return tokens


def _facts(text: str) -> Facts:
    raw: dict[str, Any] = json.loads(text)
    refused = [Refused(**one) for one in raw.pop("first_refused")]
    return Facts(first_refused=refused, **raw)


@dataclass(frozen=True, slots=True)
class Stored(Encoded):
    """An example that was read from the tokens; `place` is "path:line" of its row."""

    place: str = ""


class TokenSet(Sequence[Stored]):
    """The examples of one side, by their numbers and cut at `longest`; each is made when it is asked for."""

    def __init__(self, tokens: Tokens, numbers: NDArray[np.int64], longest: int, files: Sequence[str]) -> None:
        self._tokens, self._numbers, self._longest, self._files = tokens, numbers, longest, files
        whole = np.asarray(tokens.index["length"][numbers], np.int64)
        self.lengths: NDArray[np.int64] = np.minimum(whole, longest)
        self.cut = int((whole > longest).sum())
        self.tokens_cut = int((whole - self.lengths).sum())
        self.targets = self._count_targets(whole > longest)

    @property
    def tokens(self) -> int:
        return int(self.lengths.sum())

    @property
    def largest(self) -> int:
        """The largest id, of the other side's examples too."""
        return self._tokens.facts.largest

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Stored: ...

    @overload
    def __getitem__(self, index: slice) -> list[Stored]: ...

    def __getitem__(self, index: int | slice) -> Stored | list[Stored]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        number = int(self._numbers[index])
        words = self._tokens.read(number, self._longest)
        record = self._tokens.index[number]
        line = int(record["line"])
        return Stored(
            torch.from_numpy((words & ~SUPERVISED).astype(np.int64)),
            torch.from_numpy(words >= SUPERVISED),
            cut=int(record["length"]) > self._longest,
            line=line,
            place=f"{self._files[int(record['file'])]}:{line}",
        )

    def _count_targets(self, cut: NDArray[np.bool_]) -> int:
        """Those of whole examples are known; in those that are cut they are counted again."""
        whole = int(self._tokens.index["targets"][self._numbers[~cut]].sum())
        shortened = (self._tokens.read(int(number), self._longest)[1:] for number in self._numbers[cut])
        return whole + sum(int((words >= SUPERVISED).sum()) for words in shortened)


def lengths_of(examples: Sequence[Encoded]) -> list[int]:
    """Tokens of each example, without making the examples where that is known."""
    if isinstance(examples, TokenSet):
        lengths: list[int] = examples.lengths.tolist()
        return lengths
    return [len(example.ids) for example in examples]


def targets_of(examples: Sequence[Encoded]) -> int:
    """Tokens that count in the loss of all examples together."""
    return examples.targets if isinstance(examples, TokenSet) else sum(example.targets for example in examples)
