"""A host that is started anew: which commands are its own, how it ends on signals, what it says when nothing moves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import RunBuilder, held
from trainer import host, launch
from trainer.control import Control, Stop
from trainer.eventlog import EventLog
from trainer.events import Evaluated, Noted, Resumed, Started, StepTaken, Stopped
from trainer.follow import Follower
from trainer.rundir import Command, Locked, RunDir, RunError, create
from trainer.spec import RunSpec

Record = Callable[..., Path]
WaitFor = Callable[..., None]


def asked(recorded: Path) -> RunSpec:
    return RunSpec(backend="replay", data=str(recorded), name="t")


def events(run: RunDir) -> list[object]:
    return [entry.event for entry in run.read_events()[0]]


def taken(run: RunDir) -> int:
    return sum(isinstance(event, StepTaken) for event in events(run))


def spawned(run: RunDir) -> subprocess.Popen[bytes]:
    """A host as a child of this process, so that its exit code can be read."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "trainer", str(run.path)], stdout=subprocess.DEVNULL, start_new_session=True
    )


# --- signals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_polite_signal_ends_the_run_and_is_in_the_exit_code(
    runs_dir: Path, record: Record, wait_for: WaitFor, number: signal.Signals
) -> None:
    run = create(runs_dir, asked(record(3000, 0.04)))
    process = spawned(run)
    wait_for(lambda: taken(run) > 2, "the first steps")
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert isinstance(events(run)[-1], Stopped)


def test_a_second_signal_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the trainer thread does."""
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    before = {number: signal.getsignal(number) for number in host.POLITE}
    control = Control()
    try:
        signalled = host._listen(control)
        signal.raise_signal(signal.SIGTERM)
        assert (control.stop, signalled, left) == (Stop(), [signal.SIGTERM], [])
        signal.raise_signal(signal.SIGTERM)
        assert left == [128 + signal.SIGTERM]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- going on ------------------------------------------------------------------------------------------------------


def test_an_old_stop_is_not_for_the_next_host(runs_dir: Path, record: Record, wait_for: WaitFor) -> None:
    run = launch.start(runs_dir, asked(record(3000, 0.04)))
    wait_for(lambda: taken(run) > 2, "the first steps")
    run.ask(Command("stop"))
    wait_for(lambda: run.holder() is None, "the stop")
    before = taken(run)

    launch.resume(run)
    wait_for(lambda: taken(run) > before + 3, "more steps")
    view = Follower(run).look()
    assert (view.status, view.stop) == ("running", None)
    assert Resumed(0) in events(run)
    starts = [event for event in events(run) if isinstance(event, Started)]
    assert [start.commands_from > 0 for start in starts] == [False, True]

    run.ask(Command("stop"))
    wait_for(lambda: run.holder() is None, "the second stop")
    assert Follower(run).look().status == "stopped"


def test_a_run_that_is_driven_can_not_be_resumed(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path).prepared().trained(3)
    with held(builder.run), pytest.raises(Locked, match=r"already driven by process [0-9]+"):
        launch.resume(builder.run)


def test_a_finished_run_has_nothing_to_go_on_with(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path).prepared().trained(3).finished().run
    with pytest.raises(RunError, match="has taken all its steps"):
        launch.resume(run)


def test_what_holds_for_every_later_host_is_read_from_the_commands(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path).run
    for command in (Command("slower", factor=1 / 3), Command("skip", step=12), Command("slower", factor=0.5)):
        run.ask(command)
    control = host._settled(run, first=False)
    assert control.rate_factor == pytest.approx(1 / 6)
    assert control.skip == frozenset({12})
    assert control.resuming


# --- nothing moves -------------------------------------------------------------------------------------------------


def test_a_hang_is_said_once_with_the_stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunBuilder(tmp_path).run
    log = EventLog(run)
    now = [1000.0]
    errors = (tmp_path / "host.log").open("w+")
    monkeypatch.setattr(sys, "stderr", errors)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    watch = host.Watch(log)

    def said() -> int:
        return sum(isinstance(event, Noted) for event in events(run))

    now[0] += 10_000  # loading may take as long as it takes
    watch.look(paused=False)
    assert said() == 0
    watch.seen(StepTaken(1, 0.1, 2.0, 1e-3, 1.0, 400, 8.0))
    now[0] += 79  # ten median steps are more than a minute
    watch.look(paused=False)
    assert said() == 0
    now[0] += 2
    watch.look(paused=True)
    assert said() == 0
    watch.look(paused=False)
    watch.look(paused=False)
    assert said() == 1
    errors.seek(0)
    assert "test_a_hang_is_said_once" in errors.read()
    watch.seen(Evaluated(2, 0.2, 2.0, 100, 100.0))
    now[0] += 290  # an evaluation has three times its last time
    watch.look(paused=False)
    assert said() == 1
    now[0] += 20
    watch.look(paused=False)
    assert said() == 2
    errors.close()


def test_a_clock_that_jumps_changes_no_duration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunBuilder(tmp_path).run
    log = EventLog(run)
    log.append(Noted("before"))
    monkeypatch.setattr(time, "time", lambda: 86_400.0)  # back to 1970
    log.append(Noted("after"))
    log.close()
    first, second = run.read_events()[0]
    assert second.time < first.time
    assert 0 <= second.elapsed - first.elapsed < 60
    assert Follower(run).look().state.elapsed >= 0
