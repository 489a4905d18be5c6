"""The stop sheet: what each way of stopping keeps and costs, in numbers that move while it is open.

It answers with the command to send, or None for going on; it sends nothing itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from trainer.follow import View
from trainer.rundir import Command
from trainer.state import RunState
from tui import figures, format

INDENT = "\u00a0" * 3  # plain spaces are dropped where a line is broken


@dataclass(frozen=True, slots=True)
class Choice:
    """One line to choose: `command` None goes on; `open` False can't be chosen now."""

    title: str
    detail: str
    command: Command | None = None
    open: bool = True


def choices(state: RunState) -> tuple[Choice, Choice, Choice]:
    """The three choices as they stand now."""
    return _keep_last(state), _keep_best(state), _go_on(state)


def _keep_last(state: RunState) -> Choice:
    command = Command("stop", keep="last")
    if not state.step:
        return Choice("Stop now", "No step was taken yet: nothing would be kept.", command)
    evals = state.evals
    if not len(evals.eval_loss):
        known = "not evaluated yet"
    elif evals.step[-1] == state.step:
        known = f"eval loss {format.loss(evals.eval_loss[-1])}"
    else:
        known = f"last eval loss {format.loss(evals.eval_loss[-1])} at step {int(evals.step[-1]):,}"
    return Choice("Stop now, keep the last step", f"Step {state.step:,}; {known}.", command)


def _keep_best(state: RunState) -> Choice:
    title, best = "Stop, keep the best", state.best_kept()
    if best is not None:
        since = state.step - best.step
        steps = f"{since:,} steps since are" if since != 1 else "one step since is"
        cost = f"; the {steps} given up" if since else ""
        detail = f"Step {best.step:,}, eval loss {format.loss(best.eval_loss)}{cost}."
        return Choice(title, detail, Command("stop", keep="best", step=best.step))
    if state.best is not None:
        why = f"Step {state.best.step:,} is still being written."
    elif len(state.evals.step) and state.evals.step[-1] > 0:
        why = "No eval loss so far is a number."
    else:
        why = "There is no eval loss of a trained step yet."
    return Choice(title, why, open=False)


def _go_on(state: RunState) -> Choice:
    if state.plan is None or not state.step:
        return Choice("Go on", "Nothing changes.")
    left = state.plan.total_steps - state.step
    seconds = state.seconds_left()
    about = f", about {format.duration(seconds)}" if seconds is not None else ""
    return Choice("Go on", f"{left:,} step{'s' * (left != 1)} left{about}.")


class StopSheet(ModalScreen[Command | None]):
    """Closes itself, with None, when there is nothing left to stop."""

    CSS = """
    StopSheet { align: center middle; background: $background 60%; }
    StopSheet > Vertical {
        width: 68; max-width: 96%; height: auto; max-height: 96%;
        border: round $primary; border-title-color: $text; padding: 0 1; background: $surface;
    }
    StopSheet #where { color: $text-muted; margin: 0 0 1 0; height: auto; }
    StopSheet OptionList { height: auto; border: none; background: $surface; padding: 0; scrollbar-size: 0 0; }
    StopSheet OptionList:focus { border: none; background-tint: transparent; }
    StopSheet OptionList > .option-list--option-highlighted,
    StopSheet OptionList:focus > .option-list--option-highlighted {
        background: $primary 35%; color: $text; text-style: none;
    }
    StopSheet #keys { color: $text-muted; margin: 1 0 0 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "choose(2)", "Go on", id="stop.go_on", tooltip="Close this; the run goes on"),
        Binding("1", "choose(0)", "Keep last", id="stop.last", tooltip="Stop now, keep the last step"),
        Binding("2", "choose(1)", "Keep best", id="stop.best", tooltip="Stop, keep the best"),
        Binding("3", "choose(2)", "Go on", id="stop.go_on_3", tooltip="Close this; the run goes on"),
    ]

    def __init__(self, view: View, keep: str = "best") -> None:
        super().__init__()
        self._view = view
        self._keep = keep
        self._choices = choices(view.state)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content("Stop this run?")
            yield Static(id="where", markup=False)
            yield OptionList(*(Option(self._prompt(at)) for at in range(3)), id="choices", markup=False)
            yield Static("Enter or 1 2 3 chooses, Esc goes on", id="keys", markup=False)

    def on_mount(self) -> None:
        self._fill()
        options = self.query_one(OptionList)
        options.highlighted = 1 if self._keep == "best" and self._choices[1].open else 0
        options.focus()

    def show(self, view: View) -> None:
        """Move the numbers on; closes the sheet when a stop was asked elsewhere or the run has ended."""
        self._view = view
        if not self.is_attached:
            return
        if view.status not in ("starting", "running", "paused"):
            self._close(None)
            return
        self._fill()

    def _fill(self) -> None:
        state = self._view.state
        before, self._choices = self._choices, choices(state)
        epoch = f", epoch {figures.epoch_of(state, True)}" if state.step else ""
        held = "It is paused." if self._view.status == "paused" else "It goes on meanwhile."
        where = Content(f"Step {figures.step_of(state)}{epoch}. {held}")
        static = self.query_one("#where", Static)
        if static.content != where:
            static.update(where)
        options = self.query_one(OptionList)
        for at, choice in enumerate(self._choices):
            if choice != before[at]:
                options.replace_option_prompt_at_index(at, self._prompt(at))
            if options.get_option_at_index(at).disabled == choice.open:  # enabling anew would move the highlight
                (options.enable_option_at_index if choice.open else options.disable_option_at_index)(at)

    def _prompt(self, at: int) -> Content:
        choice = self._choices[at]
        return Content.assemble((f"{at + 1}  {choice.title}", "bold"), "\n", f"{INDENT}{choice.detail}")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.action_choose(event.option_index)

    def action_choose(self, at: int) -> None:
        """Answer with what is shown at this place, if it can be chosen."""
        if self._choices[at].open:
            self._close(self._choices[at].command)
        else:
            self.app.bell()

    def _close(self, command: Command | None) -> None:
        if self.is_current:
            self.dismiss(command)
