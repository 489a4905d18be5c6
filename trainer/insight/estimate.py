"""The memory a run needs, from a model's config.json and the settings alone: a closed formula, told as a range.

    peak = weights + gradients + optimizer states + activations + the loss of one micro-batch

The bytes a layer keeps for the way back are `tokens * (a * hidden + b * intermediate + c * kv)`. The constants were
fitted to what the engine's own step adds with each token, counted on `meta` (`trainer.backends.local.meta`: examples
end to end, fused attention, LoRA in one piece; 7 shapes from 192x4 to 2048x16, 2026-11-23, torch 2.13, transformers
5.23): within 2 %. The loss was counted there too. What is kept with checkpointing follows from its definition: a
layer's input, and one layer at a time as without.

Not measured: any card. There, full training is float32 weights with bfloat16 copies while it computes.

It knows no torch. What is not shaped like a Llama (no such fields in config.json, experts, state space, images) gets
the parts that are certain, and the rest is said to be unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Method = Literal["full", "lora"]

STATES = {"adamw": 2, "adam": 2, "adagrad": 1, "rmsprop": 1, "sgd": 1}  # as large as what learns
LOGITS = 2**28  # elements of a micro-batch's logits
SMALLEST_BUDGET, LARGEST_BUDGET = 512, 8192  # tokens of a micro-batch
LARGEST_CPU_BUDGET = 2048  # there, more only takes more memory
LOSS_ROWS, LOSS_ELEMENTS = 512, 2**25  # of logits that stand in memory at once: no more than either
LOSS_COPIES = 3  # of the logits that stand at once: they, their softmax, the gradient
FIT = {  # bytes a token and layer: (times hidden, times intermediate, times kv); of LoRA at rank 16
    ("full", 4): (36.0, 16.0, 8.0),
    ("full", 2): (22.0, 8.0, 4.0),
    ("lora", 4): (27.0, 16.3, 9.5),
    ("lora", 2): (17.5, 8.1, 4.8),
}
OUTSIDE = {4: 28.0, 2: 24.0}  # bytes a token, times hidden: embedding, last norm, positions
SLACK = (0.93, 1.10)  # what the fit is off, and what an allocator loses between blocks
CARD = 600_000_000  # bytes that CUDA itself takes (0.5 to 0.8 GiB)
UNLIKE = ("num_experts", "num_local_experts", "n_routed_experts", "ssm_cfg", "state_size", "vision_config")


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's sizes; `kv` is key-value heads times their size. `like_llama`: the fit of a layer holds for it."""

    hidden: int
    layers: int
    intermediate: int
    kv: int
    vocabulary: int
    parameters: int
    like_llama: bool = True

    @property
    def adapters(self) -> int:
        """Parameters of LoRA of rank 1 on all linear layers of all blocks (in + out of each)."""
        attention = 2 * (self.hidden + self.hidden) + 2 * (self.hidden + self.kv)
        return self.layers * (attention + 3 * (self.hidden + self.intermediate))


