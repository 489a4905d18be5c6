"""The host process: it drives a run to its end, obeys commands and signals, and outlives whoever started it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import stat
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.builders import RunBuilder, held
from trainer import launch
from trainer.events import Continued, Failed, Finished, Paused, Started, StepTaken, Stopped
from trainer.follow import Follower
from trainer.rundir import Command, Locked, RunDir, RunError, create, list_runs
from trainer.spec import RunSpec

Record = Callable[..., Path]
WaitFor = Callable[..., None]

PARENT = """
import sys, time
from pathlib import Path
from trainer import launch
from trainer.spec import RunSpec
run = launch.start(Path(sys.argv[1]), RunSpec(backend="replay", data=sys.argv[2]))
print(run.path, flush=True)
time.sleep(600)
"""


def asked(recorded: Path) -> RunSpec:
    return RunSpec(backend="replay", data=str(recorded), name="t")


def status(run: RunDir) -> str:
    return Follower(run).look().status


def events(run: RunDir) -> list[object]:
    return [entry.event for entry in run.read_events()[0]]


def steps(run: RunDir) -> int:
    return sum(isinstance(event, StepTaken) for event in events(run))


@pytest.fixture
def live(runs_dir: Path, record: Record, wait_for: WaitFor) -> RunDir:
    """A run that takes a step now and then, for a minute or two."""
    run = launch.start(runs_dir, asked(record(3000, 0.04)))
    wait_for(lambda: steps(run) > 2, "the first steps")
    return run


def open_files() -> int:
    """How many files this process has open; 0 where the system doesn't say."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDir]:
    """A live run for the tests that leave it running."""
    folder = tmp_path_factory.mktemp("shared")
    builder = RunBuilder(folder, name="recorded")
    for number in range(1, 5000):
        builder.add(StepTaken(number, number / 5000, 2.0, 1e-3, 1.0, 400, 0.03), seconds=0.03)
    run = create(folder / "runs", asked(builder.run.path))
    pid = launch.launch(run)
    yield run
    os.kill(pid, signal.SIGKILL)


def goes_on(run: RunDir, wait_for: WaitFor) -> None:
    before = steps(run)
    wait_for(lambda: steps(run) > before + 2, "more steps")
    assert status(run) == "running"


# --- a whole run ---------------------------------------------------------------------------------------------------


def test_a_run_goes_from_start_to_finish(runs_dir: Path, record: Record, wait_for: WaitFor) -> None:
    run = launch.start(runs_dir, asked(record(8)))
    wait_for(lambda: status(run) == "finished" and run.holder() is None, "the end")
    told = events(run)
    assert isinstance(told[0], Started)
    assert told[-1] == Finished(8)
    assert steps(run) == 8
    assert [entry.seq for entry in run.read_events()[0]] == list(range(len(told)))
    assert run.host_log.read_text("utf-8") == ""


def test_launch_returns_the_pid_of_the_one_that_holds_the_run(runs_dir: Path, record: Record) -> None:
    run = create(runs_dir, asked(record(3000, 0.05)))
    pid = launch.launch(run)
    assert run.holder() == pid
    first = events(run)[0]
    assert isinstance(first, Started)
    assert first.pid == pid


def test_a_host_has_a_session_of_its_own_and_stands_in_no_folder(shared: RunDir) -> None:
    pid = shared.holder()
    assert pid is not None
    assert os.getsid(pid) == pid != os.getsid(0)
    if Path("/proc/self/cwd").exists():
        assert Path(f"/proc/{pid}/cwd").resolve() == Path("/")
        assert Path(f"/proc/{pid}/fd/0").resolve() == Path("/dev/null")
        assert Path(f"/proc/{pid}/fd/1").resolve() == shared.host_log


