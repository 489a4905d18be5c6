"""Every place of the screen that shows text gets every hostile one: no crash, no hang, nothing a terminal obeys.

Twice: the functions that put words together take all of them, and mounted screens, whose layout and paint are dear,
take one in six, each place others; `-m soak` takes all of them everywhere. The screens stand on a bare app, without
the filter that comes last: it must not be needed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
from rich.console import RenderableType
from rich.text import Text
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import DataTable, Input, Label, OptionList, RichLog, Static, TextArea

from tests.builders import RunBuilder
from tests.hostile import SHORT, STRINGS, obeyed
from tests.tui.data_stage import data_stage
from tests.tui.form_stage import form_stage, settled
from tests.tui.stage import Stage, live_screen, live_stage, until
from trainer import presets
from trainer.data.lengths import Extreme, Lengths
from trainer.data.report import Problem, Report
from trainer.events import DataRead, Failed, ModelLoaded, ModelSaved, Noted, PhaseEntered
from trainer.follow import Follower, View
from trainer.models import FETCHABLE
from trainer.rundir import Command, RunDir, RunError
from trainer.spec import RunSpec, SpecError
from trainer.state import RunState
from tui import figures
from tui.app import FinetuneApp
from tui.catalogue import Summary
from tui.crash import report
from tui.data_view import DataView, RowView
from tui.feed import Look
from tui.form import Form
from tui.outcome import outcome
from tui.run_lines import heading
from tui.safefilter import AsciiFilter, SafeFilter
from tui.screens.home import HomeScreen
from tui.screens.room import Room
from tui.sheets.confirm import ConfirmSheet
from tui.sheets.fetch import FetchSheet
from tui.sheets.presets import ChoosePreset, SavePreset
from tui.sheets.stop import StopSheet
from tui.states import BADGES
from tui.widgets.launch_bar import LaunchBar
from tui.widgets.run_table import RunTable, cells, columns
from tui.widgets.status import Headline, header_row
from tui.widgets.stepper import Stepper

pytestmark = pytest.mark.timeout(600)

SECONDS = 3.0  # of the processor, for one picture; what hangs takes minutes (a markup parser fed 5,000 digits: 328 s)
SHARE = pytest.mark.parametrize("share", [6, pytest.param(1, marks=pytest.mark.soak)], ids=["a-share", "all"])


@contextmanager
def no_hang(name: str) -> Iterator[None]:
    """The processor's time is measured, which other tests do not use up."""
    began = time.process_time()
    yield
    taken = time.process_time() - began
    assert taken < SECONDS, f"{name} takes {taken:.1f} s"


def turns(strings: dict[str, str], places: int, share: int) -> Iterator[tuple[str, list[str]]]:
    """A string for each place at a time, and a name for them, until every place had one in `share` of them all."""
    names, texts = list(strings), list(strings.values())
    for first in range(0, len(texts), share):
        chosen = [(first + place) % len(texts) for place in range(places)]
        yield ", ".join(names[at] for at in chosen), [texts[at] for at in chosen]


