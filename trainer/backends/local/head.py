"""The loss from hidden states, over supervised tokens only and in chunks: a batch's logits never stand in memory.

The output head of a large vocabulary makes more numbers than all of the rest of a model. Here the hidden states that
predict a supervised token are multiplied with it some at a time, and what goes back to them and to the head is made at
once (Cut Cross-Entropy, Wijmans et al. 2024, arXiv:2411.09009, says why; Liger, arXiv:2410.10989, does it so too):
three matrix products instead of four, and no second copy of the logits. torch has it since 2.13 as
`linear_cross_entropy`; its own choice of chunks was 11 times slower here on a CPU, so the size is ours.

Only for a head that is a plain linear layer with nothing behind it: `trainer.backends.local.ways` finds out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.functional import cross_entropy, linear

from trainer.backends.local.precision import as_given, autocast_dtype
from trainer.insight.estimate import loss_rows

SMALL = 1 << 26  # products, some milliseconds of a CPU: below it torch's own way costs more than it computes


def summed_loss(hidden: Tensor, head: nn.Linear, targets: Tensor) -> Tensor:
    """Summed cross-entropy in float32 of `targets` (n,) predicted from `hidden` (n, width)."""
    weight, bias = head.weight, head.bias
    if len(targets) == 0:  # part of the graph all the same
        return hidden.sum().float() * 0.0
    seen = hidden.device.type == "meta"  # where every step of it is counted
    plain = hidden.dtype == weight.dtype == torch.float32 and autocast_dtype(hidden.device) is None
    if _NATIVE and plain and not seen and len(targets) * weight.numel() > SMALL:
        return _native(hidden, weight, bias, targets)
    total: Tensor = _Chunked.apply(hidden, weight, bias, targets, loss_rows(len(weight)))  # type: ignore[no-untyped-call]
    return total


@torch.no_grad()
def token_losses(hidden: Tensor, head: nn.Linear, targets: Tensor) -> Tensor:
    """Cross-entropy in float32 of each target alone (n,), without a way back."""
    size = loss_rows(len(head.weight))
    parts = zip(torch.split(hidden, size), torch.split(targets, size), strict=True)
    return torch.cat([cross_entropy(head(part).float(), wanted, reduction="none") for part, wanted in parts])


_NATIVE = hasattr(functional, "linear_cross_entropy")


def _native(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    options: Any = nn.LinearCrossEntropyOptions(batch_chunk_size=loss_rows(len(weight)), chunking_method=None)
    return functional.linear_cross_entropy(hidden, weight, targets, linear_bias=bias, reduction="sum", options=options)


class _Chunked(torch.autograd.Function):
    """The same for any torch and for 16 bits: products in the type of the hidden states, sums in float32."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, size: int) -> Tensor:
        with as_given(hidden.device):
            return _Chunked._forward(ctx, hidden, weight, bias, targets, size)

    @staticmethod
    def _forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, size: int) -> Tensor:
        for_hidden, for_weight, for_bias, *_ = ctx.needs_input_grad
        matrix = weight.to(hidden.dtype)
        offset = None if bias is None else bias.to(hidden.dtype)
        to_hidden = torch.empty_like(hidden) if for_hidden else None
        to_weight = torch.zeros_like(weight) if for_weight else None
        to_bias = torch.zeros_like(bias) if bias is not None and for_bias else None
        same = weight.dtype == hidden.dtype
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for begin in range(0, len(targets), size):
            rows, wanted = hidden[begin : begin + size], targets[begin : begin + size, None]
            logits = linear(rows, matrix, offset).float()
            largest, right = logits.amax(1, keepdim=True), logits.gather(1, wanted)
            slope = logits.sub_(largest).exp_()  # softmax in the end, less one at the target
            sums = slope.sum(1, keepdim=True)
            total += (sums.log() + largest - right).sum()
            slope.div_(sums).scatter_add_(1, wanted, torch.full_like(sums, -1.0))
            half = slope.to(hidden.dtype)
            if to_hidden is not None:
                torch.mm(half, matrix, out=to_hidden[begin : begin + size])
            if to_weight is not None and same:
                to_weight.addmm_(half.T, rows)
            elif to_weight is not None:
                to_weight += half.T @ rows
            if to_bias is not None:
                to_bias += slope.sum(0)
        ctx.made = to_hidden, to_weight, to_bias
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        found = [None if made is None else made.mul_(scale.to(made.dtype)) for made in ctx.made]
        del ctx.made
        return (*found, None, None)
