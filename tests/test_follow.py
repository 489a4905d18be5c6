"""Following a run: only what is new is read, and the view is what the log and the lock say."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.builders import RunBuilder, held
from trainer.events import Entry, Finished, Started, StepTaken, encode
from trainer.follow import Follower
from trainer.rundir import Command, RunDir, create
from trainer.spec import RunSpec


def step(number: int) -> StepTaken:
    return StepTaken(number, 0.1, 2.0, 1e-3, 1.0, 400, 0.1)


def test_a_look_hands_over_what_was_added(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path).add(Started(1, "box", "0"))
    follower = Follower(builder.run)
    assert follower.look().state.next_seq == 1
    builder.add(step(1), step(2))
    assert follower.look().state.step == 2
    assert [entry.seq for entry in follower.fresh] == [1, 2]


def test_nothing_new_is_the_same_view(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path).add(step(1))
    follower = Follower(builder.run)
    view = follower.look()
    assert follower.look() is view
    assert follower.fresh == []
    builder.add(step(2))
    assert follower.look() is not view
    assert view.state.step == 1


def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path).add(step(1))
    follower = Follower(builder.run)
    follower.look()
    line = encode(Entry(1, 2.0, 1.0, step(2))) + "\n"
    with builder.run.events_file.open("a", encoding="ascii") as log:
        log.write(line[:20])
        log.flush()
        assert follower.look().state.step == 1
        log.write(line[20:])
        log.flush()
    view = follower.look()
    assert view.state.step == 2
    assert view.state.bad_lines == 0


def test_garbage_is_counted_and_passed_over(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path).add(step(1))
    follower = Follower(builder.run)
    follower.look()
    with builder.run.events_file.open("ab") as log:
        log.write(b"\x00" * 100 + b"\nnot json\n\n")
    builder.add(step(2))
    view = follower.look()
    assert (view.state.step, view.state.bad_lines) == (2, 2)
    assert follower.look().state.bad_lines == 2


def test_a_run_without_a_driver_and_without_an_ending_has_crashed(tmp_path: Path) -> None:
    view = Follower(RunBuilder(tmp_path).prepared().trained(2).run).look()
    assert (view.status, view.live, view.pid) == ("crashed", False, None)


def test_a_driven_run_is_live_and_names_its_driver(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path).prepared().trained(2)
    follower = Follower(builder.run)
    with held(builder.run) as process:
        view = follower.look()
        assert (view.status, view.live, view.pid) == ("running", True, process.pid)
    assert follower.look().status == "crashed"


def test_a_stop_shows_until_it_has_taken_effect(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path).prepared().trained(2)
    follower = Follower(builder.run)
    with held(builder.run):
        assert follower.look().stop is None
        builder.run.ask(Command("pause"))
        assert follower.look().stop is None
        builder.run.ask(Command("stop", "best", 2))
        builder.run.ask(Command("continue"))
        view = follower.look()
        assert (view.status, view.stop) == ("stopping", Command("stop", "best", 2))
        assert follower.look() is view
        builder.stopped(keep=False)
        view = follower.look()
        assert (view.status, view.stop) == ("stopped", None)


def test_an_ended_run_is_what_its_ending_says_even_while_the_host_closes_its_files(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path).add(step(1), Finished(1))
    with held(builder.run):
        assert Follower(builder.run).look().status == "finished"
    assert Follower(builder.run).look().status == "finished"


def test_a_folder_without_a_log_can_be_looked_at(tmp_path: Path) -> None:
    view = Follower(RunDir(tmp_path)).look()
    assert view.state.next_seq == 0
    assert not view.live


def test_a_run_just_made_is_starting_until_its_host_must_have_come(runs_dir: Path) -> None:
    run = create(runs_dir, RunSpec())
    assert Follower(run).look().status == "starting"
    os.utime(run.path / "spec.toml", (time.time() - 60, time.time() - 60))
    assert Follower(run).look().status == "crashed"
