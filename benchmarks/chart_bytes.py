"""What the live loss chart sends to a terminal and what a drawing costs, measured in a real pty.

    python benchmarks/chart_bytes.py [--seconds 20] [--steps-per-second 8]

A Textual app with one LossChart runs behind a pseudo terminal and is fed a growing synthetic run
at 4 Hz, as a live screen does. Every byte it writes after its first picture is counted. Targets:
at most 2 kB/s at 80x24, 4 kB/s at 120x40 and 6 kB/s at 200x50, nothing when nothing is new.
"""

import argparse
import fcntl
import json
import math
import os
import pty
import random
import select
import signal
import struct
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from textual.app import App, ComposeResult
from textual.strip import Strip

from trainer.insight.series import Ema, best
from tui.chart_axes import reach
from tui.charts import BEST_COLOR, EVAL_COLOR, RAW_COLOR, SMOOTHED_COLOR, Curve, Mark
from tui.curves import SOON
from tui.widgets import loss_chart
from tui.widgets.loss_chart import LossChart

TARGETS = {(80, 24): 2000, (120, 40): 4000, (200, 50): 6000}
HERTZ = 4
LENGTH = 20_000  # steps that the run is planned for
SETTLE = 2.0  # seconds until the first picture is out


class FedChart(App[None]):
    """One chart that grows by a few steps four times a second and notes what each draw took."""

    def __init__(self, start: int, steps_per_second: float, seconds: float, report: str) -> None:
        super().__init__()
        self._seed = random.Random(11)
        self._average = Ema(half_life=20)
        self._start, self._rate, self._seconds, self._report = (
            start,
            steps_per_second,
            seconds,
            report,
        )
        self._x: list[float] = []
        self._loss: list[float | None] = []
        self._smoothed: list[float | None] = []
        self._eval_x: list[float] = []
        self._eval: list[float | None] = []
        self._costs: list[float] = []

    def compose(self) -> ComposeResult:
        yield LossChart()

    def on_mount(self) -> None:
        names = vars(loss_chart)
        draw = names["draw"]

        def timed(*args: Any, **options: Any) -> tuple[Strip, ...]:
            started = time.process_time()
            strips: tuple[Strip, ...] = draw(*args, **options)
            self._costs.append(time.process_time() - started)
            return strips

        names["draw"] = timed
        self._take_steps(self._start)
        self.set_timer(0.3, self._show)
        self.set_timer(SETTLE, self._begin)

    def _begin(self) -> None:
        self._costs.clear()
        self._began = time.monotonic()
        self.set_interval(1 / HERTZ, self._tick)

    def _tick(self) -> None:
        passed = time.monotonic() - self._began
        if passed > self._seconds:
            Path(self._report).write_text(json.dumps(self._costs))
            self.exit()
            return
        if self._rate:
            self._take_steps(self._start + int(passed * self._rate) - len(self._x))
        self._show()

    def _take_steps(self, count: int) -> None:
        for _ in range(count):
            step = len(self._x) + 1
            trend = 2 + 3 * math.exp(-step / 300)
            self._x.append(step)
            self._loss.append(trend + self._seed.gauss(0, 0.2))
            self._smoothed.append(self._average.push(self._loss[-1]))
            if step % 50 == 0:
                self._eval_x.append(step)
                self._eval.append(trend + 0.3 + max(0, step - 600) / 2000)

    def _show(self) -> None:
        lowest = best(self._eval_x, self._eval)
        marks = []
        if lowest:
            label = f"best {lowest[1]:.3f} at step {lowest[0]:.0f}"
            marks = [Mark(*lowest, label, BEST_COLOR)]
        curves = [
            Curve("loss (smoothed)", self._x, self._smoothed, SMOOTHED_COLOR),
            Curve("loss", self._x, self._loss, RAW_COLOR, faint=True),
            Curve("eval_loss", self._eval_x, self._eval, EVAL_COLOR, dots=True),
        ]
        end = reach(max(len(self._x), SOON * self._rate), LENGTH)
        self.query_one(LossChart).show(curves, marks, "waiting for the first step", x_end=end)


def measure(size: tuple[int, int], start: int, steps_per_second: float, seconds: float) -> tuple[float, list[float]]:
    """Bytes a second on the pty after the first picture, and CPU seconds of each draw."""
    with tempfile.NamedTemporaryFile() as report:
        child, terminal = pty.fork()
        if child == 0:
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
            FedChart(start, steps_per_second, seconds, report.name).run()
            os._exit(0)
        count, began = 0, time.monotonic()
        first_byte = 0.0
        while time.monotonic() - began < seconds + SETTLE + 20:
            if not select.select([terminal], [], [], 1.0)[0]:
                continue
            try:
                received = os.read(terminal, 65536)
            except OSError:
                break
            if not received:
                break
            first_byte = first_byte or time.monotonic()
            passed = time.monotonic() - first_byte
            if SETTLE <= passed <= SETTLE + seconds - 0.5:
                count += len(received)
        else:
            os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        os.close(terminal)
        costs = json.loads(Path(report.name).read_text() or "[]")
    return count / (seconds - 0.5), costs


def main() -> int:
    """Print a table; exit 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to feed each chart")
    parser.add_argument("--steps-per-second", type=float, default=8.0)
    options = parser.parse_args()
    missed = False
    print(
        f"{'size':>8} {'from step':>10} {'steps/s':>8} {'bytes/s':>8} {'target':>7} "
        f"{'draws':>6} {'ms median':>10} {'ms max':>7}"
    )
    for size, target in TARGETS.items():
        for start, rate in (
            (0, options.steps_per_second),
            (500, options.steps_per_second),
            (10_000, options.steps_per_second),
            (500, 0.0),
        ):
            limit = target if rate else 0
            sent, costs = measure(size, start, rate, options.seconds)
            costs = sorted(costs) or [math.nan]
            name = f"{size[0]}x{size[1]}"
            print(
                f"{name:>8} {start:>10} {rate:>8.0f} {sent:>8.0f} {limit:>7.0f} {len(costs):>6} "
                f"{costs[len(costs) // 2] * 1e3:>10.1f} {costs[-1] * 1e3:>7.1f}",
                flush=True,
            )
            missed |= sent > limit
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
