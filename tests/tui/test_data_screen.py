"""The Data screen: figures, the cut, leafing, finding, bad rows, columns; and what goes back into the form."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest
from textual.widgets import Input

from tests.tui.data_stage import chats, counted, data_stage, screen_of
from tests.tui.form_stage import form_of, form_stage, more_stands_open, settled
from tests.tui.stage import LARGE, MIDDLE, SMALL, shows, text_of, until
from trainer import known, models
from trainer.data.lengths import Lengths
from trainer.data.report import Report, figures
from trainer.spec import RunSpec
from tui.data_view import DataView, heard, histogram
from tui.data_worker import Counter
from tui.screens.data import DataScreen
from tui.widgets.ask_line import AskLine


async def test_all_that_matters_stands_on_80_columns_without_scrolling(tmp_path: Path) -> None:
    file = chats(tmp_path, 60)
    async with data_stage(file, max_length=128).run_test(size=SMALL) as pilot:
        await counted(pilot)
        seen = await shows(
            pilot, "prompt/completion: all 60 rows", "60, none bad", "54 training + 6 validation",
            "14 per epoch of batch size 4", "longest    ", "line 60", "shortest", "cut at 128 ", "Latin 100 %",
            "Row 1 of 60 · line 1", "▌ answer 0", "rows by their tokens, up to",
        )  # fmt: skip
        assert "┄ cut at 128 ┄" in seen
        rows = seen.splitlines()
        assert len(rows) == 24
        assert "esc Back" in rows[-1]
        assert "f1 Keys" in rows[-1]


def test_the_histogram_grows_while_tokens_are_counted() -> None:
    view = heard(DataView(), {"say": "report", "report": Report("x", rows=40, max_length=512).fields()})
    some, all_of_them = Lengths("m", {10: 3}, {1: 3}, 9), Lengths("m", {10: 30, 600: 10}, {1: 40}, 100)
    view = heard(view, {"say": "lengths so far", "lengths": some.fields()})
    assert histogram(view, 29, 9).plain.startswith("rows by their tokens, so far\n")
    assert "tokens" not in dict(figures(view.report or Report("")))
    view = heard(view, {"say": "lengths", "lengths": all_of_them.fields()})
    assert histogram(view, 29, 9).plain.startswith("rows by their tokens, up to\n")
    assert view.so_far is None


async def test_how_a_file_is_read_is_said(tmp_path: Path) -> None:
    file = tmp_path / "chats.csv.gz"
    rows = "".join(f"question {n};answer {n}\n" for n in range(60))
    file.write_bytes(gzip.compress(f"prompt;completion\n{rows}".encode()))
    async with data_stage(file).run_test(size=LARGE) as pilot:
        await shows(pilot, "read as csv, gz: cells are separated by semicolons", "54 training + 6 validation")


@pytest.mark.parametrize("size", [(40, 10), (20, 5), (66, 20), SMALL, MIDDLE, LARGE])
async def test_every_size_is_drawn(tmp_path: Path, size: tuple[int, int]) -> None:
    async with data_stage(chats(tmp_path)).run_test(size=size) as pilot:
        await counted(pilot)
        await pilot.press("j", "tab", "j", "pagedown", "pageup", "m", "slash")
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        await pilot.resize_terminal(30, 8)
        await pilot.pause()
        assert screen_of(pilot).view.refusal == ""


async def test_in_a_small_terminal_figures_and_row_take_turns(tmp_path: Path) -> None:
    async with data_stage(chats(tmp_path)).run_test(size=(40, 10)) as pilot:
        await counted(pilot)
        assert "60, none bad" in text_of(pilot.app)
        assert "▌ answer" not in text_of(pilot.app)
        await pilot.press("tab")
        assert "▌ answer 0" in await shows(pilot, "Row 1 of 60")
        await pilot.press("j")
        await shows(pilot, "Row 2 of 60")
        await pilot.press("tab")
        await shows(pilot, "60, none bad")
        await pilot.press("G")
        await shows(pilot, "Row 60 of 60")


async def test_through_the_rows(tmp_path: Path) -> None:
    async with data_stage(chats(tmp_path)).run_test(size=SMALL) as pilot:
        await counted(pilot)
        for key, row in (("j", 2), ("down", 3), ("k", 2), ("up", 1), ("up", 1), ("G", 60), ("j", 60), ("g", 1)):
            await pilot.press(key)
            await shows(pilot, f"Row {row} of 60", f"answer {row - 1}")


async def test_a_key_held_down_ends_where_it_should(tmp_path: Path) -> None:
    async with data_stage(chats(tmp_path)).run_test(size=SMALL) as pilot:
        await counted(pilot)
        await pilot.press(*"jjjjjjjjjjjjjjjjjjjj")
        await shows(pilot, "Row 21 of 60")


async def test_finding(tmp_path: Path) -> None:
    async with data_stage(chats(tmp_path)).run_test(size=SMALL) as pilot:
        await counted(pilot)
        await pilot.press("slash", *"ANSWER", "space", *"3", "enter")
        await shows(pilot, "Row 4 of 60")
        await pilot.press("n")
        await shows(pilot, "Row 31 of 60")
        await pilot.press("slash", "enter")  # the same again
        await shows(pilot, "Row 32 of 60")
        await pilot.press("slash", *"nowhere", "enter")
        await shows(pilot, "No row holds 'nowhere'.", "Row 32 of 60")
        await pilot.press("j")
        await shows(pilot, "Row 33 of 60")
        assert "nowhere" not in text_of(pilot.app)


async def test_what_is_found_is_brought_into_sight(tmp_path: Path) -> None:
    file = chats(tmp_path, 30)
    text = file.read_text().replace("answer 20 ", "line\\n" * 100 + "the needle")
    file.write_text(text)
    async with data_stage(file, max_length=4096).run_test(size=SMALL) as pilot:
        await counted(pilot)
        await pilot.press("slash", *"needle", "enter")
        await shows(pilot, "Row 21 of 30", "the needle")


async def test_escape_takes_a_question_back_and_then_leaves(tmp_path: Path) -> None:
    app = data_stage(chats(tmp_path))
    async with app.run_test(size=SMALL) as pilot:
        await counted(pilot)
        await pilot.press("slash", "j", "escape")
        assert not screen_of(pilot).query_one(AskLine).asked
        assert "Row 1 of 60" in text_of(app)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is not app.data_screen)
        assert app.taken == []


async def test_bad_rows_are_named_and_shown(tmp_path: Path) -> None:
    file = chats(tmp_path, 60, bad=(7, 30))
    async with data_stage(file, allow_bad=0.1).run_test(size=SMALL) as pilot:
        await counted(pilot)
        await shows(pilot, "60, 2 bad", "Bad: line 8: an assistant message is blank (and 1 more: b)")
        await pilot.press("b")
        await shows(pilot, "Row 8 of 60", "Left out: an assistant message is blank", '"prompt": "question 7"')
        await pilot.press("b")
        await shows(pilot, "Row 31 of 60")
        await pilot.press("b")
        await shows(pilot, "Row 8 of 60")


async def test_too_many_bad_rows_are_refused_and_still_seen(tmp_path: Path) -> None:
    async with data_stage(chats(tmp_path, 60, bad=(7, 30))).run_test(size=SMALL) as pilot:
        await shows(pilot, "(and 1 more bad row): 2 of 60", "Row 1 of 60")
        assert "training" not in text_of(pilot.app)


async def test_another_cut_is_tried_and_taken(tmp_path: Path) -> None:
    app = data_stage(chats(tmp_path), max_length=128)
    async with app.run_test(size=MIDDLE) as pilot:
        await counted(pilot)
        await pilot.press("G")
        await shows(pilot, "── cut here ──")
        assert "u takes" not in text_of(app)
        await pilot.press("m")
        await shows(pilot, "Cut at 256 here; u takes that into the form.", "cut at 256 nothing")
        await until(pilot, lambda: "── cut here ──" not in text_of(app))
        await pilot.press("u")
        await shows(pilot, "Max length 256 goes into the form.")
        await pilot.press("escape")
        await until(pilot, lambda: app.taken)
        assert app.taken == [{"max_length": "256"}]


async def test_columns_settle_what_can_not_be_told(tmp_path: Path) -> None:
    file = tmp_path / "odd.jsonl"
    file.write_text('{"frage": "Wo?", "antwort": "Da."}\n' * 20 + '{"frage": "Wann?", "antwort": "Nie."}\n' * 20)
    app = data_stage(file)
    async with app.run_test(size=SMALL) as pilot:
        await shows(pilot, "columns", '"frage": "Wo?"')
        await pilot.press("c", *"prompt=frage", "enter")
        await shows(pilot, "prompt needs completion beside it")
        await pilot.press("c", *",completion=antwort", "enter")
        await counted(pilot)
        await shows(pilot, "40, none bad", "▌ Da.")
        await pilot.press("escape")
        await until(pilot, lambda: app.taken)
        assert app.taken == [{"columns": "prompt=frage,completion=antwort"}]


async def test_without_a_tokenizer_the_rest_is_there(tmp_path: Path) -> None:
    async with data_stage(chats(tmp_path), "m has no tokenizer files.").run_test(size=SMALL) as pilot:
        await shows(pilot, "No token figures: m has no tokenizer", "60, none bad", "as it stands, without the model's")
        await pilot.press("j")
        await shows(pilot, "Row 2 of 60")


@pytest.mark.parametrize("command", [["/nowhere/python"], [sys.executable, "-c", "raise SystemExit(3)"]])
async def test_a_worker_that_does_not_work_is_said(tmp_path: Path, command: list[str]) -> None:
    app = data_stage(chats(tmp_path))
    app.data_screen = DataScreen(RunSpec(data=str(tmp_path)), app.taken.append, command)
    app._shown = app.data_screen
    async with app.run_test(size=SMALL) as pilot:
        await shows(pilot, "The look at the data")
        await pilot.press("j", "G", "b", "m", "slash", "escape", "escape")
        await until(pilot, lambda: app.screen is not app.data_screen)


async def test_the_help_tells_the_keys(tmp_path: Path) -> None:
    async with data_stage(chats(tmp_path)).run_test(size=MIDDLE) as pilot:
        await counted(pilot)
        await pilot.press("f1")
        await shows(pilot, "The next row, the one before, the first,", "Say which column is what")


# --- the form --------------------------------------------------------------------------------------------------------


def remembered(spec: RunSpec) -> Lengths:
    lengths = Lengths("m", {10: 30, 600: 10}, {1: 40}, 100)
    known.remember(known.key(spec, models.look_up(spec.model)), lengths)
    return lengths


async def test_what_is_cut_stands_in_the_form_as_soon_as_it_is_known(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    spec = app.form_screen.form.spec()
    assert spec is not None
    remembered(spec)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot)
        await shows(pilot, "10 of 40 cut at 512", "10 of 40 rows are longer than 512 tokens: cut.")
        app.form_screen.query_one("#max-length", Input).value = "1024"
        await until(pilot, lambda: "cut at" not in text_of(app) and "tokens: cut" not in text_of(app))
        app.form_screen.query_one("#max-length", Input).value = "256"
        await shows(pilot, "10 of 40 cut at 256", "10 of 40 rows are longer than 256 tokens: cut.")
        app.form_screen.query_one("#columns", Input).value = "text=a"
        await until(pilot, lambda: "cut at" not in text_of(app) and "tokens: cut" not in text_of(app))


async def test_a_cut_that_leaves_too_little_stops_the_start_and_says_what_helps(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    spec = app.form_screen.form.spec()
    assert spec is not None
    lengths = Lengths("m", {10: 30, 800: 10}, {1: 30, 600: 10}, 100)
    known.remember(known.key(spec, models.look_up(spec.model)), lengths)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot)
        await shows(
            pilot, "data.jsonl: 10 of 40 rows can't be used", "answer within 512 tokens; raise max length to 640"
        )
        await shows(pilot, "about 21 steps, 7 per epoch · 27 train + 3 validation examples")
        assert not app.form_screen.pad.can_start
        await more_stands_open(pilot)
        app.form_screen.query_one("#max-length", Input).value = "640"
        await shows(pilot, "27 steps, 9 per epoch · 36 train + 4 validation examples")
        await until(pilot, lambda: app.form_screen.pad.can_start)


async def test_the_rows_are_counted_beside_the_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[RunSpec] = []

    async def count(_counter: Counter, spec: RunSpec) -> Lengths:
        asked.append(spec)
        return remembered(spec)

    monkeypatch.setattr("tui.screens.new_run.IDLE", 0.05)
    monkeypatch.setattr(Counter, "count", count)
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await shows(pilot, "10 of 40 cut at 512")
        await pilot.press("up")
        await settled(pilot)
        assert "10 of 40 cut at 512" in text_of(app)
    assert len(asked) == 1


async def test_from_the_form_to_the_data_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = form_stage(tmp_path, epochs=3)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, DataScreen))
        screen = app.screen
        assert isinstance(screen, DataScreen)
        await shows(pilot, "40, none bad")
        screen.changed["max_length"] = "256"
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.form_screen)
        assert form_of(pilot).form.texts["max_length"] == "256"
        assert form_of(pilot).form.changed
