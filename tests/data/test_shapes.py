"""Rows → conversations: the four shapes, and why a row teaches nothing."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.data.shapes import SHAPES, WANTED, RowError, conversation, shape_of

Row = dict[str, Any]


def message(role: str, content: object = "x") -> Row:
    return {"role": role, "content": content}


def chat(*roles: str) -> Row:
    return {"messages": [message(role) for role in roles]}


def read(row: Row) -> list[tuple[str, str]]:
    shape = shape_of(row)
    assert shape is not None
    return [(message.role, message.content) for message in conversation(row, shape)]


def refused(row: Row) -> str:
    shape = shape_of(row)
    assert shape is not None
    with pytest.raises(RowError) as caught:
        conversation(row, shape)
    return str(caught.value)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"messages": [message("system", "s"), message("user", "q"), message("assistant", "a")]},
            [("system", "s"), ("user", "q"), ("assistant", "a")],
        ),
        (chat("user", "assistant", "user", "assistant"), [("user", "x"), ("assistant", "x")] * 2),
        ({"messages": [message("developer", "s"), *chat("user", "assistant")["messages"]]},
         [("system", "s"), ("user", "x"), ("assistant", "x")]),
        ({"instruction": "q", "input": "", "output": "a"}, [("user", "q"), ("assistant", "a")]),
        ({"instruction": "q", "output": "a"}, [("user", "q"), ("assistant", "a")]),
        ({"instruction": "q", "input": None, "output": "a"}, [("user", "q"), ("assistant", "a")]),
        ({"instruction": "q", "input": " \n", "output": "a"}, [("user", "q"), ("assistant", "a")]),
        ({"instruction": "q", "input": "i", "output": "a"}, [("user", "q\n\ni"), ("assistant", "a")]),
        ({"system": "s", "instruction": "q", "output": "a"}, [("system", "s"), ("user", "q"), ("assistant", "a")]),
        ({"prompt": "q", "completion": "a"}, [("user", "q"), ("assistant", "a")]),
        ({"prompt": [message("user", "q")], "completion": [message("assistant", "a")]},
         [("user", "q"), ("assistant", "a")]),
        ({"text_input": "q", "output": "a"}, [("user", "q"), ("assistant", "a")]),
    ],
)  # fmt: skip
def test_each_shape_becomes_a_conversation(row: Row, expected: list[tuple[str, str]]) -> None:
    assert read(row) == expected


def test_texts_are_kept_as_they_are() -> None:
    answer = "  def f():\n\treturn '数据 größe 🎉'\r\n"
    assert read({"prompt": " q\n", "completion": answer}) == [("user", " q\n"), ("assistant", answer)]


@pytest.mark.parametrize("row", [{}, {"text": "x"}, {"prompt": "q"}, {"output": "a"}, [], "x", None, 5])
def test_other_keys_are_no_shape(row: object) -> None:
    assert shape_of(row) is None


def test_what_would_do_names_the_keys_of_every_shape() -> None:
    for shape in SHAPES:
        for key in shape.needs:
            assert key in WANTED


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (chat("user"), "no assistant message, so nothing to learn"),
        (chat("system"), "no assistant message, so nothing to learn"),
        (chat("user", "assistant", "user"), "it ends with the user; the last message must be the assistant's"),
        (chat("user", "user", "assistant"), "two messages in a row have the same role"),
        (chat("user", "assistant", "assistant"), "two messages in a row have the same role"),
        (chat("human", "assistant"), "role 'human' is none of system, user, assistant"),
        (chat("User", "assistant"), "role 'User' is none of system, user, assistant"),
        (chat("", "assistant"), "role '' is none of system, user, assistant"),
        ({"messages": []}, "messages is empty"),
        ({"messages": None}, "messages is not a list of messages"),
        ({"messages": "hello"}, "messages is not a list of messages"),
        ({"messages": ["hello"]}, "a message is not an object with role and content"),
        ({"messages": [{"role": "user"}]}, "a message is not an object with role and content"),
        ({"messages": [message("user"), message("assistant", None)]}, "content is not text"),
        ({"messages": [message("user"), message("assistant", ["part"])]}, "content is not text"),
        ({"messages": [{"role": 5, "content": "x"}]}, "role '5' is none of system, user, assistant"),
        ({"messages": [message("user"), message("assistant", " \n ")]}, "an assistant message is blank"),
        ({"messages": [message("user", ""), message("assistant")]}, "the user's message is blank"),
        ({"prompt": "q", "completion": ""}, "an assistant message is blank"),
        ({"prompt": "  ", "completion": "a"}, "the user's message is blank"),
        ({"prompt": "q", "completion": None}, "completion is not text"),
        ({"prompt": 5, "completion": "a"}, "prompt is not text"),
        ({"prompt": "q", "completion": [message("assistant")]}, "completion is not text"),
        ({"instruction": "q", "input": 5, "output": "a"}, "input is not text"),
        ({"instruction": "q", "output": {"a": 1}}, "output is not text"),
        ({"text_input": None, "output": "a"}, "text_input is not text"),
        ({"prompt": "q", "completion": "\ud83d"}, "completion holds half a character (a surrogate without its pair)"),
        ({"system": "\udc00", "prompt": "q", "completion": "a"},
         "system holds half a character (a surrogate without its pair)"),
    ],
)  # fmt: skip
def test_a_row_that_teaches_nothing_says_why(row: Row, why: str) -> None:
    assert refused(row) == why


def test_a_very_long_role_is_cut_in_the_sentence() -> None:
    assert len(refused(chat("x" * 1000, "assistant"))) < 100
