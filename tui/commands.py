"""What each command without a screen does: run, list, attach, stop, resume, dry-run, data, presets, fetch,
doctor.

Every text from outside (file names, errors, model names) goes through `safe` before it is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from trainer import check, known, launch, models, presets, rundir
from trainer import spec as specs
from trainer.cache import Cache
from trainer.data import DataError
from trainer.follow import Follower
from trainer.rundir import Command, Locked, RunDir, RunError
from trainer.secrets import redact
from trainer.spec import KNOBS, RunSpec, Value, show
from tui import terminal_kind
from tui.plain import follow, said, summary

EXIT_FAILED, EXIT_USAGE, EXIT_LOCKED, EXIT_INTERRUPTED = 1, 2, 75, 130
OF_RUNS = ("list", "attach", "stop", "resume")  # the commands that look into the folder of runs
STOP_POLL_SECONDS = 0.2


class UsageError(Exception):
    """Something given can't be used; the text is what to say."""


def dispatch(options: argparse.Namespace) -> int:
    """Run the command that was parsed; whatever is wrong ends in one sentence on stderr."""
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "run": _run,
        "list": _list,
        "attach": _attach,
        "stop": _stop,
        "resume": _resume,
        "data": _data,
        "presets": _presets,
        "fetch": _fetch,
        "doctor": _doctor,
        "dry-run": _dry_run,
    }
    try:
        if options.command in OF_RUNS and options.runs_dir.exists() and not options.runs_dir.is_dir():
            raise UsageError(f"{options.runs_dir} is not a folder; say where runs are with --runs-dir.")
        code = commands[options.command](options)
        print(end="", flush=True)
        return code
    except Locked as error:
        return _complain(str(error), EXIT_LOCKED)
    except (UsageError, RunError, DataError, presets.PresetError, specs.SpecError, models.ModelError) as error:
        return _complain(str(error), EXIT_USAGE)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe went away; the run, if any, goes on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to flush goes nowhere
        return EXIT_FAILED
    except OSError as error:
        return _complain(f"{error.filename or options.command}: {error.strerror or error}.", EXIT_FAILED)


def _run(options: argparse.Namespace) -> int:
    spec, note = make_spec(options.preset, {name: getattr(options, f"knob_{name}") for name in KNOBS})
    problems = check.look_ahead(spec).problems
    if problems:
        raise UsageError("\n".join(problems.values()))
    run = launch.start(options.runs_dir, spec)
    if options.detach:
        print(json.dumps({"run": run.name, "path": str(run.path)}) if options.json else run.name)
        return 0
    if not options.json:
        print(said(f"{run.name} in {run.path.parent}"))
        if note:
            print(said(note))
    return follow(run, as_json=options.json)


def make_spec(preset: str | None, given: Mapping[str, str | None]) -> tuple[RunSpec, str]:
    """The preset with what was given on the command line over it, and a line on what was chosen for the person.

    Another model than the preset's brings the method and learning rate that suit it, unless they were given.
    """
    base = presets.load(preset or presets.STARTER)
    values = _typed({name: raw for name, raw in given.items() if raw is not None})
    note = ""
    if "model" in values and values["model"] != base.get("model"):
        suited = models.suggested(models.look_up(str(values["model"])), str(values.get("method", "")) or None)
        base = {**base, **suited}
        chosen = [f"{KNOBS[name].label.lower()} {show(v)}" for name, v in suited.items() if name not in values]
        note = f"For this model: {', '.join(chosen)}." if chosen else ""
        if "name" not in values:
            base = {**base, "name": ""}
    return specs.make({**base, **values}), note


def _typed(raw: Mapping[str, str]) -> dict[str, Value]:
    try:
        return specs.read(raw)
    except specs.SpecError as error:
        lines = [f"{KNOBS[name].flag}: {text}" for name, text in error.problems.items()]
        raise UsageError("\n".join(lines)) from None


def _list(options: argparse.Namespace) -> int:
    runs = rundir.list_runs(options.runs_dir)
    if not runs and not options.json:
        print(said(f"There are no runs in {options.runs_dir.absolute()}."))
    for run in runs:
        try:
            line = summary(run)
        except OSError as error:  # one that can't be read hides no other
            print(said(f"{run.name}: {error.filename}: {error.strerror}."), file=sys.stderr)
            continue
        print(json.dumps(line.fields()) if options.json else said(line.text()))
    return 0


