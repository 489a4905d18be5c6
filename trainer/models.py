"""What a model's name means: where it lies, how large it is, and settings that suit it.

Works from files' headers alone (config.json, safetensors headers); it loads no weights and asks no network.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer import TRUST_CODE as TRUST_CODE
from trainer import cache

BUILTIN = Path(__file__).parent.parent / "presets" / "models"
FETCHABLE = {"smollm2": "SmolLM2-135M-Instruct"}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*\Z", re.ASCII)
_IN_NAME = re.compile(r"(?:^|[^A-Za-z0-9.])(\d+(?:\.\d+)?)([MmBb])(?![A-Za-z0-9])")


class ModelError(Exception):
    """The model can't be used; the text is one sentence: what, where, what to do."""


class NotFetched(ModelError):
    """A model this project knows how to fetch is not in the cache yet."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """`source` is what from_pretrained takes: a folder or a hub id. `parameters` is None where not known."""

    name: str
    kind: Literal["builtin", "fetched", "folder", "hub"]
    source: str
    parameters: int | None
    note: str = ""


def cache_dir(name: str) -> Path:
    """Where a fetched model lies."""
    return cache.root() / "models" / name


def look_up(model: str) -> ModelInfo:
    """What `model` (a spec's field) means here and now. Raises ModelError, or NotFetched."""
    if model.startswith("builtin:"):
        return _builtin(model)
    if model in FETCHABLE:
        folder = cache_dir(model)
        if not (folder / "config.json").is_file():
            raise NotFetched(f"{FETCHABLE[model]} is not here yet: `finetunegem fetch {model}` brings it.")
        return ModelInfo(model, "fetched", str(folder), _parameters(folder), FETCHABLE[model])
    folder = expanded(model)
    if _exists(folder) or not _HUB_ID.match(model):
        return _folder(model, folder)
    cached = _in_hub_cache(model)
    size = _parameters(cached) if cached else _size_in_name(model)
    return ModelInfo(model, "hub", model, size, "in the Hugging Face cache" if cached else "to be downloaded")


def local_folder(info: ModelInfo) -> Path | None:
    """Where the model's files lie on this machine; None for one that is not here."""
    return _in_hub_cache(info.source) if info.kind == "hub" else Path(info.source)


def hub_cache(environment: Mapping[str, str]) -> Path:
    """The local Hugging Face cache, as huggingface_hub finds it."""
    cache = Path(environment.get("XDG_CACHE_HOME") or expanded("~/.cache"))
    home = Path(environment.get("HF_HOME") or cache / "huggingface")
    return Path(environment.get("HF_HUB_CACHE") or home / "hub")


def expanded(path: str) -> Path:
    """The path with a leading ~ made a home folder, where there is such a user; any text is taken."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises for an unknown user


def suggested(info: ModelInfo, method: str | None = None) -> dict[str, float | str]:
    """Learning rate and method that suit a model's size.

    Full: 1e-3 for toys down to 1e-5 for large models. LoRA: about ten times full (Schulman 2025, "LoRA Without
    Regret"), 2e-4 in the usual 0.5 to 15 billion range. Unknown sizes are taken for about a billion.
    """
    size = info.parameters or 1_000_000_000
    chosen = method or ("full" if size <= 50_000_000 else "lora")
    full = ((10e6, 1e-3), (3e8, 1e-4), (1.5e9, 3e-5), (15e9, 1e-5), (float("inf"), 3e-6))
    lora = ((10e6, 3e-3), (5e8, 1e-3), (15e9, 3e-4), (float("inf"), 1e-4))
    rate = next(rate for limit, rate in (full if chosen == "full" else lora) if size <= limit)
    return {"method": chosen, "learning_rate": rate}


def _builtin(model: str) -> ModelInfo:
    name = model.removeprefix("builtin:")
    folder = BUILTIN / name
    if not re.fullmatch(r"[a-z0-9-]{1,64}", name) or not (folder / "config.json").is_file():
        known = ", ".join(sorted(f"builtin:{p.parent.name}" for p in BUILTIN.glob("*/config.json")))
        raise ModelError(f"There is no built-in model {model!r}; there is {known}.")
    return ModelInfo(model, "builtin", str(folder), _parameters(folder), "a toy that shows the curves")


def _folder(model: str, folder: Path) -> ModelInfo:
    if not model:
        raise ModelError("No model is given: take builtin:tiny, smollm2, a model folder or a Hugging Face id.")
    if not _exists(folder):
        raise ModelError(
            f"{model}: there is no such folder, and it is no Hugging Face id (those look like owner/name)."
        )
    if not folder.is_dir():
        raise ModelError(f"{model} is a file: give the model's folder.")
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ModelError(f"{model} holds an adapter, not a model: merge it into its base first.")
        raise ModelError(f"{model} is no model folder (no config.json in it): give one made by save_pretrained.")
    if (folder / "adapter_config.json").is_file():
        raise ModelError(f"{model} holds an adapter beside the model: move it away, or merge it into the model first.")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{model} has no *.safetensors weights: convert the model to safetensors first.")
    return ModelInfo(model, "folder", str(folder.absolute()), _parameters(folder))


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises for a name that is too long


def _in_hub_cache(model: str) -> Path | None:
    """The newest snapshot of a hub model in the local Hugging Face cache."""
    snapshots = hub_cache(os.environ) / f"models--{model.replace('/', '--')}" / "snapshots"
    found = [p.parent for p in snapshots.glob("*/config.json")]
    return max(found, key=lambda p: p.stat().st_mtime, default=None)


def _parameters(folder: Path) -> int | None:
    """Counted from the safetensors headers (8 bytes length, then JSON); None where that can't be read."""
    files = list(folder.glob("model*.safetensors")) or list(folder.glob("*.safetensors"))
    try:
        counts = [_in_file(file) for file in files]
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return sum(counts) or None


def _in_file(file: Path) -> int:
    with file.open("rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        header = json.loads(handle.read(min(length, 100_000_000)))
    return sum(_product(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def _product(shape: Iterable[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _size_in_name(model: str) -> int | None:
    """135M → 135,000,000; 0.5B → 500,000,000; a guess from how the field names its models."""
    found = _IN_NAME.findall(model)
    if not found:
        return None
    number, unit = found[-1]
    return int(float(number) * (1e6 if unit in "Mm" else 1e9))
