"""The middle of New run: the three large fields, and More below them. It checks nothing and starts nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Input

from trainer.spec import KNOBS
from tui.form import MAIN, Form
from tui.widgets.more_line import MoreLine
from tui.widgets.stepper import Stepper

if TYPE_CHECKING:
    from tui.widgets.choice import Choice
    from tui.widgets.more import More


class FormBody(VerticalScroll, can_focus=False):
    """Shows the form it is given. More is made after the first frame, and shown when it is wanted."""

    def __init__(self, form: Form) -> None:
        super().__init__(id="body")
        self._form = form
        self._more: More | None = None
        self.was_open = False  # whether More was ever shown

    def compose(self) -> ComposeResult:
        with Vertical(id="main"):
            for name in MAIN:
                yield Stepper(KNOBS[name], self._form.texts[name])
            yield MoreLine()

    @property
    def fields(self) -> list[Input | Choice]:
        """Every field there is so far."""
        return [*self.query(Stepper), *(self._more.fields if self._more is not None else ())]

    def show_form(self) -> None:
        """Every field as the form has it now; what is being typed is left to the one who types."""
        form = self._form
        for stepper in self.query(Stepper):
            name = stepper.knob.name
            if name in form.unshown:
                stepper.put(form.texts[name])
            stepper.problem, stepper.note = form.problem(name), form.notes.get(name, "")
        if self._more is not None:
            self._more.show_form()
        form.unshown.clear()

    # --- More -------------------------------------------------------------------------------------------------

    @property
    def in_more(self) -> bool:
        """Whether the focus is in there."""
        return self._more is not None and self._more.display and self._more.has_focus_within

    def make_more(self) -> More:
        """Make it, hidden: it takes a tenth of a second, in which keys are answered."""
        from tui.widgets.more import More  # the first frame does not wait for it

        if self._more is None:
            self._more = More(self._form)
            self.mount(self._more)
        return self._more

    async def open_more(self) -> None:
        """Show it, once it is made."""
        more = self.make_more()
        await more.ready.wait()
        more.display = self.query_one(MoreLine).opened = self.was_open = True

    async def go_to_more(self) -> None:
        """Show it and take the focus there."""
        await self.open_more()
        self.screen.set_focus(self.query_one("#model"), scroll_visible=False)  # at once: keys of a burst go there
        self.call_after_refresh(self.scroll_to_widget, self.query_one(MoreLine), top=True, animate=False)

    def close_more(self) -> None:
        """Hide it and take the focus back to the three."""
        if self._more is not None:
            self._more.display = self.query_one(MoreLine).opened = False
            self.screen.set_focus(self.query_one("#epochs"))
