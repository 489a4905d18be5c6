"""The loop between a person and a run, timed on the real host: start, watch, stop.

    python benchmarks/host.py [--rounds 3] [--steps 120]

    start   from the start to the first step's line in the log, builtin:tiny
    watch   pace of the steps with a Live screen on them (80x24, in a pseudo terminal) and without, in turn
    stop    from the key's command to the model on the disk, with LoRA on smollm2 (where it was fetched, else
            builtin:tiny), and the median step of that run

Printed are medians; the pace is the middle of the steps' own seconds per token, so that a disturbed one counts little.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.e2e.stage import kill_host
from tests.e2e.terminal import Terminal
from trainer import launch, models, presets
from trainer.events import ModelSaved, StepTaken
from trainer.rundir import Command, RunDir
from trainer.spec import RunSpec, make

PATIENCE = 300.0  # seconds
WARM = 10  # steps that count for no pace


Step = tuple[float, StepTaken]  # when, and what


def steps_of(run: RunDir) -> list[Step]:
    return [(entry.time, entry.event) for entry in run.read_events()[0] if isinstance(entry.event, StepTaken)]


def wait(holds: Callable[[], bool], what: str) -> None:
    """Raises RuntimeError where it never comes."""
    until = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > until:
            raise RuntimeError(f"{what} did not come within {PATIENCE:.0f} s")
        time.sleep(0.02)


def pace(run: RunDir) -> float:
    """Seconds a token."""
    return statistics.median(step.seconds / step.num_tokens for _, step in steps_of(run)[WARM:])


def watched(folder: Path, spec: RunSpec, steps: int, *, screen: bool) -> tuple[float, float]:
    """(pace, seconds from the start to the first step) of a run with or without a screen."""
    began = time.time()
    run = launch.start(folder / "runs", spec)
    try:
        terminal = Terminal(["attach", "last"], {"FINETUNEGEM_RUNS": str(folder / "runs")}, folder) if screen else None
        while len(steps_of(run)) < steps:
            if terminal is not None:
                terminal.read(0.3)
            else:
                time.sleep(0.3)
        if terminal is not None:
            terminal.close()
        return pace(run), steps_of(run)[0][0] - began
    finally:
        kill_host(run)


def stopped(folder: Path, spec: RunSpec) -> tuple[float, float]:
    """(seconds from the command to the model's line in the log, the median step's seconds)."""
    run = launch.start(folder / "runs", spec)
    try:
        wait(lambda: len(steps_of(run)) >= 4, "the fourth step")
        asked = time.time()
        run.ask(Command("stop", keep="last"))
        wait(lambda: any(isinstance(entry.event, ModelSaved) for entry in run.read_events()[0]), "the model")
        saved = next(entry.time for entry in run.read_events()[0] if isinstance(entry.event, ModelSaved))
        return saved - asked, statistics.median(step.seconds for _, step in steps_of(run))
    finally:
        kill_host(run)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=120)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    tiny = replace(make(presets.load("codephreak")), epochs=1000, save_every=0)
    try:
        models.look_up("smollm2")
        large = replace(make(presets.load("smollm2")), epochs=1000)
    except models.ModelError:  # NotFetched
        large = replace(tiny, method="lora")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with_screen: list[float] = []
        without: list[float] = []
        starts: list[float] = []
        for number in range(options.rounds):
            for screen in (False, True) if number % 2 == 0 else (True, False):
                found, start = watched(folder, tiny, options.steps, screen=screen)
                (with_screen if screen else without).append(found)
                starts += [] if screen else [start]
        print(f"start   {statistics.median(starts):.2f} s to the first step ({tiny.model})", flush=True)
        ratios = [bare / seen for bare, seen in zip(without, with_screen, strict=True)]
        print(f"watch   {statistics.median(ratios):.3f} of the pace without a screen ({ratios})", flush=True)
        stops = [stopped(folder, large) for _ in range(options.rounds)]
        waited, step = (statistics.median(values) for values in zip(*stops, strict=True))
        print(f"stop    {waited:.2f} s to the model on the disk, steps of {step:.2f} s ({large.model}, {large.method})")


if __name__ == "__main__":
    main()
