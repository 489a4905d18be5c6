"""A conversation → token ids and which of them are supervised: the assistant's; or raw text, supervised as a whole.

Ids come from one tokenization of the whole text, so they are exactly what plain transformers makes of it. A token
that reaches over the edge of an answer is not supervised: asked for the answer, the model never writes it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from tokenizers import Encoding
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from trainer.backends.local.forms import Written, write
from trainer.backends.local.spans import Span
from trainer.backends.local.template import PLAIN_TEMPLATE as PLAIN_TEMPLATE
from trainer.backends.local.words import words_of
from trainer.data.messages import Conversation
from trainer.rundir import RunError


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example: `ids` (n,) int64 and `supervised` (n,) bool; a supervised token is one the loss predicts."""

    ids: Tensor
    supervised: Tensor
    cut: bool  # whether max length shortened it
    line: int = 0  # where its row begins in the data file

    @property
    def targets(self) -> int:
        """Tokens that count in the loss: the first token of a text is predicted from nothing, so never."""
        return int(self.supervised[1:].sum())


def encode(tokenizer: PreTrainedTokenizerBase, talk: Conversation, max_length: int) -> Encoded:
    """Raises RunError where the template refuses the conversation."""
    (encoded,) = encode_many(tokenizer, [talk], max_length)
    if isinstance(encoded, RunError):
        raise encoded
    return encoded


def encode_many(
    tokenizer: PreTrainedTokenizerBase, talks: Sequence[Conversation], max_length: int
) -> list[Encoded | RunError]:
    """One result for each conversation, in order; why the template refuses one is a value, so that the others go on.

    A fast tokenizer works on all of them at once, in threads of its own (not where TOKENIZERS_PARALLELISM is false).
    """
    written = [_written(tokenizer, talk) for talk in talks]
    good = [one for one in written if isinstance(one, Written)]
    tokens = iter(_tokenize(tokenizer, good))
    return [
        one if isinstance(one, RunError) else _encoded(*_framed(tokenizer, talk, *next(tokens)), max_length)
        for talk, one in zip(talks, written, strict=True)
    ]


def _written(tokenizer: PreTrainedTokenizerBase, talk: Conversation) -> Written | RunError:
    if not talk.messages:
        return Written(talk.text, [(0, len(talk.text))])
    try:
        return write(tokenizer, talk)
    except RunError as error:
        return error


def _encoded(ids: Sequence[int], supervised: Sequence[Span], max_length: int) -> Encoded:
    """From ids and the runs of supervised ones among them."""
    mask = np.zeros(min(len(ids), max_length), dtype=np.bool_)
    for begin, end in supervised:
        mask[begin:end] = True
    kept = np.array(ids[:max_length], dtype=np.int64)  # four times as fast as a tensor of a list
    return Encoded(torch.from_numpy(kept), torch.from_numpy(mask), cut=len(ids) > max_length)


def _framed(
    tokenizer: PreTrainedTokenizerBase, talk: Conversation, ids: list[int], supervised: list[Span]
) -> tuple[list[int], list[Span]]:
    """Raw text begins as the tokenizer begins a text and ends in the end token; a template writes these itself."""
    if talk.messages:
        return ids, supervised
    before = _opening(tokenizer)
    after = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    return [*before, *ids, *after], [(len(before), len(before) + len(ids) + len(after))]


@lru_cache(maxsize=4)
def _opening(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens before every text: the one that begins it, for tokenizers that write one."""
    ids: list[int] = tokenizer("")["input_ids"]
    return ids[:1] if ids and ids[0] == tokenizer.bos_token_id else []


def _tokenize(tokenizer: PreTrainedTokenizerBase, written: Sequence[Written]) -> Iterator[tuple[list[int], list[Span]]]:
    """Ids, and the runs of supervised ones among them."""
    if not written:
        return
    if not tokenizer.is_fast:
        yield from (_tokenize_in_pieces(tokenizer, one) for one in written)
        return
    words = words_of(tokenizer)
    known = [words.tokens(one.text, one.answers) if words else None for one in written]
    others = _tokenize_whole(tokenizer, [one for one, found in zip(written, known, strict=True) if found is None])
    for found in known:
        yield found if found is not None else next(others)


def _tokenize_whole(
    tokenizer: PreTrainedTokenizerBase, written: Sequence[Written]
) -> Iterator[tuple[list[int], list[Span]]]:
    if not written:
        return
    found = tokenizer([one.text for one in written], add_special_tokens=False, verbose=False)
    for one, ids, encoding in zip(written, found["input_ids"], found.encodings, strict=True):
        yield ids, [_tokens_in(encoding, len(ids), *span) for span in one.answers]


def _tokens_in(encoding: Encoding, tokens: int, begin: int, end: int) -> Span:
    """The first token that lies inside of [begin, end) as a whole, and the one behind the last.

    Some tokenizers trim spaces off what they say of a token, so that one of spaces alone begins and ends at its end.
    """

    def chars(token: int) -> Span:
        return encoding.token_to_chars(token) or (0, 0)

    first = bisect_right(range(tokens), begin, key=lambda token: chars(token)[1])
    while first < tokens and chars(first)[0] < begin:
        first += 1
    return first, bisect_right(range(tokens), end, lo=first, key=lambda token: chars(token)[1])


def _tokenize_in_pieces(tokenizer: PreTrainedTokenizerBase, written: Written) -> tuple[list[int], list[Span]]:
    """A tokenizer in plain Python knows no places, so the text is cut where answers begin and end."""
    ids: list[int] = []
    supervised: list[Span] = []
    edges = [0, *(edge for span in written.answers for edge in span), len(written.text)]
    for number, (begin, end) in enumerate(pairwise(edges)):
        before = len(ids)
        ids += tokenizer(written.text[begin:end], add_special_tokens=False)["input_ids"] if begin < end else []
        if number % 2:
            supervised.append((before, len(ids)))
    return ids, supervised
