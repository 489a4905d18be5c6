"""`finetunegem data FILE`: what the data are, as lines or as one JSON object, and any row as the model will read it.

It loads no tokenizer: where token figures are wanted it asks a process of its own (`trainer.look`). Exit codes: 0 the
data can be used, 1 they are refused, 2 something else that was given can't be used.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from trainer import known, models
from trainer import spec as specs
from trainer.account import take
from trainer.data import DataError
from trainer.data import report as reports
from trainer.data.lengths import from_fields
from trainer.data.report import Report
from trainer.data.source import fingerprint
from trainer.secrets import redact
from trainer.spec import RunSpec
from tui.arguments import DATA_KNOBS
from tui.data_worker import answers
from tui.plain import said

EXIT_REFUSED, EXIT_USAGE = 1, 2
LABEL, WIDEST, BARS = 13, 100, 12  # columns of a label, and of a line; rows of the histogram
LEARNT = "▌ "  # before every line with something learnt in it
CUT = "── cut here ──"

Tell = Callable[[str, int, int], None]  # what goes on, how far, of how many (0: not known)


class Refused(Exception):
    """The text is what to say; `code` the exit code."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass
class Found:
    """As much as is known, also when something is refused."""

    report: Report
    row: dict[str, Any] | None = None


def data(options: argparse.Namespace) -> int:
    """The command; returns the exit code."""
    found, sentence, code = Found(Report(options.file)), "", 0
    try:
        _look(options, found)
    except (DataError, Refused, specs.SpecError, models.ModelError) as error:
        sentence = str(error)
        code = EXIT_REFUSED if isinstance(error, DataError) else getattr(error, "code", EXIT_USAGE)
    if options.json:
        fields = found.report.fields() | {"row": found.row}
        print(redact(json.dumps(fields | {"error": sentence} if sentence else fields)))
    elif found.report.rows:
        print(said("\n".join(_lines(found))))
    if sentence:
        print(said(sentence), file=sys.stderr)
    return code


def _look(options: argparse.Namespace, found: Found) -> None:
    """Fill in what is found. Raises DataError, Refused, SpecError or ModelError."""
    given = {name: getattr(options, f"knob_{name}") for name in DATA_KNOBS}
    spec = specs.make({name: raw for name, raw in given.items() if raw is not None} | {"data": options.file})
    with _progress() as tell:
        account = take(spec, lambda rows: tell("reading the rows", rows, 0))
        found.report = replace(account.report, fingerprint=fingerprint(account.data.source))
        _ask(spec, options, found, tell)
    if found.report.refused:
        raise Refused(found.report.refused, EXIT_REFUSED)


def _ask(spec: RunSpec, options: argparse.Namespace, found: Found, tell: Tell) -> None:
    """Token figures and a row, from the process that reads with a tokenizer."""
    tokens = found.report.used > 0 and not options.no_tokens
    if tokens:
        lengths = known.recall(known.key(spec, models.look_up(spec.model)))
        found.report = replace(found.report, lengths=lengths)
    if options.row is None and (found.report.lengths or not tokens):
        return
    asked: list[dict[str, Any]] = [{"ask": "look", "spec": vars(spec), "tokens": tokens}]
    if options.row is not None:
        if not 1 <= options.row <= found.report.rows:
            raise Refused(f"--row: there are rows 1 to {found.report.rows:,}, not {options.row}.", EXIT_USAGE)
        asked.append({"ask": "row", "number": options.row - 1, "max_length": spec.max_length})
    for heard in answers(asked):
        match heard["say"]:
            case "phase":
                tell(heard["phase"], heard["done"], heard["of"])
            case "lengths":
                found.report = replace(found.report, lengths=from_fields(heard["lengths"]))
            case "row":
                found.row = heard["row"]
            case "error":
                raise Refused(heard["error"], EXIT_REFUSED if heard["about"] == "data" else EXIT_USAGE)
        row = found.row or {}
        as_read = bool(row) and bool(row["tokens"] or row["why"] or not tokens)
        if (found.report.lengths or not tokens) and (as_read or options.row is None):
            return


def _lines(found: Found) -> Iterator[str]:
    """For people."""
    report, width = found.report, min(WIDEST, shutil.get_terminal_size().columns)
    yield report.source
    yield f"{'shape':{LABEL}}{report.shape}: {reports.reason(report)}"
    for label, text in reports.figures(report):
        yield f"{label:{LABEL}}{text}"
    yield f"{'sha256':{LABEL}}{report.fingerprint}"
    if report.lengths is not None and report.lengths.by_length:
        yield from ("", "rows by their tokens, up to")
        yield from reports.bars(report.lengths, report.max_length, width, BARS)
    if report.notes or report.problems:
        yield ""
    yield from report.notes
    yield from (f"{problem.place}: {problem.why}" for problem in report.problems)
    if report.bad > len(report.problems):
        yield f"and {report.bad - len(report.problems):,} more bad rows"
    if found.row is not None:
        yield from _row(found.row)


def _row(row: dict[str, Any]) -> Iterator[str]:
    """A row as the model will read it; lines with something learnt in them are marked."""
    yield ""
    yield f"row {row['number'] + 1:,}, {row['place']}" + (f": {row['why']}" if row["why"] else "")
    yield from str(row["raw"]).splitlines()
    line, marked, before = "", False, ""
    for text, kind in row["pieces"]:
        first, *more = (f"\n{CUT}\n{text}" if kind == "cut" != before else text).split("\n")
        before = kind
        line, marked = line + first, kind == "learnt" if first else marked
        for part in more:
            yield f"{LEARNT if marked else '  '}{line}"
            line, marked = part, kind == "learnt" if part else marked
    if line:
        yield f"{LEARNT if marked else '  '}{line}"


@contextmanager
def _progress() -> Iterator[Tell]:
    """One line on stderr that is written over, where a person looks at it."""
    if not sys.stderr.isatty():
        yield lambda what, done, of: None
        return
    longest = 0

    def tell(what: str, done: int, of: int) -> None:
        nonlocal longest
        text = f"{what}{f' {done:,}' if done else ''}{f' of {of:,}' if of else ''} …" if what else ""
        longest = max(longest, len(text))
        print(f"\r{said(text):{longest}}", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        tell("", 0, 0)
        print(end="\r", file=sys.stderr, flush=True)
