"""How a data file is refused, and how its name and its content are quoted in the sentence that says so."""

from __future__ import annotations

import os

from trainer.secrets import redact

QUOTED = 20  # characters of the data that a sentence quotes


class DataError(Exception):
    """A data file can't be used; the text is one sentence: file:line: what: what to do."""


def shown(path: str | os.PathLike[str]) -> str:
    """A path on one line, as it can be read: what can't be printed is escaped (a name may hold any byte)."""
    text = os.fspath(path)
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def quoted(text: str, length: int = QUOTED) -> str:
    """A piece of the data for a sentence: cut short, without keys, control characters escaped."""
    return repr(redact(text[:200])[:length])


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of the name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
