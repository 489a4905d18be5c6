"""What a person may say about columns, and the sentence for what can't be meant."""

from __future__ import annotations

import pytest

from trainer.data.columns import check_there, listed, parse
from trainer.data.errors import DataError


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("prompt=question,completion=answer", {"prompt": "question", "completion": "answer"}),
        (" prompt = my question , completion=a=b ", {"prompt": "my question", "completion": "a=b"}),
        ("messages=dialog,system=sys,tools=functions", {"messages": "dialog", "system": "sys", "tools": "functions"}),
        ("completion=b,prompt=a,input=c,system=s", {"completion": "b", "prompt": "a", "input": "c", "system": "s"}),
        ("text=content", {"text": "content"}),
    ],
)
def test_what_can_be_said(said: str, expected: dict[str, str]) -> None:
    assert parse(said) == expected


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("question", "'question' is not target=column"),
        ("prompt=,completion=b", "'prompt=' is not target=column"),
        ("prompt=a,,completion=b", "'' is not target=column"),
        ("question=a", "'question' is none of messages, prompt, completion, input, system, tools, text"),
        ("text=a,text=b", "text is given twice"),
        ("prompt=a", "prompt needs completion beside it"),
        ("completion=a,system=b", "completion needs prompt beside it"),
        ("system=a", "messages, prompt and completion, or text is missing"),
        ("messages=a,prompt=b,completion=c", "messages and prompt don't go together"),
        ("text=a,system=b", "text and system don't go together"),
        ("messages=a,input=b", "messages and input don't go together"),
        ("messages=a,prompt=b", "messages and prompt don't go together"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(said: str, why: str) -> None:
    with pytest.raises(DataError) as caught:
        parse(said)
    assert str(caught.value).startswith(f"columns: {why}")
    assert str(caught.value).endswith(": write it as in prompt=question,completion=answer.")


def test_a_column_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(DataError, match=r"^columns: there is no column 'b': the data has a, c\.$"):
        check_there({"prompt": "a", "completion": "b"}, ["a", "c"])


def test_names_of_keys_are_cut_short_and_harmless() -> None:
    text = listed(["x" * 100, "a\nb", "hf_" + "a" * 34, *map(str, range(50))])
    assert "\n" not in text
    assert "hf_" not in text
    assert text.endswith(" and 41 more")
    assert len(text) < 200
