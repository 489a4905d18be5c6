"""A real terminal for tests: the app in a pty, its bytes fed to a screen emulator. Waits for text, never blindly."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pexpect
import pyte

ENTER, ESCAPE, DOWN, F2 = "\r", "\x1b", "\x1b[B", "\x1bOQ"
CTRL_C, CTRL_L, CTRL_Q, CTRL_Z = "\x03", "\x0c", "\x11", "\x1a"
MODES = re.compile(rb"\x1b\[\?(\d+)([hl])")
USUAL_MODES = {7: True, 25: True}  # wrap and cursor are on in any terminal; all else is off


class Terminal:
    """`finetunegem` with the given arguments in a pty of `width` x `height` cells.

    `program` is another command line to run in it instead.
    """

    def __init__(
        self,
        arguments: list[str],
        env: Mapping[str, str],
        cwd: Path,
        width: int = 80,
        height: int = 24,
        *,
        program: list[str] | None = None,
        codec: str = "utf-8",
        preexec_fn: Callable[[], None] | None = None,
    ):
        self.screen = pyte.Screen(width, height)
        self._stream = pyte.ByteStream(self.screen)
        self._codec = codec
        around = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}  # not its size
        command = program or [sys.executable, "-P", "-m", "tui.cli", *arguments]
        self.child = pexpect.spawn(
            command[0],
            command[1:],
            env={**around, "TERM": "xterm-256color", "COLORTERM": "truecolor", **env},
            cwd=str(cwd),
            dimensions=(height, width),
            timeout=5,
            preexec_fn=preexec_fn,
        )
        self.raw = bytearray()  # everything it wrote

    @property
    def bytes_read(self) -> int:
        return len(self.raw)

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    def read(self, seconds: float = 0.1) -> bytes:
        """Take what the app has written within this time."""
        until, start = time.monotonic() + seconds, len(self.raw)
        while (left := until - time.monotonic()) > 0:
            try:
                data = self.child.read_nonblocking(65536, timeout=left)
            except (pexpect.TIMEOUT, pexpect.EOF):
                break
            self.raw += data
            self._stream.feed(data if self._codec == "utf-8" else data.decode(self._codec, "replace").encode())
        return bytes(self.raw[start:])

    def seconds_until(self, wanted: bytes, at_most: float = 10) -> float:
        """How long it took until these bytes came; the emulator gets them afterwards, for it takes time of its own."""
        began, found = time.monotonic(), bytearray()
        while wanted not in found:
            if time.monotonic() - began > at_most:
                raise AssertionError(f"{wanted!r} was not sent")
            with contextlib.suppress(pexpect.TIMEOUT):
                found += self.child.read_nonblocking(65536, timeout=0.05)
        waited = time.monotonic() - began
        self.raw += found
        self._stream.feed(bytes(found))
        return waited

    def wait_for(self, *wanted: str, seconds: float = 60) -> str:
        """The screen's text once it holds all of `wanted`."""
        return self.wait_until(lambda: all(part in self.text for part in wanted), f"{wanted}", seconds)

    def wait_until(self, holds: Callable[[], bool], what: str, seconds: float = 60) -> str:
        """The screen's text once the condition holds."""
        until = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > until or not self.child.isalive():
                raise AssertionError(f"never saw {what}; the screen is:\n{self.text}")
            self.read()
        return self.text

    def wait_idle(self, seconds: float = 0.6, at_most: float = 30) -> None:
        """Read until nothing has come for this long."""
        until = time.monotonic() + at_most
        while self.read(seconds):
            assert time.monotonic() < until, "it never fell silent"

    def send(self, keys: str | bytes) -> None:
        self.child.send(keys)

    def resize(self, width: int, height: int) -> None:
        self.screen.resize(height, width)
        self.child.setwinsize(height, width)

    def settings(self) -> list[object]:
        """The terminal's line settings (termios)."""
        attributes: list[object] = termios.tcgetattr(self.child.child_fd)
        return attributes

    def modes(self) -> dict[int, bool]:
        """The private modes that the app left other than any terminal has them."""
        last = {int(number): state == b"h" for number, state in MODES.findall(bytes(self.raw))}
        return {number: on for number, on in last.items() if on != USUAL_MODES.get(number, False)}

    def ended(self, seconds: float = 10) -> int:
        """Read until the app has ended; its exit code, or minus the signal that ended it."""
        until = time.monotonic() + seconds
        while self.child.isalive():
            assert time.monotonic() < until, f"it did not end; the screen is:\n{self.text}"
            self.read()
        self.read()
        return int(-self.child.signalstatus if self.child.exitstatus is None else self.child.exitstatus)

    def close(self) -> int | None:
        """Close the pty under the app, as a lost link does, and wait for the app's end."""
        self.child.close(force=True)
        status: int | None = self.child.exitstatus
        return status
