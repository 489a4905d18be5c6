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
from trainer.backends.local.memory import ran_out
from trainer.backends.local.training import Saved
from trainer.checkpoints import MANIFEST, TRAINING, folder_of
from trainer.events import CheckpointFailed, CheckpointSaved, ModelSaved
from trainer.files import reason, sized
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
        sizes: tuple[int, int] = (0, 0),
    ) -> None:
        """`sizes`: about how many bytes a checkpoint has, and the model in it, until one was written."""
        self._run = run
        self._model = model
        self._tokenizer = tokenizer
        self._write_training = write_training
        self._method: Literal["full", "lora"] = spec.method
        self._newest = spec.keep_checkpoints
        self._epochs = spec.keep_epochs == "yes"
        self._kept: list[Saved] = []  # on disk, oldest first
        self._size, self._weights = sizes

    def take_over(self, step: int) -> None:
        """Go on from the checkpoint of `step`: those up to it are kept on, later ones are gone already."""
        checkpoints.clear_leftovers(self._run)
        for old in reversed(checkpoints.steps_on_disk(self._run)):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # what is not whole is not kept on
                if old <= step:
                    self._kept.append(training.read_saved(folder_of(self._run, old)))

    def save(self, saved: Saved) -> CheckpointSaved | CheckpointFailed:
        """Write the model as it is now; an old checkpoint goes only after that."""
        began = time.monotonic()
        folder = folder_of(self._run, saved.step)
        try:
            with self._new(folder, self._size) as temporary:
                self._write_model(temporary)
                self._write_training(temporary, saved)
                checkpoints.seal(temporary)
        except RunError as error:
            return CheckpointFailed(saved.step, f"{error} Training goes on.", self._size, self._free() or 0)
        self._kept = [*(old for old in self._kept if old.step != saved.step), saved]
        self._size = walk_size(folder)
        self._prune()
        where = str(folder.relative_to(self._run))
        return CheckpointSaved(saved.step, where, self._size, time.monotonic() - began)

    @property
    def size(self) -> int:
        """About how many bytes a checkpoint has."""
        return self._size

    def trial(self, saved: Saved) -> tuple[int, float]:
        """Write a checkpoint for nothing; its bytes, and the seconds it took. Raises RunError."""
        folder = self._run / ".old-dry-run"  # what is left of it when the host is killed goes with the leftovers
        began = time.monotonic()
        try:
            with self._new(folder, self._size) as temporary:
                self._write_model(temporary)
                self._write_training(temporary, saved)
                checkpoints.seal(temporary)
            return walk_size(folder), time.monotonic() - began
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def newest(self) -> int | None:
        """The step of the newest checkpoint on disk."""
        return max((saved.step for saved in self._kept), default=None)

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
            with self._new(self._run / "model", self._weights) as temporary:
                self._write_model(temporary)
        return ModelSaved(step, "last", "model", eval_loss, self._method)

    def decode(self, ids: Tensor) -> str:
        """The text of token ids, special tokens included."""
        return str(self._tokenizer.decode(ids))

    def _link(self, step: int) -> None:
        without = shutil.ignore_patterns(TRAINING, MANIFEST)
        with self._new(self._run / "model", self._weights) as temporary:
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

    def _free(self) -> int | None:
        """Bytes; None where the run is gone."""
        with contextlib.suppress(OSError):
            return shutil.disk_usage(self._run).free
        return None

    @contextmanager
    def _new(self, folder: Path, size: int) -> Iterator[Path]:
        """See `trainer.checkpoints.put`. A run that was removed or renamed is not made anew. Raises RunError."""
        try:
            self._run.stat()
            with checkpoints.put(folder) as temporary:
                yield temporary
        except Exception as error:
            if not (isinstance(error, OSError | SafetensorError) or ran_out(error)):
                raise
            if ran_out(error):
                raise RunError(f"{folder} can't be written: out of memory.") from None
            said = f"{folder} can't be written: {' '.join(reason(error).split())[:300]}."
            if (free := self._free()) is not None:
                said += f" It needs about {sized(size)} and {sized(free)} are free."
            raise RunError(said) from None


def _link(source: str, target: str) -> None:
    """A second name for the same bytes; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
