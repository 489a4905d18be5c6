"""Where JSON values begin and end in a stream of bytes, and on which line; what they hold is not its question.

Strings and brackets are all it looks at, so a row with a fault in it still has an end and the next row is found. A
string ends with its line at the latest: JSON allows no line break in one, and a quote too few does no harm beyond.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from trainer.data.errors import DataError, shown
from trainer.data.source import DataFile
from trainer.data.stream import CHUNK, LONGEST, Damage, chunks

_STRUCTURE = re.compile(rb'["{}\[\]]')
_SCALAR = re.compile(rb'[^\s,:"{}\[\]]+')
_SPACE = re.compile(rb"[ \t\r\n]*+")
_COMMENT = re.compile(rb"//|/\*|#")
_BORDER = re.compile(rb'(\s*+,\s*+)\{\s*+"[^"\\\n]*+"')  # between two rows, with the second one's first key
DEEPEST = 1000  # brackets within brackets; the parser takes no more
_QUOTE, _BACKSLASH = b'"'[0], b"\\"[0]


class _TooDeepError(Exception):
    pass


class Scanner:
    """Stands at a place in the file and moves on. Raises DataError where it can't."""

    def __init__(self, file: DataFile) -> None:
        self.path = shown(file.path)
        self._chunks = chunks(file.path, file.packing)
        self._window = b""
        self._at = self._gap = 0
        self._ended = False
        self._line, self._counted = 1, 0

    @property
    def line(self) -> int:
        """The line it stands on, from 1."""
        self._line += self._window.count(b"\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def peek(self) -> bytes:
        """The next byte that is no white space; b"" at the end of the file. It then stands there."""
        while True:
            space = _SPACE.match(self._window, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._window) or self._ended:
                return self._window[self._at : self._at + 1]
            self._read_on()

    def take(self, wanted: bytes) -> bool:
        """Whether `wanted` comes next; it is passed then."""
        if self.peek() != wanted:
            return False
        self._at += 1
        return True

    def alike(self) -> list[tuple[int, bytes]]:
        """Behind a row in a list: the line and the bytes of what may well be the next rows, for they end as it did.

        Most rows end where the next begins, and that looks the same each time: `},{"prompt"`. To look for it is many
        times faster than to look at every bracket. What turns out to be rows is then to be passed.
        """
        found = _BORDER.match(self._window, self._at)
        if found is None or self._window[self._at - 1 : self._at] != b"}":
            return []
        border, gap = b"}" + found[0], found[1]
        rows: list[tuple[int, bytes]] = []
        line, at = self.line, self._at
        while (end := self._window.find(border, at)) >= 0:
            line += gap.count(b"\n")
            raw = self._window[at + len(gap) : end + 1]
            rows.append((line, raw))
            line += raw.count(b"\n")
            at = end + 1
        self._gap = len(gap)
        return rows

    def pass_alike(self, rows: Sequence[tuple[int, bytes]]) -> None:
        """Pass the first of what `alike` found."""
        self._at += sum(self._gap + len(raw) for _, raw in rows)

    def value(self) -> bytes:
        """The bytes of the value that comes next; it is passed."""
        begun = self.peek()
        try:
            while (end := self._end()) < 0 and not self._ended:
                self._read_on()
        except _TooDeepError:
            raise self.broken(f"it is nested deeper than {DEEPEST} brackets: no row is; mend the file") from None
        if end < 0 or begun in (b"/", b"#"):
            raise self.broken("the JSON breaks off: what begins here does not end: mend the file")
        if end == self._at:
            raise self.broken("a value is missing: mend the file")
        raw = self._window[self._at : end]
        self._at = end
        return raw

    def broken(self, what: str) -> DataError:
        """What to raise when the file can't go on as it does here."""
        if _COMMENT.match(self._window, self._at):
            what = "there is a comment, which JSON does not know: remove it"
        return DataError(f"{self.path}:{self.line}: {what}.")

    def _end(self) -> int:
        """Where the value that begins here ends; here, if none begins; -1, if its end is not within the window."""
        window, at = self._window, self._at
        first = window[at : at + 1]
        if first in (b"{", b"["):
            return _end_of_brackets(window, at)
        if first == b'"':
            return _end_of_string(window, at)
        scalar = _SCALAR.match(window, at)
        if scalar is None:
            return at if first else -1
        return scalar.end() if scalar.end() < len(window) or self._ended else -1

    def _read_on(self) -> None:
        """Make the window longer, and forget what lies behind; twice as long, so that looking again costs little."""
        self._line, self._counted = self.line, 0
        kept = self._window[self._at :]
        if len(kept) > LONGEST:
            raise self.broken(f"a value is longer than {LONGEST >> 20} MB: no row is; check how the file was made")
        pieces, size = [kept], 0
        try:
            while size < max(len(kept), CHUNK) and (piece := next(self._chunks, b"")):
                pieces.append(piece)
                size += len(piece)
        except Damage as damage:
            line = self._line + b"".join(pieces).count(b"\n")
            raise DataError(f"{self.path}:{line}: {damage}") from None
        self._window, self._at = b"".join(pieces), 0
        self._ended = size == 0


def _end_of_brackets(window: bytes, start: int) -> int:
    """Where the bracket that opens at `start` is closed; -1 if not within the window. A lone quote is skipped."""
    depth, at = 0, start
    while found := _STRUCTURE.search(window, at):
        character = window[found.start()]
        at = found.end()
        if character == _QUOTE:
            end = _end_of_string(window, found.start())
            if end < 0 and window.find(b"\n", at) < 0:
                return -1
            at = max(at, end)
        elif character in b"{[":
            depth += 1
            if depth > DEEPEST:
                raise _TooDeepError
        else:
            depth -= 1
            if depth == 0:
                return at
    return -1


def _end_of_string(window: bytes, start: int) -> int:
    """Where the string that begins at `start` ends; -1 if not on its line, or not within the window."""
    end = start
    while (end := window.find(b'"', end + 1)) >= 0:
        slashes = end
        while window[slashes - 1] == _BACKSLASH:
            slashes -= 1
        if (end - slashes) % 2 == 0:
            return end + 1 if window.find(b"\n", start, end) < 0 else -1
    return -1
