"""One run, live or ended: its curve, its figures, and what can be asked of it.

It reads through a Feed and asks through commands; it never trains, and leaving it touches nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Button, Static

from trainer import launch, presets
from trainer.follow import View
from trainer.rundir import Command, RunDir, RunError
from trainer.spec import KNOBS, RunSpec
from tui import figures
from tui.asking import Asking
from tui.curves import LossCurves, x_end
from tui.feed import Feed, Look
from tui.outcome import Outcome, outcome
from tui.run_clock import RunClock
from tui.safe import safe
from tui.screens.room import Room
from tui.sheets.stop import StopSheet
from tui.states import BADGES, UNREADABLE
from tui.widgets.key_bar import KeyBar
from tui.widgets.loss_chart import LossChart
from tui.widgets.result_panel import ResultPanel
from tui.widgets.status import Headline, ProgressRow, RunHeader, StatusRows

# The chart takes what the rows around it leave. Nothing moves while the run is live.
RULES = """
LiveScreen {
    layout: vertical;
    #facts, #measured { display: none; height: 1; padding: 0 1; }
    #facts, #measured { color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
    #chart { height: 1fr; min-height: 5; }
    #controls { height: 1; }
    #stop { width: 10; min-width: 10; margin: 0 1 0 0; background: #5c2424; color: #ffdeda; }
    #stop:hover, #stop:focus { background: #8a3030; text-style: none; }
    #stop:disabled { opacity: 60%; }
    #note { display: none; height: auto; max-height: 3; padding: 0 1; color: $warning; }
    #note.-said { display: block; }
    &.-tall #facts.-said, &.-tall #measured.-said { display: block; }
}
"""


class LiveScreen(Room):
    """Shows whatever the feed hands over; every figure on it comes from the run's log."""

    DEFAULT_CSS = RULES
    AUTO_FOCUS = ""
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "stop", "Stop", id="live.stop", tooltip="What stopping keeps and costs; then choose"),
        Binding("p", "pause", "Pause", id="live.pause", tooltip="Hold after the step being taken"),
        Binding("p", "go_on", "Continue", id="live.continue", tooltip="Take the next step"),
        Binding("r", "resume", "Resume", id="live.resume", tooltip="Go on from the newest whole checkpoint"),
        Binding("t", "slower", "Third rate", id="live.slower", tooltip="Go on with a third of the learning rate"),
        Binding("k", "skip", "Skip batch", id="live.skip", tooltip="Go on without the batch that broke it"),
        Binding("c", "copy", "Copy", id="live.copy", tooltip="Copy the two lines that load the model"),
        Binding("e", "again", "Again", id="live.again", tooltip="A new run from this one's settings"),
        Binding("n", "new_run", "New run", id="live.new", tooltip="A new run from the starter preset"),
        Binding("h", "runs", "Runs", id="live.runs", tooltip="All runs; this one is left alone"),
        Binding("q", "leave", "Leave", id="live.leave", tooltip="Leave this screen; the run goes on"),
        Binding("f1", "help", "Keys", id="live.help", tooltip="All keys and what they do"),
    ]

    def __init__(self, run: RunDir) -> None:
        super().__init__()
        self.run = run
        self._asking = Asking(run)
        self._spec: RunSpec | None = None
        self._spec_problem = ""
        self._feed = Feed(run, self.take)
        self._clock = RunClock()
        self._curves = LossCurves()
        self._outcome: Outcome | None = None

    @property
    def look(self) -> Look:
        return self._asking.look

    @property
    def view(self) -> View:
        return self.look.view

    def compose(self) -> ComposeResult:
        yield RunHeader(id="header")
        yield Static(id="facts", markup=False)
        yield Static(id="measured", markup=False)
        yield LossChart(id="chart")
        yield StatusRows(id="status")
        with Horizontal(id="controls"):
            yield ProgressRow(id="progress")
            yield Button("■ Stop", id="stop", compact=True, tooltip="Stop this run (s)")
        yield Static(id="note", markup=False)
        yield ResultPanel(id="result")
        yield KeyBar()

    def on_mount(self) -> None:
        try:
            self._spec = self.run.spec()
        except RunError as error:
            self._spec_problem = str(error)
        self._show_all()
        self._feed.start(self)
        self.set_interval(1.0, self._tick)

    # --- what the feed hands over -----------------------------------------------------------------------------

    def take(self, look: Look) -> None:
        """The feed's newest look; the only way by which anything on this screen changes."""
        if not self.query(RunHeader):  # the screen is being removed: its parts are gone before its feed is
            return
        news_for_keys = self._asking.take(look)
        self._clock.take(look.view)
        self._show_all()
        if news_for_keys:
            self.refresh_bindings()
        if isinstance(self.sheet, StopSheet):
            self.sheet.show(look.view)

    def _show_all(self) -> None:
        view, gone = self.look.view, bool(self.look.problem)
        badge = UNREADABLE if gone else BADGES[view.status]
        self.query_one(RunHeader).show(Headline(self.run.name, badge, self._spec))
        curves, marks = self._curves.of(view.state)
        waiting = "" if gone else figures.placeholder(view)
        self.query_one(LossChart).show(curves, marks, waiting, x_end=x_end(view.state))
        self.query_one(StatusRows).show(view, self._clock.elapsed())
        self._show_progress()
        self.query_one("#controls").display = view.live and not gone
        self.query_one("#stop", Button).disabled = not self._asking.obeys
        self._say("facts", figures.facts(view))
        self._say("measured", figures.dry_run(view.state.measured))
        problem = self.look.problem or self._spec_problem
        self._say("note", safe(problem, limit=500, one_line=True) if problem else figures.note(view))
        self._show_outcome(None if gone or not self._asking.seen else outcome(view, self.run))

    def _show_progress(self) -> None:
        asked = {"pause": "pausing…", "continue": "continuing…", "": ""}[self._asking.wish]
        self.query_one(ProgressRow).show(figures.progress(self.view, asked))

    def _show_outcome(self, result: Outcome | None) -> None:
        if result != self._outcome:
            self._outcome = result
            self.query_one(ResultPanel).show(result)

    def _say(self, id: str, text: str) -> None:
        widget = self.query_one(f"#{id}", Static)
        if str(widget.content) != text:
            widget.update(Content(text))
        widget.set_class(bool(text), "-said")

    def _tick(self) -> None:
        if self.view.live:
            for rows in self.query(StatusRows):  # none while the screen is being removed
                rows.show(self.view, self._clock.elapsed())

    # --- keys -------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self._asking.can(action, with_spec=self._spec is not None)

    def action_stop(self) -> None:
        self.lay(StopSheet(self.view, self._spec.keep if self._spec else "best"), self._chosen)

    def _chosen(self, command: Command | None) -> None:
        if command is not None:
            self._try(lambda: self.run.ask(command))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.set_focus(None)
        if self._asking.obeys:
            self.action_stop()

    def action_pause(self) -> None:
        self._try(self._asking.pause)

    def action_go_on(self) -> None:
        self._try(self._asking.go_on)

    def _try(self, ask: Callable[[], None]) -> None:
        """Ask the host, and show what was asked or why it can't be."""
        try:
            ask()
        except RunError as error:
            self._complain(error)
        self._show_progress()
        self.refresh_bindings()

    def action_resume(self) -> None:
        self._resume()

    def action_slower(self) -> None:
        self._resume(slower=True)

    def action_skip(self) -> None:
        found = self.view.state.not_finite
        self._resume(skip=found.step if found else None)

    @work(thread=True, exclusive=True, group="resume")
    def _resume(self, *, slower: bool = False, skip: int | None = None) -> None:
        try:
            launch.resume(self.run, slower=slower, skip=skip)
        except RunError as error:
            self.app.call_from_thread(self._complain, error)

    def _complain(self, error: RunError) -> None:
        self.notify(safe(str(error), limit=500), severity="error", markup=False)

    def action_copy(self) -> None:
        if self._outcome is not None and self._outcome.code:
            self.app.copy_to_clipboard("\n".join(self._outcome.code))
            self.notify("The two lines were sent to the clipboard.", markup=False, timeout=3)

    def action_again(self) -> None:
        if self._spec is not None:
            values = {name: getattr(self._spec, name) for name in KNOBS}
            self.cockpit.open_new_run(values, origin=self.run.name)

    def action_new_run(self) -> None:
        self.cockpit.open_new_run(presets.load(presets.STARTER), presets.STARTER)

    def action_runs(self) -> None:
        self.cockpit.open_home()

    def action_leave(self) -> None:
        if self.view.live and not self.look.problem:
            what = "The run is stopping" if self.view.status == "stopping" else "The run goes on"
            self.app.notify(f"{what}; Enter opens it again.", markup=False, timeout=4)
        self.cockpit.open_home()
