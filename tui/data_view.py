"""What the Data screen knows, folded from what the worker says; and how it is put into words. Pure, without widgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from textual.content import Content

from trainer.data import report as reports
from trainer.data.lengths import Lengths, from_fields
from trainer.data.report import Report
from tui.format import cut_middle
from tui.safe import safe

LEARNT, READ, CUT, HIT = "bold $text-success", "$foreground 85%", "$foreground 40%", "reverse"
MARK = "▌ "  # before every line with something learnt in it: it must be seen without colour too
SCISSORS = "── cut here ──"
DIM = "$foreground 60%"
LABEL = 11
LINES = 1000  # of one piece of a row


@dataclass(frozen=True, slots=True)
class RowView:
    """One row as the model will read it; or why it is left out, and what it holds.

    `pieces` are (text, kind), the kinds read, learnt and cut; `more` says how many characters are not shown, `key`
    whether something in it looks like a key and is hidden.
    """

    number: int
    place: str
    pieces: tuple[tuple[str, str], ...] = ()
    tokens: int = 0
    learnt: int = 0
    why: str = ""
    raw: str = ""
    more: int = 0
    key: bool = False


@dataclass(frozen=True, slots=True)
class DataView:
    """`refusal` is why the data can't be used, `no_tokens` why they can't be read with this model; `doing` is what goes
    on, with `done` of `of`; `said` answers what was asked last. `folder` is where the data lie, which is left out of
    sentences. `so_far` are lengths of some rows while they are counted.
    """

    folder: str = ""
    report: Report | None = None
    row: RowView | None = None
    refusal: str = ""
    no_tokens: str = ""
    doing: str = "starting"
    done: int = 0
    of: int = 0
    said: str = ""
    so_far: Lengths | None = None


def heard(view: DataView, said: Mapping[str, Any]) -> DataView:
    """The view after one more thing the worker said; what can't be read changes nothing."""
    try:
        return _heard(view, said)
    except (KeyError, TypeError, ValueError):
        return view


def _heard(view: DataView, said: Mapping[str, Any]) -> DataView:
    match said["say"]:
        case "phase":
            return replace(view, doing=str(said["phase"]), done=int(said["done"]), of=int(said["of"]))
        case "report":
            return replace(view, report=reports.from_fields(said["report"]))
        case "lengths" if view.report is not None:
            return replace(view, report=replace(view.report, lengths=from_fields(said["lengths"])), so_far=None)
        case "lengths so far":
            return replace(view, so_far=from_fields(said["lengths"]))
        case "hashed" if view.report is not None:
            return replace(view, report=replace(view.report, fingerprint=str(said["fingerprint"])))
        case "row":
            row = {name: said["row"][name] for name in RowView.__slots__}
            row["pieces"] = tuple((str(text), str(kind)) for text, kind in row["pieces"])
            return replace(view, row=RowView(**row))
        case "missing":
            return replace(view, said=str(said["what"]))
        case "error":
            return _told(view, said["about"], str(said["error"]))
    return view


def _told(view: DataView, about: str, sentence: str) -> DataView:
    if about == "row":
        return view if sentence == view.refusal else replace(view, said=sentence)
    if about == "data" or view.report is None:
        return replace(view, refusal=view.refusal or sentence, doing="")
    return replace(view, no_tokens=sentence, doing="")


def cut_elsewhere(view: DataView, usual: int) -> DataView:
    """Cut at the next max length worth trying; after the last one comes the first. `usual` is the form's."""
    report = view.report
    if report is None or report.lengths is None:
        return view
    rungs = sorted({*report.lengths.rungs(), usual})
    length = next((rung for rung in rungs if rung > report.max_length), rungs[0])
    said = f"Cut at {length:,} here; u takes that into the form." if length != usual else ""
    return replace(view, report=reports.at_length(report, length), said=said)


def headline(view: DataView) -> Content:
    """The shape and why it is that; what goes on while nothing is known; and why the data are refused."""
    report = view.report
    parts: list[tuple[str, str]] = []
    if report is not None:
        parts = [
            (safe(report.shape, 200, one_line=True), "bold"),
            (f": {safe(reports.reason(report), 1000, one_line=True)}", DIM),
        ]
    elif not view.refusal:
        parts = [(f"{doing(view)} …", DIM)]
    if refused := (view.refusal or (report.refused if report else "")).replace(view.folder or "\n", ""):
        parts.append(("\n" * bool(parts) + safe(refused, 1000, one_line=True), "$text-error"))
    return Content.assemble(*parts)


def doing(view: DataView) -> str:
    """ "counting tokens 1,200 of 9,990"; "" when nothing goes on."""
    part = f" {view.done:,} of {view.of:,}" if view.of else ""
    return f"{safe(view.doing, 100, one_line=True)}{part}" if view.doing else ""


