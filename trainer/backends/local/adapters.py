"""LoRA's linear layers in one piece: the frozen product and the adapter's two, forth and back, without copies between.

peft's own layer multiplies, scales and adds in separate operations, each of which makes and keeps a tensor as large as
the layer's output, and where the base is in 16 bits it keeps the input a second time in 32. Here the input is kept
once, and the adapter's part is added into the product that is there already. Products are made in the type the layer
computes in; adapters and their gradients stay as peft made them, and so do their names: what is saved is peft's.

Only layers of the plain kind are taken over: torch's Linear under one adapter, without dropout, DoRA or a bias of its
own. The others stay peft's.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from trainer.backends.local.precision import as_given, autocast_dtype


def take_over(model: nn.Module) -> int:
    """Let the adapters of `model` compute so where they are plain; how many do."""
    plain: list[Any] = [module for module in model.modules() if _is_plain(module)]
    for module in plain:
        module.forward = partial(_forward, module, module.forward)
    return len(plain)


def _is_plain(module: Any) -> bool:
    if type(module) is not Linear or type(module.base_layer) is not nn.Linear or len(module.active_adapters) != 1:
        return False
    (name,) = module.active_adapters
    variants = getattr(module, "lora_variant", {})
    return bool(
        name in module.lora_A
        and isinstance(module.lora_dropout[name], nn.Identity)
        and name not in variants
        and module.lora_B[name].bias is None
        and not module.fan_in_fan_out
    )


def _forward(module: Any, theirs: Any, x: Tensor, *arguments: Any, **more: Any) -> Any:
    if arguments or more or module.merged or module.disable_adapters or module.base_layer.weight.requires_grad:
        return theirs(x, *arguments, **more)
    (name,) = module.active_adapters
    base, down, up = module.base_layer, module.lora_A[name].weight, module.lora_B[name].weight
    scale = float(module.scaling[name])
    return _Adapted.apply(x, base.weight, base.bias, down, up, scale)  # type: ignore[no-untyped-call]


class _Adapted(torch.autograd.Function):
    """x (.., in), weight (out, in), bias (out,) or None, down (rank, in), up (out, rank) → (.., out)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        dtype = autocast_dtype(x.device) or weight.dtype
        with as_given(x.device):
            rows = x.reshape(-1, x.shape[-1]).to(dtype)
            inner = rows @ down.T.to(dtype)
            made = linear(rows, weight.to(dtype), None if bias is None else bias.to(dtype))
            made.addmm_(inner, up.T.to(dtype), alpha=scale)
        ctx.save_for_backward(rows, inner, weight, down, up)
        ctx.scale, ctx.shape, ctx.dtype = scale, x.shape, x.dtype
        return made.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        rows, inner, weight, down, up = ctx.saved_tensors
        slopes = slope.reshape(-1, slope.shape[-1]).to(rows.dtype)
        to_inner = (slopes @ up.to(rows.dtype)).mul_(ctx.scale)
        to_down = (to_inner.T @ rows).to(down.dtype)
        to_up = (slopes.T @ inner).to(up.dtype).mul_(ctx.scale)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = (slopes @ weight.to(rows.dtype)).addmm_(to_inner, down.to(rows.dtype))
            to_x = to_x.view(ctx.shape).to(ctx.dtype)
        return to_x, None, None, to_down, to_up, None
