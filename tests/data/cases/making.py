"""What a case is, and short words to make them with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Make = Callable[[Path], Path]
Verdict = Literal["refuse", "skip", "accept", "warn"]

GOOD = {"prompt": "What is one and one?", "completion": "Two."}
LINE = json.dumps(GOOD) + "\n"
MANY = 150  # good rows around a bad one: it is under 1 % of them then
MIDDLE = 76  # the line that the bad one stands on


@dataclass(frozen=True)
class Case:
    """`says` are words of the message: of the refusal, the first bad row's reason, or the notes for a warning."""

    name: str
    wrong: str
    make: Make
    verdict: Verdict
    says: tuple[str, ...] = ()
    line: int | None = None
    used: int | None = None
    bad: int = 0
    root_reads_it: bool = False  # no permission is wanted that root would not have anyway


def write(content: bytes | str, name: str = "data.jsonl") -> Make:
    def make(folder: Path) -> Path:
        file = folder / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    return make


def good(count: int = MANY) -> str:
    return LINE * count


def among(row: bytes | str | dict[str, Any]) -> bytes:
    """A row in the midst of many good ones, on line MIDDLE."""
    raw = json.dumps(row).encode() if isinstance(row, dict) else row.encode() if isinstance(row, str) else row
    return good(MIDDLE - 1).encode() + raw + b"\n" + good(MANY - MIDDLE + 1).encode()


def refused(name: str, wrong: str, content: bytes | str | Make, *says: str, line: int | None = None,
            file: str = "data.jsonl", root: bool = False) -> Case:  # fmt: skip
    make = content if callable(content) else write(content, file)
    return Case(name, wrong, make, "refuse", says, line, root_reads_it=root)


def skipped(name: str, wrong: str, row: bytes | str | dict[str, Any], *says: str, count: int = 1, used: int = MANY,
            file: str = "data.jsonl") -> Case:  # fmt: skip
    return Case(name, wrong, write(among(row), file), "skip", says, MIDDLE, used, count)


def accepted(name: str, wrong: str, content: bytes | str | Make, used: int, file: str = "data.jsonl") -> Case:
    make = content if callable(content) else write(content, file)
    return Case(name, wrong, make, "accept", used=used)


def warned(name: str, wrong: str, make: Make, used: int, *says: str) -> Case:
    return Case(name, wrong, make, "warn", says, used=used)


def chat(*turns: tuple[str, object]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def table(*lines: str) -> str:
    return "\n".join(lines) + "\n"


TEN = good(10)
ROWS = [GOOD] * 3
