"""What only going on needs: optimizer, schedule, random states and the evaluations so far, to disk and back, exactly.

safetensors and JSON, nothing that is executed when it is read. A run that goes on from here takes the same steps to
the last bit on the same machine.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from trainer.checkpoints import TRAINING
from trainer.events import Evaluated

TENSORS, STATE = "optimizer.safetensors", "state.json"


@dataclass
class Progress:
    """How far a run is: steps taken, evaluations that count, and how batches are cut (it changes rounding)."""

    step: int = 0
    token_budget: int = 0
    eval_budget: int = 0
    untrained_loss: float = math.inf
    best: Evaluated | None = None
    last: Evaluated | None = None
    recompute: bool = False


@dataclass(frozen=True, slots=True)
class Saved:
    """What a checkpoint says of itself: its eval loss if it was evaluated, whether it was best, an epoch's end."""

    step: int
    eval_loss: float | None
    best: bool
    epoch_end: bool


def write(folder: Path, progress: Progress, saved: Saved, optimizer: Optimizer, schedule: LRScheduler) -> None:
    """Into `folder`/training. Raises OSError or SafetensorError."""
    tensors, numbers = _split(optimizer.state_dict())
    tensors["random.torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    kind, keys, place, has_gauss, gauss = np.random.get_state(legacy=True)
    state = {
        "progress": asdict(progress),
        "saved": asdict(saved),
        "optimizer": numbers,
        "schedule": schedule.state_dict(),
        "random": {"python": random.getstate(), "numpy": [kind, [int(k) for k in keys], place, has_gauss, gauss]},
    }
    (folder / TRAINING).mkdir()
    save_file(tensors, folder / TRAINING / TENSORS)
    (folder / TRAINING / STATE).write_text(json.dumps(state), "utf-8")


def read_saved(folder: Path) -> Saved:
    return Saved(**_state(folder)["saved"])


def read_progress(folder: Path) -> Progress:
    raw = _state(folder)["progress"]
    best, last = (Evaluated(**raw[name]) if raw[name] else None for name in ("best", "last"))
    return Progress(**{**raw, "best": best, "last": last})


def restore(folder: Path, optimizer: Optimizer, schedule: LRScheduler) -> None:
    """Optimizer, schedule and random states as they were when `folder` was written."""
    state = _state(folder)
    tensors = load_file(folder / TRAINING / TENSORS)
    torch.set_rng_state(tensors.pop("random.torch"))
    cuda = tensors.pop("random.cuda", None)
    if cuda is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(cuda)
    optimizer.load_state_dict(_join(tensors, state["optimizer"]))
    schedule.load_state_dict(state["schedule"])
    version, internal, gauss = state["random"]["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, place, has_gauss, gauss = state["random"]["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), place, has_gauss, gauss))


def scale_rate(optimizer: Optimizer, schedule: LRScheduler, peak: float) -> None:
    """From the next step on the schedule has this peak."""
    schedule.base_lrs = [peak] * len(optimizer.param_groups)
    share = schedule.lr_lambdas[0](schedule.last_epoch)  # type: ignore[attr-defined]
    for group in optimizer.param_groups:
        group["initial_lr"], group["lr"] = peak, peak * share
    schedule._last_lr = [group["lr"] for group in optimizer.param_groups]


def _state(folder: Path) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads((folder / TRAINING / STATE).read_text("utf-8"))
    return raw


def _split(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as tensors by "parameter.name", and the rest as plain numbers."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value.detach().contiguous()
            else:
                numbers.setdefault(str(index), {})[name] = value
    return tensors, {"state": numbers, "param_groups": state["param_groups"]}


def _join(tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in numbers["state"].items()}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    return {"state": state, "param_groups": numbers["param_groups"]}
