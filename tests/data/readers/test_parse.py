"""Bytes → a JSON value: strictly, and what is said of bytes that are none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trainer.data.readers.parse import NotJson, NotUtf8, parse


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1},
        [1, 2.5, None, True],
        "x",
        {"a": {"b": [{"c": "d"}]}, "e": "größe 漢字 🙂"},
        {'"': '"'},
        {"a": 'say "so": \\'},
        {},
    ],
)
@pytest.mark.parametrize("ascii", [True, False])
@pytest.mark.parametrize("indent", [None, 2])
def test_what_json_writes_is_read(value: object, ascii: bool, indent: int | None) -> None:
    assert parse(json.dumps(value, ensure_ascii=ascii, indent=indent).encode()) == value


def test_a_quote_may_be_escaped_by_its_number() -> None:
    assert parse(rb'{"a": "say \u0022so\u0022"}') == {"a": 'say "so"'}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1, "a": 1}', "the key 'a' stands twice in one object"),
        ('{"a" : 1,"a" :2}', "the key 'a' stands twice in one object"),
        ('{"b": [{"a": 1, "c": 2, "a": 1}]}', "the key 'a' stands twice in one object"),
        ('{"a": NaN}', "NaN is no JSON value; null is"),
        ('{"a": -Infinity}', "-Infinity is no JSON value; null is"),
        ('{"a": 1e999}', "the number 1e999 is too large"),
        ('{"a": ' + "9" * 5000 + "}", "a number has too many digits"),
        (r'{"a": "\ud83d"}', "it holds half a character, a surrogate without its pair"),
        (r'{"\udc00": "a"}', "it holds half a character, a surrogate without its pair"),
        ('{"a": "b\tc"}',
         "a line break or control character stands bare in a string at column 9; write it as \\n or \\t"),
        ('{"a": "b', "it breaks off; what is begun at column 7 does not end"),
        ('{"a": ', "it breaks off; what is begun at column 7 does not end"),
        ('{"a": 1', "it breaks off; what is begun at column 8 does not end"),
        ('{"a": 1 /* b */}', "there is a comment at column 9, which JSON does not know"),
        ('{"a": 1,\n// b\n"c": 2}', "there is a comment 1 lines on, at column 1, which JSON does not know"),
        ("{'a': 1}", "there are single quotes at column 2; JSON takes double ones"),
        ('{"a": None}', "there is Python's None, True or False at column 7; JSON has null, true and false"),
        ("[1, 2, ]", "there is a comma too many at column 8"),
        ('{"a": b}', "expecting value at column 7"),
        ("{} {}", "there is more text behind the value"),
        ("", "there is no value"),
        ("[" * 100_000, "nested too deeply"),
    ],
)  # fmt: skip
def test_what_is_no_json_says_why(text: str, says: str) -> None:
    with pytest.raises(NotJson) as caught:
        parse(text.encode())
    assert str(caught.value) == says


def test_a_key_that_stands_twice_is_quoted_safely() -> None:
    with pytest.raises(NotJson) as caught:
        parse(b'{"\\u001b[31m": 1, "\\u001b[31m": 2}')
    assert str(caught.value) == r"the key '\x1b[31m' stands twice in one object"


@pytest.mark.parametrize(("raw", "line"), [(b'{"a": "\xe4"}', 0), (b'{"a":\n1,\n"b": "\xe4"}', 2)])
def test_what_is_no_utf_8_says_where(raw: bytes, line: int) -> None:
    with pytest.raises(NotUtf8) as caught:
        parse(raw)
    assert caught.value.line == line


def test_a_character_that_breaks_off_is_a_line_that_does() -> None:
    with pytest.raises(NotJson, match="it breaks off in the middle of a character"):
        parse('{"a": "ä'.encode()[:-1])


@pytest.mark.parametrize("value", [2**63, 2**64, -(2**70), 1.5e300, 0.1])
def test_numbers_of_any_usual_size_are_read(value: Any) -> None:
    assert parse(json.dumps({"a": value}).encode()) == {"a": pytest.approx(value)}
