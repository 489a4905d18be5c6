"""Checkpoints and the result on disk, in the layout every other tool loads.

A folder is written under a temporary name, synced, and renamed: it is whole or it is not there.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedTokenizerBase

from trainer.events import CheckpointSaved, ModelSaved
from trainer.rundir import RunError, walk_size


class Store:
    """The files of one run's model. Keeps the two newest best checkpoints: a person may still ask for the one
    that was best when they looked."""

    def __init__(self, run: Path, model: nn.Module, tokenizer: PreTrainedTokenizerBase, method: str) -> None:
        self._run = run
        self._model = model
        self._tokenizer = tokenizer
        self._method: Literal["full", "lora"] = "lora" if method == "lora" else "full"
        self._kept: list[tuple[int, float]] = []  # (step, eval_loss) on disk, oldest first

    def save_best(self, step: int, eval_loss: float) -> CheckpointSaved:
        """Write the model as it is now; the one before the last best goes only after that."""
        began = time.monotonic()
        folder = self._checkpoint(step)
        self._write(folder)
        self._kept.append((step, eval_loss))
        for old, _ in self._kept[:-2]:
            shutil.rmtree(self._checkpoint(old), ignore_errors=True)
        self._kept = self._kept[-2:]
        where = str(folder.relative_to(self._run))
        return CheckpointSaved(step, where, walk_size(folder), time.monotonic() - began)

    def keep_best(self, step: int | None) -> ModelSaved | None:
        """Make model/ from the best checkpoint, or from that of `step` where it is still there; None without one."""
        if not self._kept:
            return None
        chosen = next((kept for kept in self._kept if kept[0] == step), self._kept[-1])
        with self._new(self._run / "model") as temporary:
            shutil.copytree(self._checkpoint(chosen[0]), temporary, copy_function=_link)
        return ModelSaved(chosen[0], "best", "model", chosen[1], self._method)

    def keep_last(self, step: int, eval_loss: float | None) -> ModelSaved:
        """Make model/ from the model as it is now."""
        self._write(self._run / "model")
        return ModelSaved(step, "last", "model", eval_loss, self._method)

    def _checkpoint(self, step: int) -> Path:
        return self._run / "checkpoints" / f"step-{step:06d}"

    def _write(self, folder: Path) -> None:
        with self._new(folder) as temporary:
            adapters = {"save_embedding_layers": False} if self._method == "lora" else {}
            self._model.save_pretrained(temporary, **adapters)  # type: ignore[operator]
            self._tokenizer.save_pretrained(temporary)

    @contextmanager
    def _new(self, folder: Path) -> Iterator[Path]:
        """A temporary folder's name that becomes `folder` when all went well, and goes when not. Raises RunError."""
        temporary = folder.with_name(f".tmp-{folder.name}")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            yield temporary
            _put(temporary, folder)
        except (OSError, SafetensorError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
            raise RunError(f"{folder} can't be written: {reason[:300]}.") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _put(temporary: Path, folder: Path) -> None:
    """Sync every file and the folder, then rename into place; what stood there goes only after that."""
    for file in temporary.rglob("*"):
        if file.is_file():
            _sync(file)
    _sync(temporary)
    old = folder.with_name(f".old-{folder.name}")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _link(source: str, target: str) -> None:
    """A second name for the same bytes; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
