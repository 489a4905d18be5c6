"""Lengths that are kept: found again for the same data, model and columns only, and never in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.data.test_lengths import lengths
from tests.tui.form_stage import data_file, model_folder
from trainer import cache, known, models
from trainer.spec import RunSpec

FOUND = lengths(10, 600, 700)


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    return RunSpec(data=str(data_file(tmp_path)), model=str(model_folder(tmp_path, 1000)))


def key(spec: RunSpec) -> str:
    return known.key(spec, models.look_up(spec.model))


def test_what_was_kept_is_found_again(spec: RunSpec) -> None:
    assert known.recall(key(spec)) is None
    known.remember(key(spec), FOUND)
    assert known.recall(key(spec)) == FOUND


def test_other_data_columns_and_tokenizers_are_others(spec: RunSpec, tmp_path: Path) -> None:
    before = key(spec)
    assert key(RunSpec(**{**vars(spec), "max_length": 64, "epochs": 9})) == before
    assert key(RunSpec(**{**vars(spec), "columns": "text=prompt"})) != before
    data_file(tmp_path, rows=41)
    changed = key(spec)
    assert changed != before
    (Path(spec.model) / "tokenizer.json").write_text("{}")
    assert key(spec) != changed


@pytest.mark.parametrize("data", ["org/name", "hub:org/name", "/nowhere.jsonl", "builtin:none", "", "x" * 5000])
def test_data_that_are_no_files_here_are_not_kept(spec: RunSpec, data: str) -> None:
    other = RunSpec(**{**vars(spec), "data": data})
    assert key(other) == ""
    known.remember("", FOUND)
    assert known.recall("") is None


def test_a_damaged_entry_is_none(spec: RunSpec) -> None:
    known.remember(key(spec), FOUND)
    (file,) = (cache.root() / "lengths").glob("*.json")
    for text in ("", "[]", "{}", '{"model": 3}', "\0"):
        file.write_text(text)
        assert known.recall(key(spec)) is None


def test_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MOST", 3)
    for number in range(6):
        known.remember(f"entry{number}", FOUND)
        os.utime(cache.root() / "lengths" / f"entry{number}.json", (number, number))
    assert {file.stem for file in (cache.root() / "lengths").iterdir()} == {"entry3", "entry4", "entry5"}


def test_where_nothing_can_be_written_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNEGEM_CACHE", "/dev/null/cache")
    known.remember("entry", FOUND)
    assert known.recall("entry") is None
