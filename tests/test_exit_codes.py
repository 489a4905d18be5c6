"""Exit codes of the command line: 0 done, 1 failed or broke, 2 can't be used, 75 held, 129, 130 and 143 by signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.follow import Follower
from trainer.lock import Locked
from trainer.rundir import list_runs
from tui.cli import main

Record = Callable[..., Path]
WaitFor = Callable[..., None]
SHELL = """
"$@" >/dev/null 2>&1 &
echo $!
wait $!
echo $?
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_follower_with_its_code_and_the_run_goes_on(
    runs_dir: Path, record: Record, wait_for: WaitFor, number: signal.Signals, code: int
) -> None:
    follow = [sys.executable, "-P", "-m", "tui.cli", "run", "--backend", "replay", "--data", str(record(3000, 0.04))]
    command = ["sh", "-c", SHELL, "sh", *follow, "--runs-dir", str(runs_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        pid = int(shell.stdout.readline())
        wait_for(lambda: list_runs(runs_dir) and list_runs(runs_dir)[0].holder(), "the host")
        os.kill(pid, number)
        assert shell.stdout.readline() == f"{code}\n"
    (run,) = list_runs(runs_dir)
    follower = Follower(run)
    step = follower.look().state.step
    wait_for(lambda: follower.look().state.step > step + 2, "more steps")
    assert follower.view.status == "running"


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (ValueError("a mistake of ours"), 1), (Locked("run is already driven."), 75),
     (BrokenPipeError(), 1), (OSError(28, "No space left on device"), 1)],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_whatever_is_raised_has_its_code(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    def raises(_: object) -> int:
        raise error

    monkeypatch.setattr("tui.commands._list", raises)
    monkeypatch.setattr("tui.commands.os.dup2", lambda *_: None)  # capfd needs the stream that a broken pipe loses
    assert main(["list"]) == code


def test_a_screen_that_is_interrupted_before_it_stands_has_the_code_of_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("tui.app.open_app", interrupted)
    assert main([]) == 130


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["run", "--help"], 0), (["nonsense"], 2)])
def test_what_argparse_ends_has_its_code(capfd: pytest.CaptureFixture[str], arguments: list[str], code: int) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == code
