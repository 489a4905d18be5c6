"""The run directory: everything about a run, as plain files.

    spec.toml  events.jsonl  commands.jsonl  lock  host.log  checkpoints/  model/

It creates, finds, reads and locks run directories. It does not know what the events mean (`trainer.state`) nor
how a host works (`trainer.host`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from trainer import spec as specs
from trainer.events import Entry, Failed, Finished, Stopped, decode
from trainer.files import append_line, reason, whole_lines, write_whole
from trainer.lock import Lock as Lock
from trainer.lock import Locked as Locked
from trainer.lock import RunError as RunError
from trainer.lock import lock_owner
from trainer.spec import RunSpec
from trainer.state import RunState

Status = Literal["starting", "running", "paused", "stopping", "finished", "stopped", "failed", "crashed"]
LIVE: frozenset[Status] = frozenset({"starting", "running", "paused", "stopping"})

START_SECONDS = 10.0  # within which a new run's host takes the lock, or `launch` has removed the run
_DATED = re.compile(r"\d{4}-\d\d-\d\d-\d{4}-", re.ASCII)  # how `create` begins a name


@dataclass(frozen=True)
class Command:
    """What a person asked: stop (keep best or last, of which step), pause, continue.

    Two are for the next host of the run, and for all after it: `slower` multiplies the learning rate by `factor`,
    `skip` leaves out the batch of `step`.
    """

    command: Literal["stop", "pause", "continue", "slower", "skip"]
    keep: Literal["best", "last"] | None = None
    step: int | None = None
    factor: float | None = None
    at: int = field(default=0, compare=False)  # where its line begins in commands.jsonl


@dataclass(frozen=True)
class RunDir:
    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def events_file(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def host_log(self) -> Path:
        return self.path / "host.log"

    @property
    def commands_file(self) -> Path:
        return self.path / "commands.jsonl"

    def spec(self) -> RunSpec:
        """What was asked; raises RunError when spec.toml is missing or wrong."""
        file = self.path / "spec.toml"
        try:
            return specs.make(specs.from_toml(file.read_text("utf-8"), file))
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{file} can't be read: {reason(error)}.") from None
        except specs.SpecError as error:
            raise RunError(str(error)) from None

    # --- the log: one writer, any readers ---------------------------------------------------------------------

    def read_lines(self, offset: int = 0) -> tuple[list[bytes], int]:
        """Whole lines of the log as they stand, from a byte offset on, and the next offset."""
        return whole_lines(self.events_file, offset)

    def read_events(self, offset: int = 0) -> tuple[list[Entry], int, int]:
        """Whole lines from a byte offset on: (entries, next offset, lines that are no event)."""
        lines, offset = self.read_lines(offset)
        entries: list[Entry] = []
        bad = 0
        for line in lines:
            try:
                entries.append(decode(line))
            except ValueError:
                bad += bool(line.strip())
        return entries, offset, bad

    # --- commands: any writers, read by the host and by every screen ------------------------------------------

    def ask(self, command: Command) -> None:
        """Append one command; raises RunError if the folder can't be written."""
        line = {"time": round(time.time(), 3), **asdict(command)}
        del line["at"]
        try:
            append_line(self.commands_file, json.dumps(line))
        except OSError as error:
            raise RunError(f"{self.path} can't be written: {reason(error)}.") from None

    def read_commands(self, offset: int = 0) -> tuple[list[Command], int]:
        """Commands from a byte offset on, and the next offset."""
        lines, after = whole_lines(self.commands_file, offset)
        found: list[Command] = []
        for line in lines:
            if command := _command(line, offset):
                found.append(command)
            offset += len(line) + 1
        return found, after

    def commands_end(self) -> int:
        """Where the next command will stand."""
        return self.read_commands()[1]

    # --- who drives it -----------------------------------------------------------------------------------------

    def holder(self) -> int | None:
        """Pid of the process that holds the lock, None if nobody does.

        Asks the kernel (F_GETLK) without taking the lock, so a reader never stands in a host's way. Must not be
        called in the host itself: closing a file gives up every lock its process holds on it.
        """
        try:
            with (self.path / "lock").open("rb") as file:
                return lock_owner(file.fileno())
        except FileNotFoundError:
            return None


