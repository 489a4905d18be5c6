"""The stop sheet: what each way of stopping keeps and costs, in numbers that move while it is open.

It answers with the command to send, or None for going on; it sends nothing itself. One widget draws all of it, so
that it is there at once while a chart is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click
from textual.geometry import Size
from textual.reactive import Reactive, reactive

from trainer.follow import View
from trainer.rundir import Command
from trainer.state import RunState
from tui import figures, format
from tui.sheets.sheet import Sheet

INDENT = 3
DIM = "$foreground 60%"
MARKED = "$text on $primary 35%"


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


class StopSheet(Sheet[Command | None]):
    """Answers None by itself when there is nothing left to stop."""

    DEFAULT_CSS = "StopSheet { width: 68; padding: 0 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "choose(2)", "Go on", id="stop.go_on", tooltip="Close this; the run goes on"),
        Binding("1", "choose(0)", "Keep last", id="stop.last", tooltip="Stop now, keep the last step"),
        Binding("2", "choose(1)", "Keep best", id="stop.best", tooltip="Stop, keep the best"),
        Binding("3", "choose(2)", "Go on", id="stop.go_on_3", tooltip="Close this; the run goes on"),
        Binding("up", "mark(-1)", "Up", show=False, id="stop.up", tooltip="The choice above"),
        Binding("down", "mark(1)", "Down", show=False, id="stop.down", tooltip="The choice below"),
        Binding("enter", "take", "Choose", show=False, id="stop.take", tooltip="What is marked"),
    ]
    marked: reactive[int] = reactive(0)
    virtual_size: Reactive[Size] = Reactive(Size(0, 0))  # nothing scrolls here: Textual would lay all out twice

    def __init__(self, view: View, keep: str = "best") -> None:
        super().__init__()
        self.border_title = Content("Stop this run?")
        self._view = view
        self._choices = choices(view.state)
        self.set_reactive(StopSheet.marked, 1 if keep == "best" and self._choices[1].open else 0)

    def show(self, view: View) -> None:
        """Move the numbers on; closes the sheet when a stop was asked elsewhere or the run has ended."""
        if view.status not in ("starting", "running", "paused"):
            self.give(None)
            return
        before = len(list(self._rows()))
        self._view, self._choices = view, choices(view.state)
        self.refresh(layout=len(list(self._rows())) != before)

    # --- what is shown --------------------------------------------------------------------------------------------

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(list(self._rows(width)))

    def render(self) -> Content:
        return Content("\n").join(line for line, _ in self._in_sight())

    def _in_sight(self) -> list[tuple[Content, int | None]]:
        """The rows that fit, among them the marked choice's."""
        rows, height = list(self._rows()), self.content_size.height
        last = max(y for y, (_, at) in enumerate(rows) if at == self.marked)
        top = max(0, last + 1 - height)
        return rows[top : top + height]

    def _rows(self, width: int = 0) -> Iterator[tuple[Content, int | None]]:
        """Every row, with the choice it belongs to."""
        width = width or self.content_size.width or 1
        for line in Content.styled(self._where(), DIM).wrap(width):
            yield line, None
        yield Content(), None
        for at, choice in enumerate(self._choices):
            style = MARKED if at == self.marked else "" if choice.open else "$foreground 35%"
            title = Content.styled(f"{at + 1}  {choice.title}", "bold")
            for line in (title, *_indented(choice.detail, width)):
                yield line.truncate(width, pad=True).stylize(style), at
        yield Content(), None
        for line in Content.styled("Enter or 1 2 3 chooses, Esc goes on", DIM).wrap(width):
            yield line, None

    def _where(self) -> str:
        state = self._view.state
        epoch = f", epoch {figures.epoch_of(state, True)}" if state.step else ""
        held = "It is paused." if self._view.status == "paused" else "It goes on meanwhile."
        return f"Step {figures.step_of(state)}{epoch}. {held}"

    # --- keys and clicks ------------------------------------------------------------------------------------------

    def action_mark(self, by: int) -> None:
        """Mark the next choice that can be chosen."""
        open_ones = [at for at in range(len(self._choices)) if self._choices[at].open]
        after = [at for at in open_ones if (at - self.marked) * by > 0]
        if after:
            self.marked = min(after) if by > 0 else max(after)

    def action_take(self) -> None:
        self.action_choose(self.marked)

    def on_click(self, event: Click) -> None:
        offset = event.get_content_offset(self)
        rows = self._in_sight()
        if offset is not None and 0 <= offset.y < len(rows) and (chosen := rows[offset.y][1]) is not None:
            self.action_choose(chosen)

    def action_choose(self, at: int) -> None:
        """Answer with what is shown at this place, if it can be chosen."""
        if self._choices[at].open:
            self.give(self._choices[at].command)
        else:
            self.app.bell()


def _indented(text: str, width: int) -> list[Content]:
    return [Content(" " * INDENT) + line for line in Content(text).wrap(max(1, width - INDENT))]
