"""All knobs below the three, by group. Made from the declaration; it holds no values of its own."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from trainer.spec import GROUP_TITLES, KNOBS
from tui.form import HIDDEN, Form
from tui.widgets.choice import Choice
from tui.widgets.knob_row import KnobRow


class More(Vertical):
    """One row a knob under its group's title."""

    DEFAULT_CSS = """
    More { height: auto; padding: 0 2; }
    More .title { color: $text-primary; text-style: bold; margin-top: 1; }
    """

    def __init__(self, form: Form) -> None:
        super().__init__(id="more")
        self._form = form

    def compose(self) -> ComposeResult:
        for group, title in GROUP_TITLES.items():
            yield Static(title, classes="title", markup=False)
            for name, knob in KNOBS.items():
                if knob.group == group and name not in HIDDEN:
                    yield KnobRow(knob, self._form.texts[name])

    def on_mount(self) -> None:
        for row in self.query(KnobRow):
            row.put(self._form.texts[row.knob.name])
        self.show_form()

    @property
    def choices(self) -> list[Choice]:
        return [row.field for row in self.query(KnobRow) if isinstance(row.field, Choice)]

    def show_form(self) -> None:
        """Every row as the form has it now; what is being typed is left to the one who types."""
        form = self._form
        for row in self.query(KnobRow):
            name = row.knob.name
            row.tell(form.problem(name), form.off(name), form.note(name))
            if name in form.unshown:
                row.put(form.texts[name])
