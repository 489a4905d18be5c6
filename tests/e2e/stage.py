"""Runs for the screen to show in a real terminal, driven by real hosts that replay a recorded one: no torch."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from tests.builders import RunBuilder
from trainer import launch
from trainer.events import DataRead, Evaluated, ModelLoaded, Planned, StepTaken
from trainer.rundir import RunDir
from trainer.spec import RunSpec


def recorded(folder: Path, steps: int, seconds: float, eval_every: int = 25, fast_until: int = 0) -> Path:
    """A recorded run of this many steps, that many seconds apart; the first `fast_until` at once."""
    builder = RunBuilder(folder / "recorded", name="2026-11-23-1400-recorded-0001")
    builder.add(ModelLoaded("builtin:tiny", 2_000_000, 2_000_000, "cpu", "float32"))
    builder.add(DataRead("messages", 270, 30, 27_400, 16_200, 0, 0), Planned(1, steps, steps, eval_every))
    for step in range(1, steps + 1):
        wave = (step * 7919 % 101) / 101 - 0.5  # ragged, and the same every time
        loss = 1.5 + 5 * 0.995**step + 0.4 * wave
        builder.add(StepTaken(step, step / steps, loss, 1e-3, 1.0, 400, seconds), seconds=seconds * (step > fast_until))
        if step % eval_every == 0:
            builder.add(Evaluated(step, step / steps, 2 + 5 * 0.995**step, 1800, 0.1))
    builder.last_step = steps
    return builder.finished().run.path


def replayed(folder: Path, steps: int = 4000, seconds: float = 0.02, eval_every: int = 25) -> RunDir:
    """A run that a real host drives: the recorded one again, at its pace."""
    data = str(recorded(folder, steps, seconds, eval_every))
    return launch.start(folder / "runs", RunSpec(name="replayed", backend="replay", data=data))


def kill_host(run: RunDir) -> None:
    if (pid := run.holder()) is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
