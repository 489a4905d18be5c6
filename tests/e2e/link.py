"""Every way in which a screen can lose its terminal, for the test of it and for its long version."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.stage import kill_host, replayed
from tests.e2e.terminal import Terminal
from tests.e2e.tmux import tmux
from trainer.events import StepTaken
from trainer.rundir import RunDir

LONGEST = 5.0  # seconds from an ending to the end: the 2 s that are promised, and more for a busy machine


def opened(folder: Path, preexec_fn: Callable[[], None] | None = None) -> Terminal:
    env = {"FINETUNEGEM_RUNS": str(folder / "runs")}
    terminal = Terminal(["attach", "last"], env, folder, preexec_fn=preexec_fn)
    terminal.wait_for("running", "elapsed")
    return terminal


def gone(terminal: Terminal) -> int:
    """Wait until the screen is gone, reading nothing; its exit code, or minus the signal."""
    until = time.monotonic() + LONGEST
    while (done := os.waitpid(terminal.child.pid, os.WNOHANG)) == (0, 0):
        assert time.monotonic() < until, "the screen outlived its terminal"
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(done[1])


def ignore_hangup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def killed(folder: Path) -> None:
    terminal = opened(folder)
    os.kill(terminal.child.pid, signal.SIGKILL)
    assert gone(terminal) == -signal.SIGKILL


def closed(folder: Path) -> None:
    terminal = opened(folder)
    os.close(terminal.child.child_fd)
    assert gone(terminal) == 129


def closed_deaf(folder: Path) -> None:
    """As under nohup: SIGHUP is ignored."""
    terminal = opened(folder, ignore_hangup)
    os.close(terminal.child.child_fd)
    assert gone(terminal) == 129


def hung_up(folder: Path) -> None:
    terminal = opened(folder)
    os.kill(terminal.child.pid, signal.SIGHUP)
    assert terminal.ended(LONGEST) == 129


def terminated(folder: Path) -> None:
    terminal = opened(folder)
    os.kill(terminal.child.pid, signal.SIGTERM)
    assert terminal.ended(LONGEST) == 143


def frozen(folder: Path) -> None:
    """The link stands still until the screen does, and then breaks."""
    terminal = opened(folder)
    fill(terminal)
    os.close(terminal.child.child_fd)
    assert gone(terminal) == 129


def fill(terminal: Terminal) -> None:
    """Make the screen write whole pictures that nobody reads, until nothing more goes into the pty."""
    for width in range(120, 180):
        terminal.child.setwinsize(50, width)
        time.sleep(0.03)


def tmux_killed(folder: Path) -> None:
    with tmux(folder) as server:
        server.start(["attach", "last"], {"FINETUNEGEM_RUNS": str(folder / "runs")})
        server.wait_for("running", "elapsed")
        server.kill()


ENDINGS: tuple[Callable[[Path], None], ...] = (killed, closed, closed_deaf, hung_up, terminated, frozen) + (
    (tmux_killed,) if shutil.which("tmux") else ()
)


def end_screens(folder: Path, times: int) -> None:
    """A run is watched by one screen after the other, each of which ends badly; the run must not notice."""
    run = replayed(folder, steps=100_000 if times > 20 else 20_000, seconds=0.02)
    try:
        host = run.holder()
        assert host is not None
        for at in range(times):
            ENDINGS[at % len(ENDINGS)](folder)
            assert run.holder() == host
        assert left_behind(folder) == []
        before = steps(run)
        time.sleep(1.0)
        assert steps(run) > before
        entries, _, bad = run.read_events()
        assert bad == 0
        assert [entry.seq for entry in entries] == list(range(len(entries)))
        taken = [entry.event.step for entry in entries if isinstance(entry.event, StepTaken)]
        assert taken == list(range(1, len(taken) + 1))
    finally:
        kill_host(run)


def steps(run: RunDir) -> int:
    return sum(isinstance(entry.event, StepTaken) for entry in run.read_events()[0])


def left_behind(folder: Path) -> list[int]:
    """The processes that were started in this folder and still live, a moment after all should be gone."""
    until = time.monotonic() + LONGEST
    while (found := _started_in(folder)) and time.monotonic() < until:
        time.sleep(0.1)
    return found


def _started_in(folder: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder and "\nState:\tZ" not in (process / "status").read_text():
                found.append(int(process.name))
        except OSError:
            continue
    return found
