"""Runs as plain lines: for pipes, logs and terminals without a screen. It prints and decides nothing else."""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import dataclass, field

from trainer import result
from trainer.events import (
    CheckpointFailed,
    CheckpointSaved,
    Entry,
    Evaluated,
    Measured,
    Noted,
    PhaseEntered,
    Resumed,
    StepTaken,
    decode,
)
from trainer.follow import Follower, View
from trainer.rundir import Command, RunDir, RunError
from trainer.secrets import redact
from trainer.spec import RunSpec, show
from trainer.state import RunState
from tui import figures, format
from tui.safe import safe

POLL_SECONDS = 0.2
LINE_SECONDS = 2.0  # between two lines about steps
EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


def said(text: str, keep: str = "") -> str:
    """Text for stdout: no key in it and nothing that a terminal obeys, but for a leading `keep`."""
    body = text.removeprefix(keep)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"  # stdout is None where it was closed
    return text[: len(text) - len(body)] + safe(redact(body)).encode(encoding, "replace").decode(encoding)


def follow(run: RunDir, *, as_json: bool, owner: bool = True, after: Follower | None = None) -> int:
    """Print a run as it goes on until it ends; returns the exit code.

    What `after` has looked at already is not printed. Ctrl-C asks the run to stop if it was started here (`owner`),
    and a second one leaves; else it only leaves.
    """
    follower = after or Follower(run)
    printer = _Json(run, follower.place) if as_json else _Lines()
    interrupted = False

    def interrupt(_number: int, _frame: object) -> None:
        nonlocal interrupted
        if interrupted or not owner:
            raise KeyboardInterrupt
        interrupted = True
        run.ask(Command("stop"))
        print(said("stopping… (once more leaves it to itself)"), file=sys.stderr)

    # A handler of its own, since an exception in the middle of a look or a line would lose what was read.
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # a job in the background of a script ignores it
        signal.signal(signal.SIGINT, interrupt)
    try:
        while True:
            view = follower.look()
            printer.show(follower.fresh, view)
            if not view.live:
                break
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        print(said(f"{run.name} goes on; `finetunegem attach {run.name}` opens it."), file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, before)
    line = summary(run, follower)
    print(said(line.ending()), file=sys.stderr if as_json else sys.stdout)
    if interrupted:
        return EXIT_INTERRUPTED
    return 0 if line.status in ("finished", "stopped") else EXIT_FAILED


@dataclass(frozen=True)
class Summary:
    """One run in a line, and its ending in a few."""

    run: RunDir
    spec: RunSpec | None
    status: str
    state: RunState

    def fields(self) -> dict[str, object]:
        """For --json: the field's names, None where not known."""
        spec, best, state = self.spec, self.state.best, self.state
        return {
            "run": self.run.name,
            "path": str(self.run.path),
            "status": self.status,
            "epochs": spec.epochs if spec else None,
            "batch_size": spec.batch_size if spec else None,
            "learning_rate": spec.learning_rate if spec else None,
            "model": spec.model if spec else None,
            "best_eval_loss": best.eval_loss if best else None,
            "best_step": best.step if best else None,
            "global_step": state.step,
            "total_steps": state.plan.total_steps if state.plan else None,
            "started": state.began or None,
        }

    def text(self) -> str:
        spec, best, total = self.spec, self.state.best, self.state.plan.total_steps if self.state.plan else None
        three = f"{spec.epochs}/{spec.batch_size}/{show(spec.learning_rate)}" if spec else "?"
        evals = f"best {format.loss(best.eval_loss)} at step {best.step}" if best else "no eval loss"
        steps = f"step {self.state.step} of {total}" if total else f"step {self.state.step}"
        when = format.when(self.state.began, time.time()) if self.state.began else format.UNKNOWN
        return f"{safe(self.run.name, one_line=True):<44} {self.status:<9} {three:<12} {evals:<26} {steps:<18} {when}"

    def ending(self) -> str:
        ending, saved = self.state.ending, self.state.saved
        message = getattr(ending, "message", "")
        parts = [f"{self.status} at step {self.state.step}" + (f": {message}" if message else "")]
        if saved:
            lines = result.loading_lines(saved, self.run.path)
            parts += [f"{result.kept_sentence(saved)} It is in {self.run.path / saved.path}", *lines]
        if self.status in ("failed", "crashed"):
            parts.append(f"More is in {self.run.host_log}")
        return "\n".join(parts)


def summary(run: RunDir, follower: Follower | None = None) -> Summary:
    """Fold a run's log, or take what a follower has folded already."""
    view = (follower or Follower(run)).look()
    try:
        spec = run.spec()
    except RunError:
        spec = None
    return Summary(run, spec, view.status, view.state)


@dataclass
class _Json:
    """The log's lines as they stand; what is no event is left out."""

    run: RunDir
    offset: int = 0

    def show(self, _fresh: list[Entry], _view: View) -> None:
        lines, self.offset = self.run.read_lines(self.offset)
        for line in lines:
            try:
                decode(line)
            except ValueError:
                continue
            print(line.decode("ascii", "backslashreplace"))
        print(end="", flush=True)


@dataclass
class _Lines:
    """A line for each evaluation and phase, and for steps every few seconds."""

    last_phase: str = ""
    last_line: float = field(default_factory=lambda: -LINE_SECONDS)

    def show(self, fresh: list[Entry], view: View) -> None:
        for entry in fresh:
            if text := self._line(entry, view):
                print(said(text))
        print(end="", flush=True)

    def _line(self, entry: Entry, view: View) -> str:
        match entry.event:
            case PhaseEntered(phase) if phase not in (self.last_phase, "evaluating"):
                self.last_phase = phase
                return f"{phase}…"
            case Noted(message) | CheckpointFailed(message=message):
                return message
            case Measured() as found:
                return figures.dry_run(found)
            case Resumed(step):
                return f"goes on after step {step}" if step else "no checkpoint; it starts again"
            case Evaluated(step=step, eval_loss=loss):
                best = view.state.best
                mark = " (best so far)" if best and best.step == step else ""
                return f"step {step}: eval loss {format.loss(loss)}{mark}"
            case CheckpointSaved(step=step, size=size):
                return f"step {step}: saved, {size / 1e6:.1f} MB"
            case StepTaken() as taken if entry.elapsed - self.last_line >= LINE_SECONDS:
                self.last_line = entry.elapsed
                return _step_line(taken, view.state)
        return ""


def _step_line(taken: StepTaken, state: RunState) -> str:
    plan = state.plan
    of = f" of {plan.total_steps}" if plan else ""
    return (
        f"step {taken.step}{of}, epoch {taken.epoch:.2f}: loss {format.loss(taken.loss)}, "
        f"learning rate {format.rate(taken.learning_rate)}, {format.count(state.tokens_per_second())} tokens/s, "
        f"{format.duration(state.seconds_left())} left"
    )
