"""What is sent to the terminal: nothing where nothing changes. A live chart is benchmarks/screen_bytes.py's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import RunBuilder
from tests.e2e.terminal import Terminal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.mark.parametrize("where", ["form", "live", "home"])
def test_nothing_is_sent_where_nothing_changes(tmp_path: Path, where: str) -> None:
    nothing_is_sent(tmp_path, where, seconds=3.0)


def nothing_is_sent(tmp_path: Path, where: str, seconds: float) -> None:
    """Show the form, an ended run or the list of runs; once it stands, listen for this long."""
    RunBuilder(tmp_path / "runs").prepared().trained(340).stopped()
    command = ["attach", "last"] if where != "form" else []
    terminal = Terminal(command, {"FINETUNEGEM_RUNS": str(tmp_path / "runs")}, tmp_path)
    terminal.wait_for("360 steps" if where == "form" else "eval loss")
    if where == "home":
        terminal.send("h")
        terminal.wait_for("1 run")
    terminal.wait_idle(1.0)
    assert terminal.read(seconds) == b""
    terminal.close()
