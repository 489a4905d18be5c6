"""The data of a run before it is one: what was read and why, what max length costs, any row as the model will read it.

A worker process reads and counts (`tui.data_worker`); here stands which key does what. Nothing of the data reaches a
widget but through `tui.data_view`, which makes it harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from trainer import models
from trainer import spec as specs
from trainer.spec import RunSpec
from tui import data_view
from tui.data_view import DataView
from tui.data_worker import COMMAND, DataWorker, Said
from tui.format import cut_middle
from tui.leafing import Leafing
from tui.safe import safe
from tui.screens.room import Room
from tui.widgets.ask_line import AskLine
from tui.widgets.key_bar import KeyBar

ROWS = "The next row, the one before, the first, the last; arrows, home and end too"
FIND = "The next row that holds a text; n the one after"
EXAMPLE = "prompt=question,completion=answer"
SMALL_WIDTH, SMALL_HEIGHT, WIDE = 66, 20, 110  # below and from which on the screen is laid out otherwise
BARS, WIDE_BARS = 29, 50  # columns of the histogram, as data.tcss has them


class DataScreen(Room):
    """`take` is given the fields of the form that were changed here, as texts, when the screen is left."""

    CSS_PATH = "data.tcss"
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "row(1)", "Rows", id="data.rows", key_display="j k g G", tooltip=ROWS),
        Binding("down", "row(1)", show=False),
        Binding("k,up", "row(-1)", show=False),
        Binding("g,home", "first", show=False),
        Binding("G,end", "last", show=False),
        Binding("slash", "find", "Find", id="data.find", key_display="/ n", tooltip=FIND),
        Binding("n", "find_next", show=False),
        Binding("b", "bad", "Bad", id="data.bad", tooltip="The next row that is left out, and why"),
        Binding("m", "length", "Cut", id="data.length", tooltip="Try another max length; u takes it into the form"),
        Binding("u", "use", show=False),
        Binding("c", "columns", "Columns", id="data.columns", tooltip="Say which column is what"),
        Binding("tab", "turn", "Turn", id="data.turn", tooltip="From the figures to the row, and back"),
        Binding("pagedown,space", "page(1)", "Page", show=False, id="data.page", tooltip="On in a long row"),
        Binding("pageup", "page(-1)", "Page", show=False, id="data.page_up", tooltip="Back in a long row"),
        Binding("escape", "leave", "Back", id="data.leave", tooltip="Back to the form"),
        Binding("q", "leave", show=False),
        Binding("f1", "help", "Keys", id="data.keys", tooltip="All keys and what they do"),
    ]

    def __init__(
        self, spec: RunSpec, take: Callable[[Mapping[str, str]], None], command: Sequence[str] = COMMAND
    ) -> None:
        super().__init__()
        self._give = take
        self.view = DataView()
        self.changed: dict[str, str] = {}
        self._spec = spec
        self._found = ""  # the text that was looked for
        self._worker = DataWorker(self.hear, command)
        self._leafing = Leafing(self._worker, spec.max_length)

    def compose(self) -> ComposeResult:
        yield Static(id="head", markup=False)
        with VerticalScroll(id="sheet", can_focus=False):
            yield Static(id="headline", markup=False)
            with Horizontal(id="counts"):
                yield Static(id="figures", markup=False)
                yield Static(id="bars", markup=False)
            yield Static(id="skipped", markup=False)
        yield Static(id="rowhead", markup=False)
        with VerticalScroll(id="preview", can_focus=False):
            yield Static(id="row", markup=False)
        yield Static(id="said", markup=False)
        yield AskLine()
        yield KeyBar()

    def on_mount(self) -> None:
        self._show()
        self.run_worker(self._worker.follow(), group="look")
        self._look()

    async def on_unmount(self) -> None:
        await self._worker.end()

    def on_resize(self, event: Resize) -> None:
        small = event.size.width < SMALL_WIDTH or event.size.height < SMALL_HEIGHT
        self.set_class(small, "-small")
        self.set_class(event.size.width >= WIDE, "-wide")
        self.refresh_bindings()
        self.call_after_refresh(self._show)

    # --- the worker -------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Everything about the spec as it stands, from the beginning."""
        self.view = DataView(folder=_folder(self._spec.data))
        self._leafing.look(self._spec)
        self._show()

    def hear(self, said: Said) -> None:
        """One thing the worker said."""
        before, self.view = self.view, data_view.heard(self.view, said)
        self._leafing.heard(said)
        if self.query(KeyBar):  # else the screen is on its way out
            self._show(new_row=self.view.row != before.row)

    def _go(self, number: int) -> None:
        """To a row; what was said before is no longer about what is seen."""
        report = self.view.report
        self.view = replace(self.view, said="")
        self._leafing.to(max(0, min(number, report.rows - 1) if report else number))

    def _search(self, what: str, text: str = "") -> None:
        self.add_class("-row")
        self.view = replace(self.view, said="")
        self._leafing.search(what, self._at, text)

    @property
    def _at(self) -> int:
        return self._leafing.at(self.view.row.number if self.view.row else 0)

    # --- what is shown ------------------------------------------------------------------------------------------

    def _show(self, new_row: bool = False) -> None:
        view, width = self.view, self.size.width - 4
        name = cut_middle(safe(self._spec.data, one_line=True), max(8, width - 7))
        self._put("#head", Content.assemble(("Data", "bold"), (f" · {name}", data_view.DIM)))
        small, wide = self.has_class("-small"), self.has_class("-wide")
        bars = width - 1 if small else WIDE_BARS if wide else BARS
        figures = data_view.figures(view, width - 1 if small else width - bars - 2)
        height = max(9, len(figures.plain.splitlines()))
        self._put("#headline", data_view.headline(view))
        self._put("#figures", figures)
        self._put("#bars", data_view.histogram(view, bars, height))
        self._put("#skipped", data_view.skipped(view))
        self._put("#rowhead", data_view.row_head(view, width))
        lines = data_view.preview(view.row, width - 2, self._found) if view.row else []
        self._put("#row", Content("\n").join(lines))
        if new_row:
            self.call_after_refresh(self.query_one("#preview").scroll_to, y=data_view.hit_at(lines), animate=False)
        self._put("#said", Content(safe(view.said, 300)))
        self.query_one("#said").set_class(bool(view.said), "-said")
        self.refresh_bindings()

    def _put(self, where: str, content: Content) -> None:
        """Only what differs is laid out and sent again."""
        static = self.query_one(where, Static)
        if static.content != content:
            static.update(content)

    # --- keys ---------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey what can't be done yet; turning is only where figures and row don't fit together."""
        report = self.view.report
        if action == "turn":
            return self.has_class("-small")
        if action == "use":
            return report is not None and report.max_length != self._spec.max_length
        if action in ("row", "find"):
            return True if self.view.row else None
        if action == "find_next":
            return True if self._found else None
        if action == "bad":
            return True if report and report.bad else None
        if action == "length":
            return True if report and report.lengths and report.lengths.by_length else None
        return True

    def action_row(self, by: int) -> None:
        if self.has_class("-small") and not self.has_class("-row"):
            self.query_one("#sheet", VerticalScroll).scroll_relative(y=by, animate=False)
        else:
            self._go(self._at + by)

    def action_first(self) -> None:
        self.add_class("-row")
        self._go(0)

    def action_last(self) -> None:
        self.add_class("-row")
        if self.view.report:
            self._go(self.view.report.rows - 1)

    def action_page(self, by: int) -> None:
        for part in self.query(VerticalScroll):  # of two only the one that is longer than its room moves
            (part.scroll_page_down if by > 0 else part.scroll_page_up)(animate=False)

    def action_turn(self) -> None:
        self.toggle_class("-row")

    def action_find(self) -> None:
        self.query_one(AskLine).ask("find", "Find:", "", self._found)

    def action_find_next(self) -> None:
        self._search("find", self._found)

    def action_bad(self) -> None:
        self._search("bad")

    def action_columns(self) -> None:
        self.query_one(AskLine).ask("columns", "Columns:", self._spec.columns, EXAMPLE)

    @on(AskLine.Answered)
    def _answered(self, event: AskLine.Answered) -> None:
        if event.what == "columns":
            self._take("columns", event.text)
            self._look()
        elif event.text or self._found:
            self._found = event.text or self._found
            self._search("find", self._found)

    def action_length(self) -> None:
        """Another max length for this screen: the cut moves at once, for all lengths are counted."""
        self.view = data_view.cut_elsewhere(self.view, self._spec.max_length)
        if self.view.report:
            self._leafing.max_length = self.view.report.max_length
            self._leafing.to(self._at)
        self._show()

    def action_use(self) -> None:
        self._take("max_length", str(self._leafing.max_length))
        self.view = replace(self.view, said=f"Max length {self._leafing.max_length:,} goes into the form.")
        self._show()

    def _take(self, name: str, text: str) -> None:
        """A field for the form, which holds on this screen as well."""
        try:
            self._spec = specs.make({**vars(self._spec), name: text})
        except specs.SpecError as error:
            self.view = replace(self.view, said=str(error))
            return
        self.changed[name] = text

    def action_leave(self) -> None:
        line = self.query_one(AskLine)
        if line.asked:
            line.close()
        else:
            self.dismiss()
            if self.changed:
                self._give(self.changed)


def _folder(data: str) -> str:
    """Where the data lie, which sentences on this screen need not say again."""
    path = models.expanded(data).absolute()
    return f"{path.parent}/" if len(path.parts) > 2 else ""
