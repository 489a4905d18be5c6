"""Disks that are really full, for tests/e2e/test_disk.py: each scenario runs in a mount namespace of its own, where a
small tmpfs holds the runs. Everything else is real as well: hosts, the starter model, the command line.

    unshare -Urm python -m tests.e2e.disk SCENARIO FOLDER WHOLE    # fails by an assertion that shows what was so

WHOLE is the file that `undisturbed` made.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.stage import recorded
from tests.soak import kill
from trainer import checkpoints, launch
from trainer.events import CheckpointFailed, CheckpointSaved, Event, Failed, Finished, StepTaken, Stopped
from trainer.follow import Follower
from trainer.rundir import Command, RunDir
from trainer.spec import RunSpec

PATIENCE = 240.0  # seconds for anything
SIZE = 100_000_000  # bytes; a checkpoint of the starter model has 26 million
SPEC = kill.spec_for(
    "builtin:tiny", "builtin:codephreak", epochs=1, batch_size=8, save_every=5, method="full", max_length=96
)


class SmallDisk:
    """A tmpfs, and a file on it that takes what is left."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(folder)], check=True)
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> bool:
        """To the last byte that is free now; True."""
        with self._filler.open("ab", buffering=0) as file:
            for block in (1 << 16, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"x" * block):
                        pass
        return True

    def empty(self) -> None:
        self._filler.unlink()


def undisturbed(folder: Path) -> Path:
    """A file that tells how the run goes when nothing happens to it."""
    file = folder / "whole.json"
    file.write_text(_account(kill.undisturbed(SPEC, folder / "runs")), "utf-8")
    return file


def is_as(whole: Path, run: RunDir) -> bool:
    """Whether all its numbers and the bytes it left are those of the undisturbed one."""
    return _account(run) == whole.read_text("utf-8")


def _account(run: RunDir) -> str:
    return json.dumps(kill.account(run), indent=1)


def events(run: RunDir) -> list[Event]:
    return [entry.event for entry in run.read_events()[0]]


def failed_saves(run: RunDir) -> list[CheckpointFailed]:
    return [event for event in events(run) if isinstance(event, CheckpointFailed)]


def saved_steps(run: RunDir) -> list[int]:
    return [event.step for event in events(run) if isinstance(event, CheckpointSaved)]


def wait_until(holds: Callable[[], object], run: RunDir) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until, (events(run)[-5:], run.host_log.read_text("utf-8"))
        time.sleep(0.02)


def ended(run: RunDir) -> int:
    """Wait for the host's end; its exit code."""
    return launch._children[-1].wait(PATIENCE)


def after_the_first_save(run: RunDir) -> RunDir:
    wait_until(lambda: saved_steps(run), run)
    return run


def until_saves_fail(disk: SmallDisk, run: RunDir, times: int) -> None:
    """Keep the disk full; a save that fails gives back what it had."""
    wait_until(lambda: disk.fill() and len(failed_saves(run)) >= times, run)


def command_line(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tui.cli", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


# --- the scenarios -----------------------------------------------------------------------------------------------


def room_comes_back(folder: Path, whole: Path) -> None:
    """Saves fail, training goes on, the next save after there is room succeeds: all as if nothing had happened."""
    disk = SmallDisk(folder / "disk")
    run = after_the_first_save(launch.start(disk.folder / "runs", SPEC))
    first = saved_steps(run)[0]
    until_saves_fail(disk, run, 2)
    checkpoints.verify(checkpoints.folder_of(run.path, first))
    said = failed_saves(run)[-1]
    assert "can't be written: No space left on device. It needs about 26." in said.message, said
    assert "MB are free. Training goes on." in said.message, said
    assert 20_000_000 < said.needed < 30_000_000, said
    disk.empty()
    assert ended(run) == 0
    assert saved_steps(run)[-1] > said.step
    assert is_as(whole, run)


def full_to_the_end(folder: Path, whole: Path) -> None:
    """The result can't be saved: tried again, said, exit 1 of both; with room a resume makes good for it."""
    disk = SmallDisk(folder / "disk")
    runs = disk.folder / "runs"
    run = after_the_first_save(launch.start(runs, SPEC))
    wait_until(lambda: disk.fill() and run.holder() is None, run)
    assert ended(run) == 1
    first = saved_steps(run)
    ending = events(run)[-1]
    assert isinstance(ending, Failed), ending
    assert f"The checkpoint of step {first[-1]} is whole: make room, then resume the run." in ending.message
    assert sum("Trying again." in getattr(event, "message", "") for event in events(run)) == 2
    code, said = command_line("attach", run.name, "--runs-dir", str(runs))
    assert (code, "No space left on device" in said) == (1, True), said
    disk.empty()
    code, said = command_line("resume", run.name, "--runs-dir", str(runs))
    assert (code, "finished at step" in said) == (0, True), said
    assert is_as(whole, run)


def a_stop_is_heard(folder: Path, _whole: Path) -> None:
    """A command is a line in a file: there is room for it on a disk that has none."""
    disk = SmallDisk(folder / "disk")
    run = after_the_first_save(launch.start(disk.folder / "runs", SPEC))
    until_saves_fail(disk, run, 1)
    disk.fill()
    run.ask(Command("stop"))
    ended(run)
    ending = events(run)[-1]
    assert isinstance(ending, Stopped | Failed), ending
    assert ending.step < Follower(run).look().state.plan.total_steps, ending  # type: ignore[union-attr]


def the_log_itself(folder: Path, _whole: Path) -> None:
    """More lines than there is room kept for: they wait, and come in order."""
    data = recorded(folder, steps=20_000, seconds=0.0005)
    disk = SmallDisk(folder / "disk")
    run = launch.start(disk.folder / "runs", RunSpec(backend="replay", data=str(data)))
    disk.fill()
    sizes = [-1]
    while sizes[-1] != run.events_file.stat().st_size or sizes[-1] < 2**19:  # until it does not grow
        sizes.append(run.events_file.stat().st_size)
        time.sleep(1.0)
        assert run.holder() is not None, (sizes, events(run)[-1])
    disk.empty()
    assert ended(run) == 0
    entries, _, bad = run.read_events()
    assert bad == 0
    assert [entry.seq for entry in entries] == list(range(len(entries)))
    assert sum(isinstance(entry.event, StepTaken) for entry in entries) == 20_000
    assert isinstance(entries[-1].event, Finished)


SCENARIOS = {
    scenario.__name__: scenario for scenario in (room_comes_back, full_to_the_end, a_stop_is_heard, the_log_itself)
}


def main() -> int:
    name, folder, whole = sys.argv[1:]
    try:
        SCENARIOS[name](Path(folder), Path(whole))
    finally:
        for child in launch._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
