"""Items made in a thread: the same, in order, one ahead; errors and endings where they belong."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from trainer.backends.local.ahead import ahead


def test_the_items_are_the_same_and_in_order() -> None:
    assert list(ahead(iter(range(50)))) == list(range(50))
    assert list(ahead(iter(()))) == []
    assert list(ahead(iter([None, None]))) == [None, None]


def test_the_next_one_is_made_while_this_one_is_used() -> None:
    """Were it not, the wait would time out."""
    made = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    for number in ahead(items()):
        assert all(event.wait(20) for event in made[: number + 2])


def test_an_error_comes_where_its_item_would_have() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise MemoryError("here")

    coming = ahead(items())
    assert [next(coming), next(coming)] == [1, 2]
    with pytest.raises(MemoryError, match="here"):
        next(coming)


def test_closing_it_leaves_no_thread() -> None:
    before = threading.active_count()
    coming = ahead(iter(range(10)))
    assert next(coming) == 0
    coming.close()
    assert threading.active_count() == before
