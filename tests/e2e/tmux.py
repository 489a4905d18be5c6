"""A real tmux of its own for tests: a private server on a private socket, gone when the block ends."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Tmux:
    """One server with one window, in which a command runs."""

    def __init__(self, folder: Path, name: str) -> None:
        self._socket = folder / f"{name}.tmux"
        self._folder = folder

    def start(self, arguments: list[str], env: Mapping[str, str], width: int = 80, height: int = 24) -> None:
        command = shlex.join([sys.executable, "-P", "-m", "tui.cli", *arguments])
        config = self._folder / "tmux.conf"
        config.write_text("set -s set-clipboard on\nset -g allow-rename on\nset -g default-terminal tmux-256color\n")
        size = ["-x", str(width), "-y", str(height)]
        given = [part for name, value in env.items() for part in ("-e", f"{name}={value}")]
        self._do(["-f", str(config), "new-session", "-d", *size, *given, "-c", str(self._folder), command], env)

    def say(self, *words: str) -> str:
        """What a tmux command answers; "" when the server is gone."""
        return self._do(list(words))

    def text(self) -> str:
        return self.say("capture-pane", "-p")

    def pid(self) -> int:
        """Of the command in the window."""
        return int(self.say("display-message", "-p", "#{pane_pid}"))

    def wait_for(self, *wanted: str, seconds: float = 60) -> str:
        until = time.monotonic() + seconds
        while not all(part in (text := self.text()) for part in wanted):
            assert time.monotonic() < until, f"never saw {wanted}; the window is:\n{text}"
            time.sleep(0.1)
        return text

    def kill(self) -> None:
        self.say("kill-server")

    def _do(self, words: list[str], env: Mapping[str, str] | None = None) -> str:
        given = {name: value for name, value in os.environ.items() if name not in ("TMUX", "TMUX_PANE")} | dict(
            env or {}
        )
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), *words],
            env=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        return done.stdout.strip("\n")


@contextmanager
def tmux(folder: Path, name: str = "t") -> Iterator[Tmux]:
    server = Tmux(folder, name)
    try:
        yield server
    finally:
        server.kill()
