"""Run directories for tests: written event by event as a host would, with clocks that the test sets.

A `Driver` is a child process that holds a run's lock, so that the run counts as live without a trainer in it.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer import spec as specs
from trainer.events import (
    CheckpointSaved,
    DataRead,
    Entry,
    Evaluated,
    Event,
    Failed,
    Finished,
    ModelLoaded,
    ModelSaved,
    PhaseEntered,
    Planned,
    Started,
    StepTaken,
    Stopped,
    encode,
)
from trainer.rundir import RunDir
from trainer.spec import RunSpec

NAME = "2026-11-23-1412-codephreak-7f3a"
BEGAN = 1_795_000_000.0
HOLD = """
import sys
from pathlib import Path
from trainer.lock import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


class RunBuilder:
    """One run directory; every method appends and returns the builder."""

    def __init__(self, runs_dir: Path, name: str = NAME, spec: RunSpec | None = None) -> None:
        self.spec = spec or RunSpec(name="codephreak")
        self.run = RunDir(runs_dir / name)
        self.run.path.mkdir(parents=True)
        self.write_spec(specs.to_toml(self.spec))
        self.seq = 0
        self.last_step = 0
        self.elapsed = 0.0
        self.began = BEGAN
        self.plan = Planned(self.spec.epochs, 68, 68 * self.spec.epochs, 34)

    def write_spec(self, text: str) -> None:
        """spec.toml, an hour old: nobody waits for this run's host any more."""
        file = self.run.path / "spec.toml"
        file.write_text(text, encoding="utf-8")
        then = time.time_ns() - 3600 * 10**9
        os.utime(file, ns=(then, then))

    def add(self, *events: Event, seconds: float = 0.0) -> RunBuilder:
        """Append events, the run's clock moving on by `seconds` before each."""
        with self.run.events_file.open("a", encoding="ascii") as file:
            for event in events:
                self.elapsed += seconds
                file.write(encode(Entry(self.seq, self.began + self.elapsed, self.elapsed, event)) + "\n")
                self.seq += 1
        return self

    def started(self) -> RunBuilder:
        return self.add(Started(4242, "box", "0.1.0"), PhaseEntered("loading model"), seconds=0.4)

    def prepared(self) -> RunBuilder:
        """Everything before the first step."""
        self.started()
        return self.add(
            ModelLoaded(self.spec.model, 1_984_512, 1_984_512, "cpu", "float32"),
            PhaseEntered("tokenizing training", 270, 270),
            DataRead("messages", 270, 30, 27_400, 16_200, 0, 0),
            self.plan,
            seconds=0.5,
        )

    def trained(self, steps: int, best_at: int = 170, seconds: float = 0.2) -> RunBuilder:
        """Steps with a falling loss; every 34 an eval loss that turns up after `best_at`, each better one saved."""
        first = self.last_step + 1
        if first == 1:
            self.evaluated(0, 7.6)
        for step in range(first, first + steps):
            loss = 1.2 + 6.2 * math.exp(-step / 45) + 0.25 * math.sin(step * 1.7) * math.exp(-step / 300)
            rate = self.spec.learning_rate * min(1.0, step / 17) * max(0.05, 1 - step / (self.plan.total_steps + 17))
            epoch = step / self.plan.steps_per_epoch
            self.add(StepTaken(step, epoch, loss, rate, 1.3, 412, seconds), seconds=seconds)
            self.last_step = step
            if step % self.plan.eval_every == 0:
                self.evaluated(step, 2.314 + abs(step - best_at) / 90, saved=step <= best_at)
        return self

    def evaluated(self, step: int, eval_loss: float, saved: bool = False) -> RunBuilder:
        epoch = step / self.plan.steps_per_epoch
        self.add(PhaseEntered("evaluating"), Evaluated(step, epoch, eval_loss, 1800, 0.4), seconds=0.2)
        return self.add(CheckpointSaved(step, f"checkpoints/step-{step:06d}", 8_000_000, 0.1)) if saved else self

    def finished(self) -> RunBuilder:
        return self.add(Finished(self.last_step))

    def stopped(self, keep: bool = True, step: int = 170, eval_loss: float = 2.314) -> RunBuilder:
        if keep:
            self.add(ModelSaved(step, "best", "model", eval_loss, "full"))
        return self.add(Stopped(self.last_step))

    def failed(self, message: str) -> RunBuilder:
        return self.add(Failed(self.last_step, message))


@contextmanager
def held(run: RunDir) -> Iterator[subprocess.Popen[str]]:
    """A child process that drives the run, as far as anyone can tell, until the block ends (or it is killed)."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()