def test_what_a_host_writes_is_for_its_owners_eyes(shared: RunDir) -> None:
    shared.ask(Command("continue"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in shared.path.iterdir()}
    assert set(modes) == {"spec.toml", "events.jsonl", "commands.jsonl", "lock", "host.log"}
    assert set(modes.values()) == {0o600}


# --- commands ------------------------------------------------------------------------------------------------------


def test_a_stop_is_obeyed(live: RunDir, wait_for: WaitFor) -> None:
    live.ask(Command("stop"))
    wait_for(lambda: status(live) == "stopped" and live.holder() is None, "the stop")
    assert events(live)[-1] == Stopped(steps(live))


def test_a_pause_holds_until_it_is_told_to_go_on(shared: RunDir, wait_for: WaitFor) -> None:
    shared.ask(Command("pause"))
    wait_for(lambda: status(shared) == "paused", "the pause")
    taken = steps(shared)
    assert events(shared)[-1] == Paused(taken)
    shared.ask(Command("continue"))
    goes_on(shared, wait_for)
    assert Continued(taken) in events(shared)
    assert steps(shared) > taken


def test_a_paused_run_can_be_stopped(live: RunDir, wait_for: WaitFor) -> None:
    live.ask(Command("pause"))
    wait_for(lambda: status(live) == "paused", "the pause")
    live.ask(Command("stop", "last"))
    wait_for(lambda: status(live) == "stopped", "the stop")


def test_garbage_among_the_commands_stops_nothing(shared: RunDir, wait_for: WaitFor) -> None:
    with (shared.path / "commands.jsonl").open("ab") as file:
        file.write(b"\x00\x00\nnot json\n" + b"[" * 50_000 + b'\n{"command": "explode"}\n[1]\n')
    goes_on(shared, wait_for)
    shared.ask(Command("pause"))
    wait_for(lambda: status(shared) == "paused", "the pause")
    shared.ask(Command("continue"))


def test_a_stop_that_was_asked_before_the_host_was_up_is_obeyed(
    runs_dir: Path, record: Record, wait_for: WaitFor
) -> None:
    run = create(runs_dir, asked(record(3000, 0.05)))
    run.ask(Command("stop"))
    launch.launch(run)
    wait_for(lambda: status(run) == "stopped", "the stop")


# --- one host a run ------------------------------------------------------------------------------------------------


def test_a_second_host_is_refused_and_names_the_owner(shared: RunDir, wait_for: WaitFor) -> None:
    pid = shared.holder()
    before = len(events(shared))
    with pytest.raises(Locked, match=rf"^{shared.name} is already driven by process {pid}\.$"):
        launch.launch(shared)
    assert sum(isinstance(event, Started) for event in events(shared)) == 1
    assert len(events(shared)) >= before
    assert shared.holder() == pid
    goes_on(shared, wait_for)


def test_a_killed_host_is_a_crash_at_once_and_the_run_can_be_driven_again(live: RunDir, wait_for: WaitFor) -> None:
    pid = live.holder()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: live.holder() is None, "the kernel to free the lock")
    assert status(live) == "crashed"
    with live.events_file.open("ab") as log:
        log.write(b'{"seq": 99, "ti')
    assert launch.launch(live) == live.holder()
    told, _, bad = live.read_events()
    assert bad == 0
    assert [entry.seq for entry in told] == list(range(len(told)))
    assert sum(isinstance(entry.event, Started) for entry in told) == 2


# --- whoever started it may go -------------------------------------------------------------------------------------


def test_killing_the_process_that_started_it_changes_nothing(runs_dir: Path, record: Record, wait_for: WaitFor) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-c", PARENT, str(runs_dir), str(record(3000, 0.04))], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        run = RunDir(Path(parent.stdout.readline().strip()))
        parent.kill()
    goes_on(run, wait_for)


def test_closing_the_terminal_it_was_started_from_changes_nothing(
    runs_dir: Path, record: Record, wait_for: WaitFor
) -> None:
    ours, theirs = pty.openpty()
    code = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n{PARENT}"
    try:
        parent = subprocess.Popen(
            [sys.executable, "-P", "-c", code, str(runs_dir), str(record(3000, 0.04))],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
    finally:
        os.close(theirs)
    with parent:
        with os.fdopen(ours, "rb") as terminal:
            path = terminal.readline().decode().strip()
            assert fcntl.ioctl(terminal, termios.TIOCOUTQ, b"\0\0\0\0") is not None
        assert parent.wait(30) == -signal.SIGHUP
    run = RunDir(Path(path))
    goes_on(run, wait_for)


# --- signals -------------------------------------------------------------------------------------------------------


def test_a_hangup_is_ignored(shared: RunDir, wait_for: WaitFor) -> None:
    pid = shared.holder()
    assert pid is not None
    os.kill(pid, signal.SIGHUP)
    goes_on(shared, wait_for)


def test_a_polite_signal_stops_the_run(live: RunDir, wait_for: WaitFor) -> None:
    pid = live.holder()
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: status(live) == "stopped" and live.holder() is None, "the stop")
    assert isinstance(events(live)[-1], Stopped)


# --- what goes wrong -----------------------------------------------------------------------------------------------


