"""The run directory: made, found, read at any moment of a write, locked by one process, and its status."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.builders import RunBuilder, held
from trainer import eventlog, rundir
from trainer.eventlog import EventLog
from trainer.events import Ending, Failed, Finished, Paused, Started, StepTaken, Stopped
from trainer.files import write_whole
from trainer.rundir import Command, Lock, Locked, RunDir, RunError, create, find, list_runs
from trainer.spec import RunSpec
from trainer.state import Column, Evals, RunState, Steps

FORK = """
import os, sys, time
from pathlib import Path
from trainer.lock import Lock
lock = Lock(Path(sys.argv[1]))
child = os.fork()
if child == 0:
    os.close(1)
    time.sleep(600)
print(child, flush=True)
os._exit(0)
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def step(number: int) -> StepTaken:
    return StepTaken(number, 0.1, 2.0, 1e-3, 1.0, 400, 0.1)


def taken(run: RunDir) -> list[int]:
    return [entry.event.step for entry in run.read_events()[0] if isinstance(entry.event, StepTaken)]


# --- making --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (RunSpec(), "tiny"),
        (RunSpec(name="My first run!"), "my-first-run"),
        (RunSpec(model="Qwen/Qwen2.5-0.5B-Instruct"), "qwen2-5-0-5b-instruct"),
        (RunSpec(model="/models/llama/"), "llama"),
        (RunSpec(name="数据"), "run"),
        (RunSpec(name="../../etc/passwd"), "etc-passwd"),
        (RunSpec(name="a" * 39 + " bcd"), "a" * 39),
        (RunSpec(name="x" * 500), "x" * 40),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)
def test_a_name_is_the_minute_a_word_and_four_digits(tmp_path: Path, spec: RunSpec, word: str) -> None:
    run = create(tmp_path / "runs", spec)
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d-\d{{4}}-{re.escape(word)}-[0-9a-f]{{4}}", run.name)
    assert run.path.parent == tmp_path / "runs"
    assert run.spec() == spec


def test_a_run_is_for_its_owners_eyes(tmp_path: Path) -> None:
    run = create(tmp_path / "runs", RunSpec())
    EventLog(run).append(step(1))
    run.ask(Command("stop"))
    Lock(run.path).release()
    assert mode(run.path) == 0o700
    files = {path.name: mode(path) for path in run.path.iterdir()}
    assert files == dict.fromkeys(("spec.toml", "events.jsonl", "commands.jsonl", "lock"), 0o600)


def test_many_runs_of_one_minute_never_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hexes = iter(["aaaa", "0000", "aaaa", "aaaa", "bbbb", "1111"])
    monkeypatch.setattr(time, "strftime", lambda *_: "2026-11-23-1412")
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(hexes))
    names = [create(tmp_path, RunSpec()).name[-4:] for _ in range(2)]
    assert names == ["aaaa", "bbbb"]


def test_where_no_run_can_be_made_one_sentence_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    with pytest.raises(RunError, match=r"^No run can be made in .*; give another folder with --runs-dir\.$"):
        create(tmp_path / "file", RunSpec())


def test_a_run_that_can_not_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rundir, "write_whole", full)
    with pytest.raises(RunError, match="No space left"):
        create(tmp_path, RunSpec())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "epochs = 0", "epochs = ", "a\x00"])
def test_a_spec_is_whole_defaults_or_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "spec.toml").write_text(text, "utf-8")
    if not text:
        assert RunDir(tmp_path).spec() == RunSpec()
        return
    with pytest.raises(RunError, match=r"^[^\n]*spec\.toml[^\n]*\.$"):
        RunDir(tmp_path).spec()


def test_a_missing_spec_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"spec\.toml can't be read: No such file or directory\.$"):
        RunDir(tmp_path).spec()


# --- listing and finding -------------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first_even_within_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    for minute in ("2026-11-23-1411", "2026-11-23-1412"):
        monkeypatch.setattr(time, "strftime", lambda *_, minute=minute: minute)
        for _ in range(5):
            made.append(create(tmp_path, RunSpec()).name)
            os.utime(tmp_path / made[-1] / "spec.toml", ns=(0, 10**18 + len(made)))
    assert [run.name for run in list_runs(tmp_path)] == made[::-1]


def test_what_is_no_run_is_not_listed(tmp_path: Path) -> None:
    run = create(tmp_path, RunSpec())
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x", "utf-8")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert [found.name for found in list_runs(tmp_path)] == [run.name]
    assert list_runs(tmp_path / "nowhere") == []
    assert list_runs(tmp_path / "file") == []


