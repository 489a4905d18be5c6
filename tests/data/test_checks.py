"""Why a conversation teaches nothing, or is none."""

from __future__ import annotations

import pytest

from trainer.data.checks import checked
from trainer.data.messages import Conversation, Message, RowError

CALL = {"type": "function", "function": {"name": "look", "arguments": {}}}


def user(text: str = "q") -> Message:
    return Message("user", text)


def answer(text: str = "a", *, learn: bool = True) -> Message:
    return Message("assistant", text, learn)


def calling(text: str = "") -> Message:
    return Message("assistant", text, tool_calls=(CALL,))


SYSTEM, RESULT = Message("system", "s"), Message("tool", "12")


@pytest.mark.parametrize(
    "messages",
    [
        (user(), answer()),
        (SYSTEM, user(), answer(), user(), answer()),
        (answer(), user(), answer()),
        (user(), answer("x", learn=False), user(), answer()),
        (user(), calling(), RESULT, answer()),
        (user(), calling("Let me see."), RESULT, RESULT, answer()),
        (user(), calling()),
        (user(), answer("<tool_call>look</tool_call>"), RESULT, answer()),
        (user(), calling(), user(), answer()),
    ],
)
def test_what_teaches(messages: tuple[Message, ...]) -> None:
    talk = Conversation(messages)
    assert checked(talk) is talk


def test_raw_text_teaches_unless_it_is_blank() -> None:
    assert checked(Conversation((), text="x")).text == "x"
    with pytest.raises(RowError, match=r"^the text is blank$"):
        checked(Conversation((), text=" \n"))


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ((user(),), "no assistant message, so nothing to learn"),
        ((SYSTEM,), "no assistant message, so nothing to learn"),
        ((user(), answer(), user()), "it ends with the user; the last message must be the assistant's"),
        ((user(), calling(), RESULT), "it ends with a tool's result; the last message must be the assistant's"),
        ((user(), user(), answer()), "two messages in a row have the same role"),
        ((user(), answer(), answer()), "two messages in a row have the same role"),
        ((user(), SYSTEM, user(), answer()), "two messages in a row have the same role"),
        ((user(), answer(" \n ")), "an assistant message is blank"),
        ((user(""), answer()), "the user's message is blank"),
        ((user(), answer(learn=False)), "every assistant message has weight 0, so nothing to learn"),
        ((user(), RESULT, answer()), "a tool's result follows no tool call"),
        ((RESULT, answer()), "a tool's result follows no tool call"),
        ((user(), answer(), RESULT, answer()), "a tool's result follows no tool call"),
    ],
)
def test_what_does_not_says_why(messages: tuple[Message, ...], why: str) -> None:
    with pytest.raises(RowError) as caught:
        checked(Conversation(messages))
    assert str(caught.value) == why
