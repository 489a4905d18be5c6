"""An account on the disk is the account that was made, or none at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer.data import DataError, DataSet
from trainer.data.dataset import reading
from trainer.data.kept import keep, recall
from trainer.data.source import find


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Thirty rows, of which two are bad, one stands twice and one nearly."""
    rows = [json.dumps({"prompt": f"question {n}", "completion": f"answer {n}"}) for n in range(26)]
    more = [rows[3], json.dumps({"prompt": "Question 4!", "completion": "answer 4"}), "{", '{"prompt": 1}']
    file = tmp_path / "data.jsonl"
    file.write_text("\n".join([*rows, *more]))
    return file


def account(file: Path) -> DataSet:
    going = reading(find(str(file)), near=True)
    while True:
        try:
            next(going)
        except StopIteration as done:
            found: DataSet = done.value
            return found


def test_what_was_kept_is_recalled(file: Path, tmp_path: Path) -> None:
    data = account(file)
    keep(tmp_path, data)
    again = recall(tmp_path, find(str(file)), "")
    assert again is not None
    assert (again.rows, again.used, again.bad_count, again.bad) == (30, 28, 2, data.bad)
    assert again.duplicates == data.duplicates
    assert (data.duplicates.exact, data.duplicates.near) == (1, 1)
    assert [example.line for example in again.examples()] == [example.line for example in data.examples()]
    assert (again.shape.name, again.shape.why) == (data.shape.name, data.shape.why)


@pytest.mark.parametrize("name", ["account.json", "leaders", "digests"])
@pytest.mark.parametrize("damage", ["gone", "cut", "flipped", "other"])
def test_what_is_damaged_is_not_believed(file: Path, tmp_path: Path, name: str, damage: str) -> None:
    keep(tmp_path, account(file))
    part = tmp_path / name
    content = bytearray(part.read_bytes())
    if damage == "gone":
        part.unlink()
    elif damage == "cut":
        part.write_bytes(content[: len(content) // 2])
    elif damage == "other":
        part.write_bytes(b"[]")
    else:
        content[0] ^= 1
        part.write_bytes(content)
    assert recall(tmp_path, find(str(file)), "") is None


def test_a_shape_that_can_not_be_told_any_more_is_refused(file: Path, tmp_path: Path) -> None:
    keep(tmp_path, account(file))
    with pytest.raises(DataError, match="there is no column"):
        recall(tmp_path, find(str(file)), "prompt=nothing,completion=completion")
