"""Counts of lengths: what a cut costs, bins that hold every row once, and the way through JSON."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from trainer.data.lengths import NEVER, Extreme, Lengths, enough, from_fields


def lengths(*tokens: int, begin: int = 1, limit: int = 0, refused: int = 0) -> Lengths:
    """Rows of these lengths, each learnt from its `begin`-th token on."""
    by_length = dict(Counter(tokens))
    longest, shortest = Extreme(max(tokens), "data.jsonl:2"), Extreme(min(tokens), "data.jsonl:1")
    by_begin = dict(Counter(begin if begin < one else NEVER for one in tokens))
    return Lengths("m", by_length, by_begin, sum(tokens) // 2, longest, shortest, limit, refused, "data.jsonl:9: no")


def test_what_a_cut_costs() -> None:
    found = lengths(10, 20, 20, 30)
    assert (found.rows, found.tokens) == (4, 80)
    cut = found.cut(15)
    assert (cut.rows, cut.tokens) == (3, 5 + 5 + 15)
    assert found.cut(30).rows == 0  # a row of just max length is whole


def test_rows_whose_answer_lies_behind_the_cut_keep_nothing() -> None:
    assert lengths(100, 200, begin=50).cut(50).nothing_left == 2
    assert lengths(100, 200, begin=50).cut(51).nothing_left == 0
    assert lengths(100, begin=100).cut(1000).nothing_left == 1  # nothing of it is learnt at all


def test_a_max_length_that_is_enough() -> None:
    found = {5: 97, 300: 2, 700: 1}
    assert [enough(found, spare) for spare in (0, 1, 2, 3, 99, 100)] == [704, 320, 320, 64, 64, 64]
    assert enough(found, 0, limit=1024) == 704
    assert enough(found, 0, limit=702) == 702
    assert enough(found, 0, limit=700) == 0  # the model has no position for it
    assert enough({5: 10, NEVER: 2}, 1) == 0  # nothing of two rows is learnt at any length
    assert enough({5: 10, NEVER: 2}, 2) == 64
    lost = lengths(100, 200, begin=50, refused=3)
    assert (lost.lost(50), lost.lost(64)) == (5, 3)
    assert (lost.enough(3), lost.enough(2)) == (64, 0)


def test_the_models_positions_cut_where_they_come_first() -> None:
    found = lengths(100, 3000, limit=1024)
    assert found.within(4096) == 1024
    assert found.cut(4096).tokens == 3000 - 1024
    assert found.within(512) == 512


@pytest.mark.parametrize(
    "tokens",
    [(7,), (7, 7, 7), (0, 1, 100), (1, 2, 3), (500, 555, 600), (3, 70_000), tuple(range(1, 5000, 7)), (511, 512, 513)],
)
@pytest.mark.parametrize("cut", [1, 8, 300, 512, 1000, 131_072])
@pytest.mark.parametrize("most", [2, 3, 5, 9, 20])
def test_every_row_is_in_one_bin_and_the_cut_is_an_edge(tokens: tuple[int, ...], cut: int, most: int) -> None:
    found = lengths(*tokens)
    bins = found.histogram(cut, most)
    ends = [one.end for one in bins]
    assert sum(one.rows for one in bins) == len(tokens)
    assert ends == sorted(set(ends))
    assert ends[-1] >= max(tokens)
    assert len(bins) <= most
    if min(tokens) <= cut < max(tokens):
        assert cut in ends
        assert sum(one.rows for one in bins if one.end > cut) == found.cut(cut).rows


def test_max_lengths_worth_trying() -> None:
    assert lengths(100, 3000).rungs() == (128, 256, 512, 1024, 2048, 4096)
    assert lengths(100, 3000, limit=1024).rungs() == (128, 256, 512, 1024)


def test_in_one_sentence() -> None:
    found = lengths(10, 600, 700)
    assert found.cut_sentence(512) == "2 of 3 rows are longer than 512 tokens: cut"
    assert found.cut_sentence(650) == "1 of 3 rows is longer than 650 tokens: cut"
    assert found.cut_sentence(1024) == "no row is longer than 1,024 tokens"
    lost = lengths(10, 600, begin=5).cut_sentence(5)
    assert lost == "2 of 2 rows are longer than 5 tokens: cut; 2 keep nothing to learn"


def test_json_and_back() -> None:
    found = lengths(10, 20, 30, limit=1024, refused=2)
    assert from_fields(json.loads(json.dumps(found.fields()))) == found


@pytest.mark.parametrize("raw", [{}, {"model": "m"}, [], None, {"by_length": 3}])
def test_what_is_no_such_thing_is_refused(raw: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        from_fields(raw)  # type: ignore[arg-type]
