"""kill -9, twenty times, most of them inside a save: the run ends as if nothing had happened, to the last bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.soak import kill
from trainer import launch
from trainer.events import Started
from trainer.rundir import RunDir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def test_twenty_kills_change_no_bit(tmp_path: Path) -> None:
    spec = kill.spec_for("builtin:tiny", "builtin:codephreak", epochs=2, batch_size=8)
    whole = kill.account(kill.undisturbed(spec, tmp_path / "one"))
    run, tally = kill.disturbed(spec, tmp_path / "two", kills=20, seed=7)
    assert tally.kills == 20, tally.log
    assert tally.in_save >= 8, tally.log
    assert kill.account(run) == whole
    assert whole["ending"] == "Finished"


def test_a_kept_run_goes_on_by_itself(tmp_path: Path, wait_for: Callable[..., None]) -> None:
    spec = kill.spec_for("builtin:tiny", "builtin:codephreak", epochs=1, batch_size=8)
    whole = kill.account(kill.undisturbed(spec, tmp_path / "one"))
    run = launch.start(tmp_path / "two", kill.spec_for("builtin:tiny", "builtin:codephreak", **KEPT))
    for born in (1, 2):
        wait_for(lambda born=born: _hosts(run) == born and run.holder() is not None, "the host")
        assert kill.kill(run, random.Random(born), 1.0, kill.Tally())
    wait_for(lambda: _hosts(run) == 3 and run.holder() is not None, "the last host")
    kill.until_dead(run)
    assert kill.account(run) == whole


KEPT = {"epochs": 1, "batch_size": 8, "auto_resume": "yes"}


def _hosts(run: RunDir) -> int:
    return sum(isinstance(entry.event, Started) for entry in run.read_events()[0])
