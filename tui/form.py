"""The form's state: what stands in every field, what is wrong with it, and why a field does not matter now.

Texts in, a RunSpec out. It knows no widgets and reads no files: what files say comes in as an `Outlook`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from trainer import models
from trainer import spec as specs
from trainer.spec import KNOBS, RunSpec, Value

if TYPE_CHECKING:
    from trainer.data.lengths import Lengths
    from tui.ahead import Outlook

HIDDEN = frozenset({"backend"})
MAIN = tuple(name for name, knob in KNOBS.items() if knob.group == "main")
READ_ANEW = ("data", "eval_data", "columns", "allow_bad")
LORA_ONLY = frozenset({"lora_rank", "lora_alpha", "lora_dropout"})


class Form:
    """Every knob's text as it stands, with its problem; `origin` is the preset or run it was filled in from.

    `unshown` names the fields whose text was set here and not typed: only those may be written into a widget, since
    keys that came in a burst are in the widget before the form has heard of them.
    """

    def __init__(self, values: Mapping[str, Value], origin: str = "") -> None:
        self.fill(values, origin)

    def fill(self, values: Mapping[str, Value], origin: str) -> None:
        """Start anew from `values`; what they leave out has its default, and nothing counts as edited."""
        self.origin = origin
        self.texts = {name: specs.show(values.get(name, knob.default)) for name, knob in KNOBS.items()}
        self._filled = dict(self.texts)
        self.problems: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self.touched: set[str] = set()
        self.unshown = set(self.texts)
        self.prospect: Outlook | None = None
        self._settled_model = self.texts["model"]
        for name, text in self.texts.items():
            self._check(name, text)

    def edit(self, name: str, text: str) -> None:
        """A person changed a field."""
        self.texts[name] = text
        self.touched.add(name)
        self.unshown.discard(name)
        self.notes.pop(name, None)
        self._check(name, text)
        if self.prospect is not None:  # what the files said about the old text is no longer true
            problems = {field: text for field, text in self.prospect.problems.items() if field != name}
            plan = None if name in READ_ANEW else self.prospect.plan  # counted in the old file
            lengths = None if name in (*READ_ANEW, "model") else self.prospect.lengths
            self.prospect = replace(self.prospect, problems=problems, plan=plan, lengths=lengths)
        if name == "method" and name not in self.problems:
            self._suggest_rate()

    def look(self, prospect: Outlook) -> None:
        """What the files say about the spec as it stands; another model may bring another learning rate."""
        self.prospect = prospect
        info = prospect.model
        if info is None or info.name == self._settled_model:
            return
        self._settled_model = info.name
        if "method" not in self.touched:
            method = str(models.suggested(info)["method"])
            if method != self.texts["method"]:
                self._set("method", method, f"set to {method}, usual for {size_in_words(info)}")
        self._suggest_rate()

    def off(self, name: str) -> str:
        """Why a field does not matter now; "" where it does."""
        if name in LORA_ONLY and self.texts["method"] != "lora":
            return "only when LoRA is trained"
        if name == "eval_share" and self.texts["eval_data"].strip():
            return "not used: a validation file is given"
        return ""

    def problem(self, name: str) -> str:
        """The sentence to stand next to a field; "" where all is well."""
        if self.off(name):
            return ""
        if name == "model" and self.fetchable:
            return f"{models.FETCHABLE[self.fetchable]} is not here yet: ctrl+f fetches it."
        seen = self.prospect.problems if self.prospect else {}
        field, lost = self._lost() if name in ("data", "max_length") else ("", "")
        return self.problems.get(name) or seen.get(name, "") or (lost if name == field else "")

    def note(self, name: str) -> str:
        """What is good to know about a field; "" where nothing is."""
        if name != "data" or self.cut is None or not self.cut[0].cut(self.cut[1]).rows:
            return self.notes.get(name, "")
        lengths, max_length = self.cut
        return f"{lengths.cut_sentence(max_length)}."

    @property
    def cut(self) -> tuple[Lengths, int] | None:
        """The rows' lengths and where they are cut, once both are known."""
        lengths = self.prospect.lengths if self.prospect else None
        if lengths is None or "max_length" in self.problems:
            return None
        return lengths, int(specs.parse("max_length", self.texts["max_length"]))

    def _lost(self) -> tuple[str, str]:
        """(field, sentence) where too many rows are lost in tokens for a run to start."""
        spec = self.spec() if self.prospect and self.prospect.lengths else None
        if spec is None or self.prospect is None or self.prospect.lengths is None:
            return "", ""
        empty = self.prospect.lengths.cut(spec.max_length).nothing_left
        return "max_length" if empty else "data", self.prospect.refused(spec)

    def hear(self, lengths: Lengths) -> None:
        """The rows were counted in the model's tokens."""
        if self.prospect is not None:
            self.prospect = replace(self.prospect, lengths=lengths)

    def take(self, changes: Mapping[str, str]) -> None:
        """Fields that were changed elsewhere for the person, who asked for it there."""
        for name, text in changes.items():
            self.edit(name, text)
            self.unshown.add(name)

    def reason(self) -> str:
        """The first thing that stands in the way of starting; "" where nothing does."""
        return next((problem for name in KNOBS if (problem := self.problem(name))), "")

    def spec(self) -> RunSpec | None:
        """The whole spec, None while a field is wrong. Wrong text in a field that does not matter is left out."""
        try:
            return specs.make({n: text for n, text in self.texts.items() if not (n in self.problems and self.off(n))})
        except specs.SpecError:
            return None

    @property
    def changed(self) -> bool:
        """Whether anything differs from what the form was filled in with."""
        return self.texts != self._filled

    @property
    def fetchable(self) -> str:
        """The model's name where it is one that can be fetched and is not here yet; else ""."""
        model = self.texts["model"].strip()
        missing = self.prospect is not None and "model" in self.prospect.problems
        return model if missing and model in models.FETCHABLE else ""

    def _check(self, name: str, text: str) -> None:
        try:
            specs.parse(name, text)
            self.problems.pop(name, None)
        except specs.SpecError as error:
            self.problems[name] = str(error)

    def _set(self, name: str, text: str, note: str) -> None:
        self.texts[name] = text
        self.unshown.add(name)
        self.notes[name] = note
        self._check(name, text)

    def _suggest_rate(self) -> None:
        info = self.prospect.model if self.prospect else None
        if info is None or "learning_rate" in self.touched:
            return
        method = self.texts["method"]
        rate = specs.show(models.suggested(info, method)["learning_rate"])
        if rate != self.texts["learning_rate"]:
            way = "LoRA on" if method == "lora" else "full training of"
            self._set("learning_rate", rate, f"set to {rate}, usual for {way} {size_in_words(info)}")


def stepped(name: str, text: str, up: bool) -> str:
    """The text after one press of an arrow key: the next rung; the default where the text is no number."""
    knob = KNOBS[name]
    assert knob.low is not None
    assert knob.high is not None
    try:
        value = min(max(float(text), knob.low), knob.high)
        return specs.show(specs.parse(name, specs.step(name, value, up)))
    except ValueError:  # no number, or (a SpecError) below a bound that is not allowed itself
        return specs.show(knob.default)


def size_in_words(info: models.ModelInfo) -> str:
    """ "135M parameters"; "a model of unknown size" where that can't be told."""
    if info.parameters is None:
        return "a model of unknown size"
    for unit, one in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if info.parameters >= one:
            number = info.parameters / one
            return f"{number:.1f}{unit} parameters" if number < 10 else f"{number:.0f}{unit} parameters"
    return f"{info.parameters} parameters"
