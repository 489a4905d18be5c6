"""A look at the data of a run before it is one: a process that answers a screen or a command.

    python -P -m trainer.look

JSON lines come in and go out. In: {"ask": "look", "spec": {...}, "tokens": true}, then any number of {"ask": "row",
"number": 0, "max_length": 512}, {"ask": "find", "text": ..., "after": 0, ...} and {"ask": "bad", "after": 0, ...}.
Out: {"say": "phase" | "report" | "hashed" | "lengths so far" | "lengths" | "row" | "missing" | "error", ...}. The
account of the rows comes first; then, in a thread beside what is asked, the tokenizer is loaded and the tokens are
made, which a run of the same data finds in its cache.

It ends with its standard input. It knows no screen, and whoever shows what it says must make that harmless.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from trainer import check, known, models
from trainer import spec as specs
from trainer.account import Account, take
from trainer.control import Control
from trainer.data import DataError
from trainer.data.browse import Browser, Seen, plain
from trainer.data.source import fingerprint
from trainer.models import ModelError, ModelInfo
from trainer.rundir import RunError
from trainer.secrets import redact
from trainer.spec import RunSpec

if TYPE_CHECKING:
    from trainer.backends.local.reading import Reading

Said = Mapping[str, Any]
Say = Callable[[Said], None]
Phase = Callable[[str, int, int], None]  # what goes on, how far, of how many

EVERY = 0.5  # seconds between two words about a search
STRIDE = 200  # rows that a search passes before it looks up
SHOWN = 20_000  # characters of a row
GENTLE = 10  # how far such a process stands back
KNOWN_ERRORS = (DataError, RunError, ModelError, specs.SpecError)


class Look:
    """Answers what comes in, one after the other; a search gives way to the next question."""

    def __init__(self, inbox: queue.SimpleQueue[Said], say: Say) -> None:
        self._inbox, self._say = inbox, say
        self._browser: Browser | None = None
        self._measuring = Measuring(inbox, say)
        self._reading: Reading | None = None
        self._shown: tuple[Seen, int] | None = None  # the row said last, and its max length
        self._search: Iterator[None] = iter(())

    def serve(self) -> None:
        """Work until the process ends."""
        searching = False
        while True:
            try:
                said = self._inbox.get(block=not searching)
            except queue.Empty:
                searching = self._guarded("row", lambda: next(self._search, self) is not self)
            else:
                self._guarded("data" if said["ask"] == "look" else "row", partial(self._take, said))
                searching = True

    def _guarded(self, about: str, work: Callable[[], bool | None]) -> bool:
        """What the work answers; whatever goes wrong is one sentence."""
        try:
            return bool(work())
        except Exception as error:
            self._say({"say": "error", "about": about, "error": sentence(error)})
            return False

    def _take(self, said: Said) -> None:
        match said["ask"]:
            case "look":
                self._look(specs.make(said["spec"]), said["tokens"])
            case "loaded" if self._measuring.is_current(said["control"]):
                self._reading = said["reading"]
                if self._shown:
                    self._show(*self._shown)
            case "row" if self._browser:
                self._seek(self._browser.row(said["number"]), said["max_length"], "There is no such row.")
            case "find" if self._browser:
                found = self._browser.find(said["text"], said["after"])
                self._seek(found, said["max_length"], f"No row holds {said['text'][:60]!r}.")
            case "bad" if self._browser:
                self._seek(self._browser.bad(said["after"]), said["max_length"], "No row is left out.")

    def _look(self, spec: RunSpec, tokens: bool) -> None:
        self._browser = self._reading = self._shown = None
        self._search = iter(())
        self._measuring.stop()
        phase(self._say, "reading the rows")
        try:
            account = take(spec, lambda rows: phase(self._say, "reading the rows", rows))
        except DataError:  # its rows may be seen all the same, as they stand
            self._browser = Browser(check.source(spec.data), None)
            raise
        self._browser = Browser(account.data.source, account.data.shape)
        self._say({"say": "report", "report": account.report.fields()})
        self._measuring.start(spec, account, tokens)

    def _seek(self, rows: Iterator[Seen | None], max_length: int, missing: str) -> None:
        self._search = self._sought(rows, max_length, missing)

    def _sought(self, rows: Iterator[Seen | None], max_length: int, missing: str) -> Iterator[None]:
        """On to the row that is looked for, some rows at a time."""
        told = time.monotonic()
        for at, seen in enumerate(rows, start=1):
            if seen is not None:
                self._show(seen, max_length)
                return
            if at % STRIDE == 0:
                if time.monotonic() - told > EVERY:
                    told = time.monotonic()
                    phase(self._say, "looking through the rows", at)
                yield
        self._say({"say": "missing", "what": missing})

    def _show(self, seen: Seen, max_length: int) -> None:
        self._shown = (seen, max_length)
        self._say({"say": "row", "row": row_fields(seen, self._reading, max_length)})


class Measuring:
    """What takes long, in a thread: the hash of the files, the tokenizer's libraries, the tokens of all rows."""

    def __init__(self, inbox: queue.SimpleQueue[Said], say: Say) -> None:
        self._inbox, self._say = inbox, say
        self._control = Control()
        self._mutex = threading.Lock()  # one at a time; one that is no longer wanted ends soon
        self._readings: dict[str, Reading] = {}

    def is_current(self, control: Control) -> bool:
        return control is self._control

    def stop(self) -> None:
        """What goes on is for nothing now."""
        self._control.ask_stop()

    def start(self, spec: RunSpec, account: Account, tokens: bool) -> None:
        self._control = Control()
        threading.Thread(target=self._run, args=(spec, account, tokens, self._control), daemon=True).start()

    def _run(self, spec: RunSpec, account: Account, tokens: bool, control: Control) -> None:
        with self._mutex:
            try:
                self._measure(spec, account, tokens, control)
            except Exception as error:
                self._tell({"say": "error", "about": "tokens", "error": sentence(error)}, control)

    def _measure(self, spec: RunSpec, account: Account, tokens: bool, control: Control) -> None:
        hashed = fingerprint(account.data.source)
        self._tell({"say": "hashed", "fingerprint": hashed}, control)
        if not tokens or control.stop:
            return
        info = models.look_up(spec.model)
        key = known.key(spec, info)
        if lengths := known.recall(key):
            self._tell({"say": "lengths", "lengths": lengths.fields()}, control)
        reading = self._load(info, control)
        self._inbox.put({"ask": "loaded", "reading": reading, "control": control})
        if lengths is None:
            lengths = reading.lengths(
                account.data,
                hashed,
                control,
                lambda *done: None if control.stop else phase(self._say, *done),
                lambda some: self._tell({"say": "lengths so far", "lengths": some.fields()}, control),
            )
            if lengths is not None:
                known.remember(key, lengths)
                self._tell({"say": "lengths", "lengths": lengths.fields()}, control)

    def _load(self, info: ModelInfo, control: Control) -> Reading:
        if info.source not in self._readings:
            self._tell({"say": "phase", "phase": "loading the tokenizer", "done": 0, "of": 0}, control)
            module = importlib.import_module("trainer.backends.local.reading")
            self._readings = {info.source: module.Reading(info)}
        return self._readings[info.source]

    def _tell(self, said: Said, control: Control) -> None:
        if not control.stop:
            self._say(said)


