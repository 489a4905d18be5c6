"""The form's quiet line where leaving would end a run: beside Start, after the first frame, behind all other news."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.tui.form_stage import form_stage, settled
from tests.tui.stage import SMALL, shows, text_of, until
from trainer import surroundings
from tui.widgets.launch_bar import LaunchBar

SAID = "A logout ends runs here: `finetunegem doctor` says what helps."


async def test_where_a_logout_ends_runs_the_form_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "warning", lambda _: SAID)
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await shows(pilot, "A logout ends runs here", "says what helps.")
        bar = app.screen.query_one(LaunchBar)
        bar.said = "Saved."
        await shows(pilot, "Saved.")
        assert "A logout" not in text_of(app)
        bar.reason = "Epochs must be a whole number."
        await shows(pilot, "Epochs must be a whole number.")
        bar.reason = bar.said = ""
        await shows(pilot, "A logout ends runs here")


async def test_elsewhere_it_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "warning", lambda _: "")
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        assert app.screen.query_one(LaunchBar).warning == ""
        assert "doctor" not in text_of(app)


async def test_the_form_does_not_wait_for_slow_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Event(), threading.Event()

    def slow(_: object) -> str:
        asked.set()
        answer.wait(30)
        return SAID

    monkeypatch.setattr(surroundings, "warning", slow)
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, asked.is_set)
        await settled(pilot)
        assert "A logout" not in text_of(app)
        answer.set()
        await shows(pilot, "A logout ends runs here")


async def test_leaving_the_form_before_the_answer_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()

    def slow(_: object) -> str:
        answer.wait(30)
        return SAID

    monkeypatch.setattr(surroundings, "warning", slow)
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await app.screen.remove_children()
        answer.set()
        await pilot.pause(0.2)
    assert app.return_code in (None, 0)