def test_a_broken_spec_is_one_sentence(runs_dir: Path, record: Record) -> None:
    run = create(runs_dir, asked(record()))
    (run.path / "spec.toml").write_text("epochs = 0", "utf-8")
    with pytest.raises(RunError, match=r"^[^\n]*spec\.toml[^\n]*\.$"):
        launch.launch(run)
    assert run.holder() is None
    assert events(run) == []
    assert "Traceback" not in run.host_log.read_text("utf-8")


def test_a_backend_that_says_what_is_wrong_fails_with_that_sentence(runs_dir: Path, wait_for: WaitFor) -> None:
    run = launch.start(runs_dir, asked(Path("/nowhere")))
    wait_for(lambda: status(run) == "failed", "the failure")
    assert events(run)[-1] == Failed(0, "/nowhere holds no recorded run to replay.")
    assert "Traceback" not in run.host_log.read_text("utf-8")


def test_a_backend_that_breaks_fails_with_a_sentence_and_the_traceback_is_in_the_hosts_log(
    runs_dir: Path, tmp_path: Path, wait_for: WaitFor
) -> None:
    (tmp_path / "broken" / "events.jsonl").mkdir(parents=True)
    run = launch.start(runs_dir, asked(tmp_path / "broken"))
    wait_for(lambda: status(run) == "failed" and run.holder() is None, "the failure")
    failed = events(run)[-1]
    assert isinstance(failed, Failed)
    assert failed.message.startswith("IsADirectoryError: ")
    assert failed.message.endswith("(the whole traceback is in host.log).")
    assert "\n" not in failed.message
    assert b"Traceback" not in run.events_file.read_bytes()
    assert "Traceback" in run.host_log.read_text("utf-8")


def test_a_host_that_dies_at_once_leaves_no_folder(
    runs_dir: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RunError, match=r"^The host died at once; [^\n]*$"):
        launch.start(runs_dir, asked(record()))
    assert list(runs_dir.iterdir()) == []


def test_a_python_that_is_not_there_is_one_sentence_and_leaves_no_folder(
    runs_dir: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    before = open_files()
    with pytest.raises(RunError, match=r"^Python could not be started for the run: No such file or directory"):
        launch.start(runs_dir, asked(record()))
    assert list(runs_dir.iterdir()) == []
    assert open_files() <= before


def test_a_run_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"gone can't be written: No such file or directory\.$"):
        launch.launch(RunDir(tmp_path / "gone"))


def test_an_interrupt_while_it_starts_leaves_no_run_going_unseen(
    runs_dir: Path, record: Record, wait_for: WaitFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = launch.launch

    def interrupted(run: RunDir) -> int:
        really(run)
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "launch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launch.start(runs_dir, asked(record(3000, 0.05)))
    (run,) = list_runs(runs_dir)
    wait_for(lambda: status(run) == "stopped", "the stop")


@pytest.mark.parametrize("name", ["trainer.py", "json.py"])
def test_a_module_in_the_current_folder_is_not_taken_for_ours(
    runs_dir: Path, tmp_path: Path, record: Record, wait_for: WaitFor, name: str
) -> None:
    here = tmp_path / "project"
    (here / name).parent.mkdir(parents=True)
    (here / name).write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\nraise SystemExit('the wrong one')", "utf-8"
    )
    command = [
        sys.executable,
        "-P",
        "-m",
        "tui.cli",
        "run",
        "--detach",
        "--backend",
        "replay",
        "--data",
        str(record(4)),
    ]
    done = subprocess.run(
        [*command, "--runs-dir", str(runs_dir)], cwd=here, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    run = RunDir(runs_dir / done.stdout.strip())
    wait_for(lambda: status(run) == "finished", "the end")
    assert not (tmp_path / "ran").exists()


def test_a_usage_error_is_one_line() -> None:
    done = subprocess.run([sys.executable, "-P", "-m", "trainer"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: python -P -m trainer RUN_DIR\n")


def test_a_host_by_hand_says_on_stderr_who_has_the_run(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path).run
    with held(run) as process:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "trainer", str(run.path)], capture_output=True, text=True, check=False
        )
    assert done.returncode == 75
    assert done.stderr == f"{run.name} is already driven by process {process.pid}.\n"


def test_small_machines_leave_a_core_to_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with contextlib.suppress(AttributeError):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert launch.host_environment()["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert launch.host_environment()["OMP_NUM_THREADS"] == "7"
