"""New run: the form. Filled in, checked as it is typed, started by one key.

What a field means and whether it is right is `tui.form`'s and `trainer`'s business; here stands which key does what
and what is shown when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Input, Static

from trainer import presets
from trainer import spec as specs
from trainer.spec import KNOBS, RunSpec, Value
from tui.form import MAIN, Form
from tui.looker import Looker, around
from tui.run_lines import heading, lines
from tui.widgets.key_bar import KeyBar
from tui.widgets.launch_bar import LaunchBar
from tui.widgets.more_line import MoreLine
from tui.widgets.start_button import StartButton
from tui.widgets.stepper import Stepper

if TYPE_CHECKING:
    from tui.app import FinetuneApp
    from tui.data_worker import Counter
    from tui.widgets.choice import Choice
    from tui.widgets.more import More

IDLE = 2.0  # seconds without a key before rows are counted in tokens
DEBOUNCE = 0.15  # seconds after the last key before files are looked at
WIDE = 160  # columns from which on More stands beside the three
TALL = 32  # rows from which on there is some air between them
ROOMY = 38  # rows from which on More stands open below them

# Here and not in a file of its own: a screen's CSS_PATH makes Textual parse every rule again before the first frame.
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


class NewRunScreen(Screen[None]):
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
        Binding("ctrl+f", "fetch", "Fetch", id="new_run.fetch", tooltip="Fetch the model", priority=True),
        Binding("ctrl+l", "runs", "Runs", id="new_run.runs", tooltip="All runs, live and ended"),
        Binding("f1", "keys", "Keys", id="new_run.keys", tooltip="All keys and what they do"),
    ]

    def __init__(self, values: Mapping[str, Value], origin: str = "") -> None:
        super().__init__()
        self.form = Form(values, origin)
        self._looker = Looker()
        self._more: More | None = None
        self._counter: Counter | None = None
        self.looked_at: RunSpec | None = None  # what the prospect in the form is about
        self._start_wanted = False
        self._starting = False
        self._failure = ""
        self._said = ""

    def compose(self) -> ComposeResult:
        yield Static(heading(self.form), id="head", markup=False)
        with VerticalScroll(id="body", can_focus=False), Vertical(id="main"):
            for name in MAIN:
                yield Stepper(KNOBS[name], self.form.texts[name])
            yield MoreLine()
        yield LaunchBar(lines(self.form))
        yield KeyBar()

    def on_mount(self) -> None:
        self.call_after_refresh(self._look, 0.0)
        self.call_after_refresh(self._look_around)

    async def on_unmount(self) -> None:
        if self._counter is not None:
            await self._counter.end()

    async def on_resize(self, event: Resize) -> None:
        if (event.size.width >= WIDE or event.size.height >= ROOMY) and self._more is None:
            self.call_after_refresh(self._open_more)

    # --- what a person changes ------------------------------------------------------------------------------------

    def on_input_changed(self, event: Input.Changed) -> None:
        self._edit(event.input.name, event.input.value)  # as it stands now: the news may be old

    def on_choice_changed(self, event: Choice.Changed) -> None:
        self._edit(event.choice.name, event.choice.value)

    def _catch_up(self) -> None:
        """Take over what stands in the fields: a key of a burst is served before the news of the ones before it."""
        for field in self.query(Input):
            self._edit(field.name, field.value)
        for choice in self._more.choices if self._more is not None else ():
            self._edit(choice.name, choice.value)

    def _edit(self, name: str | None, text: str) -> None:
        if name is None or self.form.texts[name] == text:
            return
        self.form.edit(name, text)
        self._failure = self._said = ""
        self._start_wanted = False
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
        spec = self.form.spec()
        if spec is None:
            return
        self.form.look(await self._looker.look(spec))
        self.looked_at = spec
        self._show()
        if self.form.prospect is not None and self.form.prospect.lengths is None:
            self._count(spec)
        if self._start_wanted:
            self._start_wanted = False
            if self.form.spec() == spec:
                self.action_start()
            else:
                self._said = "Set for this model: look at the learning rate, then start."
                self._show()

    @work(exclusive=True, group="count")
    async def _count(self, spec: RunSpec) -> None:
        """Beside all this, once the form stands still: how many rows max length cuts."""
        await asyncio.sleep(IDLE)
        from tui.data_worker import Counter  # the first frame does not wait for it

        self._counter = Counter()
        lengths = await self._counter.count(spec)
        if lengths is not None and self.looked_at == spec:
            self.form.hear(lengths)
            self._show()

    @work(group="around")
    async def _look_around(self) -> None:
        """Say where this machine ends runs at a logout, once it is known."""
        said = await around()
        for bar in self.query(LaunchBar):
            bar.warning = said

    # --- what is shown --------------------------------------------------------------------------------------------

    def _show(self) -> None:
        """Bring every widget to the state of the form."""
        head, bar, button = self.query("#head"), self.query(LaunchBar), self.query(StartButton)
        if not (head and bar and button):  # the screen is on its way out; its parts go one by one
            return
        form = self.form
        for stepper in self.query(Stepper):
            name = stepper.knob.name
            if name in form.unshown:
                stepper.put(form.texts[name])
            stepper.problem, stepper.note = form.problem(name), form.notes.get(name, "")
        if self._more is not None:
            self._more.show_form()
        form.unshown.clear()
        for part in bar:
            part.lines = lines(form)
            part.reason = self._failure or form.reason()
            part.said = "starting…" if self._starting else self._said
        button.set(disabled=not self._can_start)
        self.query_one("#head", Static).update(heading(self.form), layout=False)
        self.refresh_bindings()

    @property
    def _can_start(self) -> bool:
        return not self._starting and not self.form.reason()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Start is greyed while it can't be; fetching is offered only for a model that can be fetched."""
        if action == "start" and not self._can_start:
            return None
        return action != "fetch" or bool(self.form.fetchable)

    # --- keys -----------------------------------------------------------------------------------------------------

    def action_start(self) -> None:
        """Start at once; or, where the files have not answered yet, as soon as they have."""
        self._catch_up()
        spec = self.form.spec()
        if spec is None or not self._can_start:
            return
        if spec != self.looked_at:
            self._start_wanted = True
            self._look(0.0)
            return
        self._starting, self._failure = True, ""
        self._show()
        self._begin(spec)

    @work(exclusive=True, group="start")
    async def _begin(self, spec: RunSpec) -> None:
        from trainer import launch
        from trainer.rundir import RunError

        app = cast("FinetuneApp", self.app)
        try:
            run = await asyncio.to_thread(launch.start, app.runs_dir, spec)
        except RunError as error:
            self._starting, self._failure = False, str(error)
            self._show()
        else:  # still "starting": the live screen takes this one's place
            app.open_live(run)

    async def action_more(self) -> None:
        """Open More and go there, where it stands open too; from there, close it and come back."""
        if self._more is not None and self._more.display and self._more.has_focus_within:
            self._more.display = self.query_one(MoreLine).opened = False
            self.query_one("#epochs").focus()
        else:
            await self._open_more()
            self.query_one("#model").focus(scroll_visible=False)
            self.call_after_refresh(self._scroll_to_more)

    def _scroll_to_more(self) -> None:
        self.query_one("#body").scroll_to_widget(self.query_one(MoreLine), top=True, animate=False)

    async def _open_more(self) -> None:
        from tui.widgets.more import More

        if self._more is None:
            self._more = More(self.form)
            await self.query_one("#body").mount(self._more)
        self._more.display = self.query_one(MoreLine).opened = True

    @work
    async def action_choose(self) -> None:
        from tui.screens.presets import ChoosePreset

        chosen = await self.app.push_screen_wait(ChoosePreset())
        if chosen is not None:
            name, values = chosen
            self._fill(values, name, "")

    @work
    async def action_save(self) -> None:
        from tui.screens.presets import SavePreset

        spec = self.form.spec()
        if spec is None:
            self._failure = f"Not saved: {self.form.reason()}"
            self._show()
            return
        saved = await self.app.push_screen_wait(SavePreset(spec, self.form.origin))
        if saved is not None:
            self._fill(presets.load(saved), saved, f"Saved as {saved} in {presets.user_dir()}")

    @work
    async def action_fetch(self) -> None:
        from tui.screens.fetch import FetchScreen

        if await self.app.push_screen_wait(FetchScreen(self.form.fetchable)):
            self._look(0.0)

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
        cast("FinetuneApp", self.app).open_home()

    def action_keys(self) -> None:
        from tui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen(self.active_bindings))

    def _fill(self, values: Mapping[str, Value], origin: str, said: str) -> None:
        self.form.fill(values, origin)
        self._failure, self._said, self.looked_at = "", said, None
        self._show()
        self._look(0.0)
