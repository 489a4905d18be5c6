"""Starting a host so that nothing that ends here ends it: a session of its own, no terminal, output in host.log."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from trainer import cache, check, rundir
from trainer.events import Finished
from trainer.follow import Follower
from trainer.rundir import Command, Locked, RunDir, RunError
from trainer.spare import Spare
from trainer.spec import RunSpec

SLOWER = 1 / 3  # of the learning rate, after a loss that was no number

_children: list[subprocess.Popen[bytes]] = []  # kept so that they can be reaped, never signalled


def start(runs_dir: Path, spec: RunSpec, spare: Spare | None = None) -> RunDir:
    """Make a run directory for the spec and start its host. Raises RunError, and then leaves no folder behind.

    A `spare` host drives it where it can, else a new one is started. A run that is kept (`auto_resume`) never takes
    the spare: its keeper must fork before the heavy imports.
    """
    run = rundir.create(runs_dir, check.settled(spec))
    try:
        if spare is None or spec.auto_resume == "yes" or spec.backend != "local" or not _hand_over(run, spare):
            launch(run)
    except RunError:
        if not run.read_lines()[0]:
            shutil.rmtree(run.path, ignore_errors=True)
        raise
    except KeyboardInterrupt:  # the host may be up by now, and nobody would know of it
        run.ask(Command("stop"))
        raise
    return run


def resume(run: RunDir, *, slower: bool = False, skip: int | None = None) -> int:
    """Start a host anew for a run that has not taken all its steps: it goes on from the newest whole checkpoint.

    `slower` goes on with a third of the learning rate, `skip` without the batch of that step; both hold for every
    later host of the run. Raises RunError, or Locked when a host drives it already.
    """
    run.spec()
    view = Follower(run).look()
    if view.pid is not None:
        raise Locked(f"{run.name} is already driven by process {view.pid}.")
    if isinstance(view.state.ending, Finished):
        raise RunError(f"{run.name} has taken all its steps: there is nothing to go on with.")
    if slower:
        run.ask(Command("slower", factor=SLOWER))
    if skip is not None:
        run.ask(Command("skip", step=skip))
    return launch(run)


def revive(runs_dir: Path) -> list[RunDir]:
    """Start the runs of this machine that died unasked and whose spec says `auto_resume`; returns those it started.

    For what no keeper can see: the machine itself went down. One that can't be started is left as it is.
    """
    revived: list[RunDir] = []
    for run in rundir.list_runs(runs_dir):
        with contextlib.suppress(RunError):
            if run.spec().auto_resume == "yes" and _died_here(run):
                launch(run, again=True)
                revived.append(run)
    return revived


def _died_here(run: RunDir) -> bool:
    view = Follower(run).look()
    return view.status == "crashed" and view.state.started is not None and view.state.started.host == platform.node()


def launch(run: RunDir, *, again: bool = False) -> int:
    """Start the host of a run and wait until it holds the run; returns its pid.

    `again`: in place of one that died unasked; what was asked of that one is asked of this one.

    Raises Locked or RunError with the host's own reason when it refuses, or with the end of host.log when it dies.
    Blocks for the start of a Python process (a fraction of a second), not for loading the model.
    """
    try:
        log = os.open(run.host_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise RunError(f"{run.path} can't be written: {error.strerror}.") from None
    read_fd, write_fd = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "trainer", str(run.path), str(write_fd), *(["again"] if again else [])],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=host_environment(),
            pass_fds=(write_fd,),
            start_new_session=True,
        )
    except OSError as error:
        os.close(read_fd)
        raise RunError(f"Python could not be started for the run: {error.strerror}.") from None
    finally:
        os.close(write_fd)
        os.close(log)
    _keep(process)
    with os.fdopen(read_fd, "r", encoding="utf-8") as pipe:
        answer = pipe.readline().strip()  # "" when the host died: its end of the pipe is closed then
    if answer.startswith("ok: "):
        return _pid(answer)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)  # it is on its way out; until it is gone it may hold the run
    _pid(answer)
    raise RunError(f"The host died at once; the last it said is: {_last_line(run.host_log)}")


def _hand_over(run: RunDir, spare: Spare) -> bool:
    """Whether the spare drives the run now. Raises Locked or RunError with its host's own reason."""
    answer, process = spare.give(run.path, run.host_log, host_environment())
    if process is not None:
        _keep(process)
    if not answer and process is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)  # it died with the run in its hands
    return bool(_pid(answer))


def _keep(process: subprocess.Popen[bytes]) -> None:
    _children[:] = [child for child in (*_children, process) if child.poll() is None]


def _pid(answer: str) -> int:
    """The host's pid, or Locked or RunError with the reason it gives; 0 where it said nothing."""
    verdict, _, reason = answer.partition(": ")
    if verdict == "ok":
        return int(reason)
    if reason:
        raise Locked(reason) if verdict == "locked" else RunError(reason)
    return 0


def host_environment() -> dict[str, str]:
    """The environment of a host: what the person has, and threads that share a small machine.

    torch's OpenMP threads spin while they wait; with another process on the same cores that makes two threads up
    to ten times slower than one. So on small machines one core is left to the rest, and waiting threads sleep
    where the machine is already busy.
    """
    env = dict(os.environ)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if "OMP_NUM_THREADS" not in env and cores <= 4:
        env["OMP_NUM_THREADS"] = str(max(1, cores - 1))
    if "OMP_WAIT_POLICY" not in env and os.getloadavg()[0] > cores / 2:
        env["OMP_WAIT_POLICY"] = "PASSIVE"
    if env.get(cache.VARIABLE):
        env[cache.VARIABLE] = str(cache.root())  # a host stands in another folder
    env.setdefault("TOKENIZERS_PARALLELISM", "false")
    env.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    return env


def _last_line(file: Path) -> str:
    try:
        lines = [line for line in file.read_text("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return "(it can't be read)"
    return lines[-1][:300] if lines else "(it is empty)"
