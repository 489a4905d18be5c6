"""What a spec comes to, looked up without reading unchanged data again; and what is known of its tokens."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import PurePath

from trainer import check, known, models
from trainer.check import Prospect, Stamp
from trainer.data.lengths import Lengths
from trainer.data.report import too_many_lost
from trainer.plan import Plan, make_plan, thinned
from trainer.spec import RunSpec


@dataclass(frozen=True, slots=True)
class Outlook(Prospect):
    """A prospect, with the rows' lengths in the model's tokens where they were counted before."""

    lengths: Lengths | None = None

    def left(self, spec: RunSpec) -> Plan | None:
        """The plan without the rows that are lost in tokens, as far as those are counted."""
        if self.plan is None or self.lengths is None:
            return self.plan
        return thinned(self.plan, spec, self.lengths.lost(spec.max_length))

    def refused(self, spec: RunSpec) -> str:
        """Why the run would refuse the data for the rows that are lost in tokens; "" where it would not."""
        if self.plan is None or self.lengths is None or self.about:
            return ""
        rows = self.lengths.rows + self.lengths.refused + self.skipped
        return too_many_lost(PurePath(spec.data).name, rows, self.bad, spec.allow_bad, self.lengths, spec.max_length)


class Ahead:
    """`check.look_ahead`, remembering the last answer: other epochs or another batch size only need other sums."""

    def __init__(self) -> None:
        self._last: tuple[Stamp, Prospect] | None = None

    def look(self, spec: RunSpec) -> Outlook:
        """May take seconds for a large file that it has not seen: call it in a thread."""
        found = self._look(spec)
        lengths = known.recall(known.key(spec, found.model)) if found.model and found.plan else None
        return Outlook(**{field.name: getattr(found, field.name) for field in fields(Prospect)}, lengths=lengths)

    def _look(self, spec: RunSpec) -> Prospect:
        rows = (spec.columns, spec.allow_bad, spec.eval_share, spec.seed, spec.backend)
        stamp = (*rows, check.stamp(spec.data), check.stamp(spec.eval_data))
        last = self._last
        if last is None or last[0] != stamp or last[1].plan is None:
            prospect = check.look_ahead(spec)
            self._last = (stamp, prospect)
            return prospect
        problems, info = dict(last[1].problems), None
        problems.pop("model", None)
        try:
            info = models.look_up(spec.model)
        except models.ModelError as error:
            problems["model"] = str(error)
        plan = make_plan(spec, last[1].plan.train_examples, last[1].plan.eval_examples)
        return replace(last[1], problems=problems, plan=plan, model=info)
