"""Asking the files about a spec, and the machine about itself, without holding up the screen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from trainer.spec import RunSpec

if TYPE_CHECKING:
    from tui.ahead import Ahead, Outlook


async def around() -> str:
    """One line where leaving this terminal would end a run; "" elsewhere. It may take some seconds."""
    return await asyncio.to_thread(_around)


def _around() -> str:
    """In the thread, its imports too."""
    from trainer import surroundings

    return surroundings.warning(surroundings.here())


class Looker:
    """Reads in a thread, one reading at a time: a question that is cancelled lets the next one wait for its end."""

    def __init__(self) -> None:
        self._ahead: Ahead | None = None
        self._reading: asyncio.Future[Outlook] | None = None

    async def look(self, spec: RunSpec) -> Outlook:
        """What the spec comes to, as `check.look_ahead` says it."""
        while self._reading is not None and not self._reading.done():
            await asyncio.wait([self._reading])
        self._reading = asyncio.ensure_future(asyncio.to_thread(self._read, spec))
        return await asyncio.shield(self._reading)

    def _read(self, spec: RunSpec) -> Outlook:
        """In the thread, its imports too: the first frame does not wait for what reads data."""
        from tui.ahead import Ahead

        if self._ahead is None:
            self._ahead = Ahead()
        return self._ahead.look(spec)
