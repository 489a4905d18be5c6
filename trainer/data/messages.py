"""What one message says: its role, its words, the tools it calls, and whether it is learnt from.

Every way of writing a chat down (OpenAI, ShareGPT, Vertex) becomes the same `Message` here; tool calls and tool
definitions become OpenAI's structure, which is what chat templates read. It knows nothing of rows and their keys, and
it can't know whether a string that looks like a tool call inside an answer is meant as one: it stays the answer's text.

Text parts of one OpenAI message are joined by a line break, as vLLM serves them; those of Vertex by nothing, as
Google's own client does. Reasoning in a key of its own goes before the answer within <think> tags, where chat
templates look for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from trainer.data.errors import quoted

Call = dict[str, Any]  # {"type": "function", "function": {"name": str, "arguments": dict}}
Tool = dict[str, Any]  # {"type": "function", "function": {"name": str, ...JSON schema}}

CALLS = "call"  # the role of a ShareGPT message whose text is a tool call in JSON
OPENAI = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool",
    "function": "tool",
}  # fmt: skip
SHAREGPT = {
    **OPENAI, "human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
    "model": "assistant", "function_call": CALLS, "observation": "tool",
}  # fmt: skip
VERTEX = {"user": "user", "model": "assistant", "function": "tool"}

WEIGHTS = ("loss_weight", "train", "weight")
REASONING = ("reasoning_content", "reasoning", "thinking")
_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
_MEDIA = {
    **dict.fromkeys(("image", "images", "image_url", "input_image"), "an image"),
    **dict.fromkeys(("audio", "audios", "audio_url", "input_audio"), "audio"),
    **dict.fromkeys(("video", "videos", "video_url", "input_video"), "video"),
}
_FILES = dict.fromkeys(("file", "input_file", "fileData", "file_data", "inlineData", "inline_data"), "a file")


class RowError(ValueError):
    """Why a row can't be used, in a few words."""


class LeftOut(RowError):
    """A row that is fine and not to be learnt from, as the bad answers of a KTO set."""


class MediaError(RowError):
    """The row holds something else than text."""

    def __init__(self, what: str) -> None:
        super().__init__(f"it holds {what}, and only text is learnt here")
        self.what = what


