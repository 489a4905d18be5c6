"""Where a run can happen. A backend is loaded by name, in the host only: what it imports is heavy.

To add one: a module or package here with `train(spec, control)`, and its name in `RunSpec.backend`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Protocol, cast

from trainer.control import Control
from trainer.events import Event
from trainer.spec import RunSpec


class Backend(Protocol):
    """What a backend module offers."""

    def train(self, spec: RunSpec, control: Control) -> Iterator[Event]:
        """Run to the end; the last event is Finished, Stopped or Failed. Files go below `control.folder`.

        Looks at `control` at least once a step. Raises RunError with one sentence for what a person can mend.
        """
        ...


def load(name: str) -> Backend:
    """Import the backend called `name` (one of RunSpec.backend's choices)."""
    return cast(Backend, importlib.import_module(f"trainer.backends.{name}"))
