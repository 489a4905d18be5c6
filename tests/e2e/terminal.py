"""A real terminal for tests: the app in a pty, its bytes fed to a screen emulator. Waits for text, never blindly."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pexpect
import pyte

ENTER, ESCAPE, DOWN = "\r", "\x1b", "\x1b[B"


class Terminal:
    """`finetunegem` with the given arguments in a pty of `width` x `height` cells."""

    def __init__(self, arguments: list[str], env: Mapping[str, str], cwd: Path, width: int = 80, height: int = 24):
        self.screen = pyte.Screen(width, height)
        self._stream = pyte.ByteStream(self.screen)
        self.child = pexpect.spawn(
            sys.executable,
            ["-P", "-m", "tui.cli", *arguments],
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **env},
            cwd=str(cwd),
            dimensions=(height, width),
            timeout=5,
        )
        self.bytes_read = 0

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    def read(self, seconds: float = 0.1) -> None:
        """Take what the app has written within this time."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                data = self.child.read_nonblocking(65536, timeout=left)
            except pexpect.TIMEOUT:
                return
            except pexpect.EOF:
                return
            self.bytes_read += len(data)
            self._stream.feed(data)

    def wait_for(self, *wanted: str, seconds: float = 60) -> str:
        """The screen's text once it holds all of `wanted`."""
        until = time.monotonic() + seconds
        while not all(part in self.text for part in wanted):
            if time.monotonic() > until or not self.child.isalive():
                raise AssertionError(f"never saw {wanted}; the screen is:\n{self.text}")
            self.read()
        return self.text

    def send(self, keys: str) -> None:
        self.child.send(keys)

    def close(self) -> int | None:
        """Close the pty under the app, as a lost link does, and wait for the app's end."""
        self.child.close(force=True)
        status: int | None = self.child.exitstatus
        return status
