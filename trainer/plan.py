"""How many steps a run takes and where it evaluates: the same sums for the form, the command line and the loop."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trainer.data.split import without
from trainer.spec import RunSpec

LONG_EPOCH = 40  # steps; longer epochs are evaluated in between as well


@dataclass(frozen=True, slots=True)
class Plan:
    """`eval_every` is in steps; besides, every end of an epoch and step 0 are evaluated."""

    train_examples: int
    eval_examples: int
    epochs: int
    steps_per_epoch: int
    eval_every: int

    @property
    def total_steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def evaluates_at(self, step: int) -> bool:
        """Whether the whole validation set is evaluated after this step (0 is before the first)."""
        in_epoch = step % self.steps_per_epoch
        return in_epoch == 0 or (self.eval_every > 0 and in_epoch % self.eval_every == 0 and self._apart(in_epoch))

    def _apart(self, in_epoch: int) -> bool:
        # An evaluation a few steps before the epoch's own would cost time and show nothing new.
        return self.steps_per_epoch - in_epoch >= self.eval_every / 2


def make_plan(spec: RunSpec, train_examples: int, eval_examples: int) -> Plan:
    """The last batch of an epoch may be smaller; it is a step like any other."""
    steps = math.ceil(train_examples / spec.batch_size)
    every = spec.eval_every or _choose(steps)
    return Plan(train_examples, eval_examples, spec.epochs, steps, every)


def thinned(plan: Plan, spec: RunSpec, lost: int) -> Plan:
    """The plan when `lost` rows can't be used after all; which side they stand on is not known yet."""
    if not lost:
        return plan
    return make_plan(spec, *without(lost, plan.train_examples, plan.eval_examples, own_eval=bool(spec.eval_data)))


def _choose(steps_per_epoch: int) -> int:
    """Evaluations within a long epoch, at equal distances: one per 40 steps up to ten an epoch."""
    parts = min(10, steps_per_epoch // LONG_EPOCH + 1)
    return math.ceil(steps_per_epoch / parts)
