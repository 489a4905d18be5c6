"""How a model will read the data: a row as its pieces, and how long all rows are. For the look before a run.

It reads through the same tokenizer, chat template and mask as a run does, keeps the tokens where a run finds them, and
trains nothing.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
from transformers import AutoConfig

from trainer.backends.local.chat import encode
from trainer.backends.local.model import load_tokenizer
from trainer.backends.local.tokenizing import tokenized
from trainer.backends.local.tokens import Index, Tokens, begins, counted
from trainer.backends.local.trust import code_trusted
from trainer.control import Control
from trainer.data import BadRow, Conversation, DataSet
from trainer.data.lengths import Extreme, Lengths
from trainer.events import PhaseEntered
from trainer.models import ModelInfo

UNCUT = 2**31
Kind = Literal["read", "learnt", "cut"]  # by the model; read and learnt; behind max length
Tell = Callable[[str, int, int], None]  # what goes on, how far, of how many


@dataclass(frozen=True, slots=True)
class ReadRow:
    """A row as the model has it, special tokens written out: stretches of one kind, in order; then its counts."""

    pieces: tuple[tuple[str, Kind], ...]
    tokens: int
    learnt: int


class Reading:
    """One model's tokenizer. Raises RunError where it can't be loaded."""

    def __init__(self, info: ModelInfo) -> None:
        self._info = info
        self._tokenizer, self.note = load_tokenizer(info)
        self._other = copy.deepcopy(self._tokenizer)  # for another thread: a fast tokenizer serves one at a time
        self._limit = _positions(info)

    def row(self, talk: Conversation, max_length: int) -> ReadRow:
        """Raises RunError for a row that the chat template refuses."""
        encoded = encode(self._tokenizer, talk, UNCUT)
        ids, supervised = encoded.ids.tolist(), encoded.supervised.tolist()
        end = min(max_length, self._limit) if self._limit else max_length
        kinds: list[Kind] = ["learnt" if one and at else "read" for at, one in enumerate(supervised[:end])]
        kinds += ["cut"] * (len(ids) - len(kinds))
        return ReadRow(tuple(self._pieces(ids, kinds)), len(ids), encoded.targets)

    def lengths(
        self, data: DataSet, fingerprint: str, control: Control, tell: Tell, so_far: Callable[[Lengths], None]
    ) -> Lengths | None:
        """Of all rows; None when a stop was asked. `so_far` is told those of the rows until now, now and then.

        May be called in a thread beside `row`. Raises RunError.
        """
        growing = _Growing(self._info.name, self._limit)
        going = tokenized(data, fingerprint, self._other, self._info, control, growing.add)
        while True:
            try:
                event = next(going)
            except StopIteration as done:
                return done.value and _lengths(data, done.value, self._info.name, self._limit)
            if isinstance(event, PhaseEntered):
                tell(event.phase, event.done, event.total)
                if event.done:
                    so_far(growing.lengths())

    def _pieces(self, ids: Sequence[int], kinds: Sequence[Kind]) -> Iterator[tuple[str, Kind]]:
        """Decoded from the first token on, for what a token spells may hang on the one before it."""
        end, before = 0, ""
        for kind, group in groupby(kinds):
            end += sum(1 for _ in group)
            text = str(self._tokenizer.decode(ids[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False))
            if not text.startswith(before):  # half a character stood at its end
                before = before.rstrip("\ufffd")
            yield text[len(before) :], kind
            before = text


class _Growing:
    """Lengths of the rows until now, without the places of the longest and the shortest."""

    def __init__(self, model: str, limit: int) -> None:
        self._model, self._limit = model, limit
        self._by_length: Counter[int] = Counter()
        self._by_begin: Counter[int] = Counter()
        self._supervised = 0

    def add(self, index: Index) -> None:
        self._by_length.update(counted(index["length"][index["length"] > 0]))
        self._by_begin.update(begins(index))
        self._supervised += int(index["targets"].sum())

    def lengths(self) -> Lengths:
        return Lengths(self._model, dict(self._by_length), dict(self._by_begin), self._supervised, limit=self._limit)


def _lengths(data: DataSet, tokens: Tokens, model: str, limit: int) -> Lengths:
    index = tokens.index[tokens.index["length"] > 0]
    length = index["length"]

    def extreme(at: np.intp) -> Extreme:
        return Extreme(int(length[at]), data.place(BadRow(int(index["line"][at]), "", int(index["file"][at]))))

    refused = next(iter(tokens.facts.first_refused), None)
    return Lengths(
        model,
        counted(length),
        tokens.begins(),
        int(index["targets"].sum()),
        extreme(length.argmax()) if len(index) else None,
        extreme(length.argmin()) if len(index) else None,
        limit,
        tokens.facts.refused,
        f"{data.place(BadRow(refused.line, '', refused.file))}: {refused.why}" if refused else "",
    )


def _positions(info: ModelInfo) -> int:
    """How many tokens the model has positions for; 0 where its config does not say."""
    try:
        config = AutoConfig.from_pretrained(info.source, trust_remote_code=code_trusted())
    except Exception:  # every kind of broken file raises its own; the run says what is wrong with it
        return 0
    found = getattr(config, "max_position_embeddings", 0)
    return found if isinstance(found, int) and found > 0 else 0
