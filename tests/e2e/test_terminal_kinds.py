"""Terminals of all kinds and sizes, in a real pty: what is shown in each, and what is said where nothing can be."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import RunBuilder
from tests.e2e.stage import kill_host, replayed
from tests.e2e.terminal import CTRL_Q, ENTER, F2, Terminal
from trainer.rundir import RunDir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PLAIN = [sys.executable, "-P", "-m", "tui.cli"]


@pytest.fixture
def ended(tmp_path: Path) -> RunBuilder:
    return RunBuilder(tmp_path / "runs").prepared().trained(340).stopped()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[RunDir]:
    run = replayed(tmp_path, steps=20_000)
    yield run
    kill_host(run)


def attached(
    tmp_path: Path, width: int = 80, height: int = 24, codec: str = "utf-8", env: dict[str, str] | None = None
) -> Terminal:
    env = {"FINETUNEGEM_RUNS": str(tmp_path / "runs"), **(env or {})}
    return Terminal(["attach", "last"], env, tmp_path, width, height, codec=codec)


def in_ascii(terminal: Terminal) -> bool:
    """Whether no byte it wrote is beyond ASCII."""
    return bytes(terminal.raw).isascii()


@pytest.mark.parametrize(
    "kind",
    [
        {"TERM": "linux", "COLORTERM": ""},
        {"TERM": "xterm", "COLORTERM": ""},
        {"TERM": "vt100", "COLORTERM": ""},
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"FINETUNEGEM_ASCII": "1"},
    ],
    ids=lambda kind: "-".join(kind.values()),
)
def test_a_terminal_without_dots_and_lines_gets_ascii(tmp_path: Path, ended: RunBuilder, kind: dict[str, str]) -> None:
    terminal = attached(tmp_path, env=kind)
    terminal.wait_for("stopped", "eval loss", "* best 2.314", "Kept the best")
    terminal.wait_idle()
    text = terminal.text
    assert in_ascii(terminal)
    assert "# stopped" in text
    chart = "".join(text.splitlines()[2:15])
    assert all(chart.count(sign) >= 2 for sign in "|-+o"), text  # the axis, the curve, its evaluations
    terminal.send(CTRL_Q)
    assert terminal.ended() == 0


def test_a_latin_1_terminal_gets_its_letters_and_no_braille(tmp_path: Path, ended: RunBuilder) -> None:
    """Python's own word for its streams stands in for a locale that this machine may not have."""
    ended.write_spec('name = "größe"\nmodel = "modèle"\n')
    terminal = attached(tmp_path, codec="latin-1", env={"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"})
    terminal.wait_for("stopped", "eval loss", "modèle")
    terminal.wait_idle()
    assert "mod\xe8le".encode("latin-1") in terminal.raw
    assert b"?" * 20 not in terminal.raw
    assert b"\\u28" not in terminal.raw
    terminal.send(b"\xe9")
    terminal.send(CTRL_Q)
    assert terminal.ended() == 0


@pytest.mark.parametrize("command", [[], ["attach", "last"]])
def test_a_dumb_terminal_gets_plain_lines_and_no_escape(tmp_path: Path, ended: RunBuilder, command: list[str]) -> None:
    env = {"FINETUNEGEM_RUNS": str(tmp_path / "runs"), "TERM": "dumb", "COLORTERM": ""}
    terminal = Terminal(command, env, tmp_path)
    code = terminal.ended(60)
    assert b"\x1b" not in terminal.raw
    if command:
        assert code == 0
        assert b"stopped at step 340" in terminal.raw
    else:
        assert code == 2
        assert b"TERM is dumb; `finetunegem run` works without one" in terminal.raw.replace(b"\r\n", b"")


