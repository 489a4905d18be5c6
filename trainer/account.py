"""What the data of a spec come to, put together for a person: the account of the rows as a Report, without tokens.

The same functions read, split and plan here as in a run, so what is said here is what a run does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from trainer import check
from trainer.data import DataError, DataSet, Example, split
from trainer.data import scripts as by_script
from trainer.data.browse import words_of
from trainer.data.dataset import reading
from trainer.data.report import Problem, Report
from trainer.plan import make_plan
from trainer.spec import RunSpec

SAMPLE = 2000  # rows whose scripts are looked at
_ASCII = bytes(range(128))
_NO_LETTERS = bytes(code for code in range(256) if code > 127 or not chr(code).isalpha())

Tell = Callable[[int], None]  # how many rows are read so far


@dataclass(frozen=True, slots=True)
class Account:
    """`report.refusal` is set where a run would refuse the data, although they could be read."""

    data: DataSet
    report: Report


def take(spec: RunSpec, tell: Tell = lambda rows: None) -> Account:
    """Read the data of a spec. Raises DataError where they can't be read at all."""
    data = _read(spec.data, spec.columns, tell)
    return Account(data, _planned(spec, data, _described(spec, data), tell))


def _read(data: str, columns: str, tell: Tell) -> DataSet:
    going = reading(check.source(data), columns, near=True)
    while True:
        try:
            tell(next(going))
        except StopIteration as done:
            found: DataSet = done.value
            return found


def _described(spec: RunSpec, data: DataSet) -> Report:
    return Report(
        source=data.name,
        shape=data.shape.name,
        why=data.shape.why,
        how=data.source.how,
        columns=spec.columns,
        rows=data.rows,
        used=data.used,
        bad=data.bad_count,
        left_out=data.left_out,
        problems=tuple(Problem(data.place(row), row.why) for row in data.bad),
        notes=data.warnings,
        exact=data.duplicates.exact,
        near=data.duplicates.near,
        same_prompt=data.duplicates.same_prompt,
        own_eval=bool(spec.eval_data),
        batch_size=spec.batch_size,
        epochs=spec.epochs,
        max_length=spec.max_length,
        allow_bad=spec.allow_bad,
        scripts=by_script.shares(by_script.count(_characters(islice(data.examples(), SAMPLE)))),
    )


def _planned(spec: RunSpec, data: DataSet, report: Report, tell: Tell) -> Report:
    """With the split and the steps; or with the sentence for data that a run would refuse."""
    try:
        data.check(spec.allow_bad)
        held_out = _read(spec.eval_data, spec.columns, tell).check(spec.allow_bad) if spec.eval_data else None
        parts = split(data, held_out, spec.eval_share, spec.seed)
    except DataError as error:
        return replace(report, refusal=str(error))
    plan = make_plan(spec, parts.train, parts.eval)
    return replace(report, train=parts.train, eval=parts.eval, leak=parts.leak, steps_per_epoch=plan.steps_per_epoch)


def _characters(examples: Iterator[Example]) -> Counter[str]:
    """How often each occurs; of ASCII only the letters are counted, all as one: they are Latin."""
    found: Counter[str] = Counter()
    ascii_letters = 0
    for example in examples:
        words = words_of(example.conversation).encode("utf-8", "surrogatepass")
        ascii_letters += len(words.translate(None, _NO_LETTERS))
        found.update(words.translate(None, _ASCII).decode("utf-8", "surrogatepass"))
    return found + Counter(a=ascii_letters)
