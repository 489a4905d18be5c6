"""Adapters in one piece against peft's own: values, every gradient, and files that are peft's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from tests.backends.local.conftest import ModelMaker
from trainer.backends.local.adapters import take_over

Found = tuple[Tensor, dict[str, Tensor]]


def adapted(folder: Path, **more: Any) -> Any:
    torch.manual_seed(3)
    config = LoraConfig(**{"r": 4, "lora_alpha": 12, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **more})
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.05)
    return model


def found(model: Any) -> Found:
    ids = torch.arange(60).view(3, 20) * 31 % 318
    model.zero_grad()
    logits = model(input_ids=ids).logits
    logits.square().mean().backward()
    return logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["llama", "qwen2", "phi", "gpt-neox"])  # of these three have biases
def test_outputs_and_gradients_are_pefts(make_model: ModelMaker, name: str) -> None:
    model = adapted(make_model(name))
    logits, gradients = found(model)
    linears = sum(1 for key in gradients if "lora_A" in key)
    assert take_over(model) == linears
    again, ours = found(model)
    torch.testing.assert_close(again, logits, rtol=1e-5, atol=1e-6)
    assert ours.keys() == gradients.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(ours[key], gradient, rtol=1e-4, atol=1e-7, msg=key)


@pytest.mark.filterwarnings("ignore:.lora_bias")
@pytest.mark.parametrize(
    "more", [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}], ids=["dropout", "dora", "bias"]
)
def test_what_is_not_plain_stays_pefts(make_model: ModelMaker, more: dict[str, Any]) -> None:
    assert take_over(adapted(make_model("qwen2"), **more)) == 0


def test_layers_that_are_stored_transposed_stay_pefts(make_model: ModelMaker) -> None:
    assert take_over(adapted(make_model("gpt2"), fan_in_fan_out=True)) == 0


def test_switched_off_they_are_the_base(make_model: ModelMaker) -> None:
    model = adapted(make_model("llama"))
    take_over(model)
    base = AutoModelForCausalLM.from_pretrained(make_model("llama"), dtype=torch.float32)
    ids = torch.arange(20)[None]
    with torch.no_grad(), model.disable_adapter():
        torch.testing.assert_close(model(input_ids=ids).logits, base(input_ids=ids).logits)


def test_what_is_saved_is_pefts(make_model: ModelMaker, tmp_path: Path) -> None:
    model = adapted(make_model("llama"))
    take_over(model)
    logits, _ = found(model)
    model.save_pretrained(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(make_model("llama"), dtype=torch.float32)
    loaded = PeftModel.from_pretrained(base, tmp_path, is_trainable=True)
    torch.testing.assert_close(found(loaded)[0], logits, rtol=1e-5, atol=1e-6)


def test_in_sixteen_bits_the_adapters_gradients_are_in_thirty_two(make_model: ModelMaker) -> None:
    """As on a GPU: a frozen base in bfloat16, adapters in float32, autocast."""
    model = adapted(make_model("llama"))
    _, exact = found(model)
    for name, parameter in model.named_parameters():
        if "lora_" not in name:
            parameter.data = parameter.data.bfloat16()
    gradients = []
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            gradients.append(found(model)[1])
        take_over(model)
    theirs, ours = gradients
    for key, gradient in ours.items():
        assert gradient.dtype is torch.float32
        apart = [float((some[key] - exact[key]).norm() / exact[key].norm()) for some in (ours, theirs)]
        assert apart[0] < max(0.05, 2 * apart[1]), key
