"""The main job in a real terminal: open, start, see the curve, lose the terminal, come back, stop, use the model.

Everything is real: the app in a pty, the host process, the starter model and data, torch on the CPU.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.terminal import ENTER, Terminal
from trainer.follow import Follower
from trainer.rundir import RunDir, list_runs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ANSWER = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
folder = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
chat = [{"role": "user", "content": sys.argv[2]}]
ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
out = model.generate(**ids, max_new_tokens=24, do_sample=False)
print(repr(tokenizer.decode(out[0, ids["input_ids"].shape[1]:])))
"""


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "runs"
    yield folder
    for run in list_runs(folder):
        if (pid := run.holder()) is not None:
            os.kill(pid, signal.SIGKILL)


def _until(run: RunDir, steps: int) -> Follower:
    follower = Follower(run)
    until = time.monotonic() + 120
    while follower.look().state.step < steps:
        assert time.monotonic() < until, f"only {follower.view.state.step} steps"
        time.sleep(0.1)
    return follower


def _answer(folder: str | Path, question: str) -> str:
    done = subprocess.run([sys.executable, "-c", ANSWER, str(folder), question], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_start_watch_lose_the_terminal_come_back_stop_and_use_the_model(tmp_path: Path, runs: Path) -> None:
    env = {"FINETUNEGEM_RUNS": str(runs)}
    first = Terminal([], env, tmp_path)
    first.wait_for("Epochs", "Batch size", "Learning rate", "360 steps")
    first.send(ENTER)
    first.wait_for("starting")
    first.wait_for("running", "eval loss", "best", seconds=90)

    (run,) = list_runs(runs)
    host = run.holder()
    first.close()  # the link is gone, and the app with it
    seen = _until(run, 40).view.state.step

    second = Terminal([], env, tmp_path, width=120, height=40)
    second.wait_for("Epochs")
    second.send("\x0c")  # ctrl+l: all runs
    second.wait_for(run.name, "running")
    second.send(ENTER)
    second.wait_for("running", "◆ eval loss", "● best")
    assert run.holder() == host
    os.kill(second.child.pid, signal.SIGKILL)
    _until(run, seen + 5)

    third = Terminal(["attach", "last"], env, tmp_path)
    third.wait_for("running", "● best")
    third.send("s")
    sheet = third.wait_for("Stop this run?", "keep the best")
    assert "keep the last step" in sheet
    third.send("2")
    third.wait_for("stopped", "Kept the best", "AutoModelForCausalLM", seconds=30)
    third.send("\x11")  # ctrl+q
    third.child.wait()
    assert third.child.exitstatus == 0

    entries, _, bad = run.read_events()
    assert bad == 0
    assert [entry.seq for entry in entries] == list(range(len(entries)))
    question = "how do I list files by size?"
    from_model = _answer(run.path / "model", question)
    base = Path(__file__).parents[2] / "presets" / "models" / "tiny"
    assert from_model != _answer(base, question)


def test_a_host_killed_with_9_is_shown_as_crashed_at_once(tmp_path: Path, runs: Path) -> None:
    terminal = Terminal([], {"FINETUNEGEM_RUNS": str(runs)}, tmp_path)
    terminal.wait_for("Epochs", "360 steps")
    terminal.send(ENTER)
    terminal.wait_for("starting", "elapsed")
    (run,) = list_runs(runs)
    host = run.holder()
    assert host is not None
    os.kill(host, signal.SIGKILL)
    terminal.wait_for("crashed", "host.log", seconds=10)
    terminal.close()
