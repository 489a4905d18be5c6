"""kill -9, twenty times, most of them inside a save: the run ends as if nothing had happened, to the last bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak import kill

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def test_twenty_kills_change_no_bit(tmp_path: Path) -> None:
    spec = kill.spec_for("builtin:tiny", "builtin:codephreak", epochs=2, batch_size=8)
    whole = kill.account(kill.undisturbed(spec, tmp_path / "one"))
    run, tally = kill.disturbed(spec, tmp_path / "two", kills=20, seed=7)
    assert tally.kills == 20, tally.log
    assert tally.in_save >= 8, tally.log
    assert kill.account(run) == whole
    assert whole["ending"] == "Finished"
