"""The model and tokenizer of a run, on its device, ready to train: all weights, or LoRA adapters by peft."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from trainer.backends.local.adapters import take_over
from trainer.backends.local.chat import PLAIN_TEMPLATE
from trainer.backends.local.memory import free_bytes, in_words, memory_permitting, release
from trainer.backends.local.optim import STATES
from trainer.backends.local.trust import Pickled, check_versions, code_trusted, nothing_unpickled, trust_note
from trainer.files import sized
from trainer.models import ModelInfo
from trainer.rundir import RunError
from trainer.secrets import redact
from trainer.spec import RunSpec


@dataclass(frozen=True, slots=True)
class Loaded:
    """`model` is a transformers model or a peft one around it; `compute_dtype` is what its products run in."""

    model: nn.Module
    device: torch.device
    compute_dtype: torch.dtype
    parameters: int
    trainable: int
    vocabulary: int  # rows of the input embedding


def load_tokenizer(info: ModelInfo) -> tuple[PreTrainedTokenizerBase, str]:
    """The tokenizer, and a note where it needed help or code that came along may run. Raises RunError."""
    check_versions()
    trusted, note = code_trusted(), trust_note(info)
    try:
        with nothing_unpickled():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(info.source, trust_remote_code=trusted)
    except Exception as error:  # every kind of broken file raises its own
        raise _cannot(info, "tokenizer", error) from None
    if not _spells(tokenizer, "Which files are larger than 1 MB?"):
        raise RunError(f"{info.name} has no tokenizer files: put those of the model beside its weights.")
    if tokenizer.chat_template:
        return tokenizer, note
    if tokenizer.eos_token is None:
        raise RunError(f"{info.name}: its tokenizer has neither a chat template nor an end token: choose another.")
    tokenizer.chat_template = PLAIN_TEMPLATE
    plain = "The model has no chat template; a plain User: / Assistant: one is used and saved with it."
    return tokenizer, f"{plain} {note}".rstrip()


def _spells(tokenizer: PreTrainedTokenizerBase, text: str) -> bool:
    """Whether a plain text survives it: transformers makes an empty tokenizer where a folder has no files of one."""
    back = str(tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]))
    return [c for c in back.casefold() if c.isalnum()] == [c for c in text.casefold() if c.isalnum()]


def load_model(info: ModelInfo, spec: RunSpec, checkpoint: Path | None = None) -> Loaded:
    """float32 on a CPU; on a GPU with bfloat16 full weights stay float32 and compute in bfloat16, LoRA's frozen
    base is bfloat16. With a checkpoint, as it was when that was written. Raises RunError."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = device.type == "cuda" and torch.cuda.is_bf16_supported()
    dtype = torch.bfloat16 if half and spec.method == "lora" else torch.float32
    source = checkpoint if checkpoint and spec.method == "full" else info.source
    try:
        loaded = _from_pretrained(source, dtype, device)
    except Exception as error:
        raise _cannot(info, "weights", error) from None
    if loaded is None:
        raise RunError(_too_large(info, spec, device, dtype))
    model, found = loaded
    if missing := sorted(found["missing_keys"]):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise RunError(
            f"{info.name}: its weights lack {missing[0]}{more}, which would be random: it is no whole causal language "
            "model; choose another."
        )
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    parameters = sum(p.numel() for p in model.parameters())
    if spec.method == "lora":
        model = _with_adapters(model, spec, info, checkpoint)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Loaded(model, device, torch.bfloat16 if half else torch.float32, parameters, trainable, vocabulary)


def _from_pretrained(source: str | Path, dtype: torch.dtype, device: torch.device) -> tuple[Any, dict[str, Any]] | None:
    """The model on its device, and what of it was found; None where memory ran out."""
    with memory_permitting(), nothing_unpickled():
        model, found = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, use_safetensors=True, output_loading_info=True, trust_remote_code=code_trusted()
        )
        return model.to(device), found
    return None


def with_new_adapters(model: nn.Module, spec: RunSpec) -> nn.Module:
    """LoRA (Hu et al. 2021, arXiv:2106.09685) on all linear layers but the output head."""
    config = LoraConfig(
        r=spec.lora_rank,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        target_modules="all-linear",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),  # GPT-2 stores them transposed
        task_type="CAUSAL_LM",
    )
    adapted: nn.Module = get_peft_model(model, config)
    take_over(adapted)
    return adapted


def _with_adapters(model: nn.Module, spec: RunSpec, info: ModelInfo, checkpoint: Path | None) -> nn.Module:
    """With those of the checkpoint, or new ones."""
    try:
        with nothing_unpickled():
            if not checkpoint:
                return with_new_adapters(model, spec)
            adapted: nn.Module = PeftModel.from_pretrained(model, checkpoint, is_trainable=True)
            take_over(adapted)
            return adapted
    except (ValueError, NotImplementedError, Pickled) as error:
        raise _cannot(info, "LoRA adapters", error) from None


def _too_large(info: ModelInfo, spec: RunSpec, device: torch.device, dtype: torch.dtype) -> str:
    """What the weights need, what is free, and models that would fit."""
    release(device)
    where = "the card's memory" if device.type == "cuda" else "the memory"
    free = free_bytes(device)
    if info.parameters is None or free is None:
        return f"{info.name} does not fit in {where}: choose a smaller model, or free some memory."
    lora = torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    most = 0.8 * free  # the rest is for what is computed
    full, adapters = most / (4 * (2 + STATES[spec.optimizer])), most / lora.itemsize
    return (
        f"{info.name} does not fit in {where}: its weights take about {sized(info.parameters * dtype.itemsize)} and "
        f"{sized(free)} are free. What would fit: a model of up to about {in_words(full)} parameters, or "
        f"{in_words(adapters)} with LoRA."
    )


def _cannot(info: ModelInfo, part: str, error: Exception) -> RunError:
    said = redact(" ".join(str(error).split()))  # before anything is cut: half a key is no longer known as one
    if isinstance(error, Pickled):
        return RunError(
            f"{info.name}: {said} is a pickled file, which can run code when it is loaded, so it is not: "
            "convert the model to safetensors first."
        )
    if "trust_remote_code" in said:
        return RunError(
            f"{info.name} needs code from its own repository, which is not run unless asked: choose another, or read "
            "that code and start with `finetunegem run --trust-remote-code`."
        )
    if info.kind == "hub" and isinstance(error, OSError):
        return RunError(
            f"{info.name} can't be brought from the Hugging Face hub ({said[:200]}): check the name, the network, "
            "and HF_TOKEN for a gated model; or give a folder."
        )
    if kind := re.search(r"Unrecognized configuration class <class '(?:\w+\.)*(\w+)'>", said):
        return RunError(f"{info.name} is no causal language model ({kind[1]}), which is what learns here: choose one.")
    if "does not recognize this architecture" in said:
        return RunError(f"{info.name}: the installed transformers does not know this kind of model: choose another.")
    if "instantiate the backend tokenizer" in said:
        return RunError(f"{info.name} has no tokenizer files: put those of the model beside its weights.")
    return RunError(f"{info.name}: its {part} can't be loaded ({type(error).__name__}: {said[:200]}).")
