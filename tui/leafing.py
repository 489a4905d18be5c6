"""Which row the worker is asked for: one at a time, so that a key held down asks for the newest and not for all."""

from __future__ import annotations

from trainer.spec import RunSpec
from tui.data_worker import DataWorker, Said


class Leafing:
    """Through the rows of one worker, each as it is cut at `max_length`."""

    def __init__(self, worker: DataWorker, max_length: int) -> None:
        self.max_length = max_length
        self._worker = worker
        self._waits = False  # for a row
        self._next: int | None = None  # the row to ask for then

    def look(self, spec: RunSpec) -> None:
        """Ask for everything about a spec, from the beginning."""
        self._waits, self._next = False, None
        self._worker.ask("look", spec=vars(spec), tokens=True)
        self.to(0)

    def to(self, number: int) -> None:
        """Ask for a row."""
        if self._waits:
            self._next = number
        else:
            self._waits = True
            self._worker.ask("row", number=number, max_length=self.max_length)

    def search(self, what: str, after: int, text: str = "") -> None:
        """Ask for the next row that is such: "find" or "bad"."""
        self._waits, self._next = True, None
        self._worker.ask(what, after=self.at(after), max_length=self.max_length, text=text)

    def at(self, shown: int) -> int:
        """The row that was asked for last, where that has not come yet; else the one that is shown."""
        return shown if self._next is None else self._next

    def heard(self, said: Said) -> None:
        """One thing the worker said; whatever answers a question lets the next one go."""
        if said["say"] in ("row", "missing", "error"):
            self._waits = False
            if self._next is not None:
                wanted, self._next = self._next, None
                self.to(wanted)
