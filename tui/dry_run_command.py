"""`finetunegem dry-run`: what a run of these settings would take, measured; nothing is kept. Exit codes: 0 measured,
2 something given can't be used or does not fit."""

from __future__ import annotations

import argparse
import json
import sys

from trainer.secrets import redact
from trainer.spec import KNOBS
from tui import dry_runner, figures, format
from tui.commands import EXIT_USAGE, make_spec
from tui.data_worker import Said, answers
from tui.plain import said


def dry_run(options: argparse.Namespace) -> int:
    """The command; returns the exit code."""
    spec, note = make_spec(options.preset, {name: getattr(options, f"knob_{name}") for name in KNOBS})
    if note and not options.json:
        print(said(note))
    notes: list[str] = []
    with dry_runner.folder_for(options.runs_dir) as folder:
        asked = {**dry_runner.question(spec, folder), "estimate": options.estimate}
        for told in answers([asked], dry_runner.COMMAND):
            match told["say"]:
                case "measured" | "estimate":
                    _show(told, notes, options.json)
                    return 0
                case "error":
                    print(said(str(told["error"])), file=sys.stderr)
                    return EXIT_USAGE
                case "note":
                    notes.append(str(told["note"]))
                    if not options.json:
                        print(said(notes[-1]))
                case _ if sys.stderr.isatty() and not options.json:
                    print(said(f"\r{dry_runner.phase(told)}", keep="\r"), end="\x1b[K", file=sys.stderr, flush=True)
    return EXIT_USAGE


def _show(told: Said, notes: list[str], as_json: bool) -> None:
    if as_json:
        print(redact(json.dumps({name: value for name, value in told.items() if name != "say"} | {"notes": notes})))
        return
    if sys.stderr.isatty():
        print(end="\r\x1b[K", file=sys.stderr, flush=True)
    if found := dry_runner.measured(told):
        print(said(figures.dry_run(found)))
        return
    parts = ", ".join(
        f"{name} {format.gigabytes(told[name])}" for name in ("weights", "gradients", "states", "activations")
    )
    print(said(f"A step needs about {format.gigabytes(told['peak'])} GB: {parts}."))
