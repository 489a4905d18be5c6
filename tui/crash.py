"""What is said when the screen breaks: a plain traceback without keys, after the terminal is itself again.

Textual would print the local variables of every frame, and with them whatever a key was kept in.
"""

from __future__ import annotations

import sys
import traceback

from rich.text import Text
from textual.app import App

from trainer.secrets import redact
from tui.safe import safe

LIMIT = 20_000
CLOSING = "The screen broke; that is our mistake. Runs go on: `finetunegem list` shows them."


def report(error: BaseException) -> str:
    """The traceback of an exception and of what led to it: no locals, no keys, nothing that a terminal obeys."""
    text = redact("".join(traceback.format_exception(error)))
    shown = text if len(text) <= LIMIT else f"{text[: LIMIT // 2]}\n…\n{text[-LIMIT // 2 :]}"
    return f"{safe(shown, LIMIT + 10)}\n{CLOSING}"


class PlainCrash(App[None]):
    """An app whose crash ends with `report` on stderr and exit code 1."""

    def _fatal_error(self) -> None:
        """In place of Textual's, called while the exception is being handled."""
        error = sys.exc_info()[1] or self._exception
        self._exit_renderables.append(Text(report(error) if error else CLOSING))
        self._close_messages_no_wait()

    def _handle_exception(self, error: Exception) -> None:
        """Exceptions that would draw themselves (a stylesheet's, with its source) are reported like all others."""
        self._return_code = 1
        if self._exception is None:
            self._exception = error
            self._exception_event.set()
        self._exit_renderables.append(Text(report(error)))
        self._close_messages_no_wait()

    def _print_error_renderables(self) -> None:
        """The first error; those after it mostly follow from it. Written as it stands: a line is not wrapped."""
        first = next((str(shown) for shown in self._exit_renderables), "")
        self._exit_renderables.clear()
        if first and sys.__stderr__ is not None:
            encoding = sys.__stderr__.encoding or "utf-8"
            print(first.encode(encoding, "replace").decode(encoding), file=sys.__stderr__, flush=True)