def phase(say: Say, what: str, done: int = 0, of: int = 0) -> None:
    say({"say": "phase", "phase": what, "done": done, "of": of})


def sentence(error: Exception) -> str:
    """What to say of an error: its own words where they were made for that."""
    if isinstance(error, KNOWN_ERRORS):
        return redact(str(error))
    return redact(f"This can't be looked at ({type(error).__name__}: {str(error)[:200]}).")


def row_fields(seen: Seen, reading: Reading | None, max_length: int) -> dict[str, object]:
    """A row as it is said: its pieces as the model reads them, or as they stand while no tokenizer is there."""
    found: dict[str, object] = {"number": seen.number, "place": seen.place, "why": seen.why, "raw": seen.raw}
    pieces: list[tuple[str, str]] = []
    tokens = learnt = 0
    if seen.conversation is not None:
        pieces = list(plain(seen.conversation))
        if reading is not None:
            try:
                read = reading.row(seen.conversation, max_length)
            except RunError as error:
                found["why"], found["raw"] = str(error), "".join(text for text, _ in pieces)
            else:
                pieces, tokens, learnt = list(read.pieces), read.tokens, read.learnt
    kept, more = _cut([(text, kind) for text, kind in pieces])
    hidden = [(redact(text), kind) for text, kind in kept]
    found |= {"pieces": hidden, "tokens": tokens, "learnt": learnt, "more": more}
    found |= {"key": hidden != kept, "raw": redact(str(found["raw"])[:SHOWN]), "why": redact(str(found["why"]))}
    return found


def _cut(pieces: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], int]:
    """The pieces up to so many characters, and how many more there are."""
    kept: list[tuple[str, str]] = []
    room = SHOWN
    for text, kind in pieces:
        if room > 0:
            kept.append((text[:room], kind))
        room -= len(text)
    return kept, max(0, -room)


def main() -> None:
    """Answer questions until there are no more; then end at once, whatever goes on."""
    inbox: queue.SimpleQueue[Said] = queue.SimpleQueue()
    mutex, out = threading.Lock(), sys.stdout.buffer

    def say(said: Said) -> None:
        with mutex:
            out.write(json.dumps(said).encode() + b"\n")
            out.flush()

    threading.Thread(target=Look(inbox, say).serve, daemon=True).start()
    for line in sys.stdin.buffer:
        said = json.loads(line)
        if said.get("gently"):
            os.nice(GENTLE)
        inbox.put(said)
    os._exit(0)


if __name__ == "__main__":
    main()
