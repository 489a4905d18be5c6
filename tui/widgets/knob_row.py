"""One knob under More: label, field, and beside or below it the bounds and help, or what is wrong.

It makes the field that suits the knob; it checks nothing: `tell` says what to show.
"""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content
from textual.geometry import Size
from textual.visual import VisualType
from textual.widget import Widget
from textual.widgets import Input

from trainer.models import FETCHABLE
from trainer.spec import Knob
from tui.safe import safe
from tui.widgets.choice import Choice
from tui.widgets.line_input import LineInput
from tui.widgets.path_input import PathInput

LABEL = 20
FIELD = 14
GAP = 2
TEXT = 72
DIM = "$foreground 60%"
KNOWN = {
    "model": ("builtin:tiny", *FETCHABLE),
    "data": ("builtin:codephreak",),
    "eval_data": (),
}


class KnobRow(Widget, can_focus=False):
    """What is wrong before why the knob does not matter now, before a note, before the help."""

    DEFAULT_CSS = """
    KnobRow { height: auto; width: 1fr; }
    KnobRow Input, KnobRow Input:focus { border: none; padding: 0; height: 1; margin-left: 20; }
    KnobRow Choice { margin-left: 20; }
    KnobRow Input:disabled { color: $foreground 35%; }
    """

    def __init__(self, knob: Knob, text: str) -> None:
        super().__init__(id=f"row-{knob.name.replace('_', '-')}")
        self.knob = knob
        self.field = _field(knob, text)
        self.beside = knob.kind in ("int", "float")  # a narrow field has its help beside it, a wide one below
        self.told = (_help(knob), DIM)  # beside or below the field, and in which manner

    def compose(self) -> ComposeResult:
        if self.beside:
            self.field.styles.width = FIELD
        yield self.field

    def tell(self, problem: str, off: str, note: str) -> None:
        """Show what the form says of the knob."""
        self.field.disabled = bool(off)
        said = ((problem, "$text-error"), (off, DIM), (note, "$text-success"), (_help(self.knob), DIM))
        told = next(one for one in said if one[0])
        if told != self.told:
            self.told = told
            self.refresh(layout=True)

    def put(self, text: str) -> None:
        """Show `text` without saying that a person edited it."""
        if self.field.value != text:
            with self.field.prevent(Input.Changed):
                self.field.value = text

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        below = len(self._lines(width))
        return max(1, below) if self.beside else 1 + below

    def render(self) -> VisualType:
        label = Content.styled(self.knob.label.ljust(LABEL), DIM if self.field.disabled else "bold")
        told = [line.stylize(self.told[1]) for line in self._lines(self.size.width)]
        if self.beside:
            first = Content(" " * (FIELD + GAP)) + (told[0] if told else Content())
            rest = [Content(" " * (LABEL + FIELD + GAP)) + line for line in told[1:]]
        else:
            first, rest = Content(), [Content(" " * LABEL) + line for line in told]
        return Content("\n").join([label + first, *rest])

    def _lines(self, width: int) -> list[Content]:
        """The lines beside or below the field."""
        room = min(TEXT, width - LABEL - (FIELD + GAP if self.beside else 0) - 1)
        return [line.rstrip() for line in Content(safe(self.told[0], 1000)).wrap(room)] if room > 8 else []


def _help(knob: Knob) -> str:
    bounds = f"{knob.bounds} {knob.unit}".strip() + ". " if knob.kind in ("int", "float") else ""
    return bounds + knob.help


def _field(knob: Knob, text: str) -> Input | Choice:
    id = knob.name.replace("_", "-")
    if knob.kind == "choice":
        return Choice(knob.choices, text, name=knob.name, id=id)
    if knob.name in KNOWN:
        return PathInput(text, KNOWN[knob.name], name=knob.name, id=id)
    return LineInput(text, name=knob.name, id=id)
