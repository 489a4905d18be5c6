"""How a screen ends, in a real pty: by key, by signal, by the loss of its terminal; and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.link import ignore_hangup
from tests.e2e.terminal import CTRL_C, CTRL_Q, CTRL_Z, Terminal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PROMISED = 2.0  # seconds from the loss of the terminal, or a signal, to the end
SLACK = 3.0  # more, for a machine that is busy with other tests
CRASH = """
import sys
from tui import app
app.FinetuneApp.action_copy = lambda self: 1 / 0
from tui.cli import main
sys.exit(main([]))
"""


def opened(tmp_path: Path, *, preexec_fn: Callable[[], None] | None = None, **env: str) -> Terminal:
    terminal = Terminal([], {"FINETUNEGEM_RUNS": str(tmp_path / "runs"), **env}, tmp_path, preexec_fn=preexec_fn)
    terminal.wait_for("Epochs", "360 steps")
    return terminal


def test_quitting_leaves_the_terminal_as_it_was_found(tmp_path: Path) -> None:
    terminal = Terminal([], {"FINETUNEGEM_RUNS": str(tmp_path / "runs")}, tmp_path)
    before = terminal.settings()
    terminal.wait_for("Epochs")
    terminal.send("\x1b[?2048;2$y")  # the terminal says that it reports resizes: Textual turns on more modes then
    terminal.wait_idle()
    assert terminal.modes() != {}
    assert terminal.settings() != before
    terminal.send(CTRL_Q)
    assert terminal.ended() == 0
    assert terminal.modes() == {}
    assert terminal.settings() == before
    assert terminal.raw.count(b"\x1b[<u") == terminal.raw.count(b"\x1b[>") >= 1  # kitty's keys are given back


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals, code: int) -> None:
    terminal = opened(tmp_path)
    os.kill(terminal.child.pid, number)
    assert terminal.ended(PROMISED + SLACK) == code
    assert terminal.modes() == {}
    assert "Traceback" not in terminal.text


def test_a_signal_ends_a_frozen_screen_too(tmp_path: Path) -> None:
    """Nothing reads its terminal, so that its loop stands still in a write."""
    terminal = opened(tmp_path)
    for width in range(200, 260):  # each a whole picture, until nothing more goes into the pty
        terminal.child.setwinsize(60, width)
        time.sleep(0.03)
    os.kill(terminal.child.pid, signal.SIGTERM)
    until = time.monotonic() + PROMISED + SLACK
    while terminal.child.isalive() and time.monotonic() < until:
        time.sleep(0.05)
    assert not terminal.child.isalive()
    assert terminal.child.exitstatus == 143


@pytest.mark.parametrize("ignoring", [False, True], ids=["hangup", "hangup ignored"])
def test_it_is_gone_when_its_terminal_is(tmp_path: Path, ignoring: bool) -> None:
    terminal = opened(tmp_path, preexec_fn=ignore_hangup if ignoring else None)
    pid = terminal.child.pid
    os.close(terminal.child.child_fd)
    until = time.monotonic() + PROMISED + SLACK
    while (done := os.waitpid(pid, os.WNOHANG)) == (0, 0):
        assert time.monotonic() < until, "it goes on without a terminal"
        time.sleep(0.02)
    assert os.waitstatus_to_exitcode(done[1]) == 129


def test_it_is_gone_without_a_controlling_terminal_too(tmp_path: Path) -> None:
    """As under sudo or in a container: no SIGHUP is ever sent."""
    master, slave = os.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "FINETUNEGEM_RUNS": str(tmp_path / "runs")}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tui.cli"], stdin=slave, stdout=slave, env=env, start_new_session=True
    )
    os.close(slave)
    seen = b""
    while b"Learning rate" not in seen:
        seen += os.read(master, 65536)
    os.close(master)
    assert process.wait(PROMISED + SLACK) == 129


def test_a_crash_ends_with_1_and_gives_the_terminal_back(tmp_path: Path) -> None:
    env = {"FINETUNEGEM_RUNS": str(tmp_path / "runs")}
    terminal = Terminal([], env, tmp_path, program=[sys.executable, "-P", "-c", CRASH])
    terminal.wait_for("Epochs")
    terminal.send(CTRL_C)
    assert terminal.ended() == 1
    assert terminal.modes() == {}
    assert b"ZeroDivisionError" in terminal.raw


def test_ctrl_c_says_how_to_leave(tmp_path: Path) -> None:
    terminal = opened(tmp_path)
    terminal.send(CTRL_C)
    terminal.wait_for("ctrl+q leaves; runs go on.")
    terminal.send(CTRL_Q)
    assert terminal.ended() == 0


def test_suspended_and_back_it_shows_everything_again(tmp_path: Path) -> None:
    """In a shell with job control, as a person does it."""
    env = {"FINETUNEGEM_RUNS": str(tmp_path / "runs"), "PS1": "shell> "}
    terminal = Terminal([], env, tmp_path, program=["bash", "--norc", "--noediting", "-i"])
    terminal.wait_for("shell>")
    terminal.send(f"{sys.executable} -P -m tui.cli\n")
    terminal.wait_for("Epochs", "360 steps")
    terminal.send(CTRL_Z)
    terminal.wait_until(lambda: b"Stopped" in terminal.raw, "the shell's word")
    assert terminal.modes() in ({}, {2004: True})  # bash turns on paste itself
    terminal.screen.reset()
    terminal.send("fg\n")
    terminal.wait_for("Epochs", "Batch size", "Learning rate", "360 steps")
    terminal.send(CTRL_Q)
    terminal.wait_until(lambda: terminal.raw.rstrip().endswith(b"shell>"), "the shell again")
    terminal.send("echo code $?\n")
    terminal.wait_for("code 0")
    terminal.close()


@pytest.mark.parametrize("keys", [b"\xe9a", b"\xe9", b"\xff\xfe\x00", b"\xc3\x28", b"\x1b[<\xff;1M", b"\x80" * 5000])
def test_bytes_that_are_no_text_do_not_crash_it(tmp_path: Path, keys: bytes) -> None:
    terminal = opened(tmp_path)
    terminal.send(keys)
    terminal.send(CTRL_C)
    terminal.wait_for("ctrl+q leaves")
    terminal.send(CTRL_Q)
    assert terminal.ended() == 0
