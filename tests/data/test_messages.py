"""One message in every way it is written down, tool calls and tools, weights; and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.data.messages import (
    OPENAI,
    SHAREGPT,
    Call,
    MediaError,
    Message,
    RowError,
    read_contents,
    read_message,
    read_messages,
    read_tools,
)

Row = dict[str, Any]
LOOK = {"type": "function", "function": {"name": "look", "arguments": {"at": "sky"}}}


def call(name: str, **arguments: object) -> Call:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def refused(item: object) -> str:
    with pytest.raises(RowError) as caught:
        read_messages([item], "messages", OPENAI)
    return str(caught.value)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"role": "user", "content": "q"}, Message("user", "q")),
        ({"role": "developer", "content": "s"}, Message("system", "s")),
        ({"role": "user", "content": "q", "id": 7, "name": None}, Message("user", "q")),
        ({"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "input_text", "text": "two"}]},
         Message("user", "one\ntwo")),
        ({"role": "assistant", "content": [{"text": "a"}]}, Message("assistant", "a")),
        ({"role": "tool", "content": "12", "tool_call_id": "x", "name": "look"}, Message("tool", "12", name="look")),
        ({"role": "function", "content": "12 C", "name": "look"}, Message("tool", "12 C", name="look")),
        ({"role": "assistant", "content": "a", "weight": 0}, Message("assistant", "a", learn=False)),
        ({"role": "assistant", "content": "a", "loss_weight": 1.0}, Message("assistant", "a")),
        ({"role": "assistant", "content": "a", "train": False}, Message("assistant", "a", learn=False)),
        ({"role": "assistant", "content": "a", "train": True, "weight": 1}, Message("assistant", "a")),
        ({"role": "assistant", "content": "a", "weight": None}, Message("assistant", "a")),
        ({"role": "assistant", "content": "a", "reasoning_content": "hm"},
         Message("assistant", "<think>\nhm\n</think>\n\na")),
        ({"from": "human", "value": "q"}, Message("user", "q")),
        ({"from": "gpt", "value": "a", "weight": 0}, Message("assistant", "a", learn=False)),
    ],
)  # fmt: skip
def test_a_message(item: Row, expected: Message) -> None:
    assert read_message(item, OPENAI) == expected


@pytest.mark.parametrize(
    "item",
    [
        {"content": None, "tool_calls": [{"id": "1", **LOOK}]},
        {"tool_calls": [{"function": {"name": "look", "arguments": '{"at": "sky"}'}}]},
        {"content": "", "tool_calls": [{"name": "look", "arguments": {"at": "sky"}}]},
        {"content": None, "function_call": {"name": "look", "arguments": '{"at":"sky"}'}},
        {"content": None, "tool_calls": '[{"name": "look", "parameters": {"at": "sky"}}]'},
    ],
)
def test_a_tool_call_becomes_openais_structure(item: Row) -> None:
    message = read_message({"role": "assistant", **item}, OPENAI)
    assert message == Message("assistant", "", tool_calls=(LOOK,))


def test_a_call_keeps_the_words_beside_it_and_may_have_no_arguments() -> None:
    item = {"role": "assistant", "content": "Let me see.", "tool_calls": [{"name": "look", "arguments": ""}]}
    assert read_message(item, OPENAI) == Message("assistant", "Let me see.", tool_calls=(call("look"),))


def test_sharegpt_calls_join_the_message_before_them() -> None:
    chat = [
        {"from": "human", "value": "q"},
        {"from": "gpt", "value": "Let me see."},
        {"from": "function_call", "value": '{"name": "look", "arguments": {"at": "sky"}}'},
        {"from": "function_call", "value": '[{"name": "feel", "arguments": {}}]'},
        {"from": "observation", "value": "blue"},
        {"from": "gpt", "value": "Blue."},
    ]
    assert read_messages(chat, "conversations", SHAREGPT) == (
        Message("user", "q"),
        Message("assistant", "Let me see.", tool_calls=(LOOK, call("feel"))),
        Message("tool", "blue"),
        Message("assistant", "Blue."),
    )


@pytest.mark.parametrize("name", ["gpt", "assistant", "chatgpt", "bing", "bard", "model"])
def test_sharegpt_names_of_the_assistant(name: str) -> None:
    assert read_message({"from": name, "value": "a"}, SHAREGPT) == Message("assistant", "a")
    assert read_message({"role": name, "content": "a"}, SHAREGPT) == Message("assistant", "a")


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ("hello", "a message is not an object with role and content"),
        ({"role": "user"}, "a message is not an object with role and content"),
        ({"content": "x"}, "a message is not an object with role and content"),
        ({"role": "human", "content": "x"}, "role 'human' is none of system, developer, user, assistant, tool, func"),
        ({"role": "User", "content": "x"}, "role 'User' is none of"),
        ({"role": 5, "content": "x"}, "role '5' is none of"),
        ({"from": "alien", "value": "x"}, "role 'alien' is none of"),
        ({"role": "assistant", "content": None}, "content is not text"),
        ({"role": "user", "content": 5}, "content is not text"),
        ({"role": "user", "content": ["part"]}, "a part of a message is not an object with its text"),
        ({"role": "user", "content": [{"type": "poem", "text": "x"}]}, "a part of a message is 'poem' and not text"),
        ({"role": "user", "content": "\ud83d"}, "content holds half a character (a surrogate without its pair)"),
        ({"role": "assistant", "content": "a", "weight": 0.5}, "weight is '0.5'; only 0 and 1 are known"),
        ({"role": "assistant", "content": "a", "loss_weight": "1"}, "loss_weight is '1'; only 0 and 1 are known"),
        ({"role": "assistant", "content": "a", "weight": [1]}, "weight is '[1]'; only 0 and 1 are known"),
        ({"role": "assistant", "content": "a", "weight": 0, "train": True},
         "train and weight of a message say different things"),
        ({"role": "user", "content": "q", "tool_calls": [LOOK]},
         "a user message has tool calls, which only the assistant makes"),
        ({"role": "assistant", "tool_calls": [{"name": ""}]}, "tool_calls is not an object with name and arguments"),
        ({"role": "assistant", "tool_calls": ["look"]}, "tool_calls is text that is not JSON: 'look'"),
        ({"role": "assistant", "tool_calls": [{"name": "look", "arguments": "at sky"}]},
         "the arguments of 'look' is text that is not JSON: 'at sky'"),
        ({"role": "assistant", "tool_calls": [{"name": "look", "arguments": "[1]"}]},
         "the arguments of 'look' are not an object"),
        ({"from": "function_call", "value": "look(sky)"}, "function_call is text that is not JSON: 'look(sky)'"),
    ],
)  # fmt: skip
def test_a_message_that_is_refused_says_why(item: object, why: str) -> None:
    assert refused(item).startswith(why)


@pytest.mark.parametrize(
    ("item", "what"),
    [
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "an image"),
        ({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "x"}]}, "an image"),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "audio"),
        ({"role": "user", "content": [{"type": "video", "video": "x"}]}, "video"),
        ({"role": "user", "content": "x", "images": ["a.png"]}, "an image"),
        ({"role": "assistant", "content": None, "audio": {"id": "x"}}, "audio"),
    ],
)  # fmt: skip
def test_anything_but_text_is_refused_by_its_name(item: Row, what: str) -> None:
    with pytest.raises(MediaError, match=f"^it holds {what}, and only text is learnt here$"):
        read_messages([item], "messages", OPENAI)


def test_vertex_contents() -> None:
    contents = [
        {"role": "user", "parts": [{"text": "How "}, {"text": "warm?"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "look", "args": {"at": "sky"}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {"warm": 12}}}]},
        {"role": "model", "parts": [{"text": "12"}]},
    ]
    assert read_contents(contents) == (
        Message("user", "How warm?"),
        Message("assistant", "", tool_calls=(LOOK,)),
        Message("tool", '{"warm":12}', name="look"),
        Message("assistant", "12"),
    )


@pytest.mark.parametrize(
    ("contents", "why"),
    [
        ([], "contents is empty"),
        ("x", "contents is not a list of messages"),
        ([{"role": "user", "content": "x"}], "a message is not an object with role and parts"),
        ([{"role": "assistant", "parts": [{"text": "x"}]}], "role 'assistant' is none of user, model, function"),
        ([{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png"}}]}], "it holds a file"),
        ([{"role": "user", "parts": [{"fileData": {"fileUri": "gs://x"}}]}], "it holds a file"),
        ([{"role": "user", "parts": [{"functionResponse": {"name": "look"}}]}],
         "a functionResponse is not an object with name and response"),
    ],
)  # fmt: skip
def test_vertex_contents_that_are_refused_say_why(contents: object, why: str) -> None:
    with pytest.raises(RowError) as caught:
        read_contents(contents)
    assert str(caught.value).startswith(why)


SKY = {"name": "look", "description": "d", "parameters": {"type": "object"}}


@pytest.mark.parametrize(
    "tools",
    [
        [{"type": "function", "function": SKY}],
        [SKY],
        [{"functionDeclarations": [SKY]}],
        '[{"name": "look", "description": "d", "parameters": {"type": "object"}}]',
        ['{"name": "look", "description": "d", "parameters": {"type": "object"}}'],
    ],
)
def test_tools_become_openais_structure(tools: object) -> None:
    assert read_tools(tools) == ({"type": "function", "function": SKY},)


@pytest.mark.parametrize("tools", [None, [], "", "[]"])
def test_no_tools(tools: object) -> None:
    assert read_tools(tools) == ()


@pytest.mark.parametrize(
    ("tools", "why"),
    [
        ("hammer", "tools is text that is not JSON: 'hammer'"),
        (5, "tools is not a list of tools"),
        ([{"parameters": {}}], "tools holds something that is not an object with a function's name"),
        ([5], "tools holds something that is not an object with a function's name"),
    ],
)
def test_tools_that_are_refused_say_why(tools: object, why: str) -> None:
    with pytest.raises(RowError) as caught:
        read_tools(tools)
    assert str(caught.value) == why


def test_what_a_sentence_quotes_is_cut_short_and_without_keys() -> None:
    assert len(refused({"role": "x" * 1000, "content": "x"})) < 200
    assert "hf_" not in refused({"role": "hf_" + "a" * 34, "content": "x"})
    assert "hf_" not in refused({"from": "function_call", "value": "hf_" + "a" * 34})
