"""The keeper: hosts here are small functions that write the log as a host would and die as they are told."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import RunBuilder, held
from trainer import keeper, launch
from trainer.eventlog import EventLog
from trainer.events import CheckpointSaved, Event, Failed, Finished, Noted, Started, StepTaken
from trainer.follow import Follower
from trainer.lock import Lock
from trainer.rundir import Command, RunDir, create, status
from trainer.spec import RunSpec

WaitFor = Callable[..., None]


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "FIRST_WAIT", 0.0)


def step(number: int) -> StepTaken:
    return StepTaken(number, number / 10, 2.0, 1e-3, 1.0, 400, 0.1)


def saved(number: int) -> CheckpointSaved:
    return CheckpointSaved(number, f"checkpoints/step-{number:06d}", 1000, 0.1)


class Hosts:
    """What each host in turn writes before it ends: by SIGKILL, or with a code when the last entry is one."""

    def __init__(self, run: RunDir, *lives: tuple[Event | int | Command, ...]) -> None:
        self.run, self.lives = run, lives

    def __call__(self, ready_fd: int | None, again: bool) -> int:
        lock = Lock(self.run.path)
        log = EventLog(self.run)
        born = sum(isinstance(e.event, Started) for e in self.run.read_events()[0])
        log.append(Started(os.getpid(), "here", "0", self.run.commands_end()))
        if again:
            log.append(Noted("an heir"))
        for what in self.lives[min(born, len(self.lives) - 1)]:
            if isinstance(what, int):
                log.close()
                lock.release()
                return what
            self.run.ask(what) if isinstance(what, Command) else log.append(what)
        os.kill(os.getpid(), signal.SIGKILL)
        return 0


def kept(run: RunDir, *lives: tuple[Event | int | Command, ...]) -> tuple[int, list[Event]]:
    code = keeper.Keeper(run, Hosts(run, *lives)).keep(None)
    return code, [entry.event for entry in run.read_events()[0]]


def hosts(events: list[Event]) -> int:
    return sum(isinstance(event, Started) for event in events)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunBuilder(tmp_path).run


def test_a_host_that_ends_by_itself_is_not_started_again(run: RunDir) -> None:
    for code in (0, 1, 75, 143):
        before = hosts([e.event for e in run.read_events()[0]])
        assert kept(run, (code,))[0] == code
        assert hosts([e.event for e in run.read_events()[0]]) == before + 1


def test_a_host_that_is_killed_is_started_again_and_the_log_says_so(run: RunDir) -> None:
    code, events = kept(run, (step(1), saved(1), step(2)), (step(3), Finished(3), 0))
    assert (code, hosts(events)) == (0, 2)
    notes = [event.message for event in events if isinstance(event, Noted)]
    assert [note for note in notes if "SIGKILL after step 2" in note] == notes[:1]
    assert [entry.seq for entry in run.read_events()[0]] == list(range(len(events)))


def test_it_gives_up_when_no_checkpoint_comes_between_the_deaths(run: RunDir) -> None:
    code, events = kept(run, (step(1),))
    assert code == 128 + signal.SIGKILL
    assert hosts(events) == 1 + keeper.TRIES
    assert isinstance(events[-1], Failed)
    assert "4th time without a checkpoint" in events[-1].message


def test_every_new_checkpoint_gives_it_all_its_tries_again(run: RunDir) -> None:
    lives = [(saved(number), step(number)) for number in range(1, 9)]
    code, events = kept(run, *lives, (Finished(9), 0))
    assert (code, hosts(events)) == (0, 9)


def test_only_a_later_host_is_told_that_it_is_an_heir(run: RunDir) -> None:
    _, events = kept(run, (step(1), saved(1)), (Finished(2), 0))
    assert events.index(Noted("an heir")) == events.index(Finished(2)) - 1
    assert events.count(Noted("an heir")) == 1


def test_a_run_that_somebody_else_has_taken_is_left_to_them(run: RunDir) -> None:
    one = keeper.Keeper(run, Hosts(run))
    with held(run):
        assert one._say(Noted("mine")) is False
    assert run.read_events()[0] == []


def test_a_polite_signal_to_the_keeper_starts_no_new_host(run: RunDir) -> None:
    one = keeper.Keeper(run, Hosts(run, (step(1), saved(1))))
    one.leave()
    assert one.keep(None) == 128 + signal.SIGKILL
    assert hosts([e.event for e in run.read_events()[0]]) == 1


# --- with real hosts -----------------------------------------------------------------------------------------------


def asked(recorded: Path, **fields: object) -> RunSpec:
    return RunSpec(name="kept", backend="replay", data=str(recorded), **fields)  # type: ignore[arg-type]


def killed(run: RunDir, wait_for: WaitFor, after: int = 2) -> None:
    """The run's host, some steps later, by SIGKILL."""
    wait_for(lambda: Follower(run).look().state.step > after and run.holder() is not None, "steps")
    pid = run.holder()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def started(run: RunDir) -> int:
    return hosts([entry.event for entry in run.read_events()[0]])


