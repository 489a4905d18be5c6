"""A conversation rendered once, with its answers known: a template is learnt once for each form of conversation.

A form is who speaks in which order, with which tools and calls, and what is around the words: white space, and the
tags that the template may look for. It is learnt with words that stand nowhere else, which makes the search for the
answers sure and shows whether the template says all it was given; that leaves the fixed pieces between the words.
Where these pieces and the real words, put together, are the real text to the letter, the answers stand where they
stood. Where they are not (a template that looks into the words, or writes the date), the real text is searched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import orjson
from transformers import PreTrainedTokenizerBase

from trainer.backends.local.spans import NO_CALLS, Known, Span, find_answers
from trainer.backends.local.template import Turns, Way, accepted, render, render_or_nothing, taken
from trainer.data.messages import Conversation, Message, Tool
from trainer.rundir import RunError

FORMS = 4096  # kept; a set in which every row has other tools has a form for each row

_Turn = tuple[str, bool, str, bytes, tuple[str, ...]]  # role, learn, name, tool calls in JSON, what is around the words
_Place = tuple[int, int]  # a piece, and characters behind its beginning
_MARK = re.compile(r"qz(\d{1,9})zq")


@dataclass(frozen=True, slots=True)
class Written:
    """A rendered conversation, and where the answers to learn from stand in it."""

    text: str
    answers: Sequence[Span]


@dataclass(frozen=True, slots=True)
class Form:
    """What a template writes around the words: pieces[0], words[order[0]], pieces[1], ... and the last piece."""

    way: Way
    pieces: tuple[str, ...]
    order: tuple[int, ...]
    answers: tuple[tuple[_Place, _Place], ...]

    def fill(self, words: Sequence[str]) -> Written:
        """What the template should make of these words."""
        starts: list[int] = []
        parts: list[str] = []
        length = 0
        for piece, word in zip(self.pieces, (*(words[place] for place in self.order), ""), strict=True):
            starts.append(length)
            parts += piece, word
            length += len(piece) + len(word)
        return Written("".join(parts), [(starts[a] + b, starts[c] + d) for (a, b), (c, d) in self.answers])


def write(tokenizer: PreTrainedTokenizerBase, talk: Conversation) -> Written:
    """The conversation rendered, and its answers. Raises RunError where the template refuses or loses a part of it."""
    template = tokenizer.get_chat_template(tools=list(talk.tools) or None)
    tags = _tags(template)
    turns: list[_Turn] = []
    words: list[str] = []
    for message in talk.messages:
        around, inside = _taken_apart(message.content, tags)
        calls = orjson.dumps(message.tool_calls) if message.tool_calls else b""
        turns.append((message.role, message.learn, message.name, calls, around))
        words += inside
    form = _learn(tokenizer, template, orjson.dumps(talk.tools) if talk.tools else b"", tuple(turns))
    if isinstance(form, str):
        raise RunError(form)
    messages = taken(talk.messages, form.way)
    text = render(tokenizer, messages, talk.tools, form.way)
    written = form.fill(words)
    if written.text == text:
        return written
    found = find_answers(Known(tokenizer, template, talk.tools, form.way), messages, text)
    return Written(text, _learnt(messages, found))


@lru_cache(maxsize=FORMS)
def _learn(
    tokenizer: PreTrainedTokenizerBase, template: str, tools_json: bytes, turns: tuple[_Turn, ...]
) -> Form | str:
    """The form of conversations with such turns; or why there is none, as a value, so that it is kept too."""
    tools: tuple[Tool, ...] = tuple(orjson.loads(tools_json)) if tools_json else ()
    messages, owners = _marked(turns)
    try:
        way, text = accepted(tokenizer, messages, tools)
        known = Known(tokenizer, template, tools, way)
        found = find_answers(known, taken(messages, way), text)
        _check_said(messages, owners, text)
        _check_tools(known, messages, text)
        _check_answers(messages, found, owners, text)
    except RunError as error:
        return str(error)
    marks = [mark for mark in _MARK.finditer(text) if int(mark[1]) < len(owners)]  # tools may hold anything
    edges = [0, *(edge for mark in marks for edge in mark.span()), len(text)]
    pieces = list(zip(edges[::2], edges[1::2], strict=True))
    answers = tuple((_place(begin, pieces), _place(end, pieces)) for begin, end in _learnt(messages, found))
    return Form(way, tuple(text[a:b] for a, b in pieces), tuple(int(mark[1]) for mark in marks), answers)


def _marked(turns: Sequence[_Turn]) -> tuple[Turns, list[int]]:
    """The turns with a mark for each word, and for each mark the turn it stands in."""
    messages: list[Message] = []
    owners: list[int] = []
    for place, (role, learn, name, calls, around) in enumerate(turns):
        content = around[0]
        for behind in around[1:]:
            content += f"qz{len(owners)}zq{behind}"
            owners.append(place)
        messages.append(Message(role, content, learn, tuple(orjson.loads(calls)) if calls else (), name))
    return messages, owners


def _place(at: int, pieces: Sequence[Span]) -> _Place:
    """An edge stands in a piece: no answer begins or ends within a word."""
    return next((number, at - begin) for number, (begin, end) in enumerate(pieces) if begin <= at <= end)


def _learnt(messages: Turns, spans: Sequence[Span]) -> list[Span]:
    """Of the spans of all answers, those of answers that are learnt from."""
    answers = [message for message in messages if message.role == "assistant"]
    return [span for span, answer in zip(spans, answers, strict=True) if answer.learn]


def _check_said(messages: Turns, owners: Sequence[int], text: str) -> None:
    """Raises RunError where the template leaves out what it was given: better no training than a silent loss.

    The thoughts of earlier answers may go; that is how models that think are used.
    """
    said = _marks(text)
    for place, message in enumerate(messages):
        last = place == len(messages) - 1
        if message.role != "assistant":
            ours = {number for number, owner in enumerate(owners) if owner == place}
            lost = bool(ours) and not ours & said
        else:
            spoken = message.content if last else message.content.rpartition("</think>")[2]
            lost = message.learn and not _marks(spoken) <= said
        if lost:
            raise RunError(
                f"The model's chat template leaves out {_called(message, last)}: choose another model or template."
            )


def _called(message: Message, last: bool) -> str:
    if message.role == "assistant":
        return "the reasoning of the last answer" if last and not message.tool_calls else "the words beside a tool call"
    return "a tool's result" if message.role == "tool" else f"a {message.role} message"


def _check_tools(known: Known, messages: Turns, text: str) -> None:
    if known.tools and text == render_or_nothing(known.tokenizer, taken(messages, known.way), (), known.way):
        raise RunError(
            "The model's chat template has no place for tools: choose a model that calls tools, or take the tools "
            "out of the data."
        )


def _check_answers(messages: Turns, spans: Sequence[Span], owners: Sequence[int], text: str) -> None:
    """Raises RunError where a call is missing, or something else stands in an answer."""
    answers = [(place, message) for place, message in enumerate(messages) if message.role == "assistant"]
    for (place, answer), (begin, end) in zip(answers, spans, strict=True):
        said = text[begin:end]
        if any(mark < len(owners) and owners[mark] != place for mark in _marks(said)):
            raise RunError(
                "The model's chat template mixes an answer with other messages: choose another model or template."
            )
        for call in answer.tool_calls:
            function = call["function"]
            if any(_in_json(word) not in said for word in (function["name"], *function["arguments"])):
                raise RunError(NO_CALLS)


def _marks(text: str) -> set[int]:
    return {int(mark) for mark in _MARK.findall(text)}


def _in_json(word: str) -> str:
    return json.dumps(word, ensure_ascii=False)[1:-1]


@lru_cache(maxsize=16)
def _tags(template: str) -> re.Pattern[str] | None:
    """What the template may look for in the words: the tags that stand in it."""
    tags = sorted(set(re.findall(r"<[^<>\s{}'\"]{1,40}>|\[/?[A-Z_]+\]", template)), key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, tags))})") if tags else None


def _taken_apart(content: str, tags: re.Pattern[str] | None) -> tuple[tuple[str, ...], list[str]]:
    """What is around the words (white space and the template's own tags), and the words."""
    parts = tags.split(content) if tags and tags.search(content) else [content]
    around = [""]
    words: list[str] = []
    for number, part in enumerate(parts):
        word = "" if number % 2 else part.strip()  # every other part is a tag
        if word:
            before, _, behind = part.partition(word)
            around[-1] += before
            words.append(word)
            around.append(behind)
        else:
            around[-1] += part
    return tuple(around), words