def figures(view: DataView, width: int) -> Content:
    """Label and text, a row each, cut to the width."""
    if view.report is None:
        return Content()
    found = [
        Content.assemble((label.ljust(LABEL), DIM), cut_middle(safe(text, one_line=True), max(8, width - LABEL)))
        for label, text in reports.figures(view.report)
    ]
    if view.no_tokens:
        found += Content.styled(f"No token figures: {safe(view.no_tokens, 500)}", "$text-warning").wrap(max(20, width))
    elif view.report.lengths is None:
        found.append(Content.styled(f"{doing(view)} …", "$text-accent"))
    return Content("\n").join(found)


def histogram(view: DataView, width: int, height: int) -> Content:
    """Its title, the bars, and the line where max length cuts."""
    lengths = (view.report.lengths or view.so_far) if view.report else None
    if view.report is None or lengths is None or not lengths.by_length:
        return Content()
    counted = view.report.lengths is not None
    lines = [Content.styled(f"rows by their tokens, {'up to' if counted else 'so far'}", DIM)]
    for line in reports.bars(lengths, view.report.max_length, width, height - 1):
        lines.append(Content.styled(line, "$text-warning" if reports.CUT in line else "$foreground 85%"))
    return Content("\n").join(lines)


def skipped(view: DataView) -> Content:
    """The first of the rows that are left out, in a row or two; nothing where all are used."""
    found = view.report
    if found is None or not found.problems:
        return Content()
    first = found.problems[0]
    more = f" (and {found.bad - 1:,} more: b)" if found.bad > 1 else " (b shows it)"
    place = safe(reports.where(found, first.place), one_line=True)
    told = f"Bad: {place}: {safe(first.why, 500, one_line=True)}{more}"
    return Content.styled(told, "$text-warning")


def row_head(view: DataView, width: int) -> Content:
    """ "Row 12 of 999 · data.jsonl:12 · 231 tokens, 120 learnt · cut"."""
    row = view.row
    if row is None:
        return Content()
    of = f" of {view.report.rows:,}" if view.report else ""
    place = reports.where(view.report, row.place) if view.report else row.place.replace(view.folder or "\n", "")
    parts = [safe(place, one_line=True)]
    if row.tokens:
        parts.append(f"{row.tokens:,} tokens, {row.learnt:,} learnt")
    elif row.pieces:
        parts.append("as it stands, without the model's template")
    if any(kind == "cut" for _, kind in row.pieces):
        parts.append("cut")
    if row.key:
        parts.append("what looks like a key is hidden here, and would be learnt")
    head = Content.assemble((f"Row {row.number + 1:,}{of}", "bold"), (" · " + " · ".join(parts), DIM))
    return head.truncate(max(1, width), ellipsis=True)


def preview(row: RowView, width: int, hit: str = "") -> list[Content]:
    """The row in lines of at most `width` cells, those with something learnt marked at their left; `hit` stands out."""
    if row.why or row.raw:
        told = f"Left out: {safe(row.why, 1000)}\n" if row.why else ""
        text = Content.assemble((told, "$text-error"), _some(safe(row.raw)))
        return [line.rstrip() for line in _marked(text, hit).wrap(max(1, width))]
    parts: list[tuple[str, str]] = []
    before = ""
    for words, kind in row.pieces:
        if kind == "cut" != before:
            parts.append((f"\n{SCISSORS}\n", "$text-warning"))
        parts.append((_some(safe(words)), {"learnt": LEARNT, "read": READ}.get(kind, CUT)))
        before = kind
    lines = _gutters(_marked(Content.assemble(*parts).rstrip(), hit).wrap(max(1, width - len(MARK))))
    if row.more:
        lines.append(Content.styled(f"{' ' * len(MARK)}… and {row.more:,} more characters", DIM))
    return lines


def _some(text: str) -> str:
    """At most so many lines of it: a widget takes seconds to lay out ten thousand."""
    lines = text.split("\n", LINES)
    return text if len(lines) <= LINES else "\n".join([*lines[:LINES], "…"])


def hit_at(lines: Sequence[Content]) -> int:
    """The first line with something that was searched for; 0 where there is none."""
    return next((at for at, line in enumerate(lines) if any(span.style == HIT for span in line.spans)), 0)


def _gutters(lines: Sequence[Content]) -> list[Content]:
    """Each line with the mark before it, or room for one; an empty line is as the one above it."""
    found: list[Content] = []
    learnt = False
    for line in lines:
        if line.plain.strip():
            learnt = any(span.style == LEARNT and line.plain[span.start : span.end].strip() for span in line.spans)
        found.append(Content.assemble((MARK, LEARNT) if learnt else " " * len(MARK)) + line.rstrip())
    return found


def _marked(text: Content, hit: str) -> Content:
    """What was searched for stands out."""
    plain, wanted = text.plain.casefold(), hit.casefold()
    at = plain.find(wanted) if wanted and len(plain) == len(text.plain) else -1
    while at >= 0:
        text = text.stylize(HIT, at, at + len(wanted))
        at = plain.find(wanted, at + len(wanted))
    return text
