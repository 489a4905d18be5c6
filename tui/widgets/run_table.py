"""The table of runs: which columns fit, and the smallest change that brings it up to date.

Updating one cell makes Textual paint the whole table, so cells are only touched where their text differs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from tui import figures, format
from tui.catalogue import SPARK, Summary
from tui.safe import safe
from tui.states import BADGES, UNREADABLE


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a fixed width; `right` aligns numbers."""

    key: str
    label: str
    width: int
    right: bool = False


STATE = Column("state", "state", 10)
ASKED = Column("asked", "epochs/batch/lr", 15)
ASKED_SHORT = Column("asked", "ep/batch/lr", 11)
BEST = Column("best", "best eval", 9, right=True)
STEPS = Column("steps", "steps", 13, right=True)
STEPS_SHORT = Column("steps", "steps", 9, right=True)
WHEN = Column("when", "when", 15)
SHAPE = Column("spark", "eval loss", SPARK)
SHAPE_SHORT = Column("spark", "eval loss", 12)
MODEL = Column("model", "model", 30)
PADDING = 2  # cells around every column
NAME_LEAST, NAME_MOST = 16, 44


def columns(width: int) -> tuple[Column, ...]:
    """What fits: name, state, settings, best and steps always; when, sparkline and model as there is room."""
    narrow = (STATE, ASKED_SHORT, BEST, STEPS_SHORT)
    for rest in (
        (STATE, MODEL, ASKED, BEST, STEPS, WHEN, SHAPE),
        (STATE, ASKED, BEST, STEPS, WHEN, SHAPE),
        (STATE, ASKED, BEST, STEPS, WHEN, SHAPE_SHORT),
        (STATE, ASKED, BEST, STEPS, SHAPE_SHORT),
        narrow,
    ):
        room = width - sum(column.width + PADDING for column in rest) - PADDING
        if rest is narrow or room >= 31:
            return (Column("name", "run", max(NAME_LEAST, min(NAME_MOST, room))), *rest)
    raise AssertionError


def cells(summary: Summary, shown: Sequence[Column], now: float) -> tuple[Text, ...]:
    """One row; every text from outside is made harmless here."""
    spec = summary.spec
    badge = BADGES[summary.status] if summary.status else UNREADABLE
    steps = f"{summary.step:,}/{summary.total:,}" if summary.total else f"{summary.step:,}"
    texts = {
        "name": safe(summary.run.name, limit=120, one_line=True),
        "state": badge.text.rstrip("…"),
        "asked": figures.settings(spec, wide=False) if spec else "no spec",
        "best": format.loss(summary.best),
        "steps": steps,
        "when": format.when(summary.began, now),
        "spark": summary.spark,
        "model": safe(spec.model, limit=200, one_line=True) if spec else format.UNKNOWN,
    }
    styles = {"state": badge.color, "spark": "#e8780c", "name": "bold" if summary.live else ""}
    row = []
    for column in shown:
        text = texts[column.key]
        if column.key == "spark":
            text = _thinned(text, column.width)
        text = format.cut_middle(text, column.width)
        row.append(Text(text, styles.get(column.key, ""), justify="right" if column.right else "left"))
    return tuple(row)


class RunTable(DataTable[Text]):
    """Runs in the order they are given, one row each, keyed by folder; the cursor stays on its run."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Open", id="home.open", tooltip="Its curve and figures, live or ended"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, cursor_type="row", zebra_stripes=False, cell_padding=1)
        self._shown: tuple[Column, ...] = ()
        self._rows: dict[str, tuple[Text, ...]] = {}
        self._summaries: tuple[Summary, ...] = ()

    @property
    def chosen(self) -> Summary | None:
        """The run under the cursor."""
        return self._summaries[self.cursor_row] if 0 <= self.cursor_row < len(self._summaries) else None

    def show(self, summaries: Sequence[Summary]) -> None:
        """Bring the table to these runs, with as few changes as it takes."""
        before = [str(summary.run.path) for summary in self._summaries]
        keys = [str(summary.run.path) for summary in summaries]
        chosen = self.chosen
        self._summaries = tuple(summaries)
        if not self._shown or keys[: len(before)] != before:
            self._rebuild(chosen)
            return
        now = time.time()
        for key, summary in zip(keys, summaries, strict=True):
            row = cells(summary, self._shown, now)
            old = self._rows.get(key)
            if old is None:
                self.add_row(*row, key=key)
            else:
                self._update(key, old, row)
            self._rows[key] = row

    def on_resize(self) -> None:
        shown = columns(self.size.width)
        if shown != self._shown:
            self._shown = shown
            self._rebuild(self.chosen)

    def _update(self, key: str, old: Sequence[Text], new: Sequence[Text]) -> None:
        for column, was, now in zip(self._shown, old, new, strict=True):
            if (was.plain, was.style) != (now.plain, now.style):  # Text's own == does not look at the style
                self.update_cell(key, column.key, now)

    def _rebuild(self, chosen: Summary | None) -> None:
        self._shown = self._shown or columns(self.size.width or 80)
        self.clear(columns=True)
        for column in self._shown:
            label = Text(column.label, justify="right" if column.right else "left")
            self.add_column(label, key=column.key, width=column.width)
        now = time.time()
        self._rows = {str(s.run.path): cells(s, self._shown, now) for s in self._summaries}
        for key, row in self._rows.items():
            self.add_row(*row, key=key)
        if chosen is not None:
            paths = [summary.run.path for summary in self._summaries]
            self.move_cursor(row=paths.index(chosen.run.path) if chosen.run.path in paths else 0)


def _thinned(spark: str, width: int) -> str:
    """Every so many characters of a sparkline that is longer than its column."""
    if len(spark) <= width:
        return spark
    return "".join(spark[round(at * (len(spark) - 1) / (width - 1))] for at in range(width))
