"""Attention of examples that lie end to end, against a mask that keeps them apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaConfig, LlamaForCausalLM

from trainer.backends.local import packing
from trainer.backends.local.packing import NAME, NotPlain, attend, attention, sequences_of

LENGTHS = (5, 1, 9, 3)
TOKENS = sum(LENGTHS)
Three = tuple[Tensor, Tensor, Tensor]


def drawn(heads: int = 4, keys: int = 4, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Three:
    torch.manual_seed(2)
    sizes = ((1, n, TOKENS, 8) for n in (heads, keys, keys))
    query, key, value = (torch.randn(size, device=device, dtype=dtype, requires_grad=True) for size in sizes)
    return query, key, value


def masked(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
    """One dense attention; (1, tokens, heads, d)."""
    owner = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS)).to(query.device)
    mask = (owner[:, None] == owner[None]) & torch.ones(TOKENS, TOKENS, dtype=torch.bool, device=query.device).tril()
    grouped = query.shape[1] != key.shape[1]
    found = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale, enable_gqa=grouped)
    return found.transpose(1, 2)


def done(query: Tensor, key: Tensor, value: Tensor, **more: Any) -> Tensor:
    return attend(nn.Module(), query, key, value, None, packed=sequences_of(LENGTHS), **more)[0]


@pytest.mark.parametrize("keys", [4, 2, 1])
@pytest.mark.parametrize("scale", [None, 0.2])
def test_it_is_attention_with_a_mask_that_keeps_examples_apart(keys: int, scale: float | None) -> None:
    tensors = drawn(keys=keys)
    found, expected = done(*tensors, scaling=scale), masked(*tensors, scale=scale)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad((found * weights).sum(), tensors),
        torch.autograd.grad((expected * weights).sum(), tensors),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("keys", [4, 2])
def test_one_kernel_on_a_gpu_does_the_same(keys: int) -> None:
    if not packing.VARLEN:
        pytest.skip("this torch has no varlen attention")
    tensors = drawn(keys=keys, device="cuda", dtype=torch.bfloat16)
    packed = sequences_of(LENGTHS).each(lambda tensor: tensor.to("cuda"))
    found = attend(nn.Module(), *tensors, None, packed=packed)[0]
    torch.testing.assert_close(found, masked(*tensors), rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"softcap": 30.0}, "uses softcap"),
        ({"s_aux": torch.zeros(4)}, "uses s_aux"),
        ({"position_bias": torch.zeros(1)}, "uses position_bias"),
        ({"sliding_window": 8}, "window of 8 tokens"),
        ({"is_causal": False}, "not causal"),
    ],
)
def test_what_is_more_than_plain_attention_is_refused(more: dict[str, Any], why: str) -> None:
    with pytest.raises(NotPlain, match=why):
        done(*drawn(), **more)


def test_a_mask_is_refused_and_so_is_not_being_told() -> None:
    mask = torch.ones(1, 1, TOKENS, TOKENS)
    with pytest.raises(NotPlain, match="not causal"):
        attend(nn.Module(), *drawn(), mask, packed=sequences_of(LENGTHS))
    with pytest.raises(NotPlain, match="where examples begin"):
        attend(nn.Module(), *drawn(), None)


def test_a_window_as_long_as_every_example_is_none() -> None:
    tensors = drawn()
    assert torch.equal(done(*tensors, sliding_window=9), done(*tensors))


def test_the_model_keeps_its_own_attention_outside() -> None:
    sizes = {"vocab_size": 32, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2))
    before = model.config._attn_implementation

    def fails() -> None:
        with attention(model):
            assert model.config._attn_implementation == NAME
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert model.config._attn_implementation == before != NAME
