"""New run: the form. Filled in, checked as it is typed, started by one key.

What a field means and whether it is right is `tui.form`'s and `trainer`'s business, and when a run can be started
`tui.launchpad`'s; here stands which key does what and what is shown when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.widgets import Input, Static

from trainer import presets
from trainer import spec as specs
from trainer.spec import Value
from tui.form import MAIN, Form
from tui.launchpad import Launchpad
from tui.looker import around
from tui.run_lines import doubt, heading, lines
from tui.screens.room import Room, once_shown
from tui.widgets.form_body import FormBody
from tui.widgets.key_bar import KeyBar
from tui.widgets.launch_bar import LaunchBar
from tui.widgets.start_button import StartButton

if TYPE_CHECKING:
    from tui.widgets.choice import Choice

IDLE = 2.0  # seconds without a key before rows are counted in tokens
WARM = 0.5  # seconds after the first frame
DEBOUNCE = 0.15  # seconds after the last key before files are looked at
WIDE = 160  # columns from which on More stands beside the three
TALL = 32  # rows from which on there is some air between them
ROOMY = 38  # rows from which on More stands open below them

RULES = """
NewRunScreen #head { height: 1; padding: 0 2; background: $surface; }
NewRunScreen #body { height: 1fr; scrollbar-size-vertical: 1; }
NewRunScreen #main { height: auto; }
NewRunScreen LaunchBar { dock: bottom; margin-bottom: 1; }
NewRunScreen.-tall #main { padding-top: 1; }
NewRunScreen.-tall Stepper { height: 6; }
NewRunScreen.-wide #body { layout: horizontal; }
NewRunScreen.-wide #main { width: 84; }
NewRunScreen.-wide More { width: 1fr; height: 1fr; overflow-y: auto; border-left: solid $surface-lighten-1; }
NewRunScreen.-wide More { scrollbar-size-vertical: 1; }
"""


class NewRunScreen(Room):
    """`values` fill in the form (what they leave out has its default); `origin` names their preset or run."""

    DEFAULT_CSS = RULES
    AUTO_FOCUS = "#epochs"
    HORIZONTAL_BREAKPOINTS = [(WIDE, "-wide")]
    VERTICAL_BREAKPOINTS = [(TALL, "-tall")]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "start", "Start", id="new_run.start", tooltip="Start the run and watch it"),
        Binding("ctrl+s", "save", "Save", id="new_run.save", tooltip="Save these settings as a preset"),
        Binding("ctrl+o", "choose", "Presets", id="new_run.choose", tooltip="Fill in the form from a preset"),
        Binding("ctrl+t", "more", "More", id="new_run.more", tooltip="Model, data, LoRA and all the rest"),
        Binding("f2", "data", "Data", id="new_run.data", tooltip="Look at the data: what is read, learnt and cut"),
        Binding("f3", "try_out", "Try", id="new_run.try", tooltip="Dry run: what it takes, measured; again cancels"),
        Binding("ctrl+f", "fetch", "Fetch", id="new_run.fetch", tooltip="Fetch the model", priority=True),
        Binding("ctrl+l", "runs", "Runs", id="new_run.runs", tooltip="All runs, live and ended"),
        Binding("f1", "help", "Keys", id="new_run.keys", tooltip="All keys and what they do"),
    ]

    def __init__(self, values: Mapping[str, Value], origin: str = "") -> None:
        super().__init__()
        self.form = Form(values, origin)
        self.pad = Launchpad(self.form)

    def compose(self) -> ComposeResult:
        yield Static(heading(self.form), id="head", markup=False)
        yield FormBody(self.form)
        yield LaunchBar(lines(self.form))
        yield KeyBar()

    def on_mount(self) -> None:
        once_shown(self, self._begin_work)

    def _begin_work(self) -> None:
        """What the first frame does not wait for."""
        for body in self.query(FormBody):
            if body.is_attached:  # else the screen is on its way out already
                self._look(0.0)
                self._look_around()
                body.make_more()
                self._warm_up()

    async def on_unmount(self) -> None:
        await self.pad.end()

    def on_resize(self, event: Resize) -> None:
        body = self.query_one(FormBody)
        if (event.size.width >= WIDE or event.size.height >= ROOMY) and not body.was_open:
            self.run_worker(body.open_more())

    # --- what a person changes ------------------------------------------------------------------------------------

    def on_input_changed(self, event: Input.Changed) -> None:
        self._edit(event.input.name, event.input.value)  # as it stands now: the news may be old

    def on_choice_changed(self, event: Choice.Changed) -> None:
        self._edit(event.choice.name, event.choice.value)

    def _catch_up(self) -> None:
        """Take over what stands in the fields: a key of a burst is served before the news of the ones before it."""
        for field in self.query_one(FormBody).fields:
            self._edit(field.name, field.value)

    def _edit(self, name: str | None, text: str) -> None:
        if name is None or self.form.texts[name] == text:
            return
        self.form.edit(name, text)
        self._cancel_try()
        self.pad.say()
        self._show()
        self._look(DEBOUNCE)

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        if event.input.name in MAIN:
            self.action_start()

    @work(exclusive=True, group="look")
    async def _look(self, delay: float) -> None:
        """Ask the files about the form as it stands: the newest asking wins."""
        await asyncio.sleep(delay)
        start_now = await self.pad.look()
        self._show()
        self._count()
        if start_now:
            self.action_start()

    @work(exclusive=True, group="count")
    async def _count(self) -> None:
        """Beside all this, once the form stands still."""
        await asyncio.sleep(IDLE)
        if await self.pad.count():
            self._show()

    @work(group="around")
    async def _look_around(self) -> None:
        """Say where this machine ends runs at a logout, once it is known."""
        said = await around()
        for bar in self.query(LaunchBar):
            bar.warning = said

    @work(group="warm")
    async def _warm_up(self) -> None:
        """A spare host loads the libraries meanwhile, once the form has had its time."""
        if self.cockpit.keeps_spare:
            await asyncio.sleep(WARM)
            await asyncio.to_thread(self.pad.warm_up)

    # --- what is shown --------------------------------------------------------------------------------------------

    def _show(self) -> None:
        """Bring every widget to the state of the form."""
        if not all(self.query(part) for part in ("#head", FormBody, LaunchBar, StartButton)):
            return  # the screen is on its way out; its parts go one by one
        self.query_one(FormBody).show_form()
        bar = self.query_one(LaunchBar)
        bar.lines, bar.reason, bar.said = lines(self.form), self.pad.reason, self.pad.said
        bar.doubt = doubt(self.form)
        self.query_one(StartButton).disabled = not self.pad.can_start
        self.query_one("#head", Static).update(heading(self.form), layout=False)
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Start is greyed while it can't be; fetching is offered only for a model that can be fetched."""
        if action in ("start", "try_out") and not self.pad.can_start:
            return None
        return action != "fetch" or (bool(self.form.fetchable) and self.sheet is None)

    # --- keys -----------------------------------------------------------------------------------------------------

    def action_start(self) -> None:
        """Start at once; or, where the files have not answered yet, as soon as they have."""
        self._catch_up()
        if not self.pad.can_start:
            return
        if self.pad.wants_look():
            self._look(0.0)
            return
        self._cancel_try()
        self.pad.starting = True
        self.pad.say()
        self._show()
        self._begin()

    @work(exclusive=True, group="start")
    async def _begin(self) -> None:
        run = await self.pad.start(self.cockpit.runs_dir)
        if run is None:
            self._show()
        else:
            self.cockpit.open_live(run)

    def action_try_out(self) -> None:
        """Measure what the run would take; a second time, cancel that."""
        if self.pad.trying:
            self._cancel_try()
            return
        self._catch_up()
        if self.pad.can_start:
            self._try_out()

    @work(exclusive=True, group="try")
    async def _try_out(self) -> None:
        await self.pad.try_out(self.cockpit.runs_dir, self._show)

    def _cancel_try(self) -> None:
        self.workers.cancel_group(self, "try")

    async def action_more(self) -> None:
        """Open More and go there, where it stands open too; from there, close it and come back."""
        body = self.query_one(FormBody)
        if body.in_more:
            body.close_more()
        else:
            await body.go_to_more()

    def action_choose(self) -> None:
        from tui.sheets.presets import ChoosePreset

        self.lay(ChoosePreset(), self._chosen)

    def _chosen(self, chosen: tuple[str, dict[str, Value]] | None) -> None:
        if chosen is not None:
            name, values = chosen
            self._fill(values, name, "")

    def action_save(self) -> None:
        from tui.sheets.presets import SavePreset

        self._catch_up()
        spec = self.form.spec()
        if spec is None:
            self.pad.say(failure=f"Not saved: {self.form.reason()}")
            self._show()
            return
        self.lay(SavePreset(spec, self.form.origin), self._saved)

    def _saved(self, name: str | None) -> None:
        if name is not None:
            self._fill(presets.load(name), name, f"Saved as {name} in {presets.user_dir()}")

    def action_fetch(self) -> None:
        from tui.sheets.fetch import FetchSheet

        self.lay(FetchSheet(self.form.fetchable), lambda fetched: fetched and self._look(0.0))

    def action_data(self) -> None:
        """Look at the data as they will be read; a field that is wrong has its default there."""
        from tui.screens.data import DataScreen

        self._catch_up()
        right = {name: text for name, text in self.form.texts.items() if name not in self.form.problems}
        self.app.push_screen(DataScreen(specs.make(right), self._take))

    def _take(self, changes: Mapping[str, str]) -> None:
        """What the Data screen was asked to change."""
        self.form.take(changes)
        self._show()
        self._look(0.0)

    def action_runs(self) -> None:
        self.cockpit.open_home()

    def _fill(self, values: Mapping[str, Value], origin: str, said: str) -> None:
        self._cancel_try()
        self.form.fill(values, origin)
        self.pad.say(said)
        self.pad.looked_at = None
        self._show()
        self._look(0.0)
