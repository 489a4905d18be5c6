"""What the form says of a run as a whole: where it comes from, above, and what it will be, in three lines below.

What the files say stands in the form; this only puts it into words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from trainer import presets
from tui.form import Form, size_in_words
from tui.format import cut_middle
from tui.safe import safe

if TYPE_CHECKING:
    from trainer.check import Prospect

NAME = 44  # columns for where the form comes from: a row of 80 holds it and what stands around it
READING = ": being read …"
Line = tuple[str, str, str]  # a word, a name that may be shortened, and the rest


def heading(form: Form) -> Content:
    """ "New run · from preset codephreak · changed"."""
    kind = "preset" if any(preset.name == form.origin for preset in presets.list_presets()) else "run"
    return Content.assemble(
        ("New run", "bold"),
        (
            f" · from {kind} {cut_middle(safe(form.origin, one_line=True), NAME)}" if form.origin else "",
            "$foreground 60%",
        ),
        (" · changed" if form.changed else "", "$text-accent"),
    )


def lines(form: Form) -> list[Line]:
    """What this run will be: model, data and run. What is wrong is said elsewhere."""
    prospect = form.prospect
    model, data = form.texts["model"], form.texts["data"]
    if prospect is None:
        return [("Model", model, ""), ("Data", data, READING), ("Run", "", "")]
    if prospect.plan is None and not form.reason():
        return [("Model", model, _model(prospect)), ("Data", data, READING), ("Run", "", "")]
    return [("Model", model, _model(prospect)), ("Data", data, _data(prospect)), ("Run", "", _run(prospect))]


def _model(prospect: Prospect) -> str:
    info = prospect.model
    if info is None:
        return ""
    return f", {size_in_words(info)}" + (f": {info.note}" if info.note else "")


def _data(prospect: Prospect) -> str:
    if prospect.plan is None:
        return ""
    return f" · {prospect.shape}, {prospect.skipped} {'row' if prospect.skipped == 1 else 'rows'} skipped"


def _run(prospect: Prospect) -> str:
    """The total first, so that a narrow screen cuts what matters least."""
    plan = prospect.plan
    if plan is None:
        return ""
    examples = f"{plan.train_examples} train + {plan.eval_examples} validation examples"
    return f"{plan.total_steps} steps, {plan.steps_per_epoch} per epoch · {examples}"
