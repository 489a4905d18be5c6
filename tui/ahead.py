"""What a spec comes to, looked up without reading an unchanged data file again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trainer import check, models
from trainer.check import Prospect
from trainer.data import DataError
from trainer.plan import make_plan
from trainer.spec import RunSpec

Stamp = tuple[object, ...]


class Ahead:
    """`check.look_ahead`, remembering the last answer: other epochs or another batch size only need other sums."""

    def __init__(self) -> None:
        self._known: tuple[Stamp, Prospect] | None = None

    def look(self, spec: RunSpec) -> Prospect:
        """May take seconds for a large file that it has not seen: call it in a thread."""
        stamp = (spec.eval_share, spec.seed, _stamp(spec.data), _stamp(spec.eval_data), spec.backend)
        known = self._known
        if known is None or known[0] != stamp or known[1].plan is None:
            prospect = check.look_ahead(spec)
            self._known = (stamp, prospect)
            return prospect
        problems, info = dict(known[1].problems), None
        problems.pop("model", None)
        try:
            info = models.look_up(spec.model)
        except models.ModelError as error:
            problems["model"] = str(error)
        plan = make_plan(spec, known[1].plan.train_examples, known[1].plan.eval_examples)
        return replace(known[1], problems=problems, plan=plan, model=info)


def _stamp(data: str) -> Stamp:
    """What a data file is known again by: path, size and time of its last change."""
    try:
        path = check.data_path(data) if data else Path()
        seen = path.stat()
    except (DataError, OSError, ValueError):
        return (data,)
    return (data, seen.st_size, seen.st_mtime_ns)
