"""Where two rows of cells differ, in as few stretches as are worth sending. It knows neither widgets nor terminals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

NEAR = 8  # equal cells between two changed ones that are cheaper to send than a new cursor position


def unequal(before: Sequence[object], after: Sequence[object], near: int = NEAR) -> Iterator[tuple[int, int]]:
    """The stretches [start, end) outside of which two rows of as many cells are equal.

    Two changes with at most `near` equal cells between them are one stretch. Raises ValueError where the rows are not
    of one length.
    """
    start = end = -1
    for at, (a, b) in enumerate(zip(before, after, strict=True)):
        if a == b:
            continue
        if start >= 0 and at - end > near:
            yield start, end
            start = -1
        start = at if start < 0 else start
        end = at + 1
    if start >= 0:
        yield start, end
