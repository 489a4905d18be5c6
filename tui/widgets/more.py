"""All knobs below the three, by group. Made from the declaration; it holds no values of its own."""

from __future__ import annotations

import asyncio

from textual import work
from textual.containers import Vertical
from textual.widgets import Input, Static

from trainer.spec import GROUP_TITLES, KNOBS
from tui.form import HIDDEN, Form
from tui.widgets.choice import Choice
from tui.widgets.knob_row import KnobRow


class More(Vertical):
    """One row a knob under its group's title; hidden until it is shown, which can be as soon as it is `ready`."""

    DEFAULT_CSS = """
    More { height: auto; padding: 0 2; }
    More .title { color: $text-primary; text-style: bold; margin-top: 1; }
    """

    def __init__(self, form: Form) -> None:
        super().__init__(id="more")
        self.display = False
        self._form = form
        self.ready = asyncio.Event()  # set once every field is there

    def on_mount(self) -> None:
        self._fill()

    @work
    async def _fill(self) -> None:
        """One group after the other, so that keys are answered in between."""
        for group, title in GROUP_TITLES.items():
            knobs = [knob for name, knob in KNOBS.items() if knob.group == group and name not in HIDDEN]
            rows = [KnobRow(knob, self._form.texts[knob.name]) for knob in knobs]
            await self.mount(Static(title, classes="title", markup=False), *rows)
        for row in self.query(KnobRow):
            row.put(self._form.texts[row.knob.name])
        self.show_form()
        self.ready.set()

    @property
    def fields(self) -> list[Input | Choice]:
        return [row.field for row in self.query(KnobRow)]

    def show_form(self) -> None:
        """Every row as the form has it now; what is being typed is left to the one who types."""
        form = self._form
        for row in self.query(KnobRow):
            name = row.knob.name
            row.tell(form.problem(name), form.off(name), form.note(name))
            if name in form.unshown:
                row.put(form.texts[name])
