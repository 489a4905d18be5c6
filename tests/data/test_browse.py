"""Leafing through rows: any row by its number, forwards and back, the next that holds a text, the next bad one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.data import browse
from trainer.data.browse import Browser, Seen, plain
from trainer.data.dataset import load
from trainer.data.messages import Conversation, Message
from trainer.data.source import find

ROWS = 50
BAD = (7, 30)


@pytest.fixture
def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Browser:
    """Fifty rows, of which two are bad; only ten are kept."""
    monkeypatch.setattr(browse, "KEPT", 10)
    rows = [
        json.dumps({"prompt": f"question {n}", "completion": "" if n in BAD else f"Answer {n}"}) for n in range(ROWS)
    ]
    file = tmp_path / "data.jsonl"
    file.write_text("\n".join(rows))
    source = find(str(file))
    return Browser(source, load(str(file)).shape)


def came(seeking: Iterator[Seen | None]) -> Seen | None:
    return next((seen for seen in seeking if seen is not None), None)


def number(seeking: Iterator[Seen | None]) -> int | None:
    seen = came(seeking)
    return seen.number if seen else None


def test_any_row_in_any_order(browser: Browser) -> None:
    for wanted in (0, 1, 2, 49, 3, 48, 47, 46, 0, 20, 19, 5):
        seen = came(browser.row(wanted))
        assert seen is not None
        assert (seen.number, seen.place.rpartition(":")[2]) == (wanted, str(wanted + 1))
        assert seen.conversation is not None or wanted in BAD


def test_behind_the_last_there_is_none_and_the_rest_still_works(browser: Browser) -> None:
    assert came(browser.row(ROWS)) is None
    assert browser.total == ROWS
    assert number(browser.row(4)) == 4


def test_a_bad_row_says_why_and_what_it_holds(browser: Browser) -> None:
    seen = came(browser.row(7))
    assert seen is not None
    assert seen.bad
    assert seen.why == "an assistant message is blank"
    assert '"question 7"' in seen.raw


def test_the_next_row_that_holds_a_text_and_round_again(browser: Browser) -> None:
    assert number(browser.find("ANSWER 1", 0)) == 1
    assert number(browser.find("ANSWER 1", 1)) == 10
    assert number(browser.find("question 3", 3)) == 30  # in a bad row too
    assert number(browser.find("question 3", 39)) == 3
    assert number(browser.find("question 44", 44)) == 44  # none but this one
    assert came(browser.find("nowhere", 10)) is None


def test_the_next_bad_row_and_round_again(browser: Browser) -> None:
    assert number(browser.bad(0)) == 7
    assert number(browser.bad(7)) == 30
    assert number(browser.bad(30)) == 7


def test_it_goes_in_small_steps(browser: Browser) -> None:
    assert sum(seen is None for seen in browser.row(40)) == 40


def test_without_a_shape_rows_are_seen_as_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text('{"a": "x", "b": 1}\n{broken\n')
    rows = Browser(find(str(file)), None)
    first, second = came(rows.row(0)), came(rows.row(1))
    assert first is not None
    assert second is not None
    assert json.loads(first.raw) == {"a": "x", "b": 1}
    assert not first.why
    assert "not JSON" in second.why


def test_a_conversation_without_a_template() -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    talk = Conversation(
        (Message("user", "1+1?"), Message("assistant", "", tool_calls=(call,)), Message("assistant", "no", learn=False))
    )
    pieces = list(plain(talk))
    assert "".join(text for text, _ in pieces).startswith("user:\n1+1?\n\nassistant:\n")
    assert [kind for _, kind in pieces] == ["read", "read", "read", "learnt", "read", "read"]
    assert '"add"' in pieces[3][0]
    assert list(plain(Conversation((), text="raw"))) == [("raw", "learnt")]
