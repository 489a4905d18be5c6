"""An optimizer step that nothing but finite gradients can take, without waiting for the device to know.

Loss and gradient norm are copied off the device first, then clipping and step are queued behind the copy, with the
device's own answer to "is all of it finite?" as their condition (the fused optimizers take one, made for mixed
precision: `grad_scale` divides the gradients, `found_inf` makes the step move nothing). Only then are the two numbers
waited for, while the device is busy with the step; and what is no number is known before the next step begins.

Optimizers without a fused step are asked first and stepped after. The GPU's part of this was never run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

TINY = 1e-6  # as in torch's clip_grad_norm_


class Guard:
    """Clips at a norm of `clip` and takes the steps of one optimizer."""

    def __init__(self, optimizer: Optimizer, parameters: Sequence[nn.Parameter], clip: float) -> None:
        self._optimizer, self._parameters, self._clip = optimizer, parameters, clip
        self._fused = all(group.get("fused") for group in optimizer.param_groups)

    def step(self, loss: Tensor | float) -> tuple[float, float]:
        """Loss and gradient norm, before clipping; the step is taken if both are finite, else nothing has moved."""
        norm = get_total_norm([p.grad for p in self._parameters if p.grad is not None])
        both = torch.stack((torch.as_tensor(loss, dtype=torch.float64, device=norm.device), norm.double()))
        if self._fused:
            numbers = _Copied(both)
            self._step_where(both.isfinite().all(), norm)
            return numbers.read()
        found, grad_norm = _Copied(both).read()
        if math.isfinite(found) and math.isfinite(grad_norm):
            clip_grads_with_norm_(self._parameters, self._clip, norm)
            self._optimizer.step()
        return found, grad_norm

    def _step_where(self, finite: Tensor, norm: Tensor) -> None:
        optimizer: Optimizer = self._optimizer
        optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        optimizer.grad_scale = ((norm.float() + TINY) / self._clip).clamp(min=1.0)  # type: ignore[attr-defined]
        try:
            optimizer.step()
        finally:
            del optimizer.found_inf, optimizer.grad_scale  # type: ignore[attr-defined]


class _Copied:
    """Numbers on their way from a device; at once on a CPU."""

    def __init__(self, numbers: Tensor) -> None:
        self._arrived = None
        if numbers.device.type == "cuda":
            self._here = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            self._here.copy_(numbers, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record(torch.cuda.current_stream(numbers.device))
        else:
            self._here = numbers

    def read(self) -> tuple[float, float]:
        if self._arrived:
            self._arrived.synchronize()
        first, second = self._here.tolist()
        return first, second
