"""The long version of tests/e2e/test_bytes.py: half a minute of nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.test_bytes import nothing_is_sent

pytestmark = [pytest.mark.soak, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("where", ["form", "live", "home"])
def test_nothing_is_sent_in_half_a_minute(tmp_path: Path, where: str) -> None:
    nothing_is_sent(tmp_path, where, seconds=30.0)