def _attach(options: argparse.Namespace) -> int:
    run = rundir.find(options.runs_dir, options.run)
    if options.json or terminal_kind.why_no_screen():
        return follow(run, as_json=options.json, owner=False)
    from tui.app import open_app  # only this command needs the screen

    return open_app(options.runs_dir, run)


def _stop(options: argparse.Namespace) -> int:
    run = rundir.find(options.runs_dir, options.run)
    follower = Follower(run)
    view = follower.look()
    if not view.live:
        raise UsageError(f"{run.name} has ended already ({view.status}).")
    best = view.state.best_kept()
    run.ask(Command("stop", options.keep, best.step if best and options.keep != "last" else None))
    print("stopping…", file=sys.stderr)
    while follower.look().live:
        time.sleep(STOP_POLL_SECONDS)
    return report_end(run, follower)


def report_end(run: RunDir, follower: Follower) -> int:
    """Print how a run ended; returns the exit code."""
    line = summary(run, follower)
    print(said(line.ending()))
    return 0 if line.status in ("finished", "stopped") else EXIT_FAILED


def _resume(options: argparse.Namespace) -> int:
    run = rundir.find(options.runs_dir, options.run)
    before = Follower(run)
    before.look()
    launch.resume(run, slower=options.slower, skip=options.skip_step)
    if options.detach:
        print(json.dumps({"run": run.name, "path": str(run.path)}) if options.json else run.name)
        return 0
    return follow(run, as_json=options.json, after=before)


def _data(options: argparse.Namespace) -> int:
    if options.clear_cache:
        return _clear_cache()
    if options.file is None:
        raise UsageError("finetunegem data: which data? Give a file, a folder or a name (or --clear-cache).")
    from tui import data_command  # only this command reads data so closely

    return data_command.data(options)


def _clear_cache() -> int:
    cache = Cache()
    gone = cache.clear()
    in_use = f"; {gone.in_use} in use by a run stay" if gone.in_use else ""
    counts = known.clear()
    files = f"the token counts of {counts:,} look{'s' * (counts != 1)} at data"
    print(said(f"{gone.size / 1e6:,.1f} MB of tokens and {files} taken away from {cache.folder.parent}{in_use}."))
    return 0


def _presets(options: argparse.Namespace) -> int:
    for preset in presets.list_presets():
        try:
            spec = specs.make(presets.load(preset.name))
        except (presets.PresetError, specs.SpecError) as error:
            print(said(f"{preset.name}: {error}"), file=sys.stderr)
            continue
        three = f"{spec.epochs} epochs, batch {spec.batch_size}, learning rate {show(spec.learning_rate)}"
        kind = "built-in" if preset.builtin else str(preset.file)
        plain = f"{preset.name}: {spec.model}, {spec.method}, {three} ({kind})"
        fields = {"name": preset.name, "builtin": preset.builtin, "file": str(preset.file), **vars(spec)}
        print(json.dumps(fields) if options.json else said(plain))
    return 0


def _dry_run(options: argparse.Namespace) -> int:
    from tui import dry_run_command  # only this command needs it

    return dry_run_command.dry_run(options)


def _doctor(options: argparse.Namespace) -> int:
    from tui import doctor  # only this command looks around so widely

    levels: list[doctor.Level] = []
    for line in doctor.look(options.runs_dir):
        levels.append(line.level)
        print(redact(json.dumps(line.fields())) if options.json else said(line.text()), flush=True)
    return doctor.exit_code(levels)


def _fetch(options: argparse.Namespace) -> int:
    with contextlib.suppress(models.NotFetched):
        print(said(models.look_up(options.model).source))
        return 0
    target = models.cache_dir(options.model)
    command = [sys.executable, "-P", "-m", "trainer.backends.local.fetch", options.model, str(target)]
    failed = f"{options.model} could not be fetched."
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            failed = _fetch_line(line) or failed
    if process.returncode:
        raise UsageError(failed)
    print()
    return 0


def _fetch_line(line: str) -> str:
    """Show one line of progress; returns the error it says, if any."""
    try:
        news = json.loads(line)
    except ValueError:
        return ""
    if "error" in news:
        return str(news["error"])
    if "ready" in news:
        print(said(f"\n{news['ready']}"), end="")
        return ""
    total = news.get("total") or 0
    share = f" {news.get('done', 0) / 1e6:.0f} of {total / 1e6:.0f} MB" if total else ""
    print(said(f"\r{news.get('phase', '')}{share}", keep="\r"), end="   ", flush=True)
    return ""


def _complain(text: str, code: int) -> int:
    for line in text.splitlines():
        print(said(line), file=sys.stderr)
    return code
