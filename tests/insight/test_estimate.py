"""The closed formula: what a config.json says, what a step needs by it, and when that can't fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainer import models
from trainer.insight import estimate
from trainer.insight.estimate import Device, Memory, Shape

LLAMA = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
}
SHAPE = Shape(2048, 16, 8192, 512, 128256, 1_235_814_400)


def needed(shape: Shape = SHAPE, **changes: Any) -> Memory:
    given: dict[str, Any] = {
        "method": "full",
        "lora_rank": 16,
        "optimizer": "adamw",
        "batch_size": 4,
        "longest": 512,
        "device": Device(None),
    }
    return estimate.memory(shape, **{**given, **changes})


def test_the_sizes_of_a_llama() -> None:
    assert estimate.shape_of(LLAMA, 1_235_814_400) == SHAPE


def test_parameters_are_reckoned_where_they_were_not_counted() -> None:
    shape = estimate.shape_of(LLAMA, None)
    assert shape is not None
    assert shape.parameters == pytest.approx(1_235_814_400, rel=0.001)


@pytest.mark.parametrize(
    "config",
    [{}, {"hidden_size": "large", "num_hidden_layers": 2, "vocab_size": 9}, {"hidden_size": True}, {"vocab_size": -1}],
)
def test_what_tells_no_sizes_has_no_shape(config: dict[str, Any]) -> None:
    assert estimate.shape_of(config, 1000) is None


@pytest.mark.parametrize("more", [{"num_local_experts": 8}, {"vision_config": {"depth": 2}}])
def test_of_other_shapes_only_the_certain_parts_are_told(more: dict[str, Any]) -> None:
    shape = estimate.shape_of({**LLAMA, **more}, 10**9)
    assert shape is not None
    assert not needed(shape).complete


def test_a_gpt2_is_read_and_no_llama() -> None:
    told = {"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257, "n_inner": None}
    shape = estimate.shape_of(told, 124_000_000)
    assert shape is not None
    assert (shape.hidden, shape.layers, shape.intermediate, shape.kv) == (768, 12, 3072, 768)
    assert not shape.like_llama


def test_the_sizes_of_a_model_within_a_model() -> None:
    shape = estimate.shape_of({"text_config": LLAMA, "vocab_size": 7}, 1)
    assert shape is not None
    assert shape.vocabulary == 128256


def test_weights_gradients_and_states_are_exact() -> None:
    found = needed()
    assert (found.weights, found.gradients, found.states) == tuple(SHAPE.parameters * n for n in (4, 4, 8))
    assert needed(optimizer="sgd").states == SHAPE.parameters * 4
    lora = needed(method="lora")
    assert lora.weights == 4 * (SHAPE.parameters + 16 * SHAPE.adapters)
    assert lora.gradients == 4 * 16 * SHAPE.adapters


def test_adapters_are_counted_as_peft_makes_them() -> None:
    attention = 2 * (2048 + 2048) + 2 * (2048 + 512)
    assert SHAPE.adapters == 16 * (attention + 3 * (2048 + 8192))


def test_more_of_anything_needs_more() -> None:
    base = needed()
    assert needed(batch_size=8, budget=8192).high > base.high
    assert needed(longest=1024, budget=4096).high > base.high
    assert needed(method="lora").high < base.high
    assert needed(checkpointing=True).activations < base.activations / 5
    assert base.low < base.high


def test_the_batch_size_costs_nothing_once_the_micro_batch_is_full() -> None:
    assert needed(batch_size=64).high == needed(batch_size=512).high


def test_one_example_always_goes() -> None:
    assert needed(longest=4096).high > needed(longest=2048).high


def test_it_fits_or_not() -> None:
    assert needed(device=Device(10**12)).fits
    assert needed().fits  # nothing is known
    assert not needed(device=Device(10**9)).fits


def test_what_is_not_complete_is_doubted_for_its_certain_parts_alone() -> None:
    odd = replace(SHAPE, like_llama=False)
    assert needed(odd, device=Device(SHAPE.parameters * 16 + 1)).fits
    assert not needed(odd, device=Device(SHAPE.parameters * 16 - 1)).fits


def test_a_card_needs_copies_of_the_weights_and_something_for_itself() -> None:
    card = needed(device=Device(None, half=True))
    assert card.weights == SHAPE.parameters * 6
    assert card.activations < needed().activations


def test_a_folder_without_a_readable_config_has_no_shape(tmp_path: Path) -> None:
    assert estimate.read_shape(tmp_path, 1) is None
    for text in ("{", "[]", '{"hidden_size": 1}'):
        (tmp_path / "config.json").write_text(text)
        assert estimate.read_shape(tmp_path, 1) is None
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    assert estimate.read_shape(tmp_path, SHAPE.parameters) == SHAPE


def test_the_toy_is_read() -> None:
    info = models.look_up("builtin:tiny")
    folder = models.local_folder(info)
    assert folder is not None
    shape = estimate.read_shape(folder, info.parameters)
    assert shape == Shape(192, 4, 512, 192, 2048, 2_164_416)
