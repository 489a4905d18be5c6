"""A conversation → token ids and which of them are supervised: the assistant's, through the chat template.

Works for templates without generation marks: the text of every assistant turn is found by rendering the
conversation up to it and through it. Ids come from one tokenization of the whole text, so they are exactly what
plain transformers makes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jinja2.exceptions import TemplateError
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from trainer.data import Message
from trainer.rundir import RunError

# For models that bring no template. Plain words, so that any tokenizer can spell it; the end token says stop.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + eos_token + '\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\n' }}"
    "{% else %}{{ message['content'] + '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)

Turns = Sequence[Message]
Span = tuple[int, int]  # begin and end within the rendered text, in characters


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example: `ids` (n,) int64 and `supervised` (n,) bool; a supervised token is one the loss predicts."""

    ids: Tensor
    supervised: Tensor
    cut: bool  # whether max length shortened it

    @property
    def targets(self) -> int:
        """Tokens that count in the loss: the first token of a text is predicted from nothing, so never."""
        return int(self.supervised[1:].sum())


def encode(tokenizer: PreTrainedTokenizerBase, messages: Turns, max_length: int) -> Encoded:
    """Raises RunError where the template refuses the conversation."""
    messages = _accepted(tokenizer, messages)
    text = _render(tokenizer, messages)
    spans = assistant_spans(tokenizer, messages, text)
    ids, inside = _tokenize(tokenizer, text, spans)
    return Encoded(
        torch.tensor(ids[:max_length], dtype=torch.int64),
        torch.tensor(inside[:max_length], dtype=torch.bool),
        cut=len(ids) > max_length,
    )


def assistant_spans(tokenizer: PreTrainedTokenizerBase, messages: Turns, text: str) -> list[Span]:
    """Where the assistant's answers stand in `text`, each through its end-of-turn token."""
    spans: list[Span] = []
    for place, message in enumerate(messages):
        if message.role == "assistant":
            after = spans[-1][1] if spans else 0
            spans.append(_by_prefix(tokenizer, messages, place, text) or _by_search(tokenizer, message, text, after))
    return spans


def _by_prefix(tokenizer: PreTrainedTokenizerBase, messages: Turns, place: int, text: str) -> Span | None:
    try:
        before = _render(tokenizer, messages[:place], prompt=True)
        through = _render(tokenizer, messages[: place + 1])
    except RunError:
        return None
    end = len(through.rstrip())
    if not (text.startswith(before) and text.startswith(through[:end]) and len(before) <= end):
        return None  # a template that rewrites earlier turns, e.g. one that strips reasoning
    return len(before), end


def _by_search(tokenizer: PreTrainedTokenizerBase, message: Message, text: str, after: int) -> Span:
    content = message.content.strip()
    begin = text.find(content, after)
    if begin < 0:
        raise RunError(
            "The chat template changes an assistant's answer so that it can't be found again: "
            f"{content[:60]!r}; use another model or template."
        )
    end = begin + len(content)
    for special in sorted(map(str, tokenizer.all_special_tokens), key=len, reverse=True):
        if text.startswith(special, end):
            return begin, end + len(special)
    return begin, end


def _tokenize(tokenizer: PreTrainedTokenizerBase, text: str, spans: Sequence[Span]) -> tuple[list[int], list[bool]]:
    if tokenizer.is_fast:
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        offsets: list[Span] = found["offset_mapping"]
        inside = [any(b <= begin < end <= e for b, e in spans) for begin, end in offsets]
        return found["input_ids"], inside
    ids: list[int] = []
    supervised: list[bool] = []
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    for number, (begin, end) in enumerate(pairwise(edges)):
        piece = tokenizer(text[begin:end], add_special_tokens=False)["input_ids"] if begin < end else []
        ids += piece
        supervised += [number % 2 == 1] * len(piece)
    return ids, supervised


def _accepted(tokenizer: PreTrainedTokenizerBase, messages: Turns) -> Turns:
    """The messages as this template takes them: a system message it refuses goes before the first question."""
    if messages[0].role != "system":
        return messages
    try:
        _render(tokenizer, messages)
    except RunError:
        system, user, *rest = messages
        return (Message("user", f"{system.content}\n\n{user.content}"), *rest)
    return messages


def _render(tokenizer: PreTrainedTokenizerBase, messages: Turns, *, prompt: bool = False) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt)
    except (TemplateError, ValueError, TypeError, IndexError, KeyError) as error:
        raise RunError(f"The model's chat template refuses a conversation: {error}.") from None
    return str(text)
