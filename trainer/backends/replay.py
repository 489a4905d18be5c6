"""The backend that plays a recorded run again, at its own pace: a demo, a bug report and a test in one.

`spec.data` is the recorded run directory. It trains nothing and leaves no model behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

from trainer.control import Control
from trainer.events import (
    CheckpointSaved,
    Continued,
    Event,
    Failed,
    Finished,
    ModelSaved,
    Paused,
    Resumed,
    Started,
    StepTaken,
    Stopped,
)
from trainer.rundir import RunDir, RunError
from trainer.spec import RunSpec

LONGEST_WAIT = 1.0  # seconds; a recorded model load is not sat through


def train(spec: RunSpec, control: Control) -> Iterator[Event]:
    """Yield the recorded events but for its host's and its files', stopping and pausing when asked."""
    entries, _, _ = RunDir(Path(spec.data)).read_events()
    if not entries:
        raise RunError(f"{spec.data} holds no recorded run to replay.")
    if control.resuming:
        yield Resumed(0)
    step, before = 0, entries[0].elapsed
    for entry in entries:
        _wait(min(entry.elapsed - before, LONGEST_WAIT), control)
        before = entry.elapsed
        if control.paused and not control.stop:
            yield Paused(step)
            control.wait_while_paused()
            yield Continued(step)
        if control.stop:
            yield Stopped(step)
            return
        if isinstance(entry.event, Started | ModelSaved | CheckpointSaved | Paused | Continued):
            continue
        if isinstance(entry.event, StepTaken):
            step = entry.event.step
        if isinstance(entry.event, Finished | Stopped | Failed):
            break
        yield entry.event
    yield Finished(step)


def _wait(seconds: float, control: Control) -> None:
    until = monotonic() + seconds
    while not control.stop and (left := until - monotonic()) > 0:
        sleep(min(left, 0.05))
