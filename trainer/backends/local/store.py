"""A run's checkpoints and its result: when one is written, which are kept, and model/ from the one that is wanted.

A checkpoint that can't be written ends no run and costs none that is there; see `trainer.checkpoints` for how a
folder is put in place.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from trainer import checkpoints
from trainer.backends.local import training
from trainer.backends.local.training import Saved
from trainer.checkpoints import MANIFEST, TRAINING, folder_of
from trainer.events import CheckpointFailed, CheckpointSaved, ModelSaved
from trainer.rundir import RunError, walk_size
from trainer.spec import RunSpec

WriteTraining = Callable[[Path, Saved], None]


class Store:
    """The files of one run's model.

    Of the checkpoints the last best two stay (a person may still ask for the one that was best when they looked),
    the newest `keep_checkpoints`, and with `keep_epochs` the one of every epoch's end.
    """

    def __init__(
        self,
        run: Path,
        spec: RunSpec,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        write_training: WriteTraining,
    ) -> None:
        self._run = run
        self._model = model
        self._tokenizer = tokenizer
        self._write_training = write_training
        self._method: Literal["full", "lora"] = spec.method
        self._newest = spec.keep_checkpoints
        self._epochs = spec.keep_epochs == "yes"
        self._kept: list[Saved] = []  # on disk, oldest first
        self._size = 0  # bytes of the last one written

    def take_over(self, step: int) -> None:
        """Go on from the checkpoint of `step`: those up to it are kept on, later ones are gone already."""
        checkpoints.clear_leftovers(self._run)
        for old in reversed(checkpoints.steps_on_disk(self._run)):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # what is not whole is not kept on
                if old <= step:
                    self._kept.append(training.read_saved(folder_of(self._run, old)))

    def save(self, saved: Saved, estimate: int = 0) -> CheckpointSaved | CheckpointFailed:
        """Write the model as it is now; an old checkpoint goes only after that."""
        began = time.monotonic()
        folder = folder_of(self._run, saved.step)
        try:
            with self._new(folder) as temporary:
                self._write_model(temporary)
                self._write_training(temporary, saved)
                checkpoints.seal(temporary)
        except RunError as error:
            needed, free = self._size or estimate, shutil.disk_usage(self._run).free
            said = f"{error} It needs about {needed / 1e6:.0f} MB and {free / 1e6:.0f} MB are free; training goes on."
            return CheckpointFailed(saved.step, said, needed, free)
        self._kept = [*(old for old in self._kept if old.step != saved.step), saved]
        self._size = walk_size(folder)
        self._prune()
        where = str(folder.relative_to(self._run))
        return CheckpointSaved(saved.step, where, self._size, time.monotonic() - began)

    def has(self, step: int) -> bool:
        return any(saved.step == step for saved in self._kept)

    def keep_best(self, step: int | None) -> ModelSaved | None:
        """Make model/ from the best checkpoint, or from that of `step` where it is still there; None without one."""
        best = [saved for saved in self._kept if saved.best]
        if not best:
            return None
        chosen = next((saved for saved in best if saved.step == step), best[-1])
        self._link(chosen.step)
        return ModelSaved(chosen.step, "best", "model", chosen.eval_loss, self._method)

    def keep_last(self, step: int, eval_loss: float | None) -> ModelSaved:
        """Make model/ from the model as it is now."""
        if self.has(step):
            self._link(step)
        else:
            with self._new(self._run / "model") as temporary:
                self._write_model(temporary)
        return ModelSaved(step, "last", "model", eval_loss, self._method)

    def decode(self, ids: Tensor) -> str:
        """The text of token ids, special tokens included."""
        return str(self._tokenizer.decode(ids))

    def _link(self, step: int) -> None:
        without = shutil.ignore_patterns(TRAINING, MANIFEST)
        with self._new(self._run / "model") as temporary:
            shutil.copytree(folder_of(self._run, step), temporary, copy_function=_link, ignore=without)

    def _prune(self) -> None:
        best = [saved for saved in self._kept if saved.best][-2:]
        newest = self._kept[-self._newest :]
        epochs = [saved for saved in self._kept if saved.epoch_end and self._epochs]
        stay = [saved for saved in self._kept if saved in (*best, *newest, *epochs)]
        for saved in self._kept:
            if saved not in stay:
                checkpoints.remove(folder_of(self._run, saved.step))
        self._kept = stay

    def _write_model(self, folder: Path) -> None:
        adapters = {"save_embedding_layers": False} if self._method == "lora" else {}
        self._model.save_pretrained(folder, **adapters)  # type: ignore[operator]
        self._tokenizer.save_pretrained(folder)

    @contextmanager
    def _new(self, folder: Path) -> Iterator[Path]:
        """See `trainer.checkpoints.put`. Raises RunError."""
        try:
            with checkpoints.put(folder) as temporary:
                yield temporary
        except (OSError, SafetensorError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
            raise RunError(f"{folder} can't be written: {reason[:300]}.") from None


def _link(source: str, target: str) -> None:
    """A second name for the same bytes; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