def test_without_a_terminal_it_says_so_or_prints_lines(tmp_path: Path, ended: RunBuilder) -> None:
    env = {**os.environ, "FINETUNEGEM_RUNS": str(tmp_path / "runs"), "TERM": "xterm-256color"}
    opened = subprocess.run(PLAIN, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=tmp_path)
    assert (opened.returncode, opened.stdout) == (2, "")
    assert "needs a terminal" in opened.stderr
    shown = subprocess.run(
        [*PLAIN, "attach", "last"], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert shown.returncode == 0
    assert "stopped at step 340" in shown.stdout
    assert "\x1b" not in shown.stdout + shown.stderr


def test_errors_may_go_to_a_file(tmp_path: Path, ended: RunBuilder) -> None:
    """`finetunegem 2> log`: the picture still goes to the terminal."""
    env = {"FINETUNEGEM_RUNS": str(tmp_path / "runs")}
    script = f"{sys.executable} -P -m tui.cli attach last 2> {tmp_path}/log"
    terminal = Terminal([], env, tmp_path, program=["sh", "-c", script])
    terminal.wait_for("stopped", "eval loss")
    terminal.send(CTRL_Q)
    assert terminal.ended() == 0
    assert (tmp_path / "log").read_bytes() == b""


def test_too_small_says_so_and_comes_back(tmp_path: Path, live: RunDir) -> None:
    terminal = attached(tmp_path, 30, 8)
    terminal.wait_for("Make me bigger", "40x10")
    terminal.resize(80, 24)
    terminal.wait_for("running", "eval loss", "elapsed")
    for size in ((39, 24), (80, 9), (1, 1), (5, 2)):
        terminal.resize(*size)
        terminal.wait_idle()
        assert not terminal.read(1.0), "the run behind it goes on, and nothing of it is sent"
        assert not {"elapsed", "running"} & set(terminal.text.split())
        terminal.resize(80, 24)
        terminal.wait_for("running", "elapsed", "eval loss")
    terminal.resize(80, 8)
    terminal.resize(80, 24)  # at once: the terminal has lost rows, and tells no other size than before
    terminal.wait_for("running", "elapsed", "eval loss")
    terminal.send(CTRL_Q)
    assert terminal.ended() == 0


def test_the_smallest_size_shows_the_curve_and_the_figures(tmp_path: Path, live: RunDir) -> None:
    terminal = attached(tmp_path, 40, 10)
    text = terminal.wait_for("running", "loss", "step", "Stop")
    terminal.wait_until(lambda: any(0x2800 < ord(sign) < 0x2900 for sign in terminal.text), "a curve")
    assert "Make me bigger" not in text
    terminal.send("s")
    terminal.wait_for("Stop")
    terminal.send("\x1b")
    terminal.send(CTRL_Q)
    assert terminal.ended() == 0


def test_the_form_can_be_used_at_the_smallest_size(tmp_path: Path) -> None:
    terminal = Terminal([], {"FINETUNEGEM_RUNS": str(tmp_path / "runs")}, tmp_path, 40, 10)
    terminal.wait_for("Epochs", "Start")
    terminal.send("\x1b[B")
    terminal.send("\t\t")
    terminal.wait_for("Learning rate")
    terminal.send(CTRL_Q)
    assert terminal.ended() == 0


def test_a_storm_of_resizes_does_it_no_harm(tmp_path: Path, live: RunDir) -> None:
    terminal = attached(tmp_path)
    terminal.wait_for("running", "elapsed")
    for at in range(100):
        terminal.resize(20 + at * 37 % 200, 5 + at * 17 % 60)
        terminal.read(0.01)
    terminal.resize(100, 30)
    terminal.wait_for("running", "elapsed", "eval loss")
    terminal.send("h")
    terminal.wait_for("replayed")
    terminal.send(ENTER)
    terminal.wait_for("running", "elapsed")
    terminal.send(CTRL_Q)
    assert terminal.ended() == 0


@pytest.mark.parametrize("kind", [{"TERM": "linux", "COLORTERM": ""}, {"FINETUNEGEM_ASCII": "1"}])
def test_the_look_at_data_is_in_ascii_there_too(tmp_path: Path, kind: dict[str, str]) -> None:
    folders = {"FINETUNEGEM_RUNS": str(tmp_path / "runs"), "FINETUNEGEM_CACHE": str(tmp_path / "cache")}
    terminal = Terminal([], {**folders, **kind}, tmp_path)
    terminal.wait_for("Start", "validation examples")
    terminal.send(F2)
    terminal.wait_for("shortest", "cut at 512", "rows by their tokens", "Row 1 of", "learnt")
    terminal.wait_idle()
    assert in_ascii(terminal)
    terminal.send(CTRL_Q)
    assert terminal.ended() == 0
