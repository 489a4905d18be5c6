"""A process that has loaded torch and transformers once and forks a host for every run it is given.

For tests that start a hundred. What it forks is what `python -m trainer` is, in a session of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from trainer import secrets
from trainer.host import run_host
from trainer.launch import host_environment
from trainer.rundir import RunDir


class Forge:
    """`with Forge() as forge: forge.start(run)`, as often as wanted; its hosts outlive it."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-P", "-m", "tests.soak.forge"]
        env = {**host_environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._process:
            self._process.kill()

    def start(self, run: RunDir) -> None:
        """Start its host, and return when that holds the run. Raises RuntimeError with the host's reason."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(run.path), str(run.host_log)]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        if not answer.startswith("ok: "):
            raise RuntimeError(answer or "the host died at once")


def main() -> None:
    """Fork a host for every line of standard input, and print what it says."""
    import trainer.backends.local  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        run, log = json.loads(line)
        ours, theirs = os.pipe()
        if os.fork() == 0:
            os.close(ours)
            _be_host(run, log, theirs)
        os.close(theirs)
        with os.fdopen(ours) as answers:
            print(answers.readline().strip(), flush=True)


def _be_host(run: str, log: str, ready_fd: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.chdir("/")
    target = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for fd, what in ((0, os.open(os.devnull, os.O_RDONLY)), (1, target), (2, target)):
        os.dup2(what, fd)
    secrets.install()
    os._exit(run_host([run, str(ready_fd)]))


if __name__ == "__main__":
    main()
