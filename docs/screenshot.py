"""Makes the README's pictures from a real run: trains the starter preset, then draws the screens to SVG.

    .venv/bin/python docs/screenshot.py            # docs/live.svg and docs/new_run.svg, about a minute

The run is a real one on this machine, kept in a temporary folder; nothing in the pictures is drawn by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from textual.pilot import Pilot

from trainer import launch, presets
from trainer import spec as specs
from trainer.follow import Follower
from trainer.rundir import RunDir
from tui.app import FinetuneApp

HERE = Path(__file__).parent


def train(runs: Path, until: float) -> RunDir:
    """Start the starter preset and come back when it has taken this share of its steps."""
    run = launch.start(runs, specs.make(presets.load(presets.STARTER)))
    follower = Follower(run)
    while (view := follower.look()).live:
        plan = view.state.plan
        if plan and view.state.step >= until * plan.total_steps:
            return run
        time.sleep(0.1)
    return run


async def draw(runs: Path, run: RunDir | None, file: Path, width: int, height: int) -> None:
    """One screen to one SVG, as it stands a moment after it has opened."""
    app = FinetuneApp(runs, run)
    async with app.run_test(size=(width, height)) as pilot:
        await _settle(pilot)
        file.write_text(app.export_screenshot(title="finetunegem"), "utf-8")


async def _settle(pilot: Pilot[None]) -> None:
    for _ in range(10):
        await pilot.pause(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=110)
    parser.add_argument("--height", type=int, default=32)
    parser.add_argument("--until", type=float, default=0.85, help="share of the steps taken before the picture")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        asyncio.run(draw(runs, None, HERE / "new_run.svg", options.width, options.height))
        run = train(runs, options.until)
        asyncio.run(draw(runs, run, HERE / "live.svg", options.width, options.height))
        while Follower(run).look().live:
            time.sleep(0.2)


if __name__ == "__main__":
    main()
