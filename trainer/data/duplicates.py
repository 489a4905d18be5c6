"""Rows that say the same: counted while the rows go by, and put into groups that a split keeps on one side.

Three words, from the narrowest:
- *exact*: the same conversation: roles, words, tools, and which answers are learnt;
- *near*: the same letters and digits in every message: upper or lower case, white space and punctuation count for
  nothing; and, where `trainer.data.near` looked as well, texts that share about four fifths of their pieces;
- *same prompt*: all up to the last answer is the same, and that answer is another one.
Nothing is removed here. A paraphrase, or a translation, is another text to it.
"""

from __future__ import annotations

import hashlib
import importlib
import unicodedata
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from trainer.data.messages import Conversation

if TYPE_CHECKING:
    from trainer.data.near import Sketches

MANY = 2_000_000  # rows, from which on numpy counts: a Python set of ten million numbers takes a gigabyte
_BETWEEN = b"\x1f"  # between two messages, so that a word can't wander from the one into the other
_LOWER = bytes(byte + 32 if 65 <= byte <= 90 else byte for byte in range(256))
_DROPPED = bytes(byte for byte in range(128) if not chr(byte).isalnum() and byte != _BETWEEN[0])
_ASCII = bytes(range(128))


class _Folded(dict[str, bytes | None]):
    """What a character beyond ASCII becomes: its lower case, nothing (a sign), or None where it stays as it is."""

    def __missing__(self, character: str) -> bytes | None:
        kept = character.isalnum() or unicodedata.category(character).startswith("M")
        lower = character.casefold() if kept else ""
        self[character] = None if lower == character else lower.encode()
        return self[character]


_FOLDED = _Folded()


@dataclass(frozen=True, slots=True)
class Duplicates:
    """`exact`, `near` and `same_prompt` count rows of which an earlier one is the like; no row is exact and near.

    `looked` is false where only exact ones were looked for. `leaders` has for every row the first row of its group,
    itself where it is alone; it is empty where all are. By their `digests` the rows of two sources are compared.
    `note` is a sentence on what could not be looked at.
    """

    exact: int = 0
    near: int = 0
    same_prompt: int = 0
    looked: bool = False
    leaders: array[int] = field(default_factory=lambda: array("q"), repr=False)
    digests: array[int] = field(default_factory=lambda: array("q"), repr=False)
    note: str = ""


class Finder:
    """Takes the rows in their order; holds 8 bytes of each, and with `sketches`, to find near ones, some 150.

    What it holds of a row is the same in every process.
    """

    def __init__(self, sketches: Sketches | None = None) -> None:
        self._exact, self._loose, self._prompt = array("q"), array("q"), array("q")
        self._sketches = sketches

    def add(self, talks: Sequence[Conversation]) -> None:
        """Take the next rows."""
        said = [_said(talk) for talk in talks]
        exact, prompts = array("q"), array("q")
        for texts, others in said:
            before = hashlib.sha256(orjson.dumps((others, texts[:-1])))
            prompt = before.digest()
            before.update(texts[-1].encode())
            exact.append(_number(before.digest()))
            prompts.append(_number(prompt) if len(texts) > 1 else exact[-1])
        self._exact += exact
        if self._sketches is None:
            return
        self._prompt += prompts
        for text in [_compared(texts) for texts, _ in said]:
            self._loose.append(_number(hashlib.sha256(text).digest()))
            self._sketches.add(text)

    def held(self) -> dict[str, bytes]:
        """All that it holds of the rows so far, for `take`."""
        own = {name: values.tobytes() for name, values in self._numbers()}
        return own if self._sketches is None else own | self._sketches.held()

    def take(self, held: Mapping[str, bytes]) -> None:
        """What another one held of the rows that come next."""
        for name, values in self._numbers():
            values.frombytes(held[name])
        if self._sketches is not None:
            self._sketches.take(held)

    def _numbers(self) -> tuple[tuple[str, array[int]], ...]:
        return ("exact", self._exact), ("loose", self._loose), ("prompt", self._prompt)

    def found(self) -> Duplicates:
        rows, different = len(self._exact), distinct(self._exact)
        if self._sketches is None:
            leaders = first_of_each(self._exact) if different < rows else array("q")
            return Duplicates(rows - different, leaders=leaders, digests=self._exact)
        same_prompt = different - distinct(self._prompt)
        leaders = first_of_each(self._loose) if distinct(self._loose) < rows else array("q")
        leaders, note = self._sketches.join(leaders)
        groups = sum(leader == row for row, leader in enumerate(leaders)) if leaders else rows
        return Duplicates(rows - different, different - groups, same_prompt, True, leaders, self._loose, note)


def _compared(texts: Sequence[str]) -> bytes:
    """The letters of all messages; where there is nothing but signs, those count."""
    text = letters("\x1f".join(texts))
    return text if text.strip(_BETWEEN) else "\x1f".join(texts).encode()


def letters(text: str) -> bytes:
    """The text's letters and digits alone, in lower case, UTF-8; what separates messages stays."""
    found = text.encode().translate(_LOWER, _DROPPED)
    if not text.isascii():
        for character in set(found.translate(None, _ASCII).decode()):
            if (folded := _FOLDED[character]) is not None:
                found = found.replace(character.encode(), folded)
    return found


def leaks(training: Duplicates, validation: Duplicates) -> int:
    """How many validation rows stand in the training rows as well: exactly, or by their letters where `looked`.

    Both must be found in the same way.
    """
    wanted = set(validation.digests)
    there = {digest for digest in training.digests if digest in wanted}
    return sum(digest in there for digest in validation.digests) if there else 0


def distinct(values: array[int]) -> int:
    """How many different numbers there are."""
    return len(set(values)) if len(values) < MANY else int(_numpy().distinct(values))


def first_of_each(values: array[int]) -> array[int]:
    """For every place the first one with the same number."""
    if len(values) >= MANY:
        found: array[int] = _numpy().first_of_each(values)
        return found
    first: dict[int, int] = {}
    return array("q", (first.setdefault(value, place) for place, value in enumerate(values)))


def _numpy() -> Any:
    return importlib.import_module("trainer.data.near")


def _said(talk: Conversation) -> tuple[list[str], tuple[object, ...]]:
    """The words of every message, calls among them; and what else makes two conversations the same one."""
    if not talk.messages:
        return [talk.text], ()
    messages = talk.messages
    roles = tuple([message.role for message in messages])
    if not talk.tools and not [m for m in messages if m.tool_calls or m.name or not m.learn]:
        return [message.content for message in messages], roles
    texts = [m.content + orjson.dumps(m.tool_calls).decode() if m.tool_calls else m.content for m in messages]
    names = tuple([(message.name, message.learn) for message in messages])
    return texts, (roles, names, talk.tools)


def _number(digest: bytes) -> int:
    """64 bits: among ten million rows two different ones get the same with a chance of 3 in a million."""
    return int.from_bytes(digest[:8], "little", signed=True)
