"""All runs, newest first. It reads them in a thread; opening, starting and editing is the app's and other screens'."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import DataTable, Static

from trainer import presets
from trainer.spec import KNOBS
from tui.catalogue import Summary, catalogue_of
from tui.safe import safe
from tui.screens.room import Room
from tui.widgets.key_bar import KeyBar
from tui.widgets.run_table import RunTable

REFRESH_SECONDS = 2.0
FIRST_SECONDS, BATCH_SECONDS = 0.1, 1.0  # what is read in this time is shown together; a table is painted whole

# One table; a sentence where there is nothing to list.
RULES = """
HomeScreen {
    layout: vertical;
    #title { height: 1; padding: 0 1; margin: 0 0 1 0; }
    #runs { height: 1fr; background: $background; scrollbar-size-vertical: 1; overflow-x: hidden; }
    #runs:focus { background-tint: transparent; }
    #runs > .datatable--header { background: $background; color: $text-muted; text-style: none; }
    #runs > .datatable--cursor { background: $primary 40%; color: $text; text-style: none; }
    #runs > .datatable--even-row, #runs > .datatable--odd-row { background: $background; }
    #empty { display: none; height: 1fr; content-align: center middle; text-align: center; padding: 0 2; }
}
"""


class HomeScreen(Room):
    """The list of runs; Enter opens one, live or ended."""

    DEFAULT_CSS = RULES
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new_run", "New run", id="home.new", tooltip="A new run from the starter preset"),
        Binding("e", "again", "Again", id="home.again", tooltip="A new run from this one's settings"),
        Binding("q", "app.quit", "Quit", id="home.quit", tooltip="Leave; runs go on"),
        Binding("f1", "help", "Keys", id="home.help", tooltip="All keys and what they do"),
    ]

    def __init__(self, runs_dir: Path) -> None:
        super().__init__()
        self._runs_dir = runs_dir
        self._catalogue = catalogue_of(runs_dir)
        self.summaries: tuple[Summary, ...] = ()

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield RunTable(id="runs")
        yield Static(id="empty", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        self._title("reading…")
        self.query_one(RunTable).focus()
        self.run_worker(self._follow(), name="catalogue", group="catalogue", exclusive=True)

    # --- reading ----------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Read all runs, then again every few seconds; nothing is sent where nothing changed."""
        while True:
            await self._read()
            await asyncio.sleep(REFRESH_SECONDS)

    async def _read(self) -> None:
        found: list[Summary] = []
        reading = self._catalogue.refresh()
        first = not self.summaries
        while batch := await asyncio.to_thread(_batch, reading, BATCH_SECONDS if found else FIRST_SECONDS):
            found += batch
            if first:
                self._show(tuple(found), whole=False)
        self._show(tuple(found), whole=True)

    def _show(self, summaries: tuple[Summary, ...], whole: bool) -> None:
        if not all(self.query(part) for part in (RunTable, "#empty", "#title")):
            return  # the screen is on its way out; its parts go one by one
        table, empty = self.query_one(RunTable), self.query_one("#empty", Static)
        if summaries != self.summaries or not whole:
            had = self.summaries
            self.summaries = summaries
            table.show(summaries)
            if bool(had) != bool(summaries):
                self.refresh_bindings()
        nothing = whole and not summaries
        table.display = not nothing
        empty.display = nothing
        if nothing:
            where = safe(str(self._runs_dir), one_line=True)
            empty.update(Content(f"No runs yet. Press n to start one.\n\nLooked in {where}"))
        live = sum(summary.live for summary in summaries)
        counted = f"{len(summaries):,} run{'s' * (len(summaries) != 1)}"
        self._title(counted + (f", {live:,} live" if live else "") + ("" if whole else ", reading…"))

    def _title(self, text: str) -> None:
        title = self.query_one("#title", Static)
        line = Content.assemble(("finetunegem", "bold"), f"  {text}")
        if title.content != line:
            title.update(line)

    # --- keys -------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "again":
            return True if self.summaries else None
        return True

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        event.stop()
        chosen = self.query_one(RunTable).chosen
        if chosen is not None:
            self.cockpit.open_live(chosen.run)

    def action_again(self) -> None:
        chosen = self.query_one(RunTable).chosen
        if chosen is None:
            return
        if chosen.spec is None:
            self.notify("Its spec.toml can't be read.", severity="warning", markup=False)
            return
        values = {name: getattr(chosen.spec, name) for name in KNOBS}
        self.cockpit.open_new_run(values, origin=chosen.run.name)

    def action_new_run(self) -> None:
        self.cockpit.open_new_run(presets.load(presets.STARTER), presets.STARTER)


def _batch(reading: Iterator[Summary], seconds: float) -> list[Summary]:
    """The summaries that can be read in this time; empty at the end."""
    until = time.monotonic() + seconds
    found: list[Summary] = []
    for summary in reading:
        found.append(summary)
        if time.monotonic() > until:
            break
    return found
