"""A dry run of a spec before it is a run: a process that measures two steps, an evaluation and a checkpoint.

    python -P -m trainer.dry_run

One JSON line comes in: {"spec": {...}, "folder": "..."}; the folder is for what is written on the way and is gone at
the end. With "estimate": true nothing is read or trained, and only the step on `meta` is looked at. Out come JSON
lines: {"say": "phase" | "note" | "measured" | "estimate" | "error", ...}; the last one is one of the last three.

It ends with its standard input. It knows no screen, and whoever shows what it says must make that harmless.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer import check, models
from trainer import spec as specs
from trainer.control import Control
from trainer.events import Event, Measured, Noted, PhaseEntered
from trainer.look import sentence
from trainer.spec import RunSpec

Say = Callable[[Mapping[str, Any]], None]


def measure(spec: RunSpec, folder: Path, say: Say) -> None:
    """Read, load and try as a run would; whatever goes wrong is one sentence."""
    try:
        if problem := _problem(spec):
            say({"say": "error", "error": problem})
            return
        tried = importlib.import_module("trainer.backends.local.dry_run")
        for event in tried.alone(check.settled(spec), Control(folder)):
            _pass_on(event, say)
    except Exception as error:
        say({"say": "error", "error": sentence(error)})


def estimate(spec: RunSpec, say: Say) -> None:
    """Say the bytes of a step by its run on `meta`, for examples of max length."""
    try:
        info = models.look_up(spec.model)
        found = importlib.import_module("trainer.backends.local.meta").of_spec(spec, info.source)
        say({"say": "estimate", **asdict(found), "activations": found.activations})
    except Exception as error:
        say({"say": "error", "error": sentence(error)})


def _problem(spec: RunSpec) -> str:
    if spec.backend != "local":
        return "There is nothing to try: this run would play a recorded one."
    return next(iter(check.look_ahead(spec).problems.values()), "")


def _pass_on(event: Event, say: Say) -> None:
    match event:
        case PhaseEntered(phase, done, total):
            say({"say": "phase", "phase": phase, "done": done, "of": total})
        case Noted(message):
            say({"say": "note", "note": message})
        case Measured():
            say({"say": "measured", **asdict(event)})


def main() -> None:
    """Do what the first line asks; end at once, and leave nothing behind, when there is no more input."""
    mutex, out = threading.Lock(), sys.stdout.buffer
    asked = json.loads(sys.stdin.buffer.readline() or b"{}")
    folder = Path(asked["folder"]) if asked.get("folder") else None

    def say(said: Mapping[str, Any]) -> None:
        with mutex, contextlib.suppress(OSError):
            out.write(json.dumps(said).encode() + b"\n")
            out.flush()

    def leave() -> None:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    def work() -> None:
        spec = specs.make(asked["spec"])
        if asked.get("estimate") or folder is None:
            estimate(spec, say)
        else:
            measure(spec, folder, say)
        leave()

    threading.Thread(target=work, name="trainer", daemon=True).start()
    sys.stdin.buffer.read()
    leave()


if __name__ == "__main__":
    main()
