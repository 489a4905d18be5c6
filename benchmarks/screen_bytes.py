"""What the whole Live screen sends to a terminal while a run goes on, and how soon a key is answered.

    python benchmarks/screen_bytes.py [--seconds 15] [--steps-per-second 2 8 30] [--from-step 0 600]

The real app in a pseudo terminal follows a run that a real host drives: a recorded one, replayed at its pace. All
bytes written are counted, at three sizes, from a run's first step on and from later ones; then keys are pressed while
it is drawn, and the time until the answer stands on the screen is taken. Exit code 1 when a target is missed:
2, 4 and 6 kB/s, 50 ms for 95 of 100 keys, and not a byte where nothing changes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.builders import RunBuilder
from tests.e2e.stage import kill_host, recorded
from tests.e2e.terminal import Terminal
from trainer import launch
from trainer.spec import RunSpec

TARGETS = {(80, 24): 2000, (120, 40): 4000, (200, 50): 6000}
KEY_TARGET = 0.050
KEYS = 40
STOP, LAST_WORDS = "Stop this run?", b"Esc goes on"  # the answer to the key
LENGTH = 4000  # steps of the recorded run


def watched(folder: Path, size: tuple[int, int]) -> Terminal:
    return Terminal(["attach", "last"], {"FINETUNEGEM_RUNS": str(folder / "runs")}, folder, *size)


def growing(size: tuple[int, int], begin: int, rate: float, seconds: float, keys: int = 0) -> tuple[float, list[float]]:
    """Bytes a second once `begin` steps are taken, and the seconds that each key waited for its answer."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = recorded(folder, LENGTH, 1 / rate, eval_every=50, fast_until=begin)
        run = launch.start(folder / "runs", RunSpec(name="bench", backend="replay", data=str(data)))
        try:
            terminal = watched(folder, size)
            terminal.wait_for("running", "elapsed")
            terminal.wait_until(lambda: _steps(folder) >= begin, "the steps before", 120)
            terminal.read(1.5)
            began, before = time.monotonic(), terminal.bytes_read
            terminal.read(seconds)
            sent = (terminal.bytes_read - before) / (time.monotonic() - began)
            waits = [answered(terminal) for _ in range(keys)]
            terminal.close()
        finally:
            kill_host(run)
    return sent, waits


def _steps(folder: Path) -> int:
    files = list((folder / "runs").glob("*/events.jsonl"))
    return sum(file.read_bytes().count(b"StepTaken") + file.read_bytes().count(b"step_taken") for file in files)


def answered(terminal: Terminal) -> float:
    """Seconds until the last words of the stop sheet, opened by a key, are sent; it is closed again."""
    terminal.read(0.137)
    terminal.send("s")
    waited = terminal.seconds_until(LAST_WORDS)
    terminal.wait_until(lambda: STOP in terminal.text, "the sheet")
    terminal.send("\x1b")
    terminal.wait_until(lambda: STOP not in terminal.text, "the sheet closed")
    return waited


def idle(size: tuple[int, int], seconds: float) -> float:
    """Bytes in all that an ended run's screen sends once it stands."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        RunBuilder(folder / "runs").prepared().trained(340).stopped()
        terminal = watched(folder, size)
        terminal.wait_for("stopped", "elapsed")
        terminal.wait_idle(1.0)
        before = terminal.bytes_read
        terminal.read(seconds)
        sent = terminal.bytes_read - before
        terminal.close()
    return sent


def main() -> int:
    """Print a table; exit 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--steps-per-second", type=float, nargs="+", default=[8.0])
    parser.add_argument("--from-step", type=int, nargs="+", default=[0, 20, 128, 600])
    options = parser.parse_args()
    missed = False
    print(f"{'size':>8} {'steps/s':>8} {'from step':>10} {'bytes/s':>8} {'target':>7}")
    for size, target in TARGETS.items():
        name = f"{size[0]}x{size[1]}"
        waits: list[float] = []
        for rate, begin in product(options.steps_per_second, options.from_step):
            last = (rate, begin) == (options.steps_per_second[-1], options.from_step[-1])
            sent, waits = growing(size, begin, rate, options.seconds, KEYS if last else 0)
            missed |= sent > target
            print(f"{name:>8} {rate:>8g} {begin:>10} {sent:>8.0f} {target:>7}", flush=True)
        p50, p95 = (statistics.quantiles(waits, n=20)[at] for at in (9, 18))
        still = idle(size, options.seconds)
        missed |= p95 > KEY_TARGET or still > 0
        print(f"{name:>8} key p50 {p50 * 1000:.1f} ms, p95 {p95 * 1000:.1f} ms; idle {still} bytes", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
