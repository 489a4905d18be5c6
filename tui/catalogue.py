"""What Home shows of every run: a small summary each, made anew only when the run's log has grown.

An ended run is folded once and only its summary kept; a live one keeps its place in the log. No widget here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from trainer.follow import Follower, View
from trainer.rundir import LIVE, RunDir, RunError, Status, list_runs
from trainer.spec import RunSpec
from tui import format

SPARK = 24  # characters, the most that any width shows


@dataclass(frozen=True, slots=True)
class Summary:
    """One run in a row. `spec` is None where it can't be read, `status` None where the log can't be."""

    run: RunDir
    spec: RunSpec | None
    status: Status | None
    best: float | None = None
    step: int = 0
    total: int = 0
    began: float = 0.0
    spark: str = ""

    @property
    def live(self) -> bool:
        return self.status in LIVE


class Catalogue:
    """All runs of a folder. Blocks for the disk: to be used from threads."""

    def __init__(self, runs_dir: Path) -> None:
        self._runs_dir = runs_dir
        self._known: dict[Path, tuple[int, Summary]] = {}  # by folder: size of the log, summary
        self._live: dict[Path, Follower] = {}
        self._mutex = threading.Lock()  # a screen that was left may still be reading when the next one begins

    def refresh(self) -> Iterator[Summary]:
        """The runs, newest first, each when it has been read; unchanged ones are the same objects as before."""
        runs = list_runs(self._runs_dir)
        with self._mutex:
            for gone in self._known.keys() - {run.path for run in runs}:
                del self._known[gone]
                self._live.pop(gone, None)
        for run in runs:
            with self._mutex:
                summary = self._summary(run)
            yield summary

    def _summary(self, run: RunDir) -> Summary:
        size = _size(run.events_file)
        known = self._known.get(run.path)
        if known is not None and known[0] == size and not known[1].live and not _taken_up(known[1]):
            return known[1]
        follower = self._live.pop(run.path, None) or Follower(run)
        try:
            view = follower.look()
        except OSError:
            summary = Summary(run, _spec(run), None)
        else:
            summary = summarize(run, view, known[1].spec if known else _spec(run))
            if summary.live:
                self._live[run.path] = follower
        if known is not None and known[1] == summary:
            summary = known[1]
        self._known[run.path] = (size, summary)
        return summary


@lru_cache(maxsize=1)
def catalogue_of(runs_dir: Path) -> Catalogue:
    """The catalogue of a folder, kept between two visits, so that hundreds of logs are read once."""
    return Catalogue(runs_dir)


def summarize(run: RunDir, view: View, spec: RunSpec | None) -> Summary:
    """The row of one run. The sparkline is of eval loss, without the untrained model's, which would flatten the rest;
    of loss where there are fewer than three evaluations."""
    state = view.state
    trained = [loss for step, loss in zip(state.evals.step, state.evals.eval_loss, strict=True) if step > 0]
    series = trained if len(trained) >= 3 else state.steps.loss[:]
    return Summary(
        run=run,
        spec=spec,
        status=view.status,
        best=state.best.eval_loss if state.best else None,
        step=state.step,
        total=state.plan.total_steps if state.plan else 0,
        began=state.began,
        spark=format.sparkline(series, SPARK),
    )


def _taken_up(summary: Summary) -> bool:
    """Whether somebody drives a run that had crashed; that alone does not change the log's size."""
    if summary.status != "crashed":
        return False
    try:
        return summary.run.holder() is not None
    except OSError:
        return False


def _spec(run: RunDir) -> RunSpec | None:
    try:
        return run.spec()
    except RunError:
        return None


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return -1