class Wire:
    """What an app sends to its terminal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sent: list[str] = []

        def display(app: App[None], _screen: Screen[object], renderable: RenderableType | None) -> None:
            if isinstance(renderable, LayoutUpdate | ChopsUpdate) and not app._batch_count:
                self._sent.append(renderable.render_segments(app.console))

        monkeypatch.setattr(App, "_display", display)

    async def clean(self, pilot: Pilot[None], name: str) -> None:
        """Let the app paint; nothing of what it sent since the last time is obeyed by a terminal."""
        await pilot.pause()
        sent, self._sent = "".join(self._sent), []
        assert obeyed(sent) == "", name


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


@lru_cache(maxsize=512)
def spec_of(text: str) -> tuple[RunSpec | None, str]:
    """A spec that holds the text as far as it may, or what is said when it may not."""
    try:
        return RunSpec(name="x", model=text, data=text), ""
    except SpecError as error:
        return None, f"{error} {text}"


def named(folder: Path, text: str) -> RunDir:
    return RunDir(folder / (text.replace("/", "_")[:2000] or "x"))


def views(base: RunState, texts: list[str]) -> Iterator[View]:
    """A run that says these six wherever a log can hold text: while it prepares, has failed and has ended."""
    device, shape, phase, note, message, kept = texts
    model, data = ModelLoaded("m", 10, 10, device, device), DataRead(shape, 1, 1, 1, 1, 0, 0)
    state = replace(base, phase=PhaseEntered(phase, 1, 2), notes=(note,), model=model, data=data)
    saved = ModelSaved(1, "best", kept, 1.0, "full")
    yield View(state, "starting")
    yield View(replace(state, phase=None), "running")
    yield View(replace(state, ending=Failed(3, message)), "failed")
    yield View(replace(state, saved=saved), "stopped")
    yield View(state, "crashed")


# --- words, all of them ---------------------------------------------------------------------------------------------


def said_of_a_run(text: str) -> Iterator[str]:
    """All that is said of a run whose log holds the text everywhere."""
    run, spec = named(Path("/runs"), text), spec_of(text)[0]
    for view in views(RunState(), [text] * 6):
        yield header_row(Headline(run.name, BADGES[view.status], spec), 120).text
        yield figures.facts(view)
        yield figures.note(view)
        yield figures.placeholder(view)
        yield figures.progress(view, "").text
        result = outcome(view, run)
        if result is not None:
            yield "\n".join((result.headline, *result.details))  # its code is made safe where it is shown


def said_in_the_table(text: str) -> Iterator[str]:
    summary = Summary(named(Path("/runs"), text), spec_of(text)[0], "failed")
    for cell in cells(summary, columns(200), 0.0):
        yield cell.plain


def said_of_a_form(text: str) -> Iterator[str]:
    yield heading(Form({}, text)).plain
    bar = LaunchBar([("Model", text, text), ("Data", text, ""), ("Run", "", text)])
    bar.reason = text
    yield bar.render().plain


def said_of_a_crash(text: str) -> Iterator[str]:
    yield report(ValueError(text))


@pytest.mark.parametrize("say", [said_of_a_run, said_in_the_table, said_of_a_form, said_of_a_crash])
def test_words(say: Callable[[str], Iterator[str]]) -> None:
    for name, text in STRINGS.items():
        spec_of(text)  # may take its time: 5 MB are looked through for keys
        with no_hang(name):
            for words in say(text):
                assert obeyed(words) == "", name


# --- screens ----------------------------------------------------------------------------------------------------------


@SHARE
async def test_live_and_its_sheets(tmp_path: Path, wire: Wire, share: int) -> None:
    builder = RunBuilder(tmp_path).prepared()  # no step, so that the chart shows words
    base = Follower(builder.run).look().state
    app = live_stage(builder)
    async with app.run_test(size=(60, 30)) as pilot:
        screen = live_screen(app)
        screen.workers.cancel_all()  # the feed; what is looked at comes from here
        for at in range(6):  # one kind of view after the other: a change of kind lays the whole screen out anew
            for name, (folder, model, problem, *texts) in turns(STRINGS, 9, 2 * share):
                screen.run = named(tmp_path, folder)
                screen._spec, screen._spec_problem = spec_of(model)
                look = [*map(Look, views(base, texts)), Look(View(base, "running"), problem)][at]
                with no_hang(f"{look.view.status} of {name}"):
                    screen.take(look)
                    await wire.clean(pilot, f"{look.view.status} of {name}")
        for status in ("starting", "running"):
            for name, texts in turns(SHORT, 6, share * 4):
                sheet = StopSheet(View(base, "running"), "best")
                screen.lay(sheet)
                sheet.show(replace(next(views(base, texts)), status=status))
                await wire.clean(pilot, name)
                sheet.give(None)


@SHARE
async def test_toasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wire: Wire, share: int) -> None:
    app = live_stage(RunBuilder(tmp_path).prepared().trained(4))
    async with app.run_test(size=(120, 60), notifications=True) as pilot:
        screen = live_screen(app)
        for name, texts in turns(SHORT, 4, 4 * share):
            with no_hang(name):
                for text in texts:

                    def refuse(_run: RunDir, _command: Command, text: str = text) -> None:
                        raise RunError(text)

                    monkeypatch.setattr(RunDir, "ask", refuse)
                    screen.action_pause()
                await wire.clean(pilot, name)
            app.clear_notifications()


async def test_home(tmp_path: Path, wire: Wire) -> None:
    app = Stage(HomeScreen(tmp_path / "runs"))
    summaries = tuple(
        Summary(RunDir(tmp_path / f"{at} {text.replace('/', '_')[:2000]}"), spec_of(text)[0], "failed")
        for at, text in enumerate(STRINGS.values())
    )
    async with app.run_test(size=(200, len(summaries) + 10)) as pilot:
        app.screen.workers.cancel_all()
        table = app.screen.query_one(RunTable)
        table.display = True
        with no_hang("all of them"):
            table.show(summaries)
            await wire.clean(pilot, "all of them")


async def test_home_of_folders_with_such_names(tmp_path: Path, wire: Wire) -> None:
    made = hostile_runs(tmp_path / "runs")
    app = Stage(HomeScreen(tmp_path / "runs"))
    async with app.run_test(size=(160, made + 10)) as pilot:
        table = app.screen.query_one(RunTable)
        until = time.monotonic() + 30
        while table.row_count < made:
            assert time.monotonic() < until
            await pilot.pause(0.05)
        await wire.clean(pilot, "all of them")


@pytest.mark.parametrize("name", ["clear", "clipboard", "click", "rtl override", "undecodable", "newlines"])
async def test_home_of_a_folder_of_that_name(tmp_path: Path, wire: Wire, name: str) -> None:
    app = Stage(HomeScreen(tmp_path / STRINGS[name].replace("/", "_")[:100]))
    async with app.run_test(size=(80, 24)) as pilot:
        empty = app.screen.query_one("#empty", Static)
        until = time.monotonic() + 30
        while not empty.display:
            assert time.monotonic() < until
            await pilot.pause(0.02)
        await wire.clean(pilot, name)


def hostile_runs(runs_dir: Path, longest: int = 200) -> int:
    """A failed run for every short text that can be a folder's name; how many that are."""
    made = 0
    for text in SHORT.values():
        name = text.replace("/", "_").replace("\0", "_")[:longest]
        try:
            folder = os.fsencode(name)
        except UnicodeEncodeError:  # half a surrogate pair that stands for no byte
            continue
        if name in ("", ".", "..") or len(folder) > 250 or (runs_dir / name).exists():
            continue
        spec = RunSpec(name="x", model="m")
        RunBuilder(runs_dir, name=name, spec=spec).prepared().trained(2).add(Noted(text)).failed(text)
        made += 1
    assert made > 100
    return made


