"""A dry run asked for by a form or a command: the process that does it (`python -m trainer.dry_run`), its folder, and
what it says as lines for a person."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from trainer.events import Measured
from trainer.spec import RunSpec
from tui import figures
from tui.data_worker import DataWorker, Said
from tui.safe import safe

COMMAND = (sys.executable, "-P", "-m", "trainer.dry_run")

Tell = Callable[[str], None]


@contextmanager
def folder_for(runs_dir: Path) -> Iterator[Path]:
    """A folder on the disk of the runs, gone afterwards; where none can be made there, among the temporary ones."""
    parent = next(path for path in (runs_dir.absolute(), *runs_dir.absolute().parents) if path.is_dir())
    try:
        made = tempfile.mkdtemp(prefix=".dry-run-", dir=parent)
    except OSError:
        made = tempfile.mkdtemp(prefix="finetunegem-dry-run-")
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def question(spec: RunSpec, folder: Path) -> dict[str, Any]:
    return {"spec": vars(spec), "folder": str(folder)}


def measured(said: Said) -> Measured | None:
    """What was measured, where that is what was said."""
    if said.get("say") != "measured":
        return None
    return Measured(**{field.name: said[field.name] for field in fields(Measured)})


def phase(said: Said) -> str:
    """ "tokenizing 120 of 999"; "" for what is no phase."""
    if said.get("say") != "phase":
        return ""
    done = f" {said['done']:,} of {said['of']:,}" if said.get("of") else ""
    return safe(str(said["phase"]), 60, one_line=True) + done


async def try_out(spec: RunSpec, runs_dir: Path, tell: Tell) -> tuple[str, str]:
    """What a run of the spec would take in one line, and why that is not known ("" where it is).

    `tell` hears what goes on. Cancelled, it leaves no process and no folder behind.
    """
    line = failure = ""

    def hear(said: Said) -> None:
        nonlocal line, failure
        if found := measured(said):
            line = figures.dry_run(found)
        elif said["say"] == "error" and not line:
            failure = failure or safe(str(said["error"]), 1000, one_line=True)
        elif going := phase(said):
            tell(going)

    with folder_for(runs_dir) as folder:
        worker = DataWorker(hear, COMMAND)
        worker.ask("measure", **question(spec, folder))
        await worker.follow()
    return line, failure
