"""The look at data with a tokenizer that takes no time to load: every character is a token. A program of its own.

Everything but the tokenizer is the real thing. Arguments: a sentence with which the tokenizer fails, or none.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from trainer import look
from trainer.account import Account
from trainer.control import Control
from trainer.data import Conversation, DataSet
from trainer.data.browse import plain
from trainer.data.lengths import NEVER, Extreme, Lengths
from trainer.models import ModelInfo
from trainer.rundir import RunError
from trainer.spec import RunSpec

POSITIONS = 4096


class Row:
    def __init__(self, talk: Conversation, max_length: int) -> None:
        words = "".join(text for text, _ in plain(talk))
        self.tokens, self.learnt = len(words), sum(len(text) for text, kind in plain(talk) if kind == "learnt")
        room = max_length
        pieces: list[tuple[str, str]] = []
        for text, kind in plain(talk):
            pieces += [(text[:room], kind)] if room > 0 else []
            pieces += [(text[max(0, room) :], "cut")] if len(text) > room else []
            room -= len(text)
        self.pieces = pieces


class Reading:
    def row(self, talk: Conversation, max_length: int) -> Row:
        return Row(talk, max_length)

    def lengths(
        self, data: DataSet, _hashed: str, _control: Control, tell: look.Phase, _so_far: Callable[[Lengths], None]
    ) -> Lengths:
        rows = [Row(example.conversation, POSITIONS) for example in data.examples()]
        places = [data.place(example) for example in data.examples()]
        tell("tokenizing", len(rows) // 2, len(rows))
        both = [(row.tokens, place) for row, place in zip(rows, places, strict=True)]
        begins = Counter(row.tokens - row.learnt if row.learnt else NEVER for row in rows)
        extremes = Extreme(*max(both)), Extreme(*min(both))
        learnt = sum(row.learnt for row in rows)
        return Lengths("fake", Counter(row.tokens for row in rows), begins, learnt, *extremes, POSITIONS)


class Measuring(look.Measuring):
    def _measure(self, spec: RunSpec, account: Account, tokens: bool, control: Control) -> None:
        if len(sys.argv) > 1:
            raise RunError(sys.argv[1])
        super()._measure(spec, account, tokens, control)

    def _load(self, info: ModelInfo, control: Control) -> Any:
        return cast(Any, Reading())


look.Measuring = Measuring  # type: ignore[misc]
look.main()