@dataclass(frozen=True, slots=True)
class Device:
    """Where it will run: bytes that are free there, and whether it computes in bfloat16 (a card)."""

    free: int | None
    half: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes by what they are for. `low` and `high` are the peak's range; `free` what the machine has.

    `complete` is False where the activations are not known: then `high` is no bound.
    """

    weights: int
    gradients: int
    states: int
    activations: int
    loss: int
    low: int
    high: int
    free: int | None = None
    complete: bool = True

    @property
    def fixed(self) -> int:
        """What a step needs however short its examples are."""
        return self.weights + self.gradients + self.states

    @property
    def fits(self) -> bool:
        """False only where even the low end is more than is free."""
        return self.free is None or (self.low if self.complete else self.fixed) <= self.free


def token_budget(vocabulary: int, *, card: bool = False, logits: bool = False) -> int:
    """Tokens a micro-batch may hold where memory is no question. `logits`: all of them stand in memory at once."""
    largest = LARGEST_BUDGET if card else LARGEST_CPU_BUDGET
    return max(SMALLEST_BUDGET, min(largest, LOGITS // max(1, vocabulary)) if logits else largest)


def loss_rows(vocabulary: int) -> int:
    """Tokens whose logits are made at once."""
    return max(64, min(LOSS_ROWS, LOSS_ELEMENTS // max(1, vocabulary)))


def shape_of(config: Mapping[str, Any], parameters: int | None) -> Shape | None:
    """The sizes in a config.json; None where hidden size, layers or vocabulary are not told.

    Where the weights were not counted, parameters are reckoned from the shape.
    """
    own = config.get("text_config")
    told = {**config, **own} if isinstance(own, Mapping) else config

    def size(*names: str) -> int:
        found = next((told[name] for name in names if isinstance(told.get(name), int)), 0)
        return int(found) if not isinstance(found, bool) else 0

    hidden, layers = size("hidden_size", "n_embd", "d_model"), size("num_hidden_layers", "n_layer", "num_layers")
    vocabulary, heads = size("vocab_size"), size("num_attention_heads", "n_head", "num_heads")
    if not (hidden > 0 and layers > 0 and vocabulary > 0):
        return None
    intermediate = size("intermediate_size", "n_inner", "ffn_dim") or 4 * hidden
    head = size("head_dim") or hidden // max(1, heads)
    kv = (size("num_key_value_heads") or heads or 1) * head
    gated = "intermediate_size" in told and "hidden_act" in told
    like = gated and heads > 0 and not any(told.get(name) for name in UNLIKE)
    if parameters is None:
        block = 2 * hidden * (hidden + kv) + (3 if gated else 2) * hidden * intermediate
        tables = 1 if told.get("tie_word_embeddings", config.get("tie_word_embeddings", False)) else 2
        parameters = layers * block + tables * vocabulary * hidden
    return Shape(hidden, layers, intermediate, kv, vocabulary, parameters, like)


def read_shape(folder: Path, parameters: int | None) -> Shape | None:
    """The sizes of the model in a folder; None where its config.json does not tell them."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        return shape_of(config, parameters) if isinstance(config, dict) else None
    except (OSError, ValueError, RecursionError):
        return None


def memory(
    shape: Shape,
    *,
    method: Method,
    lora_rank: int,
    optimizer: str,
    batch_size: int,
    longest: int,
    device: Device,
    budget: int | None = None,
    checkpointing: bool = False,
) -> Memory:
    """The peak of a step whose batch holds `batch_size` examples of `longest` tokens each.

    `budget`: tokens of a micro-batch, that of `token_budget` where None. One example always goes.
    """
    rows = max(1, min(batch_size, (budget or token_budget(shape.vocabulary, card=device.half)) // max(1, longest)))
    tokens = rows * longest
    learns = shape.parameters if method == "full" else lora_rank * shape.adapters
    frozen = 0 if method == "full" else shape.parameters
    item = 2 if device.half else 4
    weights = frozen * item + learns * (6 if device.half and method == "full" else 4)
    gradients, states = 4 * learns, 4 * STATES.get(optimizer, 2) * learns
    activations = _activations(shape, method, item, tokens, checkpointing)
    chunk = min(tokens, loss_rows(shape.vocabulary))
    loss = 4 * shape.vocabulary * (LOSS_COPIES * chunk + (shape.hidden if method == "full" else 0))
    passing = activations + loss
    together = weights + states + (gradients + passing if rows < batch_size else max(gradients, passing))
    ground = CARD if device.half else 0
    low = int(SLACK[0] * together) + ground
    high = int(SLACK[1] * (weights + states + gradients + passing)) + ground
    return Memory(weights, gradients, states, activations, loss, low, high, device.free, shape.like_llama)


def _activations(shape: Shape, method: Method, item: int, tokens: int, checkpointing: bool) -> int:
    a, b, c = FIT[method, item]
    layer = tokens * (a * shape.hidden + b * shape.intermediate + c * shape.kv)
    kept = shape.layers * layer if not checkpointing else shape.layers * tokens * item * shape.hidden + layer
    return int(kept + tokens * OUTSIDE[item] * shape.hidden)