@SHARE
async def test_new_run(tmp_path: Path, wire: Wire, share: int) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot)
        await pilot.press("ctrl+t")
        paths = [field for field in app.screen.query(Input) if field.name in ("name", "model", "data", "eval_data")]
        numbers = [field for field in app.screen.query(Input) if field not in paths]
        assert len(paths) == 4
        for at, (name, texts) in enumerate(turns(SHORT, 6, 2 * share)):
            with no_hang(name):
                for field, text in zip((*paths, numbers[at % len(numbers)]), texts, strict=False):
                    field.value = text
                app.screen.query_one(LaunchBar).said = texts[-1]
                await wire.clean(pilot, name)
            if at % 4 == 0:
                await pilot.pause(0.4)  # the files are looked at: what is said of them holds the text too
                await wire.clean(pilot, f"{name}, looked at")


@SHARE
async def test_the_large_numbers(tmp_path: Path, wire: Wire, share: int) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        fields = list(app.screen.query(Stepper))
        for name, texts in turns(SHORT, len(fields), 4 * share):
            with no_hang(name):
                for field, text in zip(fields, texts, strict=True):
                    field.value = text
                await wire.clean(pilot, name)


@pytest.mark.parametrize("name", ["click", "clipboard", "lone high surrogate", "rtl override", "nines", "zalgo"])
async def test_new_run_from_a_run_of_that_name(tmp_path: Path, wire: Wire, name: str) -> None:
    app = form_stage(tmp_path, model=STRINGS[name], data=STRINGS[name])
    app.form_screen.form.origin = STRINGS[name]
    async with app.run_test(size=(80, 24)) as pilot:
        await wire.clean(pilot, name)


# --- the data screen ------------------------------------------------------------------------------------------------


@SHARE
async def test_data(tmp_path: Path, wire: Wire, share: int) -> None:
    app = data_stage(tmp_path / "none.jsonl")
    async with app.run_test(size=(80, 40)) as pilot:
        screen = app.data_screen
        await until(pilot, lambda: screen.view.refusal)
        for at, (name, text) in enumerate([*STRINGS.items()][::share]):
            lengths = Lengths(text, {10: 3, 600: 1}, {1: 4}, 20, Extreme(600, text), Extreme(10, text), 0, 2, text)
            report = Report(
                text, text, text, text, text, 4, 3, 1, problems=(Problem(text, text),), scripts=((text, 1.0),),
                fingerprint=text, refusal=text if at % 2 else "", lengths=lengths, max_length=512,
            )  # fmt: skip
            row = RowView(0, text, ((text, "read"), (text, "learnt"), (text, "cut")), 30, 10)
            bad = RowView(1, text, why=text, raw=text)
            with no_hang(name):
                screen.view = DataView(text, report, bad if at % 3 else row, text if at % 5 == 0 else "", text, text)
                screen._found = text[:300]
                screen._show()
                await wire.clean(pilot, name)


