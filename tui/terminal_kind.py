"""What kind of terminal this is: whether it can show a screen at all, and whether in more than ASCII.

It asks the environment and the standard streams, never the terminal itself: an answer may not come.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

LEAST_WIDTH, LEAST_HEIGHT = 40, 10  # below, the screen only says so
NO_SCREEN = ("dumb", "unknown")
SWITCH = "FINETUNEGEM_ASCII"  # 1 or 0: the person knows better


def why_no_screen(environment: Mapping[str, str] = os.environ) -> str:
    """One sentence that says why no screen can be shown here; "" where it can."""
    streams = (sys.__stdin__, sys.__stdout__)
    if not all(stream is not None and not stream.closed and stream.isatty() for stream in streams):
        return "The screen needs a terminal; `finetunegem run` works without one (see --help)."
    term = environment.get("TERM", "")
    if term.lower() in NO_SCREEN:
        return f"The screen needs a terminal that can move its cursor, and TERM is {term.lower()}; " + (
            "`finetunegem run` works without one (see --help)."
        )
    return ""


def is_too_small(width: int, height: int) -> bool:
    return width < LEAST_WIDTH or height < LEAST_HEIGHT


def needs_ascii(environment: Mapping[str, str] = os.environ, encoding: str | None = None) -> bool:
    """Whether lines and dots must be drawn in ASCII: the locale is not UTF-8, or there are 16 colours at most.

    Terminals of 16 colours are consoles and old ones, whose fonts have no braille.
    """
    if environment.get(SWITCH) in ("0", "1"):
        return environment[SWITCH] == "1"
    return not _is_utf8(environment, encoding) or not _has_256_colors(environment)


def _is_utf8(environment: Mapping[str, str], encoding: str | None) -> bool:
    """LC_ALL=C counts as not: Python writes UTF-8 there all the same, whatever the terminal can show."""
    codec = encoding or getattr(sys.__stdout__, "encoding", None) or ""
    named = environment.get("LC_ALL", "").upper()
    return codec.lower().replace("-", "") == "utf8" and named not in ("C", "POSIX")


def _has_256_colors(environment: Mapping[str, str]) -> bool:
    """What rich makes of the same variables."""
    if environment.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit"):
        return True
    return environment.get("TERM", "").strip().lower().endswith(("256color", "-direct", "kitty"))
