"""The long version of tests/e2e/test_link.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.e2e.link import end_screens
from tests.soak import freeze

pytestmark = [pytest.mark.soak, pytest.mark.slow, pytest.mark.timeout(1800)]


def test_a_hundred_screens_end_badly_and_the_run_does_not_notice(tmp_path: Path) -> None:
    end_screens(tmp_path, 100)


@pytest.mark.skipif(sys.platform != "linux", reason="processor times come from /proc")
@pytest.mark.parametrize("how", [freeze.unread, freeze.stopped])
def test_a_frozen_screen_costs_the_run_nothing(tmp_path: Path, how: freeze.Freeze) -> None:
    """No step is later than one without a screen, and the host has no more to do."""
    found = freeze.compare(tmp_path, how, turns=9, seconds=5.0)
    assert min(len(stretch.between) for stretch in (*found.free, *found.frozen)) > 50
    (usual, seen), (free, frozen), (alone, watched) = found.late(), found.pace(), found.processor()
    assert seen <= usual
    assert frozen <= free + 0.001  # as fine as the log is
    assert watched <= 1.2 * alone
