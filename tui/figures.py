"""What a screen says about a run, as words and numbers. Pure: a View and a few lengths in, plain text out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.events import Measured
from trainer.follow import View
from trainer.spec import RunSpec, show
from trainer.state import RunState
from tui import format
from tui.safe import safe

Figure = tuple[str, str]  # label, value


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` (0: not known) and what there is to say about it."""

    done: int
    total: int
    text: str

    @property
    def share(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 0.0


def settings(spec: RunSpec, wide: bool) -> str:
    """The three that matter: "5 epochs · batch 4 · lr 1e-3", or "5/4/1e-3" where room is short."""
    rate = show(spec.learning_rate)
    if not wide:
        return f"{spec.epochs}/{spec.batch_size}/{rate}"
    return f"{spec.epochs} epoch{'s' * (spec.epochs != 1)} · batch {spec.batch_size} · lr {rate}"


def status_figures(view: View, elapsed: float, wide: bool) -> tuple[tuple[Figure, ...], tuple[Figure, ...]]:
    """Two rows of five figures each, to be read in columns; `wide` takes longer words."""
    state = view.state
    best = state.best
    left = state.seconds_left() if view.live else None
    speed = state.tokens_per_second()
    upper = (
        ("epoch", epoch_of(state, view.live)),
        ("step", step_of(state)),
        ("loss", format.loss(_last(state.steps.loss))),
        ("best", format.loss(best.eval_loss if best else None)),
        ("elapsed", format.duration(elapsed)),
    )
    lower = (
        ("learning rate" if wide else "lr", format.rate(_last(state.steps.learning_rate))),
        ("tokens/s" if wide else "tok/s", format.count(speed)),
        ("eval loss" if wide else "eval", format.loss(_last(state.evals.eval_loss))),
        ("at step" if wide else "step", f"{best.step:,}" if best else format.UNKNOWN),
        ("time left" if wide else "left", format.duration(left)),
    )
    return upper, lower


def epoch_of(state: RunState, live: bool) -> str:
    """2.40 of 5."""
    if state.plan is None:
        return format.UNKNOWN if live or not state.epoch else f"{state.epoch:.2f}"
    return f"{state.epoch:.2f} of {state.plan.epochs}"


def step_of(state: RunState, last: bool = False) -> str:
    """163 of 340; `last` says it as it will be at the end."""
    if state.plan is None:
        return f"{state.step:,}"
    total = state.plan.total_steps
    return f"{total if last else state.step:,} of {total:,}"


def phase_text(view: View) -> str:
    """What it does while it takes no steps: "tokenizing 120 of 999"; "" while it steps."""
    phase = view.state.phase
    if phase is None:
        return ""
    done = f" {phase.done:,} of {phase.total:,}" if phase.total else ""
    return safe(phase.phase, limit=60, one_line=True) + done


def progress(view: View, asked: str = "") -> Progress:
    """The bar: of the phase before the first step, then of all steps. `asked` is what is still to take effect."""
    state = view.state
    phase = phase_text(view)
    if view.status == "starting" and not state.steps.step:
        text = phase or "waiting for the host"
        return Progress(
            state.phase.done if state.phase else 0,
            state.phase.total if state.phase else 0,
            f"{text}, {asked}" if asked else text,
        )
    total = state.plan.total_steps if state.plan else 0
    percent = f"{int(100 * state.step / total)} %" if total else ""
    word = "stopping…" if view.status == "stopping" else asked or ("paused" if view.status == "paused" else phase)
    return Progress(state.step, total, "  ".join(part for part in (percent, word) if part))


def placeholder(view: View) -> str:
    """What stands in the chart before its first point."""
    if view.status in ("starting", "running", "stopping"):
        return phase_text(view) or "waiting for the first step"
    return "paused before the first step" if view.status == "paused" else "no step was taken"


def facts(view: View) -> str:
    """What was counted, in one line: parameters, device, examples; "" before anything is known."""
    parts: list[str] = []
    if model := view.state.model:
        share = "all trained" if model.trainable == model.parameters else f"{format.count(model.trainable)} trained"
        device = safe(f"{model.device}, {model.dtype}", limit=60, one_line=True)
        parts += [f"{format.count(model.parameters)} parameters, {share}", device]
    if data := view.state.data:
        cut = f", {data.truncated:,} of them cut" if data.truncated else ""
        parts.append(f"{data.train_examples:,} training and {data.eval_examples:,} validation examples{cut}")
        parts.append(f"{format.count(data.train_tokens)} tokens an epoch")
    return " · ".join(parts)


def dry_run(found: Measured | None) -> str:
    """ "dry run: 0.4 s a step, 1.1 GB at most (estimated 1.0), checkpoints 52 MB in 0.3 s; about 3 min to the end"."""
    if found is None:
        return ""
    parts = [f"{_brief(found.seconds_per_step)} a step"]
    if found.peak_memory:
        peak = format.gigabytes(found.peak_memory)
        guess = f" (estimated {format.gigabytes(found.estimated_memory)})" if found.estimated_memory else ""
        parts.append(f"{peak} GB at most{guess}")
    if found.checkpoint_bytes:
        size = found.checkpoint_bytes / 1e6
        amount = f"{size:,.0f} MB" if size < 1000 else f"{size / 1e3:.1f} GB"
        parts.append(f"checkpoints {amount} in {_brief(found.checkpoint_seconds)}")
    return f"dry run: {', '.join(parts)}; about {_roughly(found.seconds_total)} to the end"


def _brief(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds * 1000:.0f} ms"


def _roughly(seconds: float) -> str:
    """ "40 s", "3 min", "2 h 10 min", "3 days"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes / 60 / 24:.0f} days"


def note(view: View) -> str:
    """The newest thing a person should know, and how much of the log is no event; "" when there is neither."""
    notes, bad = view.state.notes, view.state.bad_lines
    parts = [safe(notes[-1], limit=500, one_line=True)] if notes else []
    if bad:
        parts.append(f"{bad:,} line{'s' * (bad != 1)} of the log can't be read.")
    return "  ".join(parts)


def _last(values: Sequence[float]) -> float | None:
    return values[-1] if len(values) else None
