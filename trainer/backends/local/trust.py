"""What may happen when files from outside are loaded: nothing is unpickled, and code that comes along runs only where
the command line asked for it. Versions of the libraries that can't keep that are refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import torch
import transformers

from trainer.models import TRUST_CODE, ModelInfo
from trainer.rundir import RunError
from trainer.versions import refusal


class Pickled(Exception):
    """A file would have been unpickled; the text is its name."""


def check_versions() -> None:
    """Raises RunError for a torch or transformers with known holes."""
    for package, version in (("torch", torch.__version__), ("transformers", transformers.__version__)):
        if said := refusal(package, version):
            raise RunError(said)


def code_trusted() -> bool:
    """Whether the command line asked for code that comes with models; see `trainer.models.TRUST_CODE`."""
    return os.environ.get(TRUST_CODE) == "1"


def trust_note(info: ModelInfo) -> str:
    """What to say of it in the log; "" where no such code may run."""
    return f"Code that comes with {info.name} may run here, as --trust-remote-code asked." if code_trusted() else ""


@contextmanager
def nothing_unpickled() -> Iterator[None]:
    """torch.load raises Pickled meanwhile. Asking for safetensors is not enough: an index of shards, or an adapter
    beside the model, can name a pickled file all the same. Only the trainer thread loads anything."""

    def refuse(file: object, *_: object, **__: object) -> NoReturn:
        raise Pickled(str(file).rpartition(os.sep)[2])

    before = torch.load
    torch.load = refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.load = before
