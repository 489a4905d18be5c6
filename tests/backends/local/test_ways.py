"""Which models are computed the short ways, which are not, and that nobody is believed by name."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CohereConfig,
    FalconConfig,
    GemmaConfig,
    GraniteConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    PhiConfig,
)

from tests.backends.local.conftest import _configs
from tests.backends.local.runs import notes, whole
from trainer.backends.local import ways
from trainer.backends.local.ways import Ways, find

SMALL: dict[str, Any] = {
    "vocab_size": 318, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 256, "pad_token_id": None, "bos_token_id": 1, "eos_token_id": 1,
}  # fmt: skip
BRIEF: dict[str, Any] = {"vocab_size": 318, "hidden_size": 32, "bos_token_id": 1, "eos_token_id": 1}
GROUPED = {**SMALL, "num_key_value_heads": 2}
WINDOW = "its attention has a window of 8 tokens"
BEHIND = "something stands behind its output layer"


def found(config: Any, longest: int = 200) -> Ways:
    torch.manual_seed(1)
    return find(AutoModelForCausalLM.from_config(config), torch.device("cpu"), nullcontext(), longest)


@pytest.mark.parametrize("name", ["llama", "llama-tied", "gpt2", "qwen2", "qwen3", "phi", "gpt-neox"])
def test_common_models_go_both_short_ways(name: str) -> None:
    one = found(_configs(318)[name])
    assert one.packed
    assert one.head is not None
    assert one.notes == ()


@pytest.mark.parametrize(
    "config",
    [
        GemmaConfig(**GROUPED, head_dim=8),
        OPTConfig(
            **{**BRIEF, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "word_embed_proj_dim": 32}
        ),
        MistralConfig(**GROUPED, sliding_window=None),
        MistralConfig(**GROUPED, sliding_window=200),
    ],
    ids=["gemma", "opt", "mistral without a window", "mistral with a long one"],
)
def test_so_do_these(config: Any) -> None:
    assert (found(config).packed, found(config).notes) == (True, ())


@pytest.mark.parametrize(
    ("config", "packed", "why"),
    [
        (MistralConfig(**GROUPED, sliding_window=8), False, WINDOW),
        (_configs(318)["gemma3"], False, WINDOW),
        (_configs(318)["gemma2"], False, BEHIND),
        (MixtralConfig(**GROUPED, sliding_window=None), False, "it chooses among experts"),
        (BloomConfig(**BRIEF, n_layer=2, n_head=4), False, "its attention can't be replaced"),
        (FalconConfig(**BRIEF, num_hidden_layers=2, num_attention_heads=4), False, "its attention can't be replaced"),
        (MambaConfig(**BRIEF, num_hidden_layers=2), False, "its attention can't be replaced"),
        (CohereConfig(**GROUPED), True, BEHIND),
        (GraniteConfig(**GROUPED, logits_scaling=8.0), True, BEHIND),
    ],
    ids=["window", "gemma3", "gemma2", "experts", "bloom", "falcon", "state space", "scaled", "granite"],
)
def test_others_do_not_and_it_is_said(config: Any, packed: bool, why: str) -> None:
    one = found(config)
    assert one.packed == packed
    assert why in " ".join(one.notes)
    assert all(note.endswith(".") for note in one.notes)


def test_a_softcap_is_seen_though_small_logits_hardly_show_it() -> None:
    """With fresh weights the logits are near zero, where the cap bends nothing."""
    config = _configs(318)["gemma2"]
    assert found(config).head is None


class Leaky(LlamaForCausalLM):  # type: ignore[misc]
    """Every token gets a little of the first one's embedding, as a recurrent layer would hand it on."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.model.layers[0].register_forward_pre_hook(lambda _, given: (given[0] + given[0][:, :1] * 1e-4, *given[1:]))


class Scaled(LlamaForCausalLM):  # type: ignore[misc]
    """Something between the backbone and the head."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.lm_head.register_forward_pre_hook(lambda _, given: (given[0] * 1.5,))


def own(kind: type[Any], monkeypatch: pytest.MonkeyPatch) -> Ways:
    monkeypatch.setattr(kind, "__module__", "transformers.models.llama")
    torch.manual_seed(1)
    return find(kind(LlamaConfig(**GROUPED)), torch.device("cpu"), nullcontext(), 200)


def test_a_model_whose_examples_reach_each_other_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    one = own(Leaky, monkeypatch)
    assert not one.packed
    assert "one example would change what another one is told" in one.notes[0]


def test_something_before_the_head_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    one = own(Scaled, monkeypatch)
    assert one.head is None
    assert "something stands before or in its output layer" in one.notes[0]


def test_positions_that_are_not_taken_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a model that counts them by itself."""

    def forgetful(micro: Any) -> dict[str, Any]:
        given = really(micro)
        return {name: value for name, value in given.items() if name != "position_ids"}

    really = ways.inputs
    monkeypatch.setattr(ways, "inputs", forgetful)
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(_configs(318)["gpt2"])
    one = find(model, torch.device("cpu"), nullcontext(), 200)
    assert not one.packed
    assert "without padding its losses would be others" in one.notes[0]


def test_code_that_came_along_is_not_trusted_with_it() -> None:
    torch.manual_seed(1)
    one = find(Leaky(LlamaConfig(**GROUPED)), torch.device("cpu"), nullcontext(), 200)
    assert "it brings its own code" in one.notes[0]


def test_what_is_no_transformers_model_goes_the_plain_way() -> None:
    class Other(nn.Module):
        def forward(self, input_ids: Tensor, **_: Any) -> Tensor:
            return input_ids

    assert find(Other(), torch.device("cpu"), nullcontext(), 200) == Ways(False, None, None)


def test_it_leaves_the_model_as_it_was() -> None:
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(PhiConfig(**SMALL)).train()
    before, state = model.config._attn_implementation, torch.get_rng_state()
    find(model, torch.device("cpu"), nullcontext(), 200)
    assert model.training
    assert model.config._attn_implementation == before
    assert torch.equal(torch.get_rng_state(), state)
    assert model.lm_head._forward_hooks == {}


def test_a_run_says_once_why_it_pads(make_model: Any, make_data: Any, tmp_path: Any) -> None:
    from trainer.spec import RunSpec

    spec = RunSpec(model=str(make_model("mistral")), data=str(make_data(24)), epochs=1, eval_share=0.25)
    said = notes(whole(spec, tmp_path))
    assert said.count(f"Batches of this model are padded, because {WINDOW}.") == 1
