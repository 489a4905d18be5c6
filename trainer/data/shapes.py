"""A row → a conversation. Each shape says which keys it needs and how it becomes messages.

To add a shape: one function and one line in SHAPES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from trainer.secrets import redact

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class RowError(ValueError):
    """Why a row can't be used, in a few words."""


@dataclass(frozen=True, slots=True)
class Message:
    role: str  # system, user or assistant
    content: str


@dataclass(frozen=True, slots=True)
class Shape:
    name: str
    needs: tuple[str, ...]
    convert: Callable[[Mapping[str, object]], tuple[Message, ...]]


def _messages(row: Mapping[str, object]) -> tuple[Message, ...]:
    return tuple(_message(item) for item in _items(row["messages"], "messages"))


def _alpaca(row: Mapping[str, object]) -> tuple[Message, ...]:
    asked = _text(row["instruction"], "instruction")
    extra = row.get("input")
    given = _text(extra, "input") if extra else ""
    user = f"{asked}\n\n{given}" if given.strip() else asked
    return (*_system(row), Message("user", user), Message("assistant", _text(row["output"], "output")))


def _prompt_completion(row: Mapping[str, object]) -> tuple[Message, ...]:
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, list) and isinstance(completion, list):
        return tuple(_message(item) for item in (*prompt, *completion))
    asked, answer = _text(prompt, "prompt"), _text(completion, "completion")
    return (*_system(row), Message("user", asked), Message("assistant", answer))


def _gemini_text(row: Mapping[str, object]) -> tuple[Message, ...]:
    asked, answer = _text(row["text_input"], "text_input"), _text(row["output"], "output")
    return Message("user", asked), Message("assistant", answer)


SHAPES = (
    Shape("messages", ("messages",), _messages),
    Shape("instruction/input/output", ("instruction", "output"), _alpaca),
    Shape("prompt/completion", ("prompt", "completion"), _prompt_completion),
    Shape("text_input/output", ("text_input", "output"), _gemini_text),
)
WANTED = "; or ".join(" and ".join(shape.needs) for shape in SHAPES)


def shape_of(row: object) -> Shape | None:
    """The first shape whose keys the row has."""
    if not isinstance(row, Mapping):
        return None
    return next((shape for shape in SHAPES if all(key in row for key in shape.needs)), None)


def conversation(row: Mapping[str, object], shape: Shape) -> tuple[Message, ...]:
    """The row's messages, checked: they teach something. Raises RowError."""
    messages = shape.convert(row)
    turns = [message for message in messages if message.role != "system"]
    if not any(message.role == "assistant" for message in turns):
        raise RowError("no assistant message, so nothing to learn")
    if turns[-1].role != "assistant":
        raise RowError("it ends with the user; the last message must be the assistant's")
    if any(not message.content.strip() for message in turns if message.role == "assistant"):
        raise RowError("an assistant message is blank")
    if turns[0].role == "user" and not turns[0].content.strip():
        raise RowError("the user's message is blank")
    if any(a.role == b.role for a, b in pairwise(turns)):
        raise RowError("two messages in a row have the same role")
    return messages


def _message(item: object) -> Message:
    if not isinstance(item, Mapping) or "role" not in item or "content" not in item:
        raise RowError("a message is not an object with role and content")
    role = ROLES.get(item["role"]) if isinstance(item["role"], str) else None
    if role is None:
        raise RowError(f"role {redact(str(item['role']))[:40]!r} is none of system, user, assistant")
    return Message(role, _text(item["content"], "content"))


def _system(row: Mapping[str, object]) -> tuple[Message, ...]:
    said = row.get("system")
    return (Message("system", _text(said, "system")),) if isinstance(said, str) and said.strip() else ()


def _items(value: object, key: str) -> list[object]:
    if not isinstance(value, list) or not value:
        raise RowError(f"{key} is not a list of messages" if not isinstance(value, list) else f"{key} is empty")
    return value


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise RowError(f"{key} is not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RowError(f"{key} holds half a character (a surrogate without its pair)") from None
    return value
