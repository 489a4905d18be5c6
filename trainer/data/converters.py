"""A row → a conversation: how each shape is read. Which shape a row has is not its question, nor what teaches."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from trainer.data.messages import (
    OPENAI,
    SHAREGPT,
    Conversation,
    LeftOut,
    Message,
    RowError,
    read_contents,
    read_message,
    read_messages,
    read_tools,
    text,
    vertex_text,
)

Row = Mapping[str, object]
Convert = Callable[[Row], Conversation]


@dataclass(frozen=True)
class Beside:
    """The keys of what may stand beside the messages; of several the first that holds something."""

    system: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    history: tuple[str, ...] = ()

    @cached_property
    def keys(self) -> frozenset[str]:
        return frozenset((*self.system, *self.tools, *self.history))


USUAL = Beside(("system", "system_prompt"), ("tools", "functions"), ("history",))
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")


def message_list(key: str, roles: Mapping[str, str], beside: Beside = USUAL) -> Convert:
    """A list of messages under `key`."""

    def convert(row: Row) -> Conversation:
        return _whole(row, read_messages(row[key], key, roles), beside)

    return convert


def pair(question: str, answer: str, extra: str = "", first: bool = False, beside: Beside = USUAL) -> Convert:
    """A question and its answer, each a text or a list of messages; `extra` is a key of text that goes behind the
    question, or before it."""

    def convert(row: Row) -> Conversation:
        asked = _asked(row, question, extra, first)
        return _whole(row, (*_history(row, beside), *asked, *_answered(row[answer], answer)), beside)

    return convert


def raw_text(key: str) -> Convert:
    """Text that is learnt as a whole."""

    def convert(row: Row) -> Conversation:
        return Conversation((), text=text(row[key], key))

    return convert


def vertex(row: Row) -> Conversation:
    """`systemInstruction` (an object with parts, or text) and `contents`."""
    messages = read_contents(row["contents"])
    said = row.get("systemInstruction") or row.get("system_instruction")
    words = vertex_text(said.get("parts")) if isinstance(said, Mapping) else text(said or "", "systemInstruction")
    system = (Message("system", words),) if words.strip() else ()
    return Conversation((*system, *messages), read_tools(row.get("tools")))


def chosen_answers(row: Row) -> Conversation:
    """`chosen` is a whole conversation, or the answer (text or messages) to the prompt that stands beside it."""
    chosen = row["chosen"]
    if isinstance(chosen, list):
        said = read_messages(chosen, "chosen", SHAREGPT)
        return _whole(row, said if said[0].role != "assistant" else (*_before(row), *said), USUAL)
    if isinstance(chosen, Mapping):
        return _whole(row, (*_before(row), read_message(chosen, SHAREGPT)), USUAL)
    words = text(chosen, "chosen")
    before = _before(row)
    return _whole(row, (*before, Message("assistant", words)) if before else _transcript(words), USUAL)


def kept_answers(convert: Convert, tag: str) -> Convert:
    """Rows whose tag is true; LeftOut for the others."""

    def kept(row: Row) -> Conversation:
        value = tagged(row[tag])
        if value is None:
            raise RowError(f"{tag} is neither true nor false")
        if not value:
            raise LeftOut(f"its {tag} is false")
        return convert(row)

    return kept


def tagged(value: object) -> bool | None:
    """What a KTO set says of an answer; None for what is no such tag. A CSV file writes it as a word."""
    return value if isinstance(value, bool) else {"true": True, "false": False}.get(str(value).lower())


def _whole(row: Row, messages: tuple[Message, ...], beside: Beside) -> Conversation:
    """With the system message and the tools that stand beside the messages."""
    if beside.keys.isdisjoint(row):  # which most are
        return Conversation(messages)
    system, said = _first(row, beside.system)
    if said and (words := text(said, system)).strip():
        if messages[0].role != "system":
            messages = (Message("system", words), *messages)
        elif messages[0].content.strip() != words.strip():
            raise RowError("there is one system message among the messages and another beside them")
    tools, listed = _first(row, beside.tools)
    return Conversation(messages, read_tools(listed, tools) if listed else ())


def _first(row: Row, keys: tuple[str, ...]) -> tuple[str, object]:
    """The first of the keys that holds something, and what; or nothing."""
    for key in keys:
        if value := row.get(key):
            return key, value
    return "", None


def _asked(row: Row, question: str, extra: str, first: bool) -> tuple[Message, ...]:
    asked = row[question]
    if isinstance(asked, list):
        return read_messages(asked, question, OPENAI)
    words = text(asked, question)
    beside = row.get(extra) if extra else None
    if beside is not None and (given := text(beside, extra)).strip():
        words = f"{given}\n\n{words}" if first else f"{words}\n\n{given}"
    return (Message("user", words),)


def _answered(answer: object, key: str) -> tuple[Message, ...]:
    if key == "answers":
        return (Message("assistant", _first_of(answer)),)
    if isinstance(answer, list):
        return read_messages(answer, key, OPENAI)
    return (Message("assistant", text(answer, key)),)


def _first_of(answers: object) -> str:
    """The first of several answers: a text, a list of texts, or SQuAD's object with such a list."""
    if isinstance(answers, Mapping):
        answers = answers.get("text")
    if isinstance(answers, list):
        answers = answers[0] if answers else ""
    return text(answers, "answers")


def _history(row: Row, beside: Beside) -> tuple[Message, ...]:
    """Alpaca's earlier turns: a list of pairs."""
    _, history = _first(row, beside.history)
    if not history:
        return ()
    if not isinstance(history, list) or not all(isinstance(turn, list) and len(turn) == 2 for turn in history):
        raise RowError("history is not a list of pairs of question and answer")
    return tuple(
        Message(role, text(words, "history"))
        for turn in history
        for role, words in zip(("user", "assistant"), turn, strict=True)
    )


def _before(row: Row) -> tuple[Message, ...]:
    """What stands before the answers that a preference set compares."""
    for key in ("messages", "conversations"):
        if row.get(key):
            return read_messages(row[key], key, SHAREGPT)
    for key in ("prompt", "instruction", "question", "query"):
        if row.get(key):
            return _asked(row, key, "input" if key == "instruction" else "", first=False)
    return ()


def _transcript(words: str) -> tuple[Message, ...]:
    """Human: and Assistant: in turn, as in Anthropic's sets."""
    opening, *parts = _SPEAKER.split(words if words.startswith("\n\n") else f"\n\n{words}")
    if opening.strip() or not parts:
        raise RowError("chosen is text and there is no prompt beside it")
    roles = {"Human": "user", "Assistant": "assistant"}
    return tuple(Message(roles[who], said.strip()) for who, said in zip(parts[::2], parts[1::2], strict=True))