def test_a_renamed_run_is_as_old_as_its_spec(tmp_path: Path) -> None:
    old = RunBuilder(tmp_path, name="2020-01-01-0000-old-0000").run
    os.utime(old.path / "spec.toml", (1_577_836_800, 1_577_836_800))
    old.path.rename(tmp_path / "the-good-one")
    new = create(tmp_path, RunSpec())
    assert find(tmp_path, "last").name == new.name
    assert [run.name for run in list_runs(tmp_path)] == [new.name, "the-good-one"]


@pytest.fixture
def three(tmp_path: Path) -> Path:
    for name in ("2026-11-23-1412-alpha-0001", "2026-11-23-1413-alpha-0002", "2026-11-23-1414-beta-0003"):
        RunBuilder(tmp_path / "runs", name=name)
    return tmp_path / "runs"


@pytest.mark.parametrize(
    ("text", "ends"),
    [("2026-11-23-1412-alpha-0001", "0001"), ("beta", "0003"), ("0002", "0002"), ("1413-alpha", "0002"), ("last", "3")],
)
def test_a_run_is_found_by_any_part_that_only_it_has(three: Path, text: str, ends: str) -> None:
    assert find(three, text).name.endswith(ends)


def test_a_run_is_found_by_its_path(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "2026-11-23-1412-alpha-0001"
    assert find(Path("/nowhere"), str(three / name)).path == three / name
    assert find(Path("/nowhere"), f"{three / name}/").path == three / name
    monkeypatch.chdir(three.parent)
    assert find(Path("/nowhere"), f"runs/{name}").path == three / name


def test_a_whole_name_wins_over_parts(tmp_path: Path) -> None:
    for name in ("a-1", "a-12"):
        RunBuilder(tmp_path, name=name)
    assert find(tmp_path, "a-1").name == "a-1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alpha", r"'alpha' could be .*0002, .*0001; give more of the name\."),
        ("gamma", r"There is no run called 'gamma' in .*; `finetunegem list` shows them\."),
        ("", r"No run is named; `finetunegem list` shows them\."),
        ("/etc", r"There is no run called '/etc'"),
        ("..", r"There is no run called '\.\.'"),
        ("\x00/", r"There is no run called "),
    ],
)
def test_what_means_no_run_or_several_is_one_sentence(three: Path, text: str, said: str) -> None:
    with pytest.raises(RunError, match=said) as caught:
        find(three, text)
    assert "\n" not in str(caught.value)


def test_without_any_runs_that_is_what_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^There are no runs in .*--runs-dir\.$"):
        find(tmp_path, "last")


# --- the log -------------------------------------------------------------------------------------------------------


def test_a_log_cut_at_any_byte_of_its_last_lines_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path)
    builder.add(*(Paused(n) for n in range(1, 6)))
    whole = builder.run.events_file.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in range(ends[1], len(whole) + 1):
        builder.run.events_file.write_bytes(whole[:cut])
        entries, offset, bad = builder.run.read_events()
        lines = sum(end <= cut for end in ends)
        assert [entry.seq for entry in entries] == list(range(lines))
        assert offset == ends[lines - 1]
        assert bad == 0


@pytest.mark.parametrize("back", [1, 5, 40])
def test_a_torn_tail_is_healed_by_the_next_host(tmp_path: Path, back: int) -> None:
    builder = RunBuilder(tmp_path).add(step(1), step(2))
    file = builder.run.events_file
    file.write_bytes(file.read_bytes()[:-back])
    log = EventLog(builder.run)
    log.append(step(3))
    log.close()
    entries, offset, bad = builder.run.read_events()
    assert [(entry.seq, entry.event) for entry in entries] == [(0, step(1)), (1, step(3))]
    assert (offset, bad) == (file.stat().st_size, 0)


def test_garbage_lines_are_counted_and_the_rest_kept(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path).add(step(1))
    with builder.run.events_file.open("ab") as log:
        log.write(b"\x00" * 4096 + b"\n" + b"[" * 50_000 + b"\n\n   \n{}\n\xff\xfe\x1b[2J\nnull\n")
    builder.add(step(2))
    _, _, bad = builder.run.read_events()
    assert taken(builder.run) == [1, 2]
    assert bad == 5


def test_reading_goes_on_from_an_offset(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path)
    assert builder.run.read_events() == ([], 0, 0)
    builder.add(step(1))
    _, offset, _ = builder.run.read_events()
    assert builder.run.read_events(offset) == ([], offset, 0)
    builder.add(step(2))
    entries, end, _ = builder.run.read_events(offset)
    assert [entry.seq for entry in entries] == [1]
    assert builder.run.read_events(end + 1000) == ([], end + 1000, 0)


