"""Every usual way for data to be broken gets what it should: refused, skipped with count, warned of, or taken."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.data.broken import CASES, FAMILIES
from tests.data.cases.making import Case
from trainer.data import DataError, DataSet, load
from trainer.data.errors import shown
from trainer.data.source import find


def check(named: Path) -> DataSet:
    return load(str(named)).check()


def is_one_sentence(said: str) -> bool:
    """One line for a person, and nothing in it that a terminal would obey."""
    return said.endswith(".") and said.isprintable() and "Traceback" not in said


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{family}: {c.name}" for family, cases in FAMILIES.items() for c in cases]
)
def test_it_gets_what_it_should(case: Case, tmp_path: Path) -> None:
    if case.root_reads_it and os.geteuid() == 0:
        pytest.skip("root may read everything")
    named = case.make(tmp_path)
    if case.verdict == "refuse":
        with pytest.raises(DataError) as caught:
            check(named)
        said = str(caught.value)
        assert is_one_sentence(said)
        assert said.startswith(shown(named))
        assert len(said) < len(str(named)) + 400
        assert all(words in said for words in case.says), said
        if case.line is not None:
            assert re.search(rf":{case.line}: ", said), said
        return
    data = check(named)
    assert (data.used, data.bad_count) == (case.used, case.bad)
    if case.verdict == "skip":
        assert data.bad[0].line == case.line
        assert all(words in data.bad[0].why for words in case.says), data.bad[0].why
        assert data.bad[0].why.isprintable()
    if case.verdict == "warn":
        notes = " ".join(find(str(named)).notes)
        assert all(words in notes for words in case.says), notes
        assert is_one_sentence(notes)


def test_there_are_enough_cases_and_no_two_alike() -> None:
    assert len(CASES) >= 100
    assert all(len(cases) >= 10 for cases in FAMILIES.values())
    assert len({case.name for case in CASES}) == len({case.wrong + case.name for case in CASES}) == len(CASES)
