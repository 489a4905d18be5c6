"""What a spec comes to, looked up without reading unchanged data again; and what is known of its tokens."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace
from pathlib import PurePath

from trainer import check, known, machine, models
from trainer.check import Prospect, Stamp
from trainer.data.lengths import Lengths
from trainer.data.report import too_many_lost
from trainer.insight import estimate
from trainer.insight.estimate import Device, Memory
from trainer.plan import Plan, make_plan, thinned
from trainer.spec import RunSpec

FRESH = 5.0  # seconds for which what is free counts as known


@dataclass(frozen=True, slots=True)
class Outlook(Prospect):
    """A prospect, with the rows' lengths in the model's tokens where they were counted before, and the memory that a
    run would need where the model's shape is known."""

    lengths: Lengths | None = None
    memory: Memory | None = None

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
        self._device: tuple[float, Device] | None = None

    def look(self, spec: RunSpec) -> Outlook:
        """May take seconds for a large file that it has not seen: call it in a thread."""
        found = self._look(spec)
        lengths = known.recall(known.key(spec, found.model)) if found.model and found.plan else None
        told = {field.name: getattr(found, field.name) for field in fields(Prospect)}
        return Outlook(**told, lengths=lengths, memory=self._memory(spec, found, lengths))

    def _memory(self, spec: RunSpec, found: Prospect, lengths: Lengths | None) -> Memory | None:
        """By the closed formula, for a batch of the longest rows (of max length where they were not counted)."""
        folder = models.local_folder(found.model) if found.model else None
        shape = estimate.read_shape(folder, found.model.parameters) if folder and found.model else None
        if shape is None:
            return None
        now = time.monotonic()
        if self._device is None or now - self._device[0] > FRESH:
            self._device = (now, machine.device())
        return estimate.memory(
            shape,
            method=spec.method,
            lora_rank=spec.lora_rank,
            optimizer=spec.optimizer,
            batch_size=min(spec.batch_size, found.plan.train_examples) if found.plan else spec.batch_size,
            longest=_longest(spec, lengths),
            device=self._device[1],
        )

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


def _longest(spec: RunSpec, lengths: Lengths | None) -> int:
    """Tokens of the longest example; max length where they were not counted."""
    if lengths is None or lengths.longest is None:
        return spec.max_length
    return min(lengths.within(spec.max_length), lengths.longest.tokens)
