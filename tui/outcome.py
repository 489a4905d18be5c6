"""What came out of an ended run, in sentences: what was kept, where, how to load it, or what went wrong. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.events import Failed
from trainer.follow import View
from trainer.result import kept_sentence, loading_lines
from trainer.rundir import RunDir
from tui import format
from tui.safe import safe

GO_ON = "r goes on from the newest whole checkpoint"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`headline` is one sentence; `details` are lines below it; `code` is what loads the model ("" without one)."""

    headline: str
    details: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    bad: bool = False


def outcome(view: View, run: RunDir) -> Outcome | None:
    """None while the run is live. The texts are safe for a screen, except `code`, which is for the clipboard too."""
    state = view.state
    if view.live:
        return None
    log = f"host.log: {safe(str(run.host_log), one_line=True)}"
    if view.status == "crashed":
        return Outcome("The host died (no ending in the log).", (log, *_checkpoint(view, run), GO_ON), bad=True)
    if isinstance(state.ending, Failed):
        headline = safe(state.ending.message, limit=2000, one_line=True)
        if state.saved is None:
            return Outcome(headline, (log, *_ways_on(view, run)), bad=True)
        kept = _kept(view, run)
        return Outcome(headline, (log, kept.headline, *kept.details, *_ways_on(view, run)), kept.code, bad=True)
    return _kept(view, run)


def _ways_on(view: View, run: RunDir) -> tuple[str, ...]:
    """What can be done after a failure; after a loss that was no number, two ways around it."""
    found = view.state.not_finite
    if found is None:
        return (GO_ON,)
    box = safe(str(run.path / found.path), one_line=True)
    return (
        f"What was in that step: {box}",
        f"t goes on with a third of the learning rate, k without the batch of step {found.step:,}",
    )


def _kept(view: View, run: RunDir) -> Outcome:
    saved = view.state.saved
    if saved is None:
        why = "no step was taken" if not view.state.step else "the run left none"
        return Outcome(f"No model was kept: {why}.", (f"Run: {safe(str(run.path), one_line=True)}",))
    where = safe(str(run.path / saved.path), one_line=True)
    return Outcome(kept_sentence(saved), (f"Model: {where}",), loading_lines(saved, run.path))


def _checkpoint(view: View, run: RunDir) -> tuple[str, ...]:
    """Where the best model still lies when nothing could be kept."""
    best = view.state.best_kept()
    if best is None:
        return ()
    path = next(saved.path for saved in reversed(view.state.checkpoints) if saved.step == best.step)
    where = safe(str(run.path / path), one_line=True)
    return (f"Still on disk: step {best.step:,}, eval loss {format.loss(best.eval_loss)}, in {where}",)