def test_a_second_host_goes_on_counting_and_its_clock_does_not_go_back(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path).add(step(1), step(2), seconds=50.0)
    log = EventLog(builder.run)
    log.append(step(3))
    log.close()
    entries, _, _ = builder.run.read_events()
    assert [entry.seq for entry in entries] == [0, 1, 2]
    assert [entry.elapsed for entry in entries] == sorted(entry.elapsed for entry in entries)
    assert entries[-1].elapsed >= 100.0


def test_lines_that_do_not_fit_wait_and_come_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk takes a part of a line: the part is taken back, and the line waits until there is room."""
    run = RunBuilder(tmp_path).run
    log = EventLog(run)
    log.append(step(1))
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    log.append(step(2))
    log.append(step(3))
    assert not log.flush()
    assert taken(run) == [1]
    monkeypatch.undo()
    log.append(step(4))
    assert log.close()
    assert taken(run) == [1, 2, 3, 4]
    assert [entry.seq for entry in run.read_events()[0]] == [0, 1, 2, 3]


def test_a_log_that_could_not_be_finished_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int, __: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(eventlog, "LAST_TRY_SECONDS", 0.3)
    log = EventLog(RunBuilder(tmp_path).run)
    monkeypatch.setattr(os, "write", full)
    log.append(step(1))
    assert not log.close()


def test_a_part_of_a_line_that_stayed_is_cut_off_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk took a part and then not even the cut."""

    def refuse(_: int, __: int) -> None:
        raise OSError(5, "Input/output error")

    run = RunBuilder(tmp_path).run
    log = EventLog(run)
    log.append(step(1))
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    monkeypatch.setattr(os, "ftruncate", refuse)
    log.append(step(2))
    monkeypatch.undo()
    log.append(step(3))
    log.close()
    entries, _, bad = run.read_events()
    assert taken(run) == [1, 2, 3]
    assert (bad, [entry.seq for entry in entries]) == (0, [0, 1, 2])


def test_a_log_knows_when_its_run_was_removed(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path).run
    log = EventLog(run)
    assert not log.gone()
    run.path.rename(tmp_path / "away")
    assert not log.gone()
    shutil.rmtree(tmp_path / "away")
    assert log.gone()
    log.append(step(1))
    assert log.close()
    assert not run.path.exists()


