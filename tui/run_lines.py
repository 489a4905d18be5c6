"""What the form says of a run as a whole: where it comes from, above, and what it will be, in three lines below.

What the files say stands in the form; this only puts it into words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from trainer import presets
from tui.form import Form, size_in_words
from tui.format import cut_middle, gigabytes
from tui.safe import safe

if TYPE_CHECKING:
    from trainer.insight.estimate import Memory
    from tui.ahead import Outlook

NAME = 44  # columns for where the form comes from: a row of 80 holds it and what stands around it
READING = ": being read …"
REMOTE = ": on the Hugging Face hub, fetched when the run starts"
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
        known = REMOTE if prospect.remote else READING
        return [("Model", model, _model(prospect)), ("Data", data, known), ("Run", "", "")]
    rows = _data(prospect) + _cut(form)
    return [("Model", model, _model(prospect)), ("Data", data, rows), ("Run", "", _run(form, prospect))]


def _model(prospect: Outlook) -> str:
    info = prospect.model
    if info is None:
        return ""
    memory = f", {memory_in_words(prospect.memory)}" if prospect.memory else ""
    return f", {size_in_words(info)}{memory}" + (f": {info.note}" if info.note else "")


def memory_in_words(found: Memory) -> str:
    """ "memory about 2.1–2.6 of 22 GB free"; "at least" where activations are not known."""
    free = f" of {gigabytes(found.free)} GB free" if found.free is not None else " GB"
    if not found.complete:
        return f"memory at least {gigabytes(found.fixed)}{free}"
    low, high = gigabytes(found.low), gigabytes(found.high)
    return f"memory about {low if low == high else f'{low}–{high}'}{free}"


def doubt(form: Form) -> str:
    """One sentence where the run can't fit into the memory, by the estimate; "" where it may."""
    found = form.prospect.memory if form.prospect else None
    if found is None or found.fits or found.free is None:
        return ""
    other = "a smaller model" if form.texts["method"] == "lora" else "LoRA, or a smaller model"
    return f"About {gigabytes(found.low)} GB of memory are needed, {gigabytes(found.free)} GB are free: take {other}."


def _data(prospect: Outlook) -> str:
    if prospect.plan is None:
        return ""
    about = "about " if prospect.about and prospect.skipped else ""
    rows = "row" if prospect.skipped == 1 else "rows"
    return f" · {prospect.shape}, {about}{prospect.skipped:,} {rows} skipped"


def _cut(form: Form) -> str:
    """What max length costs: "237 of 999 cut at 512"; "" where that is nothing, or not counted yet."""
    if form.cut is None or form.prospect is None or form.prospect.plan is None:
        return ""
    lengths, max_length = form.cut
    cut = lengths.cut(max_length).rows
    return f", {cut:,} of {lengths.rows:,} cut at {lengths.within(max_length):,}" if cut else ""


def _run(form: Form, prospect: Outlook) -> str:
    """The total first, so that a narrow screen cuts what matters least."""
    spec = form.spec()
    plan = prospect.left(spec) if spec else prospect.plan
    if plan is None:
        return ""
    about = "about " if prospect.about or plan != prospect.plan else ""
    examples = f"{plan.train_examples:,} train + {plan.eval_examples:,} validation examples"
    return f"{about}{plan.total_steps:,} steps, {plan.steps_per_epoch:,} per epoch · {examples}"
