"""Bytes → a JSON value, strictly and fast; and where they are none, why, in words that help to mend them.

Strict: no NaN, no lone surrogates, no key twice in an object. The fast parser knows no keys that stand twice, so the
quotes of what it understood are counted against those of the text; the slow one settles it.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator, Sequence

import orjson

from trainer.data.errors import quoted
from trainer.data.rows import BadRow, Row

_SPACE = re.compile(r"[ \t\r\n]*")


class NotJson(ValueError):
    """Why the bytes are no JSON value."""


class NotUtf8(Exception):
    """The bytes are no text; `line` counts from 0 at their first."""

    def __init__(self, line: int) -> None:
        super().__init__("this is not UTF-8: save the file as UTF-8 and try again.")
        self.line = line


def parse(raw: bytes) -> object:
    """The value. Raises NotJson, NotUtf8."""
    found = _quickly([raw], raw)
    if found:
        return found[0]
    values = list(_values(raw))
    if len(values) != 1:
        raise NotJson("there is more text behind the value" if values else "there is no value")
    return values[0]


def parse_lines(block: bytes) -> list[object]:
    """The values of lines that are all objects; nothing, if one of them is none or may be none."""
    return _quickly(block.split(b"\n"), block)


def parse_first(raws: Sequence[bytes]) -> list[object]:
    """The values of the first of them, up to one that is none."""
    if found := _quickly(raws, b"".join(raws)):
        return found
    values: list[object] = []
    with contextlib.suppress(NotJson, NotUtf8):
        for raw in raws:
            values.append(parse(raw))
    return values


def _quickly(raws: Sequence[bytes], whole: bytes) -> list[object]:
    """The values of all, which are objects; nothing, if one of them is no object, no JSON, or holds a key twice.

    To count all quotes at once costs a third of what it costs one by one.
    """
    try:
        values = [orjson.loads(raw) for raw in raws]
        if set(map(type, values)) == {dict} and orjson.dumps(values).count(b'"') == whole.count(b'"'):
            return values
    except (ValueError, TypeError):
        pass
    return []


def rows_in(raw: bytes, line: int, file: int) -> Iterator[Row | BadRow]:
    """The row in the bytes, or why it is none; or several objects, one behind the other. Raises NotUtf8."""
    try:
        values = _quickly([raw], raw) or list(_values(raw))
    except NotJson as error:
        yield BadRow(line, f"it is not JSON ({error})", file)
        return
    if len(values) > 1 and not all(isinstance(value, dict) for value in values):
        yield BadRow(line, "it is not JSON (there is more text behind the row's end)", file)
        return
    for value in values:
        yield _as_row(value, line, file)


def _as_row(value: object, line: int, file: int) -> Row | BadRow:
    """A value as a row, unless it is one that was encoded twice."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        return BadRow(line, "the row is JSON within a string (encoded twice); it must be the object itself", file)
    return Row(line, value, file)


def _values(raw: bytes) -> Iterator[object]:
    """All values in the bytes, one behind the other."""
    text = _text(raw).removeprefix("\ufeff")  # a mark within is what joining files leaves
    at = _behind_space(text, 0)
    while at < len(text):
        try:
            value, end = _DECODER.raw_decode(text, at)
        except NotJson:
            raise
        except json.JSONDecodeError as error:
            raise NotJson(_why(text, error)) from None
        except RecursionError:
            raise NotJson("nested too deeply") from None
        except ValueError:
            raise NotJson("a number has too many digits") from None
        if "\\u" in text[at:end] and _holds_half(value):
            raise NotJson("it holds half a character, a surrogate without its pair")
        yield value
        at = _behind_space(text, end)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        if error.end == len(raw) and "end of data" in error.reason:
            raise NotJson("it breaks off in the middle of a character") from None
        raise NotUtf8(raw.count(b"\n", 0, error.start)) from None


def _behind_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotJson(f"the key {quoted(twice)} stands twice in one object")
    return found


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise NotJson(f"the number {text[:20]} is too large")
    return value


def _no_constant(name: str) -> object:
    raise NotJson(f"{name} is no JSON value; null is")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_number, parse_constant=_no_constant)


def _holds_half(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _why(text: str, error: json.JSONDecodeError) -> str:
    """What is wrong, in words; and where, counted within the row."""
    at, before = error.pos, text[: error.pos].rstrip()[-1:]
    here = text[at : at + 5]
    where = f"at column {error.colno}" if error.lineno == 1 else f"{error.lineno - 1} lines on, at column {error.colno}"
    if error.msg.startswith("Invalid control character"):
        return f"a line break or control character stands bare in a string {where}; write it as \\n or \\t"
    if error.msg.startswith("Unterminated string") or not here.strip():
        return f"it breaks off; what is begun {where} does not end"
    if here.startswith(("//", "/*", "#")):
        return f"there is a comment {where}, which JSON does not know"
    if here.startswith("'"):
        return f"there are single quotes {where}; JSON takes double ones"
    if here.startswith(("None", "True", "False")):
        return f"there is Python's None, True or False {where}; JSON has null, true and false"
    if (here[0] in "]}" and before == ",") or error.msg.startswith("Illegal trailing comma"):
        return f"there is a comma too many {where}"
    return f"{error.msg[:1].lower()}{error.msg[1:]} {where}"
