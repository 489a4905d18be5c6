"""The link may go in any way: the run misses no step, and no screen stays behind. 100 endings are in tests/soak."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.link import end_screens, fill, opened, steps
from tests.e2e.stage import kill_host, replayed
from tests.e2e.terminal import CTRL_Q

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_twenty_screens_end_badly_and_the_run_does_not_notice(tmp_path: Path) -> None:
    end_screens(tmp_path, 20)


def test_a_frozen_link_slows_the_run_by_nothing(tmp_path: Path) -> None:
    """The host never waits for a screen. Half the pace is enough here: other tests may have the processor."""
    run = replayed(tmp_path, steps=20_000, seconds=0.02)
    try:
        terminal = opened(tmp_path)
        begin = steps(run)
        terminal.read(3)
        usual = steps(run) - begin
        fill(terminal)
        begin = steps(run)
        time.sleep(3)
        assert steps(run) - begin > usual / 2
        terminal.resize(80, 24)
        terminal.wait_idle(0.05)  # the link is back: the screen goes on as well
        terminal.wait_for("running", "elapsed")
        terminal.send(CTRL_Q)
        assert terminal.ended() == 0
    finally:
        kill_host(run)