def test_a_run_is_started_again_only_where_its_spec_says_so(
    runs_dir: Path, record: Callable[..., Path], wait_for: WaitFor
) -> None:
    recorded = record(3000, 0.05)
    left = launch.start(runs_dir, asked(recorded))
    kept = launch.start(runs_dir, asked(recorded, auto_resume="yes"))
    killed(left, wait_for)
    killed(kept, wait_for)
    wait_for(lambda: started(kept) == 2 and Follower(kept).look().status == "running", "a new host")
    assert (left.holder(), started(left)) == (None, 1)
    kept.ask(Command("stop"))
    wait_for(lambda: Follower(kept).look().status == "stopped", "the stop")


@pytest.mark.parametrize(("asked_for", "becomes"), [("stop", "stopped"), ("pause", "paused")])
def test_what_was_asked_of_the_dead_host_is_done_by_the_next(
    asked_for: str, becomes: str, runs_dir: Path, record: Callable[..., Path], wait_for: WaitFor
) -> None:
    run = launch.start(runs_dir, asked(record(3000, 0.05), auto_resume="yes"))
    wait_for(lambda: Follower(run).look().state.step > 2, "steps")
    pid = run.holder()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # so that it can't obey before it dies
    run.ask(Command(asked_for))  # type: ignore[arg-type]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: started(run) == 2 and Follower(run).look().status == becomes, becomes)


def test_the_pid_that_launch_says_is_the_hosts_own(runs_dir: Path, record: Callable[..., Path]) -> None:
    run = create(runs_dir, asked(record(3000, 0.05), auto_resume="yes"))
    assert launch.launch(run) == run.holder()


def test_a_kept_run_that_can_not_start_says_why(runs_dir: Path, tmp_path: Path) -> None:
    run = create(runs_dir, asked(tmp_path / "nothing", auto_resume="yes"))
    (run.path / "events.jsonl").mkdir()
    with pytest.raises(Exception, match="events"):
        launch.launch(run)


def test_revive_starts_what_died_with_the_machine(
    runs_dir: Path, record: Callable[..., Path], wait_for: WaitFor
) -> None:
    recorded = record(3000, 0.05)
    runs = {how: create(runs_dir, asked(recorded, auto_resume="no" if how == "unasked" else "yes")) for how in HOWS}
    for how, run in runs.items():
        log = EventLog(run)
        log.append(Started(1, "elsewhere" if how == "elsewhere" else os.uname().nodename, "0"))
        log.append(step(1))
        if how == "finished":
            log.append(Finished(1))
        log.close()
    assert launch.revive(runs_dir) == [runs["died"]]
    assert launch.revive(runs_dir) == []
    wait_for(lambda: status(Follower(runs["died"]).look().state, True, False) == "running", "the revived run")


HOWS = ("died", "finished", "elsewhere", "unasked")
