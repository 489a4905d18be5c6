"""The spare host: nobody's until it has a run, that run's host from then on, and never in anybody's way."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.builders import held
from trainer import launch, machine, spare
from trainer.events import Finished, Started
from trainer.follow import Follower
from trainer.rundir import Locked, RunDir, create
from trainer.spare import Spare
from trainer.spec import RunSpec

WaitFor = Callable[..., None]
SECONDS = 2.0  # after which a spare is gone whose screen has ended
SCREEN = """
import sys, time
from trainer import launch
from trainer.spare import Spare
made = Spare()
assert made.start(launch.host_environment())
print(made.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spare]:
    monkeypatch.delenv("FINETUNEGEM_SPARE")
    monkeypatch.setattr(spare, "VOLATILE", (*spare.VOLATILE, "PYTEST_CURRENT_TEST"))  # it changes within a test
    one = Spare()
    assert one.start(launch.host_environment())
    yield one
    one.end()


def asked(**fields: object) -> RunSpec:
    given = {"name": "t", "epochs": 1, "batch_size": 64, "max_length": 64, "keep": "last"}
    return RunSpec(**{**given, **fields})  # type: ignore[arg-type]


def driver(run: RunDir) -> int:
    first = run.read_events()[0][0].event
    assert isinstance(first, Started)
    return first.pid


def gone(pid: int | None) -> bool:
    """Whether there is no such process, but for a zombie that its parent has not looked at yet."""
    assert pid is not None
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(") ", 1)[1][0] == "Z"
    except OSError:
        return True


def ends_in_time(pid: int) -> None:
    until = time.monotonic() + SECONDS + 5  # these machines are busy; the promise is SECONDS
    while not gone(pid):
        assert time.monotonic() < until, "the spare is still there"
        time.sleep(0.02)


# --- it drives -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_is_driven_by_the_spare_from_start_to_end(made: Spare, runs_dir: Path, wait_for: WaitFor) -> None:
    pid = made.pid
    run = launch.start(runs_dir, asked(), made)
    assert run.holder() == driver(run) == pid
    assert os.getsid(pid) == pid != os.getsid(0)
    assert made.pid is None
    made.end()  # as a screen that ends now
    wait_for(lambda: not Follower(run).look().live, "the end")
    assert isinstance(run.read_events()[0][-1].event, Finished), run.host_log.read_text("utf-8")
    assert launch._children[-1].wait(10) == 0


def test_it_is_a_host_like_any_other(made: Spare, runs_dir: Path) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    run = launch.start(runs_dir, asked(epochs=50), made)
    pid = driver(run)
    here = Path(f"/proc/{pid}")
    assert (here / "cwd").resolve() == Path("/")
    assert (here / "fd/0").resolve() == Path("/dev/null")
    assert (here / "fd/1").resolve() == (here / "fd/2").resolve() == run.host_log
    assert run.host_log.stat().st_mode & 0o777 == 0o600
    assert not any(target.startswith(("/dev/pts", "/dev/tty")) for target in opened(here / "fd"))
    assert "spare" in (here / "cmdline").read_text("utf-8")
    cold = launch.start(runs_dir, asked(epochs=50))
    ours, theirs = (set(Path(f"/proc/{driver(one)}/environ").read_bytes().split(b"\0")) for one in (run, cold))
    assert {line.partition(b"=")[0] for line in ours ^ theirs} <= {b"OMP_WAIT_POLICY", b"PYTEST_CURRENT_TEST"}


def opened(folder: Path) -> Iterator[str]:
    """What the descriptors stand for; one may be closed meanwhile."""
    for fd in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield str(fd.readlink())


def test_what_stands_in_its_way_is_said_as_ever(made: Spare, runs_dir: Path) -> None:
    run = create(runs_dir, asked())
    with held(run), pytest.raises(Locked, match="driven by process"):
        launch._hand_over(run, made)


# --- it ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("loading", [True, False])
def test_it_ends_with_a_screen_that_gave_it_no_run(how: signal.Signals, loading: bool, wait_for: WaitFor) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "FINETUNEGEM_SPARE"}
    with subprocess.Popen(
        [sys.executable, "-c", SCREEN],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        env=environment,
    ) as screen:
        assert screen.stdout is not None
        pid = int(screen.stdout.readline())
        if not loading:
            wait_for(lambda: "torch" in Path(f"/proc/{pid}/maps").read_text("utf-8"), "torch")
        assert not gone(pid)
        screen.send_signal(how)
    ends_in_time(pid)


def test_it_ends_when_it_is_not_wanted_any_more(made: Spare) -> None:
    pid = made.pid
    assert pid is not None
    made.end()
    assert made.pid is None
    ends_in_time(pid)
    assert not made.start(launch.host_environment())  # nor is one made again


# --- where it can't be used ----------------------------------------------------------------------------------------


def test_a_dead_one_is_no_matter(made: Spare, runs_dir: Path) -> None:
    pid = made.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    run = launch.start(runs_dir, asked(epochs=50), made)
    assert run.holder() == driver(run) != pid


def test_one_with_older_code_is_not_used(made: Spare, runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = made.pid
    assert pid is not None
    monkeypatch.setattr(spare, "code_stamp", lambda: "changed")
    run = launch.start(runs_dir, asked(epochs=50), made)
    assert driver(run) != pid
    ends_in_time(pid)


def test_one_with_another_environment_is_not_used(made: Spare, runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = made.pid
    monkeypatch.setenv("HF_HOME", "/elsewhere")
    assert driver(launch.start(runs_dir, asked(epochs=50), made)) != pid


def test_the_mood_of_waiting_threads_makes_no_difference(made: Spare) -> None:
    environment = launch.host_environment()
    assert spare._lasting(environment) == spare._lasting({**environment, "OMP_WAIT_POLICY": "PASSIVE"})


def test_a_kept_run_and_a_replay_take_none(made: Spare, runs_dir: Path, record: Callable[..., Path]) -> None:
    pid = made.pid
    for spec in (asked(epochs=50, auto_resume="yes"), RunSpec(backend="replay", data=str(record(3000, 0.05)))):
        assert driver(launch.start(runs_dir, spec, made)) != pid
    assert made.pid == pid


def test_where_memory_is_short_or_nobody_wants_it_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = launch.host_environment()
    assert environment[spare.VARIABLE] == "no"
    assert not Spare().start(environment)
    monkeypatch.delenv(spare.VARIABLE)
    monkeypatch.setattr(machine, "free_bytes", lambda: spare.NEEDED - 1)
    assert not Spare().start(launch.host_environment())


def test_there_is_one_at_most(made: Spare) -> None:
    pid = made.pid
    assert made.start(launch.host_environment())
    assert made.pid == pid