def just_made(run: RunDir) -> bool:
    """Whether the run was made within the last seconds."""
    with contextlib.suppress(OSError):
        return 0 <= time.time() - (run.path / "spec.toml").stat().st_mtime < START_SECONDS
    return False


def status(state: RunState, held: bool, stop_asked: bool, just_made: bool = False) -> Status:
    """Derived, never stored: a terminal event decides; else who holds the lock.

    `just_made`: its host may not have had the time to take the lock and write its first line.
    """
    match state.ending:
        case Finished():
            return "finished"
        case Stopped():
            return "stopped"
        case Failed():
            return "failed"
        case None:
            pass
    if not held:
        return "starting" if just_made and not state.next_seq else "crashed"
    if stop_asked:
        return "stopping"
    if state.paused:
        return "paused"
    return "running" if state.warm else "starting"


# --- making and finding ------------------------------------------------------------------------------------------


def create(runs_dir: Path, spec: RunSpec) -> RunDir:
    """A new run directory with its spec.toml; raises RunError when it can't be made."""
    word = re.sub(r"[^A-Za-z0-9]+", "-", spec.name or spec.model.rsplit(":", 1)[-1].rstrip("/").rsplit("/", 1)[-1])
    stem = f"{time.strftime('%Y-%m-%d-%H%M')}-{word[:40].strip('-').lower() or 'run'}"
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        path = _new_folder(runs_dir.absolute(), stem)
        try:
            write_whole(path / "spec.toml", specs.to_toml(spec))
        except OSError:
            path.rmdir()
            raise
    except OSError as error:
        raise RunError(
            f"No run can be made in {runs_dir}: {reason(error)}; give another folder with --runs-dir."
        ) from None
    return RunDir(path)


def _new_folder(parent: Path, stem: str) -> Path:
    """A folder of a name that no other has."""
    for _ in range(100):
        with contextlib.suppress(FileExistsError):
            path = parent / f"{stem}-{secrets.token_hex(2)}"
            path.mkdir(mode=0o700)
            return path
    raise FileExistsError(errno.EEXIST, "too many runs within a minute")


def list_runs(runs_dir: Path) -> list[RunDir]:
    """All run directories, newest first: by the minute in the name, within it by when spec.toml was written.

    A folder that a person renamed counts by its spec.toml alone.
    """
    made: list[tuple[str, int, Path]] = []
    with contextlib.suppress(OSError):
        for path in runs_dir.iterdir():
            with contextlib.suppress(OSError):
                written = (path / "spec.toml").stat().st_mtime_ns
                minute = time.strftime("%Y-%m-%d-%H%M", time.localtime(written // 10**9))
                made.append((path.name[:15] if _DATED.match(path.name) else minute, written, path))
    return [RunDir(path.absolute()) for _, _, path in sorted(made, reverse=True)]


def find(runs_dir: Path, text: str) -> RunDir:
    """The run meant by a path, a name, or any part of a name that only one run has; "last" is the newest."""
    if not text:
        raise RunError("No run is named; `finetunegem list` shows them.")
    if os.sep in text and (Path(text) / "spec.toml").is_file():
        return RunDir(Path(text).absolute())
    runs = list_runs(runs_dir)
    if not runs:
        raise RunError(f"There are no runs in {runs_dir}; start one, or say where they are with --runs-dir.")
    if text == "last":
        return runs[0]
    exact = [run for run in runs if run.name == text]
    close = exact or [run for run in runs if text in run.name]
    if len(close) == 1:
        return close[0]
    if not close:
        raise RunError(f"There is no run called {text!r} in {runs_dir}; `finetunegem list` shows them.")
    raise RunError(f"{text!r} could be {', '.join(run.name for run in close[:4])}; give more of the name.")


# --- small parts -------------------------------------------------------------------------------------------------


def _command(line: bytes, at: int) -> Command | None:
    try:
        raw = json.loads(line)
        verb, keep, step, factor = (raw.get(name) for name in ("command", "keep", "step", "factor"))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    if verb not in ("stop", "pause", "continue", "slower", "skip") or keep not in ("best", "last", None):
        return None
    sane = isinstance(factor, float) and 0.0 < factor <= 1.0
    return Command(verb, keep, step if isinstance(step, int) else None, factor if sane else None, at)


def walk_size(path: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in _files(path))


def _files(path: Path) -> Iterator[Path]:
    return (file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
