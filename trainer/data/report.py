"""What a data file comes to for a run, as one value: counted rows, why the shape, the split, token lengths.

For machines as JSON (`fields`, and `from_fields` back), for people as label and text. It counts nothing itself and
loads no tokenizer: `trainer.look` puts it together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from trainer.data.dataset import what_helps
from trainer.data.lengths import Bin, Lengths
from trainer.data.lengths import from_fields as lengths_from
from trainer.data.split import without

SCRIPTS = 4  # named; the rest is one share
RARE, LEAST = 0.005, 0.0005  # shares of the letters: rarer scripts are put together, and less is not said
CUT = "┄"


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that is left out: where it stands ("file:line") and why."""

    place: str
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    """`rows` are used, bad, or left out since they are not to be learnt from; `problems` are the first of the bad ones.

    `why` says why the rows have this `shape`, `how` how their files are read ("" where that goes without saying).
    `exact` and `near` count rows that repeat an earlier one, `same_prompt` those that answer it in another way; `leak`
    validation rows that stand among the training rows too. `train` and `eval` are counted before the tokens are: see
    `left`; `own_eval`: the validation rows are data of their own. `refusal` is why a run would refuse the data by
    their rows alone; `refused` knows the tokens too. `lengths` and `fingerprint` (SHA-256) come later than the rest, or
    never.
    """

    source: str
    shape: str = ""
    why: str = ""
    how: str = ""
    columns: str = ""
    rows: int = 0
    used: int = 0
    bad: int = 0
    left_out: int = 0
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    exact: int = 0
    near: int = 0
    same_prompt: int = 0
    leak: int = 0
    train: int = 0
    eval: int = 0
    own_eval: bool = False
    batch_size: int = 1
    epochs: int = 1
    steps_per_epoch: int = 0
    max_length: int = 0
    allow_bad: float = 1.0
    scripts: tuple[tuple[str, float], ...] = ()
    fingerprint: str = ""
    refusal: str = ""
    lengths: Lengths | None = None

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    @property
    def refused(self) -> str:
        """Why a run would refuse the data; "" where it would not, as far as is known."""
        if self.refusal or self.lengths is None:
            return self.refusal
        return too_many_lost(self.source, self.rows, self.bad, self.allow_bad, self.lengths, self.max_length)

    @property
    def lost(self) -> int:
        """Rows that are used no more, now that the tokens are counted; 0 while they are not."""
        return self.lengths.lost(self.max_length) if self.lengths else 0

    def fields(self) -> dict[str, Any]:
        """As JSON takes it: every field, and what is worked out from them."""
        found = asdict(self) | {"total_steps": self.total_steps, "refused": self.refused, "lost": self.lost}
        if self.lengths is not None:
            cut = asdict(self.lengths.cut(self.max_length)) | {"at": self.lengths.within(self.max_length)}
            found["lengths"] = self.lengths.fields() | {"cut": cut}
        return found


def too_many_lost(source: str, rows: int, bad: int, allowed: float, lengths: Lengths, max_length: int) -> str:
    """Why a run would refuse the data for the rows that are lost in tokens, and what helps; "" where it would not."""
    empty = lengths.cut(max_length).nothing_left
    lost = bad + lengths.refused + empty
    if lost <= allowed * rows:
        return ""
    counts = ((bad, "bad"), (lengths.refused, "refused by the chat template"))
    why = [f"{count:,} {'is' if count == 1 else 'are'} {what}" for count, what in counts if count]
    if empty:
        keep = "keeps" if empty == 1 else "keep"
        why.append(f"{empty:,} {keep} no answer within {lengths.within(max_length):,} tokens")
    first = f" ({lengths.refusal})" if lengths.refusal else ""
    longer = lengths.enough(int(allowed * rows) - bad) if empty else 0
    if lengths.limit > max_length and not longer and (always := lengths.cut(lengths.limit).nothing_left):
        why[-1] += f" and {always:,} none within the {lengths.limit:,} that the model has"
    return (
        f"{source}: {lost:,} of {rows:,} rows can't be used, more than {100 * allowed:g}%: {', '.join(why)}{first}; "
        f"{what_helps(lost, rows, longer)}."
    )


def from_fields(raw: Mapping[str, Any]) -> Report:
    """The report that `fields` wrote down. Raises KeyError, TypeError or ValueError for anything else."""
    known = {name: raw[name] for name in Report.__slots__}
    known["problems"] = tuple(Problem(**problem) for problem in raw["problems"])
    known["notes"] = tuple(map(str, raw["notes"]))
    known["scripts"] = tuple((str(script), float(share)) for script, share in raw["scripts"])
    known["lengths"] = lengths_from(raw["lengths"]) if raw["lengths"] else None
    return Report(**known)


def at_length(report: Report, max_length: int) -> Report:
    """The same data, cut elsewhere."""
    return replace(report, max_length=max_length)


def reason(report: Report) -> str:
    """Why the shape is that; and how the files are read, where that is not plain."""
    return f"{report.why}; read as {report.how}" if report.how else report.why


