"""The step on `meta`: it counts what the formula says, follows masks and lengths, and runs for every architecture."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, LlamaConfig

from tests.backends.local.conftest import ModelMaker
from trainer.backends.local.chat import Encoded
from trainer.backends.local.meta import FusedAttention, Live, of_spec, one_step
from trainer.insight import estimate
from trainer.insight.estimate import Device, Method
from trainer.spec import RunSpec

META = torch.device("meta")


def example(tokens: int, learnt: int | None = None) -> Encoded:
    supervised = torch.zeros(tokens, dtype=torch.bool)
    supervised[tokens - (tokens if learnt is None else learnt) :] = True
    return Encoded(torch.zeros(tokens, dtype=torch.int64), supervised, cut=False)


def test_live_storages_are_counted_and_uncounted() -> None:
    with Live([]) as live:
        one = torch.empty(1000, device=META)
        view = one[10:]
        two = one + 1
        assert live.now == 8000
        del one, two
        assert live.now == 4000
        del view
        assert (live.now, live.peak) == (0, 8000)


def test_what_was_known_on_the_cpu_is_known_of_its_follower() -> None:
    with Live([]):
        mask = torch.tensor([[True, False], [True, True]]).to(META)
        assert bool(mask.all()) is False
        assert int(mask[:, 1:].sum()) == 1
        assert torch.empty(2, 2, device=META)[mask].shape == (3,)
        assert torch.arange(5).to(META).max().item() == 4


def test_fused_attention_keeps_no_matrix_of_scores() -> None:
    query = torch.empty(1, 2, 512, 8, device=META, requires_grad=True)
    with Live([query]) as live, FusedAttention():
        torch.nn.functional.scaled_dot_product_attention(query, query, query, is_causal=True).sum().backward()  # type: ignore[no-untyped-call]
    assert live.peak < 2 * 512 * 512 * 4


@pytest.mark.parametrize("method", ["full", "lora"])
def test_it_runs_for_every_architecture(make_model: ModelMaker, architecture: str, method: Method) -> None:
    spec = RunSpec(method=method)
    found = one_step(spec, str(make_model(architecture)), [example(24), example(12, 5)])
    assert found.weights > found.gradients > 0 or method == "full"
    assert found.states == pytest.approx(2 * found.gradients, rel=0.01)
    assert found.peak > found.weights + found.states


def test_it_leaves_the_random_numbers_alone(make_model: ModelMaker) -> None:
    before = torch.get_rng_state()
    one_step(RunSpec(method="lora", lora_dropout=0.5), str(make_model("llama")), [example(8)])
    assert torch.equal(before, torch.get_rng_state())


def test_smaller_micro_batches_need_less(make_model: ModelMaker) -> None:
    batch = [example(64) for _ in range(16)]
    folder = str(make_model("llama"))
    whole = one_step(RunSpec(), folder, batch, token_budget=2048)
    assert one_step(RunSpec(), folder, batch, token_budget=128).activations < whole.activations / 4


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_closed_formula_agrees(method: Method) -> None:
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        tie_word_embeddings=True,
    )
    spec = RunSpec(method=method, batch_size=8)
    stepped = one_step(spec, "", [example(256) for _ in range(8)], config=config)
    shape = estimate.shape_of({**config.to_dict(), "hidden_act": "silu"}, None)
    assert shape is not None
    found = estimate.memory(
        shape,
        method=spec.method,
        lora_rank=spec.lora_rank,
        optimizer=spec.optimizer,
        batch_size=8,
        longest=256,
        device=Device(None),
    )
    assert 0.9 * found.low < stepped.peak < 1.1 * found.high


def test_a_card_with_bfloat16_holds_float32_and_its_copies(make_model: ModelMaker) -> None:
    folder = str(make_model("llama"))
    full, half = (one_step(RunSpec(), folder, [example(64)], half=half) for half in (False, True))
    assert half.states == pytest.approx(full.states, rel=0.01)
    assert half.weights == 1.5 * full.weights


def test_a_spec_alone_is_enough(make_model: ModelMaker) -> None:
    folder = str(make_model("llama"))
    positions = AutoConfig.from_pretrained(folder).max_position_embeddings
    found = of_spec(RunSpec(model=folder, max_length=8 * positions, batch_size=2), folder)
    assert found == of_spec(RunSpec(model=folder, max_length=positions, batch_size=2), folder)
