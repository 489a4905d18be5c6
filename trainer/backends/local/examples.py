"""The examples of a run: read, split, made into tokens; and everything that is left out or cut, said.

What the rows hold is trainer.data's question, what the tokens are those of .chat; here it is which of them a run uses.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from trainer import check
from trainer.backends.local.tokenizing import code_version, tokenized
from trainer.backends.local.tokens import Tokens, TokenSet
from trainer.cache import Cache
from trainer.control import Control
from trainer.data import DataError, DataSet, Split, split
from trainer.data.dataset import LOOKED_AT, MAX_BAD_SHARE, estimate, reading, too_many_bad
from trainer.data.errors import shown
from trainer.data.kept import keep, recall
from trainer.data.lengths import enough
from trainer.data.rows import BadRow, read_rows
from trainer.data.source import Source, fingerprint
from trainer.events import DataRead, Event, Noted, PhaseEntered, decode
from trainer.models import ModelInfo
from trainer.rundir import RunDir, RunError
from trainer.spec import RunSpec

LARGE = 8_000_000  # bytes; the account of smaller data is made anew as fast as it is found
HUGE = 1_000_000_000  # bytes whose hash takes a while


@dataclass(frozen=True, slots=True)
class Read:
    """A source as it was read, and the hash of its files."""

    data: DataSet
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Material:
    """What a run is made of: the data, the validation data if they are of their own, and who is on which side."""

    data: Read
    eval_data: Read | None
    parts: Split


def read(spec: RunSpec, control: Control) -> Generator[Event, None, Material | None]:
    """The data of a run, checked and split; None when a stop was asked. Raises RunError."""
    try:
        data = yield from _read(spec.data, spec, control)
        eval_data = (yield from _read(spec.eval_data, spec, control)) if spec.eval_data else None
        if data is None or (spec.eval_data and eval_data is None):
            return None
        parts = split(data.data, eval_data.data if eval_data else None, spec.eval_share, spec.seed)
    except DataError as error:
        raise RunError(str(error)) from None
    if control.resuming and _logged(control.folder) not in ("", data.fingerprint):
        yield Noted("The data are not what they were when this run began: from here on it sees other examples.")
    yield from _about(data.data)
    if eval_data is not None:
        yield from _about(eval_data.data)
    if parts.leak:
        yield Noted(f"{parts.leak:,} of {parts.eval:,} validation examples stand in the training data as well.")
    return Material(data, eval_data, parts)


def make(
    spec: RunSpec,
    material: Material,
    tokenizer: PreTrainedTokenizerBase,
    info: ModelInfo,
    longest: int,
    control: Control,
    positions: int = 0,
) -> Generator[Event, None, tuple[TokenSet, TokenSet] | None]:
    """The training and the validation side, cut at `longest`; None when a stop was asked. Raises RunError.

    `positions` are those that the model has, 0 where that is not known.
    """
    data, eval_data, parts = material.data, material.eval_data, material.parts
    yield PhaseEntered("tokenizing")
    try:
        tokens = yield from tokenized(data.data, data.fingerprint, tokenizer, info, control)
        held_out = tokens
        if eval_data is not None:
            held_out = yield from tokenized(eval_data.data, eval_data.fingerprint, tokenizer, info, control)
    except DataError as error:
        raise RunError(str(error)) from None
    if tokens is None or held_out is None:
        return None
    validation = np.frombuffer(parts.held_out, np.uint8).astype(bool) if parts.held_out else None
    chosen = None if validation is None else ~validation
    train_set = _side(data.data, tokens, chosen, longest, positions, "training")
    theirs = eval_data.data if eval_data else data.data
    eval_set = _side(theirs, held_out, validation, longest, positions, "validation")
    taught = _check(spec, data.data, tokens, longest, positions)
    yield from _left_out(data.data, tokens, taught, longest)
    if eval_data is not None:
        yield from _left_out(
            eval_data.data, held_out, _check(spec, eval_data.data, held_out, longest, positions), longest
        )
    for side, kind in ((train_set, "training"), (eval_set, "validation")):
        if side.cut:
            share = 100 * side.tokens_cut / (side.tokens + side.tokens_cut)
            yield Noted(
                f"{side.cut:,} of {len(side):,} {kind} examples are cut at {longest:,} tokens: "
                f"{side.tokens_cut:,} tokens ({share:.1f} %) are lost."
            )
    return train_set, eval_set


def account(material: Material, train_set: TokenSet, eval_set: TokenSet) -> DataRead:
    """What the log says of the data."""
    sources = [material.data, *([material.eval_data] if material.eval_data else [])]
    data, used = material.data.data, len(train_set) + len(eval_set)
    usable = sum(source.data.used for source in sources)
    rows, bad = (sum(getattr(source.data, name) for source in sources) for name in ("rows", "bad_count"))
    return DataRead(
        data.shape.name,
        len(train_set),
        len(eval_set),
        train_set.tokens,
        train_set.targets,
        rows - used,
        train_set.cut + eval_set.cut,
        train_set.tokens_cut + eval_set.tokens_cut,
        rows,
        bad + usable - used,
        data.duplicates.exact,
        data.duplicates.near,
        material.parts.leak,
        len(data.source.files),
        material.data.fingerprint,
        material.eval_data.fingerprint if material.eval_data else "",
    )


def _read(named: str, spec: RunSpec, control: Control) -> Generator[Event, None, Read | None]:
    """The account of a source, from the cache where it was made before; None when a stop was asked."""
    yield PhaseEntered("reading data")
    source = check.source(named)
    if source.size > HUGE:
        yield PhaseEntered("hashing the data files")
    told = fingerprint(source)
    if source.size < LARGE:
        data = yield from _count(source, spec.columns, control)
    else:
        data = yield from _remembered(source, spec.columns, told, control)
    return None if data is None else Read(data.check(spec.allow_bad), told)


def _logged(run: Path) -> str:
    """The hash of the data that the run's log named last, "" where it names none."""
    lines = [line for line in RunDir(run).read_lines()[0] if b'"data_read"' in line]
    for line in reversed(lines):
        with suppress(ValueError):
            event = decode(line).event
            if isinstance(event, DataRead):
                return event.fingerprint
    return ""


