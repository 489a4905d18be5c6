"""The terminal's driver, hardened: a screen whose terminal is gone ends, and one that is asked to end does so in time.

Textual's own driver (8.2) goes on for ever at full load when its terminal goes without a SIGHUP, dies of a byte that
is not UTF-8, and leaves the terminal as it was when a signal ends it. It ends the screen only: runs have hosts.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import sys
import termios
import threading
from codecs import getincrementaldecoder, lookup
from typing import TYPE_CHECKING, Any, NoReturn, cast

from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

if TYPE_CHECKING:
    from textual.app import App

TERMINAL_GONE = 128 + signal.SIGHUP
DEADLINE_SECONDS = 1.6  # from a signal to the end; promised are 2 s
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
TICK_SECONDS = 0.1  # how long an escape may wait for the rest of its sequence
# What Textual turns on, off again: alternative screen, mouse, paste, focus, kitty keys, wrap and cursor.
RESTORE = b"\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l\x1b[?2048l\x1b[?2004l\x1b[?1004l"
RESTORE += b"\x1b[<u\x1b[?7h\x1b[?1049l\x1b[?25h"


class HardenedDriver(LinuxDriver):
    """Textual's driver for Linux and macOS with the holes closed; needs stdin and stdout to be a terminal."""

    def __init__(
        self, app: App[Any], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        assert sys.__stdout__ is not None
        self._out = sys.__stdout__.fileno()
        self._file = cast("Any", TerminalFile(self._out, output_encoding()))
        threading.Thread(target=_watch, args=(self.fileno,), name="terminal-watch", daemon=True).start()
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._end)

    def _end(self, number: int, _frame: object) -> None:
        """A signal asks for the end: the clean way, and after the deadline any way."""
        for other in ENDING:
            signal.signal(other, signal.SIG_IGN)
        late = threading.Timer(DEADLINE_SECONDS, self._leave, (128 + number,))
        late.daemon = True
        late.start()
        # No call into the app from here: a signal may come in the middle of anything.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._app.exit, None, 128 + number)

    def _leave(self, code: int) -> NoReturn:
        """Leave at once, the terminal as it was found as far as it takes it without waiting."""
        with contextlib.suppress(OSError, termios.error):
            if self.attrs_before is not None:
                termios.tcsetattr(self.fileno, termios.TCSANOW, self.attrs_before)
            if select.select([], [self._out], [], 0)[1]:
                os.write(self._out, RESTORE)
        os._exit(code)

    def stop_application_mode(self) -> None:
        if self._mouse_pixels:  # Textual turns these on and never off
            self.write("\x1b[?1016l")
        super().stop_application_mode()

    def _run_input_thread(self) -> None:
        """A crash of this thread is one of the app, and reported like any other."""
        try:
            self.run_input_thread()
        except Exception as error:
            self._app.call_later(self._app._handle_exception, error)

    def run_input_thread(self) -> None:
        """Wait for input and pass it on. What is no character becomes U+FFFD; the end of input ends the screen."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder(input_encoding())(errors="replace").decode
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                text = decode(_read(self.fileno)) if selector.select(TICK_SECONDS) else ""
                for message in parser.feed(text) if text else ():  # "" would be the end of input
                    self.process_message(message)
                for message in parser.tick():
                    self.process_message(message)
        with contextlib.suppress(EOFError, ParseError):
            list(parser.feed(""))


class TerminalFile:
    """The terminal to write to: text in, bytes of its encoding out. When it is gone, the process is."""

    def __init__(self, fd: int, encoding: str) -> None:
        self._fd = fd
        self._encoding = encoding
        self._unsent = b""

    def write(self, text: str) -> None:
        self._unsent += text.encode(self._encoding, "replace")

    def flush(self) -> None:
        """Write what there is; waits as long as the terminal takes nothing."""
        while self._unsent:
            try:
                self._unsent = self._unsent[os.write(self._fd, self._unsent) :]
            except BlockingIOError:  # another program left the terminal non-blocking
                select.select([], [self._fd], [])
            except OSError:
                os._exit(TERMINAL_GONE)

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return True


def output_encoding() -> str:
    """The locale's, by name; UTF-8 where that is plain ASCII, which most such terminals understand."""
    return _encoding(sys.__stdout__)


def input_encoding() -> str:
    return _encoding(sys.__stdin__)


def _encoding(stream: object) -> str:
    name = lookup(getattr(stream, "encoding", None) or "utf-8").name
    return "utf-8" if name == "ascii" else name


def _read(fd: int) -> bytes:
    try:
        data = os.read(fd, 4096)
    except BlockingIOError:
        return b""
    except OSError:
        os._exit(TERMINAL_GONE)
    if not data:  # a terminal in raw mode has no other end of input than its own
        os._exit(TERMINAL_GONE)
    return data


def _watch(fd: int) -> None:
    """Sleep until the terminal hangs up, then leave: nobody can see this screen, also where SIGHUP is ignored."""
    poll = select.poll()
    poll.register(fd, 0)  # a hang-up is told without being asked for
    for _, event in poll.poll():
        if event & (select.POLLHUP | select.POLLERR):
            os._exit(TERMINAL_GONE)
