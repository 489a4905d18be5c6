"""Any row of a source by its number, as a person leafs through it: bad rows have their number and reason too.

Rows come as a stream, so the ones just seen are kept and the next one is a step away; going back further, or to a far
row, reads the source from its beginning. What the model makes of a row is not its question.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trainer.data.messages import Conversation, LeftOut, RowError
from trainer.data.rows import BadRow, Row, place, read_rows
from trainer.data.shapes import Shape, conversation
from trainer.data.source import Source

NEXT = "\n\n"  # between two messages
KEPT = 1000  # rows
SHOWN = 20_000  # characters of a row that can't be used


@dataclass(frozen=True, slots=True)
class Seen:
    """One row: its number (from 0), where it stands, and its conversation; or why it is left out and what it holds.

    `bad` tells a row that is wrong from one that is only not to be learnt from.
    """

    number: int
    place: str
    conversation: Conversation | None
    why: str = ""
    raw: str = ""
    bad: bool = False


class Browser:
    """Rows by number, in little steps, so that a far one holds nothing up; as they stand where no shape is known."""

    def __init__(self, source: Source, shape: Shape | None) -> None:
        self._source, self._shape = source, shape
        self._kept: OrderedDict[int, Seen] = OrderedDict()
        self._rows: Iterator[Row | BadRow] | None = None
        self._next = 0  # number of the row that comes next
        self.total: int | None = None  # known once the end was reached

    def row(self, number: int) -> Iterator[Seen | None]:
        """None while on the way, then the row; nothing where there is no such row. Raises DataError."""
        for seen in self._from(number):
            yield seen
            if seen is not None:
                return

    def find(self, text: str, after: int) -> Iterator[Seen | None]:
        """None while on the way, then the next row behind `after` that holds the text, in upper or lower case.

        Behind the last row comes the first; nothing where no row holds it. Raises DataError.
        """
        wanted = text.casefold()
        return self._next_such(lambda seen: wanted in words(seen).casefold(), after)

    def bad(self, after: int) -> Iterator[Seen | None]:
        """The next row that is left out, in the same way."""
        return self._next_such(lambda seen: seen.bad, after)

    def _next_such(self, fits: Callable[[Seen], bool], after: int) -> Iterator[Seen | None]:
        for begin in (after + 1, 0):
            for seen in self._from(begin):
                if seen is not None and fits(seen):
                    yield seen
                    return
                if begin == 0 and seen is not None and seen.number >= after:
                    return
                yield None

    def _from(self, number: int) -> Iterator[Seen | None]:
        """All rows from this one on; None while on the way."""
        while number in self._kept:
            yield self._kept[number]
            number += 1
        if self._rows is None or self._next > number:
            self._rows = None
        while (seen := self._advance()) is not None:
            yield seen if seen.number >= number else None

    def _advance(self) -> Seen | None:
        """The next row of the stream; None, once, at its end."""
        if self._rows is None:
            self._rows, self._next = read_rows(self._source), 0
        row = next(self._rows, None)
        if row is None:
            self._rows, self.total = None, self._next
            return None
        seen = self._seen(self._next, row)
        self._kept[self._next] = seen
        self._kept.move_to_end(self._next)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        self._next += 1
        return seen

    def _seen(self, number: int, row: Row | BadRow) -> Seen:
        where = place(self._source, row)
        if isinstance(row, BadRow):
            return Seen(number, where, None, row.why, bad=True)
        if self._shape is None:
            return Seen(number, where, None, raw=_raw(row.value))
        try:
            return Seen(number, where, conversation(row.value, self._shape))
        except RowError as error:
            return Seen(number, where, None, str(error), _raw(row.value), not isinstance(error, LeftOut))


def words(seen: Seen) -> str:
    """All that a row says, for a search."""
    return words_of(seen.conversation) if seen.conversation else f"{seen.why}\n{seen.raw}"


def words_of(talk: Conversation) -> str:
    """All that a conversation says."""
    calls = (json.dumps(message.tool_calls, ensure_ascii=False) for message in talk.messages if message.tool_calls)
    return "\n".join((talk.text, *(message.content for message in talk.messages), *calls))


def plain(talk: Conversation) -> Iterator[tuple[str, str]]:
    """A conversation as (text, kind) without any model's template; the kinds are read and learnt."""
    if not talk.messages:
        yield talk.text, "learnt"
    for message in talk.messages:
        calls = "".join(f"\n{json.dumps(call, ensure_ascii=False)}" for call in message.tool_calls)
        yield f"{message.role}:\n", "read"
        yield (
            f"{message.content}{calls}{'' if message is talk.messages[-1] else NEXT}",
            "learnt" if message.role == "assistant" and message.learn else "read",
        )


def _raw(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str)[:SHOWN]