@SHARE
@pytest.mark.parametrize("rows", ["both", *(pytest.param(rows, marks=pytest.mark.soak) for rows in ("texts", "keys"))])
async def test_data_files_of_such_names_and_contents(tmp_path: Path, wire: Wire, rows: str, share: int) -> None:
    """Through the worker and back, with a row for each text; as keys it is no data, and shown as it stands."""
    texts = [json.dumps({"prompt": text, "completion": text}) for text in SHORT.values()]
    keys = [json.dumps({text: text, "prompt": 1}) for text in SHORT.values()]
    file = tmp_path / "\x9b31m\x7f\u202e[red].jsonl"
    file.write_text("\n".join({"texts": texts, "keys": keys, "both": [*texts, *keys]}[rows]) + "\n")
    app = data_stage(file, allow_bad=1.0)
    async with app.run_test(size=(80, 30)) as pilot:
        screen = app.data_screen
        await until(pilot, lambda: screen.view.row or screen.view.refusal)
        for _ in range(80 // share):
            await pilot.press("j", "b")
            await wire.clean(pilot, rows)
        await pilot.press("G", "slash", *"[31m", "enter")
        await wire.clean(pilot, f"{rows}, found")


# --- sheets -----------------------------------------------------------------------------------------------------------


@SHARE
async def test_presets(wire: Wire, share: int) -> None:
    folder = presets.user_dir()
    folder.mkdir(parents=True)
    for at, text in enumerate(SHORT.values()):
        quoted = '"' + "".join(f"\\U{ord(sign):08x}" for sign in text) + '"'
        kinds = (f"model = {quoted}\nname = {quoted}\n", f"{quoted} = 1\n", text)
        for kind in range(3) if share == 1 else (at % 3,):
            (folder / f"{kind}-{at}.toml").write_text(kinds[kind], "utf-8", errors="surrogatepass")
    room = Room()
    app = Stage(room)
    async with app.run_test(size=(120, 2000)) as pilot:
        room.lay(ChoosePreset())
        await pilot.pause()
        options = room.query_one(OptionList)
        options.styles.max_height = options.styles.height = options.option_count * 3
        await wire.clean(pilot, "all of them")
        assert options.option_count > len(SHORT)


@SHARE
async def test_questions_fetches_and_names(wire: Wire, share: int) -> None:
    room = Room()
    app = Stage(room)
    async with app.run_test(size=(100, 40)) as pilot:
        for name, (text, origin) in turns(STRINGS, 2, 2 * share):
            question, asked = ConfirmSheet(text, "yes", "no"), SavePreset(RunSpec(name="x"), origin)
            with no_hang(name):
                room.lay(asked)
                await wire.clean(pilot, name)
                asked.query_one(Input).value = text[:200]
                asked._tell(origin)
                await wire.clean(pilot, name)
                room.lay(question)
                await wire.clean(pilot, name)
            question.give(False)
            asked.give(None)
        fetching = FetchSheet(next(iter(FETCHABLE)), ["true"])
        room.lay(fetching)
        await pilot.pause()
        for name, (phase, source, error) in turns(STRINGS, 3, 2 * share):
            with no_hang(name):
                fetching._show({"phase": phase, "source": source})
                await wire.clean(pilot, name)
                fetching._tell(error)
                await wire.clean(pilot, name)


# --- the last filter --------------------------------------------------------------------------------------------------


class Careless(App[None]):
    """What nobody made harmless, in the widgets that take it as it is: all of it at once, in a very tall terminal."""

    CSS = "* { height: auto; max-height: 5000; }"

    def compose(self) -> ComposeResult:
        everything = "\n".join(SHORT.values())
        yield Static(everything, markup=False)
        yield Label(Text(everything, style="link https://example.invalid"), markup=False)
        yield TextArea(everything.encode("utf-8", "replace").decode())
        yield OptionList(*SHORT.values(), markup=False)
        yield DataTable[Text]()
        yield RichLog()

    def on_mount(self) -> None:
        table = self.query_one(DataTable)
        table.add_column("one")
        for text in SHORT.values():
            table.add_row(Text(text))
            self.query_one(RichLog).write(text)


class OneLine(App[None]):
    def compose(self) -> ComposeResult:
        yield Input()


async def test_the_last_filter_holds_for_text_that_somebody_forgot(wire: Wire) -> None:
    app = Careless()
    app._filters.append(SafeFilter())
    async with app.run_test(size=(100, 3000)) as pilot:
        await wire.clean(pilot, "all of them")
        assert all(widget.region.bottom < 3000 for widget in app.screen.children)


async def test_the_last_filter_holds_for_what_is_pasted_into_a_line(wire: Wire) -> None:
    app = OneLine()
    app._filters.append(SafeFilter())
    async with app.run_test(size=(80, 5)) as pilot:
        for name, text in SHORT.items():
            app.query_one(Input).value = text
            await wire.clean(pilot, name)


def test_the_app_has_the_filter_after_all_others(tmp_path: Path) -> None:
    assert isinstance(FinetuneApp(tmp_path)._filters[-1], SafeFilter)
    both = FinetuneApp(tmp_path, ascii_in="latin-1")._filters[-2:]
    assert [type(one) for one in both] == [SafeFilter, AsciiFilter]
