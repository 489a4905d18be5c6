"""The feed: one look at a time, one hand-over for whatever was added, none when nothing was."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest
from textual.screen import Screen

from tests.builders import RunBuilder, held
from tests.tui.stage import Stage, until
from trainer.follow import View
from trainer.state import RunState
from tui import feed as feeds
from tui.feed import Feed, Look
from tui.run_clock import RunClock


class Watcher(Screen[None]):
    """A screen that only notes what its feed hands over."""

    def __init__(self, builder: RunBuilder) -> None:
        super().__init__()
        self.looks: list[Look] = []
        self.feed = Feed(builder.run, self.looks.append)

    def on_mount(self) -> None:
        self.feed.start(self)


async def test_one_hand_over_for_a_burst_and_none_for_nothing(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path)
    builder.prepared().trained(40)
    watcher = Watcher(builder)
    with held(builder.run):
        async with Stage(watcher).run_test() as pilot:
            await until(pilot, lambda: watcher.looks)
            assert watcher.looks[0].view.state.step == 40
            builder.trained(25)
            await until(pilot, lambda: watcher.looks[-1].view.state.step == 65)
            assert len(watcher.looks) <= 3  # a look may fall in the middle of the burst
            count, before = len(watcher.looks), watcher.feed.made
            await until(pilot, lambda: watcher.feed.made >= before + 3)
            assert len(watcher.looks) == count


async def test_a_slow_read_never_overlaps_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = RunBuilder(tmp_path)
    builder.prepared().trained(3)
    watcher = Watcher(builder)
    monkeypatch.setattr(feeds, "LIVE_SECONDS", 0.0)
    monkeypatch.setattr(feeds, "ENDED_SECONDS", 0.0)
    inside, most, threads = 0, 0, set()
    look = watcher.feed.look

    def slow() -> Look:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        threads.add(threading.current_thread() is threading.main_thread())
        time.sleep(0.03)
        inside -= 1
        return look()

    monkeypatch.setattr(watcher.feed, "look", slow)
    async with Stage(watcher).run_test() as pilot:
        await until(pilot, lambda: watcher.feed.made >= 5)
    assert most == 1
    assert threads == {False}


async def test_a_folder_that_vanishes_is_said_in_one_sentence(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path)
    builder.prepared().trained(5).finished()
    watcher = Watcher(builder)
    async with Stage(watcher).run_test() as pilot:
        await until(pilot, lambda: watcher.looks)
        shutil.rmtree(builder.run.path)
        await until(pilot, lambda: watcher.looks[-1].problem)
        assert watcher.looks[-1].problem == f"{builder.run.path} is not there any more."
        assert watcher.looks[-1].view.state.step == 5


def test_the_clock_goes_on_only_while_it_runs() -> None:
    now = 100.0
    clock = RunClock(monotonic=lambda: now, wall=lambda: 5_010.0)
    running = View(RunState(next_seq=3, elapsed=40.0, updated=5_000.0), "running")
    clock.take(running)
    assert clock.elapsed() == 50.0  # opened ten seconds after the last entry
    now = 102.0
    assert clock.elapsed() == 52.0
    clock.take(View(RunState(next_seq=4, elapsed=52.1, updated=0.0), "paused"))
    now = 200.0
    assert clock.elapsed() == 52.1
    clock.take(View(RunState(next_seq=5, elapsed=150.0, updated=9e9), "finished"))
    assert clock.elapsed() == 150.0


def test_a_wall_clock_that_is_behind_takes_nothing_away() -> None:
    clock = RunClock(monotonic=lambda: 7.0, wall=lambda: 10.0)
    clock.take(View(RunState(next_seq=1, elapsed=3.0, updated=9_999.0), "running"))
    assert clock.elapsed() == 3.0
