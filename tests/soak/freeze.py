"""What a frozen screen costs the run it shows: nothing. Told by the run's own log and by the processor's clock, against
the same run without a screen, in turns, so that a busy machine burdens both alike.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.e2e.link import fill, opened, steps
from tests.e2e.stage import kill_host, replayed
from trainer.events import StepTaken
from trainer.rundir import RunDir

PACE = 0.01  # seconds a step
Freeze = Callable[[Path], Iterator[None]]


@dataclass
class Stretch:
    """Some seconds of a run: the time between one step and the next, and the processor time of its host."""

    between: list[float]
    processor: float

    @property
    def worst(self) -> float:
        return max(self.between)


@dataclass
class Comparison:
    free: list[Stretch] = field(default_factory=list)
    frozen: list[Stretch] = field(default_factory=list)

    def late(self) -> tuple[float, float]:
        """The longest wait for a step without a screen, and the usual longest one of a stretch with a frozen one.

        Usual: a machine that is busy elsewhere may spoil some stretches; a screen that holds its run up spoils all.
        """
        return max(stretch.worst for stretch in self.free), statistics.median(s.worst for s in self.frozen)

    def pace(self) -> tuple[float, float]:
        """The median time between two steps, without and with."""
        return _median(self.free), _median(self.frozen)

    def processor(self) -> tuple[float, float]:
        """Processor seconds of the host a step, without and with."""
        return _processor(self.free), _processor(self.frozen)


def compare(folder: Path, freeze: Freeze, turns: int, seconds: float) -> Comparison:
    """A run at a fixed pace, in turns without a screen and with one that is frozen."""
    found = Comparison()
    run = replayed(folder, steps=int(4 * turns * (seconds + 10) / PACE), seconds=PACE, eval_every=10**9)
    frozen = contextmanager(freeze)
    try:
        while steps(run) < 10:  # it reads the recorded run first
            time.sleep(0.1)
        for _ in range(turns):
            found.free.append(_stretch(run, seconds))
            with frozen(folder):
                found.frozen.append(_stretch(run, seconds))
    finally:
        kill_host(run)
    return found


def unread(folder: Path) -> Iterator[None]:
    """The link stands still: nobody reads what the screen writes, and it waits for that."""
    terminal = opened(folder)
    fill(terminal)
    _settle(terminal.child.pid)
    yield
    terminal.child.close(force=True)


def stopped(folder: Path) -> Iterator[None]:
    """The screen's process stands still."""
    terminal = opened(folder)
    os.kill(terminal.child.pid, signal.SIGSTOP)
    yield
    os.kill(terminal.child.pid, signal.SIGKILL)
    terminal.child.close(force=True)


def _stretch(run: RunDir, seconds: float) -> Stretch:
    host = run.holder()
    assert host is not None
    _, offset, _ = run.read_events()
    before = _processor_time(host)
    time.sleep(seconds)
    after = _processor_time(host)
    taken = [entry.elapsed for entry in run.read_events(offset)[0] if isinstance(entry.event, StepTaken)]
    return Stretch([late - early for early, late in pairwise(taken)], after - before)


def _settle(pid: int) -> None:
    """Wait until a process uses no processor any more."""
    until = time.monotonic() + 60
    while True:
        before = _processor_time(pid)
        time.sleep(0.5)
        if _processor_time(pid) == before:
            return
        assert time.monotonic() < until, "the screen never came to a standstill"


def _processor_time(pid: int) -> float:
    """User and system seconds of a process, see proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _median(stretches: list[Stretch]) -> float:
    return statistics.median(seconds for stretch in stretches for seconds in stretch.between)


def _processor(stretches: list[Stretch]) -> float:
    return sum(stretch.processor for stretch in stretches) / sum(len(stretch.between) for stretch in stretches)
