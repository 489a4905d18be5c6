"""Every place of the screen that shows text gets every hostile one: no crash, no hang, nothing a terminal obeys.

The screens stand on a bare app here, without the filter that comes last: it must not be needed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.text import Text
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
from tui.app import FinetuneApp
from tui.catalogue import Summary
from tui.data_view import DataView, RowView
from tui.feed import Look
from tui.safefilter import AsciiFilter, SafeFilter
from tui.screens.confirm import ConfirmScreen
from tui.screens.fetch import FetchScreen
from tui.screens.home import HomeScreen
from tui.screens.presets import ChoosePreset
from tui.widgets.run_table import RunTable

pytestmark = pytest.mark.timeout(300)

SECONDS = 5.0  # of the processor; what hangs takes minutes (a markup parser fed 5,000 digits: 328 s)


def sent(app: App[None]) -> str:
    """What a terminal would get for the whole screen."""
    return app.screen._compositor.render_full_update().render_segments(app.console)


@contextmanager
def no_hang(name: str) -> Iterator[None]:
    """The processor's time is measured, which other tests do not use up."""
    began = time.process_time()
    yield
    assert time.process_time() - began < SECONDS, f"{name} takes too long"


async def clean(pilot: Pilot[None], name: str) -> None:
    await pilot.pause()
    assert obeyed(sent(pilot.app)) == "", name


def views(builder: RunBuilder, text: str) -> Iterator[View]:
    """A run that says the text wherever a log can hold one: while it prepares, runs, has failed and has ended."""
    base = Follower(builder.run).look()
    entries = (
        ModelLoaded("m", 10, 10, text, text),
        DataRead(text, 1, 1, 1, 1, 0, 0),
        PhaseEntered(text, 1, 2),
        Noted(text),
    )
    state = replace(base.state, phase=entries[2], notes=(text,), model=entries[0], data=entries[1])
    yield View(state, "starting")
    yield View(state, "running")
    saved = ModelSaved(1, "best", text, 1.0, "full")
    yield View(replace(state, ending=Failed(3, text)), "failed")
    yield View(replace(state, saved=saved), "stopped")
    yield View(state, "crashed")


def spec_of(text: str) -> tuple[RunSpec | None, str]:
    """A spec that holds the text as far as it may, or what is said when it may not."""
    try:
        return RunSpec(name="x", model=text, data=text), ""
    except SpecError as error:
        return None, f"{error} {text}"


async def test_live(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path).prepared().trained(40)
    app = live_stage(builder)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = live_screen(app)
        screen.workers.cancel_all()  # the feed; what is looked at comes from here
        for at, (name, text) in enumerate(STRINGS.items()):
            screen.run = RunDir(tmp_path / (text.replace("/", "_")[:2000] or "x"))
            screen._spec, screen._spec_problem = spec_of(text)
            shown = list(views(builder, text))
            for view in shown if at % 12 == 0 else (shown[at % 2], shown[2 + at % 3]):
                with no_hang(name):
                    screen.take(Look(view))
                    await clean(pilot, f"{name}, {view.status}")


async def test_toasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = live_stage(RunBuilder(tmp_path).prepared().trained(4))
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        screen = live_screen(app)
        for name, text in SHORT.items():

            def refuse(_run: RunDir, _command: Command, text: str = text) -> None:
                raise RunError(text)

            monkeypatch.setattr(RunDir, "ask", refuse)
            with no_hang(name):
                screen._ask(Command("pause"))
                await clean(pilot, name)
            app.clear_notifications()


async def test_home(tmp_path: Path) -> None:
    app = Stage(HomeScreen(tmp_path / "runs"))
    summaries = tuple(
        Summary(
            RunDir(tmp_path / f"{at} {text.replace('/', '_')[:2000]}"),
            spec_of(text)[0],
            "failed",
        )
        for at, text in enumerate(STRINGS.values())
    )
    async with app.run_test(size=(200, 50)) as pilot:
        app.screen.workers.cancel_all()
        table = app.screen.query_one(RunTable)
        table.display = True
        with no_hang("all of them"):
            table.show(summaries)
            await pilot.pause()
        for at in range(0, len(summaries), 40):
            table.move_cursor(row=at)
            await clean(pilot, f"rows from {at}")


async def test_home_of_folders_with_such_names(tmp_path: Path) -> None:
    made = hostile_runs(tmp_path / "runs")
    app = Stage(HomeScreen(tmp_path / "runs"))
    async with app.run_test(size=(160, 50)) as pilot:
        table = app.screen.query_one(RunTable)
        until = time.monotonic() + 30
        while table.row_count < made:
            assert time.monotonic() < until
            await pilot.pause(0.05)
        for at in range(0, made, 40):
            table.move_cursor(row=at)
            await clean(pilot, f"rows from {at}")


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


async def test_new_run(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot)
        await pilot.press("ctrl+t")
        await pilot.pause()
        fields = [field for field in app.screen.query(Input) if field.name in ("name", "model", "data", "eval_data")]
        assert fields
        for at, (name, text) in enumerate(SHORT.items()):
            with no_hang(name):
                for field in app.screen.query(Input):
                    if field in fields or at % 8 == 0:
                        field.value = text
                await clean(pilot, name)
            if at % 8 == 0:
                await pilot.pause(0.4)  # the files are looked at: what is said of them holds the text too
                await clean(pilot, f"{name}, looked at")