def test_the_training_does_not_wait_for_a_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one thread syncs, the other appends."""

    def slow(_: int) -> None:
        syncing.set()
        waited.append(appended.wait(30))

    syncing, appended = threading.Event(), threading.Event()
    waited: list[bool] = []
    run = RunBuilder(tmp_path).run
    log = EventLog(run)
    monkeypatch.setattr(eventlog, "SYNC_SECONDS", -1.0)
    monkeypatch.setattr(os, "fdatasync", slow, raising=False)
    flusher = threading.Thread(target=log.flush)
    flusher.start()
    assert syncing.wait(30)
    log.append(step(1))
    assert taken(run) == [1]
    appended.set()
    flusher.join()
    assert waited == [True]
    log.close()


# --- commands ------------------------------------------------------------------------------------------------------


def test_commands_come_back_in_order(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    asked = [Command("pause"), Command("continue"), Command("stop", "best", 120), Command("stop", "last")]
    for command in asked:
        run.ask(command)
    read, offset = run.read_commands()
    assert read == asked
    assert run.read_commands(offset) == ([], offset)


def test_what_is_no_command_is_ignored(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.ask(Command("pause"))
    garbage = [
        b"", b"{", b"[1]", b"null", b'"stop"', b"7", b"\x00\x00", b"\xff", b"[" * 100_000, b'{"command": "explode"}',
        b'{"command": ["stop"]}', b'{"command": "stop", "keep": "both"}', b'{"command": "stop", "keep": []}', b"{}",
    ]  # fmt: skip
    with (tmp_path / "commands.jsonl").open("ab") as file:
        file.writelines(line + b"\n" for line in garbage)
        file.write(b'{"command": "stop", "step": "best", "mood": 1}\n{"command": "continue"')
    assert run.read_commands()[0] == [Command("pause"), Command("stop")]


def test_a_command_that_can_not_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"gone can't be written: No such file or directory\.$"):
        RunDir(tmp_path / "gone").ask(Command("stop"))


# --- the lock ------------------------------------------------------------------------------------------------------


def test_a_second_holder_is_refused_with_the_owners_pid(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path).run
    assert run.holder() is None
    with held(run) as process:
        assert run.holder() == process.pid
        with pytest.raises(Locked, match=rf"is already driven by process {process.pid}\.$"):
            Lock(run.path)
        assert run.holder() == process.pid


def test_asking_does_not_disturb_the_holder(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path).run
    with held(run) as process:
        before = (run.path / "lock").read_bytes()
        for _ in range(100):
            assert run.holder() == process.pid
        assert (run.path / "lock").read_bytes() == before
        assert str(process.pid).encode() in before


def test_the_kernel_frees_the_lock_of_a_killed_holder(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path).run
    with held(run) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert run.holder() is None
        assert (run.path / "lock").read_bytes()
        Lock(run.path).release()
    assert run.holder() is None


def test_a_forked_child_that_outlives_the_holder_does_not_hold(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path).run
    done = subprocess.run([sys.executable, "-c", FORK, str(run.path)], stdout=subprocess.PIPE, text=True, check=True)
    child = int(done.stdout)
    try:
        os.kill(child, 0)
        assert run.holder() is None
        Lock(run.path).release()
    finally:
        os.kill(child, signal.SIGKILL)


def test_an_old_lock_file_holds_nothing(tmp_path: Path) -> None:
    run = RunBuilder(tmp_path).run
    (run.path / "lock").write_text(f'{{"pid": {os.getpid()}, "started": 1}}', "utf-8")
    assert run.holder() is None
    Lock(run.path).release()


# --- status --------------------------------------------------------------------------------------------------------

STEPS = Steps(step=Column().added(1.0))
EVALS = Evals(step=Column().added(0.0))


@pytest.mark.parametrize(
    ("state", "held_now", "stop_asked", "expected"),
    [
        (RunState(), True, False, "starting"),
        (RunState(started=Started(1, "box", "0")), True, False, "starting"),
        (RunState(steps=STEPS, warm=True), True, False, "running"),
        (RunState(evals=EVALS, warm=True), True, False, "running"),
        (RunState(steps=STEPS), True, False, "starting"),  # a later host is still loading
        (RunState(steps=STEPS, paused=True), True, False, "paused"),
        (RunState(steps=STEPS, paused=True), True, True, "stopping"),
        (RunState(), True, True, "stopping"),
        (RunState(steps=STEPS), False, False, "crashed"),
        (RunState(steps=STEPS), False, True, "crashed"),
        (RunState(steps=STEPS, paused=True), False, False, "crashed"),
        (RunState(), False, False, "crashed"),
    ],
)
def test_status_is_derived(state: RunState, held_now: bool, stop_asked: bool, expected: str) -> None:
    assert rundir.status(state, held_now, stop_asked) == expected


@pytest.mark.parametrize("held_now", [True, False])
@pytest.mark.parametrize("stop_asked", [True, False])
@pytest.mark.parametrize(
    ("ending", "expected"), [(Finished(9), "finished"), (Stopped(9), "stopped"), (Failed(9, "x"), "failed")]
)
def test_an_ending_decides_alone(ending: Ending, expected: str, held_now: bool, stop_asked: bool) -> None:
    assert rundir.status(RunState(ending=ending, paused=True), held_now, stop_asked) == expected


# --- files ---------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_text("old", "utf-8")
    reader = file.open(encoding="utf-8")
    write_whole(file, "größe\n")
    assert file.read_text("utf-8") == "größe\n"
    assert reader.read() == "old"
    reader.close()
    assert mode(file) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["f.toml"]


def test_a_replacement_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "f.toml"
    file.write_text("old", "utf-8")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, "new")
    assert file.read_text("utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["f.toml"]


def test_the_size_of_a_folder_counts_files_below_it_once(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "one").write_bytes(b"x" * 10)
    (tmp_path / "two").write_bytes(b"x" * 5)
    (tmp_path / "link").symlink_to(tmp_path / "two")
    assert rundir.walk_size(tmp_path) == 15


def test_two_writers_of_commands_never_mix_their_lines(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trainer.rundir import Command, RunDir\n"
        "for _ in range(100): RunDir(Path(sys.argv[1])).ask(Command('stop', 'best', int(sys.argv[2])))"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)]) for n in (1, 2)]
    for writer in writers:
        assert writer.wait(60) == 0
    commands, _ = RunDir(tmp_path).read_commands()
    assert sorted(command.step or 0 for command in commands) == [1] * 100 + [2] * 100
