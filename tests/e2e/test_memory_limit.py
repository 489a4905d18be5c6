"""Memory that really runs out: a host on the CPU whose address space is limited while it is paused between two steps.

What a step needs is measured first, so the limit is right on any machine. `MALLOC_MMAP_THRESHOLD_` makes the C library
give large blocks back at once, so that what is measured is what is used.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.stage import kill_host
from trainer import launch
from trainer.events import Failed, Finished, Noted
from trainer.follow import Follower, View
from trainer.rundir import Command, RunDir
from trainer.spec import RunSpec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="prlimit(2) and /proc are Linux's"),
]

PATIENCE = 300.0


@pytest.fixture(autouse=True)
def measurable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def rows(file: Path, *words: int) -> str:
    """A data file of answers of so many words."""
    chats = [
        [{"role": "user", "content": f"say {at}"}, {"role": "assistant", "content": " ".join(["word"] * many)}]
        for at, many in enumerate(words)
    ]
    file.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats), "utf-8")
    return str(file)


def wait_until(follower: Follower, holds: Callable[[View], bool]) -> View:
    until = time.monotonic() + PATIENCE
    while not holds(follower.look()) and follower.view.live:
        assert time.monotonic() < until, follower.view
        time.sleep(0.05)
    return follower.view


def address_space(pid: int, field: str) -> int:
    """VmSize, what is mapped now, or VmPeak, the most there ever was; in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("utf-8"), re.MULTILINE)
    assert found
    return 1024 * int(found[1])


def limited(run: RunDir, room: Callable[[int], int]) -> Follower:
    """Pause the run after a step, leave its host `room(what a step takes)` bytes, and let it go on to its end."""
    follower = Follower(run)
    wait_until(follower, lambda view: view.state.step >= 1)
    run.ask(Command("pause"))
    wait_until(follower, lambda view: view.state.paused)
    host = run.holder()
    assert host is not None
    used, most = (address_space(host, field) for field in ("VmSize", "VmPeak"))
    limit = used + room(most - used)
    resource.prlimit(host, resource.RLIMIT_AS, (limit, limit))
    run.ask(Command("continue"))
    wait_until(follower, lambda _: False)
    return follower


def notes(run: RunDir) -> str:
    return " ".join(entry.event.message for entry in run.read_events()[0] if isinstance(entry.event, Noted))


def test_where_a_step_no_longer_fits_its_micro_batches_are_halved(tmp_path: Path) -> None:
    data = rows(tmp_path / "data.jsonl", *[300 + at for at in range(16)])
    held_out = rows(tmp_path / "held-out.jsonl", 20, 30)
    wanted = RunSpec(data=data, eval_data=held_out, batch_size=8, epochs=3, eval_every=2, method="full")
    runs = [launch.start(tmp_path / name, wanted) for name in ("roomy", "small")]
    try:
        small = limited(runs[1], lambda step: int(0.7 * step))
        roomy = Follower(runs[0])
        wait_until(roomy, lambda _: False)
        said = runs[1].host_log.read_text("utf-8")
        assert small.view.state.ending == Finished(6), said
        assert re.search(r"Out of memory at step \d: .*; the batch is still 8 examples\.", notes(runs[1]))
        assert "can't allocate memory" in said
        assert "Out of memory" not in notes(runs[0])
        assert small.view.state.steps.loss[:] == pytest.approx(roomy.view.state.steps.loss[:], rel=1e-3)
        assert small.view.state.steps.num_tokens[:] == roomy.view.state.steps.num_tokens[:]
    finally:
        for run in runs:
            kill_host(run)


def test_where_one_example_does_not_fit_what_is_recommended_does(tmp_path: Path) -> None:
    """In 14 MB more than it has, the starter model learns from no example of 1,000 tokens.

    The run that is recommended has 20: what an allocator has left between its blocks differs by some from run to run.
    """
    data = rows(tmp_path / "data.jsonl", *[20] * 9, 900)
    held_out = rows(tmp_path / "held-out.jsonl", 20)
    wanted = RunSpec(data=data, eval_data=held_out, batch_size=1, epochs=2, max_length=1024, method="full")
    run = launch.start(tmp_path / "runs", wanted)
    try:
        failed = limited(run, lambda _: 14_000_000).view.state.ending
        assert isinstance(failed, Failed), run.host_log.read_text("utf-8")
        found = re.fullmatch(
            r"One example of 1,024 tokens does not fit in the memory\. What would fit: max length (\d+) \(tried\), or "
            r"(LoRA instead of full \(tried\)|a model of up to about \S+ parameters)\.",
            failed.message,
        )
        assert found, failed.message + run.host_log.read_text("utf-8")
    finally:
        kill_host(run)
    changed = launch.start(tmp_path / "runs", replace(wanted, max_length=int(found[1])))
    try:
        ending = limited(changed, lambda _: 20_000_000).view.state.ending
        assert ending == Finished(20), changed.host_log.read_text("utf-8")
    finally:
        kill_host(changed)
