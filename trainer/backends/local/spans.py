"""Where the assistant speaks in a rendered conversation: each answer from behind the prompt through the token that
ends the turn, whatever the template, with generation marks or without.

What is an answer's: all that the model has to write by itself when it is asked. So also the tool calls, and a thought
or a channel's name that the template puts into an answer; not the header, which the prompt holds already, nor the
line break behind the end token, where the model has stopped. Generation marks are not needed and not used: their
writers draw these lines differently, and what a model learns is not to hang on a mark.

Answers are searched for in the text; a search is sure where the words stand nowhere else, and careful where they do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile

from transformers import PreTrainedTokenizerBase

from trainer.backends.local.template import Turns, Way, render_or_nothing
from trainer.data.messages import Message, Tool
from trainer.rundir import RunError

Span = tuple[int, int]  # begin and end within the rendered text, in characters

NO_CALLS = "The model's chat template leaves out the assistant's tool calls: choose a model that calls tools."
_OPEN_THOUGHT = re.compile(r"<think>\s*(</think>\s*)?\Z")


@dataclass(frozen=True, slots=True)
class Known:
    """A tokenizer's template, the tools that it is given and the way it takes conversations."""

    tokenizer: PreTrainedTokenizerBase
    template: str
    tools: Sequence[Tool]
    way: Way

    def render(self, messages: Turns, *, prompt: bool = False) -> str:
        """Of messages that are as the way wants them; "" where the template refuses them."""
        return render_or_nothing(self.tokenizer, messages, self.tools, self.way, prompt=prompt)


def find_answers(known: Known, messages: Turns, text: str) -> list[Span]:
    """Where every assistant's message stands in `text`, in order. Raises RunError."""
    spans: list[Span] = []
    after = 0  # where the message before this one ends
    for place, message in enumerate(messages):
        if message.role == "assistant":
            begin = _begin(known, messages[:place], message, text, after)
            after = _end(known, messages[: place + 1], text, begin)
            spans.append((begin, after))
        elif (found := text.find(message.content.strip(), after)) >= 0:
            after = found + len(message.content.strip())
    return spans


def _begin(known: Known, earlier: Turns, answer: Message, text: str, after: int) -> int:
    """Behind the prompt; behind the next header, where the prompt is not in the whole text; or where words begin."""
    prompt = known.render(earlier, prompt=True)
    for opening in (prompt, _OPEN_THOUGHT.sub("", prompt)):
        if opening and text.startswith(opening):
            return len(opening)
    header, _ = _customs(known.tokenizer, known.template)
    if header and (found := text.find(header, after)) >= 0:
        return found + len(header)
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(prompt, text, strict=False))
    shared = max(after, sum(1 for _ in alike))
    for words in _spellings(answer):  # the prompt and the answer may begin alike
        if (found := text.rfind(words, after, shared + len(words))) >= 0:
            return found
    return _find(answer, text, shared)[0]


def _end(known: Known, through: Turns, text: str, begin: int) -> int:
    """Behind the token that ends the turn; of a template that has none, where the turn's text ends."""
    answer, (_, usual) = through[-1], _customs(known.tokenizer, known.template)
    if usual and not answer.tool_calls and (close := _close(answer, text, begin, usual)):
        return close
    turn = known.render(through).rstrip()
    stable = begin < len(turn) and text.startswith(turn)  # not so where earlier answers are rewritten
    if answer.tool_calls:
        return len(turn) if stable else _end_of_calls(usual, text, begin)
    try:
        _, end = _find(answer, text[: len(turn)] if stable else text, begin)
    except RunError:
        if stable:
            return len(turn)
        raise
    ending = _end_of_turn(known.tokenizer, text, end)
    if stable and (ending is None or ending > len(turn)):  # a token behind the turn belongs to the next one's header
        return len(turn)
    return ending or end


def _close(answer: Message, text: str, begin: int, usual: str) -> int | None:
    """Behind the usual end token, where it follows the answer's words at once."""
    for words in _spellings(answer):
        if text.startswith(words + usual, begin):
            return begin + len(words) + len(usual)
    return None


def _end_of_calls(usual: str, text: str, begin: int) -> int:
    """Behind the next token of the kind that ends a plain answer."""
    found = text.find(usual, begin) if usual else -1
    if found < 0:
        raise RunError("The model's chat template writes tool calls that seem to have no end: choose another model.")
    return found + len(usual)


@lru_cache(maxsize=16)
def _customs(tokenizer: PreTrainedTokenizerBase, template: str) -> tuple[str, str]:
    """The template's header before an answer, without an opened thought, and its token behind one; "" for none."""
    question, answer = Message("user", "qz0zq"), Message("assistant", "qz1zq")
    asked = render_or_nothing(tokenizer, (question,), (), Way())
    prompt = render_or_nothing(tokenizer, (question,), (), Way(), prompt=True)
    header = _OPEN_THOUGHT.sub("", prompt[len(asked) :]) if asked and prompt.startswith(asked) else ""
    _, words, behind = render_or_nothing(tokenizer, (question, answer), (), Way()).partition(answer.content)
    end = _end_of_turn(tokenizer, behind, 0) if words else None
    return header, behind[:end].lstrip() if end else ""


def _find(answer: Message, text: str, begin: int) -> Span:
    """The first place from `begin` on where the answer's words stand."""
    found = [(text.find(words, begin), len(words)) for words in _spellings(answer)]
    spans = [(at, at + length) for at, length in found if at >= 0]
    if not spans and answer.tool_calls:
        raise RunError(NO_CALLS)
    if not spans:
        raise RunError(
            "The model's chat template changes the assistant's answers so that they can't be found again: choose "
            "another model or template."
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


@lru_cache(maxsize=4)
def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """All, also those without a role of their own (<|eot_id|> beside an eos of <|end_of_text|>); longest first."""
    added = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    return sorted({*added, *map(str, tokenizer.all_special_tokens)}, key=len, reverse=True)
