"""A conversation → token ids and which of them are supervised: the assistant's, through the chat template.

Works for templates without generation marks: the text of every assistant turn is found by rendering the
conversation up to it and through it. Ids come from one tokenization of the whole text, so they are exactly what
plain transformers makes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, takewhile

import torch
from jinja2.exceptions import TemplateError
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from trainer.data import Message
from trainer.rundir import RunError

# For models that bring no template. Plain words, so that any tokenizer can spell it; the end token says stop. A line
# ends before the answer: a prompt that ended in a space would be cut into other tokens than it has in training.
PLAIN_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ 'Assistant:\n' + message['content'] + eos_token + '\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'User:\n' + message['content'] + '\n' }}"
    "{% else %}{{ message['content'] + '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}"
)

Turns = Sequence[Message]
Span = tuple[int, int]  # begin and end within the rendered text, in characters


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


def encode(tokenizer: PreTrainedTokenizerBase, messages: Turns, max_length: int) -> Encoded:
    """Raises RunError where the template refuses the conversation."""
    messages, text = _accepted(tokenizer, messages)
    spans = assistant_spans(tokenizer, messages, text)
    ids, inside = _tokenize(tokenizer, text, spans)
    return Encoded(
        torch.tensor(ids[:max_length], dtype=torch.int64),
        torch.tensor(inside[:max_length], dtype=torch.bool),
        cut=len(ids) > max_length,
    )


def assistant_spans(tokenizer: PreTrainedTokenizerBase, messages: Turns, text: str) -> list[Span]:
    """Where the assistant's answers stand in `text`, each through its end-of-turn token. Raises RunError."""
    spans: list[Span] = []
    after = 0  # where the message before this one ends
    for place, message in enumerate(messages):
        if message.role == "assistant":
            begin = _begin(tokenizer, messages[:place], message, text, after)
            after = _end(tokenizer, messages[: place + 1], text, begin)
            spans.append((begin, after))
        elif (found := text.find(message.content.strip(), after)) >= 0:
            after = found + len(message.content.strip())
    return spans


def _begin(tokenizer: PreTrainedTokenizerBase, earlier: Turns, answer: Message, text: str, after: int) -> int:
    """Behind the prompt; or where the words begin, for a prompt that is not in the whole text (it opens a thought)."""
    prompt = _render_or_nothing(tokenizer, earlier, prompt=True)
    if prompt and text.startswith(prompt):
        return len(prompt)
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(prompt, text, strict=False))
    shared = max(after, sum(1 for _ in alike))
    for words in _spellings(answer):  # the prompt and the answer may begin alike
        if (found := text.rfind(words, after, shared + len(words))) >= 0:
            return found
    return _find(answer, text, shared)[0]


def _end(tokenizer: PreTrainedTokenizerBase, through: Turns, text: str, begin: int) -> int:
    """Behind the token that ends the turn; of a template that has none, where the turn's text ends."""
    turn = _render_or_nothing(tokenizer, through).rstrip()
    stable = begin < len(turn) and text.startswith(turn)  # not so where earlier answers are rewritten
    try:
        _, end = _find(through[-1], text[: len(turn)] if stable else text, begin)
    except RunError:
        if stable:
            return len(turn)
        raise
    return _end_of_turn(tokenizer, text, end) or (len(turn) if stable else end)


def _find(answer: Message, text: str, begin: int) -> Span:
    """The first place from `begin` on where the answer's words stand."""
    found = [(text.find(words, begin), len(words)) for words in _spellings(answer)]
    spans = [(at, at + length) for at, length in found if at >= 0]
    if not spans:
        raise RunError(
            "The chat template changes an assistant's answer so that it can't be found again: "
            f"{answer.content.strip()[:60]!r}; use another model or template."
        )
    return min(spans, key=lambda span: (span[0], -span[1]))


def _spellings(answer: Message) -> list[str]:
    """The answer as templates may write it: as it is, without outer white space, without its reasoning."""
    content = answer.content
    return [words for words in (content, content.strip(), content.rpartition("</think>")[2].strip()) if words]


def _end_of_turn(tokenizer: PreTrainedTokenizerBase, text: str, end: int) -> int | None:
    """The end of the special token that follows `end`, white space between allowed; None where none does."""
    while text[end : end + 1].isspace():
        end += 1
    special = next((token for token in _special_tokens(tokenizer) if text.startswith(token, end)), None)
    return end + len(special) if special else None


@lru_cache(maxsize=1)
def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """All, also those without a role of their own (<|eot_id|> beside an eos of <|end_of_text|>); longest first."""
    added = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    return sorted({*added, *map(str, tokenizer.all_special_tokens)}, key=len, reverse=True)


def _tokenize(tokenizer: PreTrainedTokenizerBase, text: str, spans: Sequence[Span]) -> tuple[list[int], list[bool]]:
    if tokenizer.is_fast:
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        offsets: list[Span] = found["offset_mapping"]
        # Some tokenizers trim spaces off the offsets, so that a token of spaces alone has both at its end.
        inside = [any(b <= begin and b < end <= e for b, e in spans) for begin, end in offsets]
        return found["input_ids"], inside
    ids: list[int] = []
    supervised: list[bool] = []
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    for number, (begin, end) in enumerate(pairwise(edges)):
        piece = tokenizer(text[begin:end], add_special_tokens=False)["input_ids"] if begin < end else []
        ids += piece
        supervised += [number % 2 == 1] * len(piece)
    return ids, supervised


def _accepted(tokenizer: PreTrainedTokenizerBase, messages: Turns) -> tuple[Turns, str]:
    """The messages as this template takes them, and rendered: a system message that it refuses or leaves out goes
    before the first question."""
    system = messages[0]
    if system.role != "system":
        return messages, _render(tokenizer, messages)
    with suppress(RunError):
        text = _render(tokenizer, messages)
        if system.content.strip() in text:
            return messages, text
    first, *rest = messages[1:]
    if not system.content.strip():
        merged = (first, *rest)
    elif first.role == "user":
        merged = (Message("user", f"{system.content}\n\n{first.content}"), *rest)
    else:
        merged = (Message("user", system.content), first, *rest)
    return merged, _render(tokenizer, merged)


def _render_or_nothing(tokenizer: PreTrainedTokenizerBase, messages: Turns, *, prompt: bool = False) -> str:
    """Some templates refuse a part of a conversation that they take as a whole."""
    try:
        return _render(tokenizer, messages, prompt=prompt)
    except RunError:
        return ""


def _render(tokenizer: PreTrainedTokenizerBase, messages: Turns, *, prompt: bool = False) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt)
    except (TemplateError, ValueError, TypeError, IndexError, KeyError) as error:
        raise RunError(f"The model's chat template refuses a conversation: {error}.") from None
    return str(text)