def _remembered(source: Source, columns: str, told: str, control: Control) -> Generator[Event, None, DataSet | None]:
    cache = Cache()
    parts = json.dumps(["account", told, columns, code_version()])
    key = hashlib.sha256(parts.encode()).hexdigest()[:40]
    held = cache.find(key)
    if held is not None and (data := recall(held.path, source, columns)) is not None:
        return data
    if held is not None:
        cache.drop(held)
    data = yield from _count(source, columns, control)
    if data is not None:
        with suppress(OSError), cache.make(key) as new:  # a full disk costs nothing but the keeping
            keep(new.path, data)
    return data


def _count(source: Source, columns: str, control: Control) -> Generator[Event, None, DataSet | None]:
    going = reading(source, columns, near=True)
    expected = 0
    while True:
        try:
            done = next(going)
        except StopIteration as ended:
            data: DataSet = ended.value
            return data
        if control.stop:
            return None
        expected = expected or estimate(source, list(itertools.islice(read_rows(source), LOOKED_AT)))
        if done % 20_000 == 0:
            yield PhaseEntered("reading data", done, max(done, expected))


def _about(data: DataSet) -> Iterator[Event]:
    """What a person should know of the rows, the most important last: that is what a screen shows."""
    for warning in data.warnings:
        yield Noted(warning)
    same = data.duplicates
    if same.exact or same.near:
        yield Noted(
            f"{same.exact:,} of {data.rows:,} rows stand twice and {same.near:,} nearly so; all are used, and those "
            "that are alike are on one side of the split."
        )
    for row in data.bad:
        yield Noted(f"{data.place(row)}: {row.why}")
    if data.bad_count:
        first = f"{data.place(data.bad[0])}: {data.bad[0].why}"
        yield Noted(f"{data.bad_count:,} of {data.rows:,} rows skipped; first {first}.")


def _side(
    data: DataSet, tokens: Tokens, chosen: NDArray[np.bool_] | None, longest: int, positions: int, kind: str
) -> TokenSet:
    """The examples of a side that teach something. Raises RunError where there are none."""
    taught = tokens.teaches(longest)
    numbers = np.flatnonzero(taught if chosen is None else taught & chosen)
    if not len(numbers):
        if tokens.facts.refused == tokens.facts.examples:
            raise RunError(_refusal(data, tokens))
        longer = enough(tokens.begins(), int(MAX_BAD_SHARE * tokens.facts.examples), positions)
        helps = f"raise max length to {longer:,}" if longer else "give rows with answers"
        raise RunError(f"No {kind} example has an answer left within max length {longest}: {helps}.")
    return TokenSet(tokens, numbers, longest, [shown(file.path) for file in data.source.files])


def _check(spec: RunSpec, data: DataSet, tokens: Tokens, longest: int, positions: int) -> int:
    """How many examples teach something. Raises RunError where too many rows are bad, now that the cut is known."""
    taught = int(tokens.teaches(longest).sum())
    bad = data.bad_count + tokens.facts.examples - taught
    if bad > spec.allow_bad * data.rows:
        spare = int(spec.allow_bad * data.rows) - data.bad_count - tokens.facts.refused
        longer = enough(tokens.begins(), spare, positions)
        raise RunError(_refusal(data, tokens, bad, spec.allow_bad, longest, longer))
    return taught


def _refusal(
    data: DataSet, tokens: Tokens, bad: int = 0, allowed: float = 0.0, longest: int = 0, longer: int = 0
) -> str:
    for refused in tokens.facts.first_refused:
        where, why = data.place(BadRow(refused.line, "", refused.file)), refused.why
        return too_many_bad(where, why.rstrip("."), bad or tokens.facts.refused, data.rows, allowed, longer)
    first = tokens.index[np.flatnonzero(~tokens.teaches(longest))[0]]
    where = data.place(BadRow(int(first["line"]), "", int(first["file"])))
    why = f"no answer is left within max length {longest}"
    return too_many_bad(where, why, bad, data.rows, allowed, longer)


def _left_out(data: DataSet, tokens: Tokens, taught: int, longest: int) -> Iterator[Event]:
    """Rows that were good until the template and max length came."""
    facts = tokens.facts
    for refused in facts.first_refused:
        yield Noted(f"{data.place(BadRow(refused.line, '', refused.file))}: {refused.why}")
    if facts.refused:
        yield Noted(f"{facts.refused:,} of {data.rows:,} rows are refused by the chat template: left out.")
    if lost := facts.examples - facts.refused - taught:
        yield Noted(f"{lost:,} of {data.rows:,} rows have no answer left within {longest:,} tokens: left out.")
