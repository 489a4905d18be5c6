"""A line for a path: what is typed is completed from the folder it points into, or from names that are known."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from textual.suggester import Suggester

from trainer.models import expanded
from tui.widgets.line_input import LineInput

MOST = 2000  # entries of a folder that are looked at


class PathSuggester(Suggester):
    """The first known name or folder entry that begins with what stands there. Hidden files only when asked for."""

    def __init__(self, known: tuple[str, ...]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self.known = known

    async def get_suggestion(self, value: str) -> str | None:
        if not value:
            return None
        for name in self.known:
            if name.startswith(value) and name != value:
                return name
        return await asyncio.to_thread(complete, value)


def complete(value: str) -> str | None:
    """`value` with its last part completed, a folder's with a slash; None where nothing fits."""
    head, _, start = value.rpartition("/")
    folder = expanded(f"{head}/") if "/" in value else Path()
    names: list[tuple[str, bool]] = []
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(MOST), entries, strict=False):
                if entry.name.startswith(start) and (start or not entry.name.startswith(".")):
                    names.append((entry.name, entry.is_dir()))
    except (OSError, ValueError):
        return None
    if not names:
        return None
    name, is_folder = min(names)
    full = value[: len(value) - len(start)] + name + ("/" if is_folder else "")
    return full if full != value and full.isprintable() else None


class PathInput(LineInput):
    """Right arrow at the end takes the completion, as in every Input."""

    def __init__(self, text: str, known: tuple[str, ...], *, name: str, id: str) -> None:
        super().__init__(text, name=name, id=id, suggester=PathSuggester(known), select_on_focus=False)
