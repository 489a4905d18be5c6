"""The arguments of `finetunegem`. What the commands do is in `tui.commands`; without any, `tui.cli` opens the screen.

Flags come from `trainer.spec`. Exit codes: 0 done, 1 the run failed or died, 2 something given can't be used,
75 the run is held by another process, 129, 130 and 143 ended by SIGHUP, Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NoReturn

from trainer import __version__
from trainer.models import FETCHABLE, TRUST_CODE
from trainer.secrets import redact
from trainer.spec import KNOBS, show
from tui.cli import default_runs_dir
from tui.safe import safe

HIDDEN = ("backend",)
DATA_KNOBS = ("model", "max_length", "columns", "allow_bad", "eval_share", "eval_data", "batch_size", "epochs", "seed")


def run(arguments: list[str]) -> int:
    """Do what the arguments say; returns the exit code."""
    options = _parser().parse_args(arguments)
    if getattr(options, "trust_remote_code", False):
        os.environ[TRUST_CODE] = "1"
    return _go(options)


def _go(options: argparse.Namespace) -> int:
    """Open the screen, or do what was asked without one."""
    # Each of the two is imported only when it is what was asked for: a list needs no screen, a screen no list.
    if options.command is None:
        from tui.app import open_app

        return open_app(options.runs_dir)
    from tui.commands import dispatch

    return dispatch(options)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with nothing in it that a terminal obeys."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {safe(redact(message))} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="finetunegem",
        description="Fine-tune a language model: choose epochs, batch size and learning rate, watch, stop, compare. "
        "Without a command it opens the screen.",
    )
    parser.add_argument("--version", action="version", version=f"finetunegem {__version__}")
    _add_runs_dir(parser, default=default_runs_dir())
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_run(commands)
    _add_dry_run(commands)
    _add_others(commands)
    return parser


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        "run", help="start a run without the screen", description="Start a run and follow it as plain lines."
    )
    _add_spec(run)
    run.add_argument("--detach", action="store_true", help="start it and return; print its name")
    run.add_argument("--json", action="store_true", help="print the events as they stand in the log")
    trust = (
        "run code that comes with the model; read it first, since it can do whatever you can (no preset asks for it)"
    )
    run.add_argument("--trust-remote-code", action="store_true", help=trust)
    _add_runs_dir(run)


def _add_spec(parser: argparse.ArgumentParser) -> None:
    """A preset and every knob."""
    parser.add_argument("--preset", default=None, help="starting point (codephreak)")
    for knob in KNOBS.values():
        help = argparse.SUPPRESS if knob.name in HIDDEN else _help(knob.help, knob.bounds, knob.default)
        parser.add_argument(knob.flag, dest=f"knob_{knob.name}", metavar=knob.kind.upper(), default=None, help=help)


def _add_dry_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    told = "what a run would take, tried: memory, seconds a step, disk, time to the end"
    dry = commands.add_parser("dry-run", help=told, description=f"Say {told}. Nothing is kept.")
    _add_spec(dry)
    dry.add_argument("--estimate", action="store_true", help="only the memory of a step, without weights and data")
    dry.add_argument("--json", action="store_true", help="one JSON object")
    dry.add_argument("--trust-remote-code", action="store_true", help="let code that comes with the model run")
    _add_runs_dir(dry)


def _add_others(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    listing = commands.add_parser("list", help="all runs, newest first")
    listing.add_argument("--json", action="store_true", help="one JSON object a run")
    attach = commands.add_parser("attach", help="open a run on the screen, live or ended")
    attach.add_argument("run", help="a run's name, a part of it, its path, or last")
    attach.add_argument("--json", action="store_true", help="no screen: print its events and follow them")
    stop = commands.add_parser("stop", help="stop a run and keep a model")
    stop.add_argument("run", help="a run's name, a part of it, its path, or last")
    stop.add_argument("--keep", choices=("best", "last"), default=None, help="which model (as the run's settings say)")
    resume = commands.add_parser("resume", help="go on with a run that was stopped, failed or died")
    resume.add_argument("run", help="a run's name, a part of it, its path, or last")
    resume.add_argument("--slower", action="store_true", help="from now on with a third of the learning rate")
    resume.add_argument("--skip-step", type=int, default=None, metavar="STEP", help="without the batch of this step")
    resume.add_argument("--trust-remote-code", action="store_true", help="let code that comes with the model run")
    resume.add_argument("--detach", action="store_true", help="start it and return; print its name")
    resume.add_argument("--json", action="store_true", help="print the events as they stand in the log")
    _add_data(commands)
    presets = commands.add_parser("presets", help="all presets")
    presets.add_argument("--json", action="store_true", help="one JSON object a preset")
    doctor = commands.add_parser("doctor", help="whether this machine is ready, and what would end a run here")
    doctor.add_argument("--json", action="store_true", help="one JSON object a line")
    fetch = commands.add_parser("fetch", help="bring a model into the cache")
    fetch.add_argument("model", choices=sorted(FETCHABLE), help=", ".join(FETCHABLE.values()))
    for parser in (listing, attach, stop, resume, doctor):
        _add_runs_dir(parser)


def _add_data(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    told = "what the data are: rows, shape, token lengths, what is cut or left out"
    data = commands.add_parser("data", help=told, description=f"Say {told}. Nothing is trained.")
    what = "a file, a folder of them, a Hugging Face data set, or builtin:codephreak"
    data.add_argument("file", nargs="?", default=None, help=what)
    for name in DATA_KNOBS:
        knob = KNOBS[name]
        help = _help(knob.help, knob.bounds, knob.default)
        data.add_argument(knob.flag, dest=f"knob_{name}", metavar=knob.kind.upper(), default=None, help=help)
    data.add_argument("--row", type=int, default=None, metavar="N", help="show this row as the model will read it")
    data.add_argument("--no-tokens", action="store_true", help="leave the tokens uncounted, which is quick")
    data.add_argument("--clear-cache", action="store_true", help="take away the tokens and counts that are kept")
    data.add_argument("--json", action="store_true", help="one JSON object")


def _add_runs_dir(parser: argparse.ArgumentParser, default: Path | str = argparse.SUPPRESS) -> None:
    help = "where runs are kept (FINETUNEGEM_RUNS, else ./runs)"
    parser.add_argument("--runs-dir", type=Path, default=default, metavar="DIR", help=help)


def _help(text: str, bounds: str, default: int | float | str) -> str:
    """argparse reads % as a format."""
    parts = [text, f"({bounds})" if bounds else "", f"[{show(default)}]" if default != "" else ""]
    return " ".join(part for part in parts if part).replace("%", "%%")
