"""What a person may ask of a running trainer thread, as the thread sees it.

The host's main thread puts requests in, the trainer thread looks between steps. It knows nothing of files and
commands' wire format (`trainer.rundir`).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop now and keep `keep`; None leaves that to the spec. `step` names the best checkpoint that was shown."""

    keep: Literal["best", "last"] | None = None
    step: int | None = None


@dataclass
class Control:
    """Shared by two threads. `folder` is where the backend puts its files (the run directory).

    What was settled before the thread began: `resuming`, whether an earlier host has logged something;
    `rate_factor`, by which the learning rate is multiplied; `skip`, steps whose batch is left out.
    """

    folder: Path = field(default_factory=Path)
    resuming: bool = False
    rate_factor: float = 1.0
    skip: frozenset[int] = frozenset()
    _stop: Stop | None = None
    _paused: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def ask_stop(self, stop: Stop | None = None) -> None:
        with self._changed:
            self._stop = stop or Stop()
            self._changed.notify_all()

    def pause(self, paused: bool) -> None:
        with self._changed:
            self._paused = paused
            self._changed.notify_all()

    @property
    def stop(self) -> Stop | None:
        return self._stop

    @property
    def paused(self) -> bool:
        return self._paused

    def wait_while_paused(self) -> None:
        """Returns when training may go on or must stop."""
        with self._changed:
            self._changed.wait_for(lambda: not self._paused or self._stop is not None)
