"""Tokens on the disk: what is read is what was written, cut and chosen when it is read; damage is noticed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.backends.local.batches import micro_batches
from trainer.backends.local.chat import Encoded
from trainer.backends.local.tokens import (
    INDEX,
    Damaged,
    Packed,
    Tokens,
    TokenSet,
    Words,
    Writer,
    lengths_of,
    open_tokens,
    pack,
    save_facts,
    targets_of,
)
from trainer.cache import Cache
from trainer.rundir import RunError

FILES = ("a.jsonl", "b.jsonl")


def example(length: int, learnt: int, begin: int = 0) -> Encoded:
    """So many tokens, the last `learnt` of them supervised."""
    supervised = torch.arange(length) >= length - learnt
    return Encoded(torch.arange(begin, begin + length, dtype=torch.int64), supervised, cut=False)


EXAMPLES: list[Encoded | RunError] = [
    example(10, 4),
    example(3, 1, 100_000),
    RunError("The template says no."),
    example(30, 2, 2**31 - 40),
    example(1, 1),  # its only token is predicted from nothing
    example(8, 8, 50),
]
PLACES = [(0, 1), (0, 2), (0, 4), (1, 1), (1, 2), (1, 30)]


def in_memory(*packed: Packed) -> Tokens:
    words, index = io.BytesIO(), io.BytesIO()
    writer = Writer(words, index)
    for one in packed:
        writer.add(one)
    return Tokens(words.getvalue(), np.frombuffer(index.getvalue(), INDEX), writer.facts)


def on_disk(folder: Path) -> Tokens:
    with Cache(folder).make("key") as new:
        with (new.path / "tokens").open("wb") as words, (new.path / "index").open("wb") as index:
            writer = Writer(words, index)
            writer.add(pack(EXAMPLES, PLACES))
        save_facts(new.path, writer.facts)
    return open_tokens(new.held)


def everything(tokens: Tokens, longest: int = 2**30) -> TokenSet:
    return TokenSet(tokens, np.flatnonzero(tokens.teaches(longest)), longest, FILES)


def contents(found: TokenSet) -> list[tuple[list[int], list[bool], bool, str]]:
    return [(one.ids.tolist(), one.supervised.tolist(), one.cut, one.place) for one in found]


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    tokens = on_disk(tmp_path)
    found = everything(tokens)
    wanted = [(one, place) for one, place in zip(EXAMPLES, PLACES, strict=True) if isinstance(one, Encoded)]
    del wanted[3]  # it teaches nothing
    assert len(found) == len(wanted)
    for one, (was, (file, line)) in zip(found, wanted, strict=True):
        assert torch.equal(one.ids, was.ids)
        assert one.ids.dtype == torch.int64
        assert torch.equal(one.supervised, was.supervised)
        assert (one.cut, one.line, one.place) == (False, line, f"{FILES[file]}:{line}")
        assert one.targets == was.targets
    assert (tokens.facts.examples, tokens.facts.refused, tokens.facts.largest) == (6, 1, 2**31 - 11)
    (refused,) = tokens.facts.first_refused
    assert (refused.file, refused.line, refused.why) == (0, 4, "The template says no.")


def test_memory_and_disk_are_the_same(tmp_path: Path) -> None:
    assert contents(everything(in_memory(pack(EXAMPLES, PLACES)))) == contents(everything(on_disk(tmp_path)))


def test_in_whatever_parts_they_come() -> None:
    parts = [pack(EXAMPLES[at : at + 1], PLACES[at : at + 1]) for at in range(len(EXAMPLES))]
    one, many = in_memory(pack(EXAMPLES, PLACES)), in_memory(*parts)
    assert contents(everything(one)) == contents(everything(many))
    assert one.facts == many.facts


@pytest.mark.parametrize("longest", [1, 2, 5, 7, 8, 9, 29, 30, 100])
def test_the_cut_is_made_when_it_is_read(longest: int) -> None:
    found = everything(in_memory(pack(EXAMPLES, PLACES)), longest)
    kept = [one for one in EXAMPLES if isinstance(one, Encoded) and bool(one.supervised[1:longest].any())]
    assert [one.ids.tolist() for one in found] == [one.ids[:longest].tolist() for one in kept]
    assert found.lengths.tolist() == [min(longest, len(one.ids)) for one in kept]
    assert found.targets == sum(int(one.supervised[1:longest].sum()) for one in kept)
    assert found.cut == sum(len(one.ids) > longest for one in kept)
    assert found.tokens_cut == sum(max(0, len(one.ids) - longest) for one in kept)
    assert [one.cut for one in found] == [len(one.ids) > longest for one in kept]


def test_a_side_has_its_examples_in_its_order() -> None:
    tokens = in_memory(pack(EXAMPLES, PLACES))
    found = TokenSet(tokens, np.array([5, 0]), 100, FILES)
    assert [one.line for one in found] == [30, 1]
    assert [one.line for one in found[0:2]] == [30, 1]
    assert found[-1].line == 1
    with pytest.raises(IndexError):
        found[2]


def test_counts_need_no_example_to_be_made() -> None:
    found = everything(in_memory(pack(EXAMPLES, PLACES)))
    examples = list(found)
    assert lengths_of(found) == lengths_of(examples) == [10, 3, 30, 8]
    assert targets_of(found) == targets_of(examples) == 14


def test_a_large_set_is_evaluated_without_being_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """An example is made when its micro-batch is, and the micro-batches are those of a plain list."""
    found = everything(in_memory(pack([example(5 + n % 7, 2, n) for n in range(40)], [(0, n) for n in range(40)])))
    plain = [micro.ids.tolist() for micro in micro_batches(list(found), 30)]
    reads: list[int] = []
    read = Tokens.read

    def counting(self: Tokens, number: int, longest: int) -> Words:
        reads.append(number)
        return read(self, number, longest)

    monkeypatch.setattr(Tokens, "read", counting)
    seen = 0
    for micro, wanted in zip(micro_batches(found, 30), plain, strict=True):
        assert micro.ids.tolist() == wanted
        seen += len(wanted)
        assert len(reads) == seen
    assert seen == 40


@pytest.mark.parametrize("name", ["tokens", "index", "facts.json"])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "longer", "one bit"])
def test_damage_is_noticed(tmp_path: Path, name: str, damage: str) -> None:
    on_disk(tmp_path)
    file = tmp_path / "key" / name
    content = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    else:
        content[len(content) // 2] ^= 1 if damage == "one bit" else 0
        kept = {"empty": 0, "cut": len(content) - 4}.get(damage, len(content))
        file.write_bytes(content[:kept] + b"\x01\x00\x00\x00" * (damage == "longer"))
    held = Cache(tmp_path).find("key")
    assert held is not None
    with pytest.raises(Damaged):
        open_tokens(held)


def test_tokens_in_use_are_not_cleared_and_stay_readable_whatever_happens(tmp_path: Path) -> None:
    found = everything(on_disk(tmp_path))
    cache = Cache(tmp_path, limit=0)
    assert cache.clear().in_use == 1
    before = contents(found)
    held = cache.find("key")
    assert held is not None
    cache.drop(held)
    assert contents(found) == before
    del found
    assert cache.clear().in_use == 0


def test_tokens_that_were_cut_short_under_a_run_end_it_in_a_sentence(tmp_path: Path) -> None:
    found = everything(on_disk(tmp_path))
    (tmp_path / "key" / "tokens").write_bytes(b"")
    with pytest.raises(RunError, match=r"^The token cache was changed"):
        found[0]
