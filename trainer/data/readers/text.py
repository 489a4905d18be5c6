"""Plain text: each document is a row {"text": ...}.

A document is a line, as in most text sets; in prose with blank lines between its paragraphs it is a paragraph, since a
line of it is a piece of a sentence. Which of the two is told by the first bytes, for the whole file.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainer.data.errors import DataError, shown
from trainer.data.rows import BadRow, Row
from trainer.data.source import DataFile
from trainer.data.stream import Lines, head

LONGEST_PARAGRAPH = 100_000  # lines
_LINES_PER_BLANK = 20  # prose has a blank line after a few; one in a thousand is a slip


def how(start: bytes) -> str:
    return "a row is a paragraph, up to a blank line" if _has_paragraphs(start) else "a row is a line"


def rows(file: DataFile, index: int) -> Iterator[Row | BadRow]:
    """The documents in order. Raises DataError."""
    start, _ = head(file.path, file.packing)
    check_line_ends(file, start)
    by_paragraph = _has_paragraphs(start)
    begun: list[str] = []
    first = 0
    for number, text in texts(file):
        blank = not text or text.isspace()
        if begun and (blank or not by_paragraph):
            yield Row(first, {"text": "\n".join(begun)}, index)
            begun = []
        if not blank:
            first = number if not begun else first
            begun.append(text.removesuffix("\r"))
            if len(begun) > LONGEST_PARAGRAPH:
                raise DataError(
                    f"{shown(file.path)}:{first}: a paragraph has more than {LONGEST_PARAGRAPH} lines: divide it."
                )
    if begun:
        yield Row(first, {"text": "\n".join(begun)}, index)


def check_line_ends(file: DataFile, start: bytes) -> None:
    """Raises DataError for lines as on the Macintosh of old, which would all be one."""
    if b"\r" in start.rstrip() and b"\n" not in start:
        raise DataError(
            f"{shown(file.path)}:1: the lines end in a carriage return alone: save the file with LF line ends."
        )


def texts(file: DataFile) -> Iterator[tuple[int, str]]:
    """The lines of a text with their numbers, without \\n. Raises DataError."""
    lines = Lines(file.path, file.packing)
    for block in lines:
        for line in block.split(b"\n"):
            try:
                yield lines.number, line.decode()
            except UnicodeDecodeError:
                sentence = "this is not UTF-8: save the file as UTF-8 and try again."
                raise DataError(f"{shown(file.path)}:{lines.number}: {sentence}") from None
            lines.number += 1


def _has_paragraphs(start: bytes) -> bool:
    """Whether blank lines stand between the paragraphs of a text that begins so."""
    lines = start.strip().splitlines()
    blank = sum(not line.strip() for line in lines)
    return len(lines) < _LINES_PER_BLANK * blank