async def test_new_run_from_a_run_of_that_name(tmp_path: Path) -> None:
    for name in ("click", "clipboard", "lone high surrogate", "rtl override", "nines", "zalgo"):
        app = form_stage(tmp_path / name.replace(" ", ""), model=STRINGS[name], data=STRINGS[name])
        app.form_screen.form.origin = STRINGS[name]
        async with app.run_test(size=(80, 24)) as pilot:
            await clean(pilot, name)


async def test_data(tmp_path: Path) -> None:
    app = data_stage(tmp_path / "none.jsonl")
    async with app.run_test(size=(80, 40)) as pilot:
        screen = app.data_screen
        await until(pilot, lambda: screen.view.refusal)
        for at, (name, text) in enumerate(STRINGS.items()):
            lengths = Lengths(text, {10: 3, 600: 1}, {1: 4}, 20, Extreme(600, text), Extreme(10, text), 0, 2, text)
            report = Report(
                text, text, text, text, 4, 3, 1, problems=(Problem(text, text),), scripts=((text, 1.0),),
                fingerprint=text, refusal=text if at % 2 else "", lengths=lengths, max_length=512,
            )  # fmt: skip
            row = RowView(0, text, ((text, "read"), (text, "learnt"), (text, "cut")), 30, 10)
            bad = RowView(1, text, why=text, raw=text)
            with no_hang(name):
                screen.view = DataView(text, report, bad if at % 3 else row, text if at % 5 == 0 else "", text, text)
                screen._found = text[:300]
                screen._show()
                await clean(pilot, name)


@pytest.mark.parametrize("rows", ["texts", "keys", "both"])
async def test_data_files_of_such_names_and_contents(tmp_path: Path, rows: str) -> None:
    """Through the worker and back, with a row for each text; as keys it is no data, and shown as it stands."""
    texts = [json.dumps({"prompt": text, "completion": text}) for text in SHORT.values()]
    keys = [json.dumps({text: text, "prompt": 1}) for text in SHORT.values()]
    file = tmp_path / "\x9b31m\x7f\u202e[red].jsonl"
    file.write_text("\n".join({"texts": texts, "keys": keys, "both": [*texts, *keys]}[rows]) + "\n")
    app = data_stage(file, allow_bad=1.0)
    async with app.run_test(size=(80, 30)) as pilot:
        screen = app.data_screen
        await until(pilot, lambda: screen.view.row or screen.view.refusal)
        for _ in range(40):
            await pilot.press("j", "b")
            await clean(pilot, rows)
        await pilot.press("G", "slash", *"[31m", "enter")
        await clean(pilot, f"{rows}, found")


async def test_presets() -> None:
    folder = presets.user_dir()
    folder.mkdir(parents=True)
    for at, text in enumerate(SHORT.values()):
        try:
            quoted = '"' + "".join(f"\\U{ord(sign):08x}" for sign in text) + '"'
            (folder / f"values{at}.toml").write_text(f"model = {quoted}\nname = {quoted}\n", "utf-8")
            (folder / f"key{at}.toml").write_text(f"{quoted} = 1\n", "utf-8")
            (folder / f"raw{at}.toml").write_text(text, "utf-8", errors="surrogatepass")
        except UnicodeEncodeError:
            continue
    app = Stage(Screen())
    async with app.run_test(size=(120, 50)) as pilot:
        app.push_screen(ChoosePreset())
        await pilot.pause()
        options = app.screen.query_one(OptionList)
        for at in range(0, options.option_count, 12):
            options.scroll_to(y=at * 2, animate=False)
            await clean(pilot, f"options from {at}")


async def test_fetch_and_questions(tmp_path: Path) -> None:
    app = Stage(Screen())
    async with app.run_test(size=(100, 40)) as pilot:
        for name, text in STRINGS.items():
            app.push_screen(ConfirmScreen(text, "yes", "no"))
            with no_hang(name):
                await clean(pilot, name)
            app.pop_screen()
        fetching = FetchScreen(next(iter(FETCHABLE)), ["true"])
        app.push_screen(fetching)
        await pilot.pause()
        for name, text in STRINGS.items():
            with no_hang(name):
                fetching._show({"phase": text, "source": text})
                await clean(pilot, name)
                fetching._tell(text)
                await clean(pilot, name)


class Careless(App[None]):
    """What nobody made harmless, in the widgets that take it as it is."""

    def compose(self) -> ComposeResult:
        yield Static(id="static", markup=False)
        yield Label(id="label", markup=False)
        yield Input()
        yield DataTable[Text]()
        yield RichLog()
        yield OptionList(markup=False)
        yield TextArea()


async def test_the_last_filter_holds_for_text_that_somebody_forgot() -> None:
    app = Careless()
    app._filters.append(SafeFilter())
    async with app.run_test(size=(100, 60)) as pilot:
        app.query_one(DataTable).add_column("one")
        for name, text in SHORT.items():
            app.query_one("#static", Static).update(text)
            app.query_one("#label", Label).update(Text(text, style="link https://example.invalid"))
            app.query_one(Input).value = text
            app.query_one(DataTable).clear().add_row(Text(text))
            app.query_one(RichLog).write(text)
            app.query_one(OptionList).clear_options().add_option(text)
            app.query_one(TextArea).text = text.encode("utf-8", "replace").decode()
            await clean(pilot, name)


def test_the_app_has_the_filter_after_all_others(tmp_path: Path) -> None:
    assert isinstance(FinetuneApp(tmp_path)._filters[-1], SafeFilter)
    both = FinetuneApp(tmp_path, ascii_in="latin-1")._filters[-2:]
    assert [type(one) for one in both] == [SafeFilter, AsciiFilter]
