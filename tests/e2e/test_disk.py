"""Disks that take no more, for real: full to the last byte, a limit on the size of files, a run that is taken away."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.e2e import disk
from tests.e2e.stage import kill_host
from trainer import checkpoints, launch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NAMESPACES = (["unshare", "-m"], ["unshare", "-Urm"])  # as root; as anybody, where the system allows it


@cache
def namespace() -> list[str] | None:
    """How a command gets mounts of its own here; None where that is not allowed."""
    for command in NAMESPACES:
        try:
            done = subprocess.run([*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
        except OSError:
            continue
        if done.returncode == 0:
            return command
    return None


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disk.undisturbed(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("scenario", disk.SCENARIOS)
def test_on_a_full_disk(scenario: str, tmp_path: Path, whole: Path) -> None:
    if (command := namespace()) is None:
        pytest.skip("a small disk can't be mounted here (neither as root nor in a user namespace)")
    done = subprocess.run(
        [*command, sys.executable, "-m", "tests.e2e.disk", scenario, str(tmp_path), str(whole)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="prlimit(2) is Linux's")
def test_a_limit_on_the_size_of_files(tmp_path: Path, whole: Path) -> None:
    """EFBIG for the optimizer's states, and not for the log; then the limit goes."""
    run = disk.after_the_first_save(launch.start(tmp_path / "runs", disk.SPEC))
    first = disk.saved_steps(run)[0]
    host = run.holder()
    assert host is not None
    try:
        resource.prlimit(host, resource.RLIMIT_FSIZE, (10_000_000, resource.RLIM_INFINITY))
        disk.wait_until(lambda: len(disk.failed_saves(run)) >= 2, run)
        assert "File too large" in disk.failed_saves(run)[-1].message
        checkpoints.verify(checkpoints.folder_of(run.path, first))
        resource.prlimit(host, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert disk.ended(run) == 0
        assert disk.is_as(whole, run)
    finally:
        kill_host(run)


def test_a_run_that_is_renamed_goes_on_and_saves_again_when_it_is_back(tmp_path: Path, whole: Path) -> None:
    run = disk.after_the_first_save(launch.start(tmp_path / "runs", disk.SPEC))
    away = run.path.with_name("away")
    try:
        run.path.rename(away)
        moved = type(run)(away)
        disk.wait_until(lambda: disk.failed_saves(moved), moved)
        assert "No such file or directory" in disk.failed_saves(moved)[-1].message
        assert not run.path.exists()
        away.rename(run.path)
        assert disk.ended(run) == 0
        assert disk.is_as(whole, run)
    finally:
        kill_host(run)


def test_a_run_that_is_removed_is_not_made_anew(tmp_path: Path) -> None:
    run = disk.after_the_first_save(launch.start(tmp_path / "runs", disk.SPEC))
    shutil.rmtree(run.path)
    assert disk.ended(run) == 1
    assert list((tmp_path / "runs").iterdir()) == []
