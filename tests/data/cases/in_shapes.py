"""Rows that are JSON and no conversation to learn from."""

from __future__ import annotations

import json
from typing import Any

from tests.data.cases.making import GOOD, LINE, MANY, MIDDLE, Case, chat, refused, write

USER, ANSWER = ("user", "a"), ("assistant", "b")
TALK = json.dumps(chat(USER, ANSWER)) + "\n"


def turns(name: str, wrong: str, row: dict[str, Any], *says: str) -> Case:
    content = TALK * (MIDDLE - 1) + json.dumps(row) + "\n" + TALK * (MANY - MIDDLE + 1)
    return Case(name, wrong, write(content), "skip", says, MIDDLE, MANY, 1)


CASES = [
    turns("wrong role", "a role that there is none of", chat(("wizard", "a"), ANSWER), "wizard"),
    turns("role of wrong type", "a role that is a number", chat((5, "a"), ANSWER), "role"),  # type: ignore[arg-type]
    turns("two users", "two users in a row", chat(USER, USER, ANSWER), "two messages in a row"),
    turns("ends with user", "the user speaks last", chat(USER, ANSWER, USER), "ends with the user"),
    turns("system only", "nothing but a system message", chat(("system", "a")), "nothing to learn"),
    turns("user only", "nothing but a question", chat(USER), "nothing to learn"),
    turns("blank answer", "the answer is blank", chat(USER, ("assistant", " \n")), "blank"),
    turns("blank question", "the question is blank", chat(("user", ""), ANSWER), "blank"),
    turns("null answer", "the answer is null", chat(USER, ("assistant", None)), ""),
    turns("number for text", "the answer is a number", chat(USER, ("assistant", 7)), ""),
    turns("no messages", "an empty list of messages", {"messages": []}, "empty"),
    turns("messages are text", "the messages are a text", {"messages": "a"}, "messages"),
    turns("a message is text", "a message is a text", {"messages": ["a", "b"]}, "message"),
    turns("no content", "a message without content", {"messages": [{"role": "user"}, {"role": "assistant"}]}, ""),
    turns("another shape", "a row of another shape", GOOD, "prompt"),
    refused("unknown keys", "keys that are not known", '{"frage": "a", "antwort": "b"}\n' * 3, "frage, antwort",
            line=1),
    refused("all blank", "every answer is blank", '{"prompt": "a", "completion": ""}\n' * 9, "blank", line=1),
    refused("half blank", "half of the answers are blank", (LINE + '{"prompt": "a", "completion": ""}\n') * 9, "blank",
            "more than 1%", line=None),
    refused("pictures", "pictures",
            json.dumps(chat(("user", [{"type": "image_url", "image_url": {"url": "x"}}]), ANSWER)),
            "image"),
]  # fmt: skip
