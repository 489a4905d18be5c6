"""A conversation as the model reads it: the tokenizer's chat template, given what it asks for.

A system message that the template refuses or leaves out goes before the first question. Tool calls are numbered
(call00001, ...): templates want ids, each of another form, and a model makes up its own. Arguments that the template
can't take as an object are given as JSON text. A template that asks for the date is given `TODAY`, so that a row is
the same tokens on every day: in the cache, and in a run that is resumed after midnight. Whether the template then says
everything it was given is checked by trainer.backends.local.spans, not here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from trainer.data.messages import Message, Tool
from trainer.rundir import RunError

Turns = Sequence[Message]
_ASKS_DATE = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
TODAY = datetime(2024, 7, 26)  # what Llama 3's templates write where they know no date

# For models that bring no template. Plain words, so that any tokenizer can spell it; the end token says stop. A line
# ends before the answer: a prompt that ended in a space would be cut into other tokens than it has in training.
# Tools stand first, one JSON object a line; a call is a line of its own in the answer, its result a turn of its own.
PLAIN_TEMPLATE = (
    "{{ bos_token }}"
    "{% if tools %}{{ 'Tools:\n' }}{% for tool in tools %}{{ tool['function'] | tojson + '\n' }}{% endfor %}{% endif %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ 'Assistant:\n' + (message['content'] or '') }}"
    "{% for call in message['tool_calls'] or [] %}"
    "{{ ('\n' if message['content'] or not loop.first else '') + 'Call: ' + call['function'] | tojson }}{% endfor %}"
    "{{ eos_token + '\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'User:\n' + message['content'] + '\n' }}"
    "{% elif message['role'] == 'tool' %}{{ 'Result:\n' + message['content'] + '\n' }}"
    "{% else %}{{ message['content'] + '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Way:
    """How a template takes a conversation."""

    system_in_question: bool = False
    arguments_as_text: bool = False


def accepted(tokenizer: PreTrainedTokenizerBase, messages: Turns, tools: Sequence[Tool]) -> tuple[Way, str]:
    """The first way in which the template takes the messages, and what it makes of them. Raises RunError."""
    ways = [Way()]
    if messages[0].role == "system":
        ways.append(Way(system_in_question=True))
    if any(message.tool_calls for message in messages):
        ways += [replace(way, arguments_as_text=True) for way in ways]
    refusal: RunError | None = None
    for way in ways:
        try:
            text = render(tokenizer, taken(messages, way), tools, way)
        except RunError as error:
            refusal = refusal if refusal and not way.system_in_question else error
            continue
        if way.system_in_question or messages[0].role != "system" or messages[0].content.strip() in text:
            return way, text
    raise refusal or RunError("The model's chat template leaves out the system message.")


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Turns,
    tools: Sequence[Tool] = (),
    way: Way = Way(),
    *,
    prompt: bool = False,
) -> str:
    """The text of messages that are as the way wants them; with `prompt` up to where the assistant begins to speak.

    Raises RunError.
    """
    turns = _turns(messages, way)
    try:
        template = dated(tokenizer.get_chat_template(tools=list(tools) or None))
        text = tokenizer.apply_chat_template(
            turns, tools=list(tools) or None, chat_template=template, tokenize=False, add_generation_prompt=prompt
        )
    except (TemplateError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise RunError(f"The model's chat template refuses a conversation: {error}.") from None
    return str(text)


@lru_cache(maxsize=16)
def dated(template: str) -> str:
    """The template with `TODAY` wherever it asks for the date: transformers takes no other clock than its own."""
    return _ASKS_DATE.sub(lambda asked: f"{asked[1]}{TODAY.strftime(asked[2])}{asked[1]}", template)


def render_or_nothing(
    tokenizer: PreTrainedTokenizerBase, messages: Turns, tools: Sequence[Tool], way: Way, *, prompt: bool = False
) -> str:
    """Some templates refuse a part of a conversation that they take as a whole."""
    with suppress(RunError):
        return render(tokenizer, messages, tools, way, prompt=prompt)
    return ""


def taken(messages: Turns, way: Way) -> Turns:
    """The messages with the system's in the first question, if that is the way."""
    if not way.system_in_question or not messages or messages[0].role != "system":
        return messages
    system, *others = messages
    if not system.content.strip():
        return others
    if others and others[0].role == "user":
        return (others[0]._replace(content=f"{system.content}\n\n{others[0].content}"), *others[1:])
    return (Message("user", system.content), *others)


def _turns(messages: Turns, way: Way) -> list[dict[str, Any]]:
    """As chat templates read them; tools' results are told by number and name which call they answer."""
    turns: list[dict[str, Any]] = []
    number = 0
    waiting: list[tuple[str, str]] = []  # id and name of the calls without a result so far
    for message in messages:
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            calls = []
            waiting = []
            for call in message.tool_calls:
                number += 1
                function = call["function"]
                if way.arguments_as_text:
                    function = {**function, "arguments": json.dumps(function["arguments"], ensure_ascii=False)}
                calls.append({"id": f"call{number:05d}", "type": "function", "function": function})
                waiting.append((calls[-1]["id"], function["name"]))
            turn["tool_calls"] = calls
        elif message.role == "tool":
            turn["tool_call_id"], turn["name"] = waiting.pop(0) if waiting else (f"call{number:05d}", message.name)
            turn["name"] = message.name or turn["name"]
        turns.append(turn)
    return turns
