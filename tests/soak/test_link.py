"""The long version of tests/e2e/test_link.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.link import end_screens

pytestmark = [pytest.mark.soak, pytest.mark.slow, pytest.mark.timeout(1800)]


def test_a_hundred_screens_end_badly_and_the_run_does_not_notice(tmp_path: Path) -> None:
    end_screens(tmp_path, 100)