class Message(NamedTuple):  # made by the million, and three times as fast as a frozen dataclass
    """`learn`: whether an assistant's message is supervised. `name`: of the tool that answers, where it is given."""

    role: str  # system, user, assistant or tool
    content: str
    learn: bool = True
    tool_calls: tuple[Call, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages and the tools they may call; or raw text, learnt as a whole, and then no messages."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    text: str = ""


def read_messages(value: object, key: str, roles: Mapping[str, str]) -> tuple[Message, ...]:
    """A list of messages in OpenAI's or ShareGPT's way. Raises RowError.

    Tool calls that stand in messages of their own join the assistant's message before them.
    """
    if not isinstance(value, list):
        raise RowError(f"{key} is not a list of messages")
    if not value:
        raise RowError(f"{key} is empty")
    messages: list[Message] = []
    for item in value:
        if type(item) is dict and len(item) == 2:  # which most are
            said, content = item.get("role"), item.get("content")
            role = roles.get(said, CALLS) if type(said) is str else CALLS
            if role != CALLS and type(content) is str:
                messages.append(Message(role, text(content, "content")))
                continue
        message = read_message(item, roles)
        before = messages[-1] if messages else None
        if message.tool_calls and not message.content and before and before.role == "assistant":
            if before.learn != message.learn:
                raise RowError("a tool call and the message before it have different weights")
            messages[-1] = before._replace(tool_calls=(*before.tool_calls, *message.tool_calls))
        else:
            messages.append(message)
    return tuple(messages)


def read_message(item: object, roles: Mapping[str, str]) -> Message:
    """One message with role and content, or from and value. Raises RowError."""
    if not isinstance(item, Mapping):
        raise RowError("a message is not an object with role and content")
    if "role" in item:
        said, content = item["role"], item.get("content", _MISSING)
    elif "from" in item:
        said, content, roles = item["from"], item.get("value", _MISSING), SHAREGPT
    else:
        raise RowError("a message is not an object with role and content")
    role = roles.get(said) if isinstance(said, str) else None
    if role is None:
        raise RowError(f"role {quoted(str(said), 40)} is none of {', '.join(roles)}")
    if len(item) == 2 and isinstance(content, str) and role != CALLS:
        return Message(role, text(content, "content"))
    return _full_message(item, role, content)


_MISSING = object()


def _full_message(item: Mapping[str, object], role: str, content: object) -> Message:
    """A message with more than a role and its text."""
    refuse_media(item)
    learn = _learn(item)
    if role == CALLS:
        return Message("assistant", "", learn, read_calls(content, "function_call"))
    calls = (*read_calls(item.get("tool_calls"), "tool_calls"), *read_calls(item.get("function_call"), "function_call"))
    if calls and role != "assistant":
        raise RowError(f"a {role} message has tool calls, which only the assistant makes")
    if content is _MISSING and not calls:
        raise RowError("a message is not an object with role and content")
    words = "" if calls and (content is _MISSING or content is None) else _words(content)
    thought = next((item[key] for key in REASONING if item.get(key)), None) if role == "assistant" else None
    if thought is not None:
        words = f"<think>\n{text(thought, 'the reasoning')}\n</think>\n\n{words}"
    name = item.get("name")
    return Message(role, words, learn, calls, name if isinstance(name, str) else "")


def read_contents(value: object) -> tuple[Message, ...]:
    """Vertex's `contents`: a list of objects with role and parts. Raises RowError."""
    if not isinstance(value, list) or not value:
        raise RowError("contents is empty" if value == [] else "contents is not a list of messages")
    return tuple(message for item in value for message in _vertex_messages(item))


def _vertex_messages(item: object) -> tuple[Message, ...]:
    if not isinstance(item, Mapping) or not isinstance(item.get("parts"), list):
        raise RowError("a message is not an object with role and parts")
    said = item.get("role", "user")
    role = VERTEX.get(said) if isinstance(said, str) else None
    if role is None:
        raise RowError(f"role {quoted(str(said), 40)} is none of {', '.join(VERTEX)}")
    parts = [part for part in item["parts"] if isinstance(part, Mapping)]
    results = [part["functionResponse"] for part in parts if part.get("functionResponse")]
    if results:
        return tuple(_vertex_result(result) for result in results)
    calls = [part["functionCall"] for part in parts if part.get("functionCall")]
    spoken = [part for part in item["parts"] if not isinstance(part, Mapping) or "functionCall" not in part]
    return (Message(role, vertex_text(spoken), _learn(item), read_calls(calls, "functionCall")),)


def _vertex_result(result: object) -> Message:
    if not isinstance(result, Mapping) or "response" not in result:
        raise RowError("a functionResponse is not an object with name and response")
    response, name = result["response"], result.get("name")
    words = response if isinstance(response, str) else orjson.dumps(response).decode()
    return Message("tool", words, name=name if isinstance(name, str) else "")


def vertex_text(parts: object) -> str:
    """The text of a list of Vertex's parts. Raises RowError."""
    if not isinstance(parts, list):
        raise RowError("parts is not a list")
    return "".join(_part(part) for part in parts)


def read_calls(value: object, key: str) -> tuple[Call, ...]:
    """Tool calls as OpenAI writes them; one or a list of them, also as JSON text. Raises RowError."""
    if not value:
        return ()
    value = _parsed(value, key)
    return tuple(_call(item, key) for item in (value if isinstance(value, list) else [value]))


def _call(item: object, key: str) -> Call:
    item = _parsed(item, key)
    call = item.get("function") or item if isinstance(item, Mapping) else None
    name = call.get("name") if isinstance(call, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(name, str) or not name:
        raise RowError(f"{key} is not an object with name and arguments")
    arguments: object = next((call[k] for k in ("arguments", "args", "parameters") if call.get(k) is not None), {})
    if isinstance(arguments, str):
        arguments = _parsed(arguments, f"the arguments of {quoted(name, 40)}") if arguments.strip() else {}
    if not isinstance(arguments, Mapping):
        raise RowError(f"the arguments of {quoted(name, 40)} are not an object")
    return {"type": "function", "function": {"name": text(name, "name"), "arguments": _whole(arguments)}}


def read_tools(value: object, key: str = "tools") -> tuple[Tool, ...]:
    """Tools in OpenAI's way, bare functions or Vertex's functionDeclarations; also as JSON text. Raises RowError."""
    if not value:
        return ()
    value = _parsed(value, key)
    if not isinstance(value, list):
        raise RowError(f"{key} is not a list of tools")
    return tuple(tool for item in value for tool in _tools(_parsed(item, key), key))


def _tools(item: object, key: str) -> Sequence[Tool]:
    if isinstance(item, Mapping) and isinstance(declared := item.get("functionDeclarations"), list):
        return [tool for one in declared for tool in _tools(one, key)]
    function = item.get("function") if isinstance(item, Mapping) and "function" in item else item
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RowError(f"{key} holds something that is not an object with a function's name")
    return [{"type": "function", "function": _whole(function)}]


def text(value: object, key: str) -> str:
    """The value, if it is text that can be written down. Raises RowError."""
    if not isinstance(value, str):
        raise RowError(f"{key} is not text")
    if not value.isascii():
        _encoded(value, key)
    return value


def refuse_media(row: Mapping[str, object]) -> None:
    """Raises MediaError where a row or a message has a key of images, audio or video that is not empty."""
    if not _MEDIA.keys().isdisjoint(row):
        for key, what in _MEDIA.items():
            if row.get(key):
                raise MediaError(what)


def _encoded(value: str, key: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise RowError(f"{key} holds half a character (a surrogate without its pair)") from None


def _words(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(_part(part) for part in content)
    return text(content, "content")


def _part(part: object) -> str:
    if not isinstance(part, Mapping):
        raise RowError("a part of a message is not an object with its text")
    kind = part.get("type", "text")
    if kind in _TEXT_PARTS and "text" in part:
        return text(part["text"], "a part's text")
    for word in (str(kind), *part):  # a medium is named by the type, or by the key that holds it
        if what := _MEDIA.get(word) or _FILES.get(word):
            raise MediaError(what)
    raise RowError(f"a part of a message is {quoted(str(kind), 40)} and not text")


def _learn(item: Mapping[str, object]) -> bool:
    """Weights count where the assistant speaks; nothing else is supervised anyhow."""
    given = {key: item[key] for key in WEIGHTS if item.get(key) is not None}
    for key, weight in given.items():
        if weight not in (0, 1):
            raise RowError(f"{key} is {quoted(str(weight))}; only 0 and 1 are known")
    if len(set(given.values())) > 1:
        raise RowError(f"{' and '.join(given)} of a message say different things")
    return all(given.values())


def _parsed(value: object, key: str) -> object:
    """JSON text as what it says; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(_encoded(value, key))
    except orjson.JSONDecodeError:
        raise RowError(f"{key} is text that is not JSON: {quoted(value)}") from None


def _whole(value: Mapping[str, object]) -> dict[str, Any]:
    """A plain copy that a chat template can write as JSON."""
    try:
        copy: dict[str, Any] = orjson.loads(orjson.dumps(value))
        return copy
    except (TypeError, ValueError):
        raise RowError("a tool or its arguments can't be written as JSON") from None
