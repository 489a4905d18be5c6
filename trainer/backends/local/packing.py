"""Padding-free micro-batches: examples lie end to end in one row of tokens, and no token sees another example's.

Positions begin again with every example, and attention, the only place where tokens meet, is done example by example:
on a GPU by `torch.nn.attention.varlen` where the numbers are 16-bit (FlashAttention, Dao 2023, arXiv:2307.08691, with
the cumulative lengths of its varlen form), else by torch's own attention one after the other. No mask is built.

transformers takes an attention function by name; without a mask function of the same name it makes no mask. The name
is set only while ours computes (`attention`): outside, the model is as it was loaded.

Only plain causal attention can be done so. What asks for more raises NotPlain, at the check before the first step: see
`trainer.backends.local.ways`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from trainer.backends.local.precision import autocast_dtype

try:
    from torch.nn.attention import varlen
except ImportError:  # torch before 2.10
    varlen = None  # type: ignore[assignment]

VARLEN = varlen is not None
NAME = "finetunegem_packed"
# What transformers' models hand to an attention function without changing what plain causal attention is.
HARMLESS = {"position_ids", "use_cache", "output_attentions", "output_hidden_states", "return_dict", "cache_position"}


class NotPlain(Exception):
    """A model asks its attention for something that is not done here; the text names it."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """Where examples begin and end in a row: `lengths` in tokens, `positions` (1, tokens) within each, `edges`
    (examples + 1) int32, the longest."""

    lengths: list[int]
    positions: Tensor
    edges: Tensor
    longest: int

    def each(self, change: Callable[[Tensor], Tensor]) -> Sequences:
        return Sequences(self.lengths, change(self.positions), change(self.edges), self.longest)


def sequences_of(lengths: Sequence[int]) -> Sequences:
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    edges = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
    return Sequences(list(lengths), positions, edges, max(lengths))


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packed: Sequences | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each example: query (1, heads, tokens, d), key and value with as many heads or a
    fraction of them → (1, tokens, heads, d). Raises NotPlain."""
    if packed is None:
        raise NotPlain("its attention is not told where examples begin")
    if unknown := sorted(name for name, asked in more.items() if asked is not None and name not in HARMLESS):
        raise NotPlain(f"its attention uses {unknown[0]}")
    if sliding_window is not None and sliding_window < packed.longest:
        raise NotPlain(f"its attention has a window of {sliding_window} tokens")
    if attention_mask is not None or not (is_causal if is_causal is not None else getattr(module, "is_causal", True)):
        raise NotPlain("its attention is not causal")
    half = _half(query)
    if half and dropout == 0.0 and VARLEN:
        return _varlen(query.to(half), key.to(half), value.to(half), scaling, packed), None
    split = (torch.split(tensor, packed.lengths, dim=2) for tensor in (query, key, value))
    grouped = query.shape[1] != key.shape[1]
    found = [
        scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped)
        for q, k, v in zip(*split, strict=True)
    ]
    return torch.cat([one.transpose(1, 2) for one in found], dim=1), None


def _half(query: Tensor) -> torch.dtype | None:
    """The 16-bit type that a GPU computes this in, if it does."""
    if query.device.type != "cuda":
        return None
    dtype = autocast_dtype(query.device) or query.dtype
    return dtype if dtype in (torch.bfloat16, torch.float16) else None


def _varlen(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, packed: Sequences) -> Tensor:
    """The same in one kernel. Never run yet: there was no GPU to try it on."""
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    found: Any = varlen.varlen_attn(
        q, k, v, packed.edges, packed.edges, packed.longest, packed.longest, scale=scaling, **_causal(q, k)
    )
    return cast(Tensor, found)[None]


def _causal(query: Tensor, key: Tensor) -> dict[str, Any]:
    """torch 2.10 says `is_causal`, later ones a window; grouped heads came later too. Raises NotPlain."""
    known = inspect.signature(varlen.varlen_attn).parameters
    causal: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    if query.shape[1] != key.shape[1]:
        if "enable_gqa" not in known:
            raise NotPlain("this torch has no grouped heads in its varlen attention")
        causal["enable_gqa"] = True
    return causal


@contextmanager
def attention(model: nn.Module, name: str | None = NAME) -> Iterator[None]:
    """While it lasts, forward and back, `model` attends by the function of that name; by its own without one."""
    if name is None:
        yield
        return
    config: Any = model.config
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


AttentionInterface.register(NAME, attend)
