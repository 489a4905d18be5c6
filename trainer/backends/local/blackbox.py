"""What was so when a loss or gradient was no number: enough to see which example did it, and to do it again."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from trainer.backends.local.prepare import Setup
from trainer.backends.local.tokens import Stored
from trainer.files import write_whole
from trainer.secrets import redact


def write_black_box(setup: Setup, run: Path, step: int, batch: Sequence[Stored], loss: float, grad_norm: float) -> Path:
    """Write blackbox-step-N.json into the run directory: the batch's rows and text, rates, norms, random states.

    The gradient norms are those of each trained parameter; what is not finite is written as text.
    """
    parameters = setup.compute.model.named_parameters()
    norms = {name: _number(p.grad.norm().item()) for name, p in parameters if p.grad is not None}
    content = {
        "step": step,
        "loss": _number(loss),
        "grad_norm": _number(grad_norm),
        "learning_rate": float(setup.schedule.get_last_lr()[0]),
        "rows": [
            {"place": example.place, "line": example.line, "text": setup.store.decode(example.ids)} for example in batch
        ],
        "not_finite": sorted(name for name, norm in norms.items() if isinstance(norm, str)),
        "gradient_norms": norms,
        "random_state": torch.get_rng_state().numpy().tobytes().hex(),
    }
    file = run / f"blackbox-step-{step:06d}.json"
    write_whole(file, redact(json.dumps(content, indent=1)))
    return file


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
