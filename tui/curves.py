"""A run's state as curves for the loss chart: raw, smoothed, eval, a mark at the best, and how far x reaches.

Smoothing is carried on from value to value, so that a redraw walks nothing. Imports charts (and so plotext).
"""

from __future__ import annotations

from statistics import median

from trainer.insight.series import Ema
from trainer.state import Column, RunState
from tui import format
from tui.chart_axes import reach
from tui.charts import BEST_COLOR, EVAL_COLOR, RAW_COLOR, SMOOTHED_COLOR, Curve, Mark

FEWEST, MOST = 2.5, 50.0  # half-life of the smoothing, in steps
SOON = 30.0  # seconds


class LossCurves:
    """The curves of one run; `of(state)` takes in the steps that are new since the last call."""

    def __init__(self) -> None:
        self._ema: Ema | None = None
        self._smoothed = Column()
        self._rewound = 0

    def of(self, state: RunState) -> tuple[tuple[Curve, ...], tuple[Mark, ...]]:
        steps, evals = state.steps, state.evals
        if state.rewound != self._rewound:  # a later host went back to a checkpoint: so does the average
            self._ema, self._smoothed, self._rewound = None, Column(), state.rewound
        if self._ema is None:
            if not len(steps.loss) and not len(evals.eval_loss):
                return (), ()
            total = state.plan.total_steps if state.plan else 300
            self._ema = Ema(half_life=min(MOST, max(FEWEST, total / 100)))
        for value in steps.loss[len(self._smoothed) :]:
            self._smoothed = self._smoothed.added(self._ema.push(value))
        curves = (
            Curve("loss", steps.step, steps.loss, RAW_COLOR, faint=True),
            Curve("loss, smoothed", steps.step, self._smoothed, SMOOTHED_COLOR),
            Curve("eval loss", evals.step, evals.eval_loss, EVAL_COLOR, dots=True),
        )
        if state.best is None:
            return curves, ()
        label = f"best {format.loss(state.best.eval_loss)} at step {state.best.step:,}"
        return curves, (Mark(state.best.step, state.best.eval_loss, label, BEST_COLOR),)


def x_end(state: RunState) -> float:
    """Where the x axis ends: where the plan does, or at half of that, a quarter, ..., as long as this is enough.

    Enough for the steps taken, and for `SOON` seconds at the pace of the last ones: however fast a run is, its first
    axis lasts that long, and each one after it as long as all before. An ended run has all of the width.
    """
    if state.ending is not None:
        return state.step
    recent = state.steps.seconds[-20:]
    soon = SOON / max(0.001, median(recent)) if recent else 0.0
    if state.plan is None:
        return reach(max(state.step, soon))
    return reach(max(state.step, min(soon, state.plan.total_steps)), state.plan.total_steps)
