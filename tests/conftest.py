"""For every test: folders and settings of its own, no network, and no host left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.builders import RunBuilder
from trainer import launch
from trainer.events import DataRead, Evaluated, ModelLoaded, Planned, StepTaken
from trainer.rundir import list_runs

PATIENCE = 30.0  # seconds; only a test that fails waits so long


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What stands in a person's home or environment changes no test, and no test changes it."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("HF_HOME", str(home / "huggingface"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("FINETUNEGEM_SPARE", "no")  # loading the libraries beside every form would take the tests' time
    for name in ("FINETUNEGEM_RUNS", "FINETUNEGEM_CACHE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def hearing() -> None:
    """Who starts the tests under nohup ignores hangups, and so would all they start."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def reaped() -> Iterator[None]:
    """The hosts that tests started are gone when the tests are done."""
    yield
    for child in launch._children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@pytest.fixture
def wait_for() -> Callable[..., None]:
    """`wait_for(condition, what)`: returns when the condition holds, fails naming `what` when it never does."""

    def wait(condition: Callable[[], object], what: str = "the condition") -> None:
        until = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < until, f"{what} did not come about"
            time.sleep(0.01)

    return wait


@pytest.fixture
def runs_dir(tmp_path: Path) -> Iterator[Path]:
    """A folder for runs; hosts that still drive one when the test ends are killed, and their keepers."""
    folder = tmp_path / "runs"
    yield folder
    for run in list_runs(folder):
        if (pid := run.holder()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(os.getpgid(pid), signal.SIGKILL)


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Path]:
    """`record(steps, seconds)`: a recorded run for the replay backend, `seconds` between its steps."""

    def make(steps: int = 8, seconds: float = 0.0) -> Path:
        builder = RunBuilder(tmp_path / "recorded", name=f"2026-11-23-1400-recorded-{steps:04d}")
        builder.add(ModelLoaded("builtin:tiny", 2_000_000, 2_000_000, "cpu", "float32"))
        builder.add(DataRead("messages", 270, 30, 27_400, 16_200, 0, 0), Planned(1, steps, steps, 4))
        builder.add(Evaluated(0, 0.0, 7.5, 1800, 0.1))
        for step in range(1, steps + 1):
            builder.add(StepTaken(step, step / steps, 6.0 / step, 1e-3, 1.0, 400, 0.05), seconds=seconds)
            builder.last_step = step
            if step % 4 == 0:
                builder.add(Evaluated(step, step / steps, 7.0 / step, 1800, 0.1))
        return builder.finished().run.path

    return make
