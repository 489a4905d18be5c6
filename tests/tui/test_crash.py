"""A screen that breaks: a plain traceback on stderr, no locals, no keys, nothing a terminal obeys, and exit code 1."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.e2e.terminal import CTRL_L, Terminal
from tests.keys import CANARIES, leaks
from trainer import secrets
from tui import cli
from tui.app import FinetuneApp
from tui.crash import PlainCrash, report

BREAKS = """
import sys
from pathlib import Path
from tests.keys import CANARIES
from tui import app, cli
from tui.screens.new_run import NewRunScreen
def action_runs(self):
    keys = list(CANARIES.values())
    raise {error}
NewRunScreen.action_runs = action_runs
sys.exit(cli.main([]))
"""
ERRORS = (
    'ValueError("401 for " + " ".join(keys))',
    '__import__("textual.markup").markup.MarkupError("\\x1b]0;owned\\x07 [" + keys[0])',
)


def deep(key: str, levels: int = 3) -> None:
    if levels:
        deep(key, levels - 1)
    try:
        {"there": 1}["missing"]
    except KeyError as error:
        raise ValueError(f"\x1b]52;c;b3duZWQ=\x07 {key}") from error


def test_a_report_has_the_frames_and_the_cause_but_no_key_and_no_escape() -> None:
    secrets.forget()
    with pytest.raises(ValueError) as caught:
        deep(CANARIES["HF_TOKEN"])
    said = report(caught.value)
    assert not leaks(said.encode())
    assert "KeyError: 'missing'" in said
    assert "in deep" in said
    assert "levels = " not in said
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", said)
    assert said.endswith("Runs go on: `finetunegem list` shows them.")


def test_a_report_of_a_very_long_error_is_cut_in_the_middle() -> None:
    said = report(ValueError("x" * 10_000_000 + "the end"))
    assert len(said) < 30_000
    assert "the end" in said


def test_the_app_reports_its_crashes_so() -> None:
    assert issubclass(FinetuneApp, PlainCrash)


async def test_a_crash_under_a_test_is_raised_and_printed_without_the_key(capfd: pytest.CaptureFixture[str]) -> None:
    class Breaks(PlainCrash):
        def on_mount(self) -> None:
            raise ValueError(f"on mount {CANARIES['HF_TOKEN']}")

    app = Breaks()
    with pytest.raises(ValueError, match="on mount"):
        async with app.run_test():
            pass
    assert app.return_code == 1
    err = capfd.readouterr().err
    assert err.count("ValueError: on mount [key removed]") == 1
    assert not leaks(err.encode())


def test_a_command_that_breaks_says_so_without_the_key(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def breaks(_: object) -> int:
        raise ValueError(f"401 for {CANARIES['GEMINI_API_KEY']}")

    monkeypatch.setattr("tui.commands._list", breaks)
    assert cli.main(["list"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert "ValueError: 401 for [key removed]" in err
    assert not leaks(err.encode())


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS)
def test_in_a_real_terminal_no_byte_holds_a_key_and_the_code_is_1(tmp_path: Path, error: str) -> None:
    root = str(Path(cli.__file__).parents[1])
    environment = {**CANARIES, "FINETUNEGEM_RUNS": str(tmp_path / "runs"), "PYTHONPATH": root}
    program = [sys.executable, "-P", "-c", BREAKS.format(error=error)]
    terminal = Terminal([], environment, tmp_path, width=120, height=40, program=program)
    terminal.wait_for("Epochs", "steps")
    terminal.send(CTRL_L)
    assert terminal.ended() == 1
    assert "The screen broke" in terminal.text
    written = bytes(terminal.raw)
    assert b"Traceback" in written
    assert b"keys = " not in written.replace(b"keys = list(", b"")
    assert not leaks(written)
    assert b"\x1b]0;owned" not in written
    assert terminal.modes() == {}