def figures(report: Report) -> tuple[tuple[str, str], ...]:
    """(label, text) for people, the most telling first; token figures as far as rows are counted."""
    found = [("rows", _rows(report))]
    if not report.refusal:
        train, held_out, steps = left(report)
        about = "about " if report.lost else ""  # the rows that are lost may be of either side
        found.append(("split", f"{about}{train:,} training + {held_out:,} validation"))
        found.append(("steps", f"{about}{steps:,} per epoch of batch size {report.batch_size}"))
    found += _doubles(report)
    if report.scripts:
        found.append(("scripts", scripts(report.scripts)))
    return (*found, *(_token_figures(report, report.lengths) if report.lengths else ()))


def left(report: Report) -> tuple[int, int, int]:
    """(training, validation, steps per epoch) without the rows that are lost in tokens."""
    if not report.lost:
        return report.train, report.eval, report.steps_per_epoch
    train, held_out = without(report.lost, report.train, report.eval, own_eval=report.own_eval)
    return train, held_out, math.ceil(train / report.batch_size)


def _rows(report: Report) -> str:
    """ "999, 3 bad, 120 left out"."""
    parts = [f"{report.rows:,}"]
    parts += [f"{report.bad:,} bad"] if report.bad else []
    parts += [f"{report.left_out:,} not to be learnt"] if report.left_out else []
    return ", ".join(parts) if len(parts) > 1 else f"{report.rows:,}, none bad"


def _doubles(report: Report) -> list[tuple[str, str]]:
    kinds = ((report.exact, "exact"), (report.near, "near"), (report.same_prompt, "same prompt"))
    found = [("duplicates", ", ".join(f"{count:,} {kind}" for count, kind in kinds if count) or "none")]
    if report.leak:
        found.append(("leak", f"{report.leak:,} validation rows stand in training too"))
    return found


def scripts(found: Sequence[tuple[str, float]]) -> str:
    """Latin 97 %, Han 2 %, others 1 %."""
    named = [(script, share) for script, share in found[:SCRIPTS] if share >= RARE]
    rest = sum(share for _, share in found) - sum(share for _, share in named)
    shown = [f"{script} {percent(share)}" for script, share in named]
    return ", ".join([*shown, *([f"others {percent(rest)}"] if rest > LEAST else [])])


def percent(share: float) -> str:
    """97 %, 0.4 %; never 0 or 100 % for what is not quite that."""
    whole = round(100 * share)
    if 0 < share < 1 and (whole in (0, 100) or share < 0.01):
        near = min(99.9, max(0.1, round(100 * share, 1)))
        return f"{near:g} %"
    return f"{whole} %"


def _token_figures(report: Report, lengths: Lengths) -> list[tuple[str, str]]:
    tokens = lengths.tokens
    if not tokens:
        return []
    found = [("tokens", f"{tokens:,}, {percent(lengths.supervised / tokens)} learnt")]
    for label, extreme in (("longest", lengths.longest), ("shortest", lengths.shortest)):
        if extreme:
            found.append((label, f"{extreme.tokens:,} tokens, {where(report, extreme.place)}"))
    if lengths.refused:
        found.append(("refused", f"{lengths.refused:,} by the chat template"))
    cut = lengths.cut(report.max_length)
    share = percent(cut.tokens / tokens)
    costs = f"{cut.rows:,} row{'s' * (cut.rows != 1)}, {cut.tokens:,} tokens ({share})" if cut.rows else "nothing"
    found.append((f"cut at {lengths.within(report.max_length):,}", costs))
    if cut.nothing_left:
        found.append(("then empty", f"{cut.nothing_left:,} row{'s' * (cut.nothing_left != 1)}: no answer is left"))
    return found


def where(report: Report, place: str) -> str:
    """A place in few words: "line 12", or "b.jsonl:12" where there are several files."""
    file, _, line = place.rpartition(":")
    return f"line {line}" if file == report.source else f"{file.rpartition('/')[2]}:{line}"


def bars(lengths: Lengths, max_length: int, width: int, height: int) -> tuple[str, ...]:
    """The histogram as rows of text: the lengths, a bar, how many rows; a line where max length cuts.

    Never wider than `width`; at most `height` rows (3 or more).
    """
    bins = lengths.histogram(max_length, max(2, height - 1))
    if not bins:
        return ()
    at, most = lengths.within(max_length), max(one.rows for one in bins)
    label = max(len(f"{one.end:,}") for one in bins)
    count = max(len(f"{one.rows:,}") for one in bins)
    room = max(1, width - label - count - 2)
    lines = []
    for one in bins:
        lines.append(f"{one.end:>{label},} {_bar(one, most, room):<{room}} {one.rows:>{count},}"[:width])
        if one.end == at and one is not bins[-1]:
            lines.append(f" cut at {at:,} ".center(width, CUT)[:width])
    return tuple(lines)


def _bar(one: Bin, most: int, room: int) -> str:
    """At least a sliver for a row there is."""
    halves = max(1, round(2 * room * one.rows / most)) if one.rows else 0
    return "█" * (halves // 2) + "▌" * (halves % 2)
