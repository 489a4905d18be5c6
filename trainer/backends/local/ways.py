"""Which shorter ways a model can be computed by: without padding, and without its logits standing in memory.

Both hold only for models of a common kind, and none is believed by its name: what the configuration rules out is ruled
out, and then a batch of two short examples is run both ways before the first step. Where anything differs, the plain
way is taken (rows padded, all logits), and the log says why.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear
from transformers import AttentionInterface, PreTrainedModel

from trainer.backends.local.batches import MicroBatch, collate
from trainer.backends.local.chat import Encoded
from trainer.backends.local.packing import NotPlain, attend, attention
from trainer.backends.local.precision import autocast_dtype

PROBE = "finetunegem_probe"
LOUD = 256.0  # so much larger the head's numbers are made, to see whether anything behind it bends them
CLOSE, CLOSE_HALF = 1e-4, 0.03  # of a token's loss


@dataclass(frozen=True, slots=True)
class Ways:
    """`packed`: examples may lie end to end. `backbone` gives the hidden states that `head` makes logits of; None
    where only the whole model can. `notes` say why not."""

    packed: bool
    backbone: nn.Module | None
    head: nn.Linear | None
    notes: tuple[str, ...] = ()


class _Unlike(Exception):
    """Two ways do not come to the same; the text says where."""


@torch.no_grad()
def find(model: nn.Module, device: torch.device, precision: AbstractContextManager[Any], longest: int) -> Ways:
    """What holds for this model and examples of up to `longest` tokens."""
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    if not isinstance(base, PreTrainedModel):
        return Ways(False, None, None)
    training = model.training
    model.eval()
    try:
        with precision:
            return _find(base, device, longest)
    finally:
        model.train(training)


def by_config(model: nn.Module, longest: int) -> Ways:
    """What may hold, by the configuration alone: for a model without weights, which can't be tried."""
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    head = base.get_output_embeddings()
    short = type(head) is nn.Linear and base.base_model is not base
    try:
        _check_kind(base, longest)
    except (_Unlike, NotPlain):
        packed = False
    else:
        packed = True
    return Ways(packed, base.base_model if short else None, head if short else None)


def as_in(found: Ways, model: nn.Module) -> Ways:
    """Those that were found for one model, for another of the same kind."""
    most = by_config(model, 0)
    return Ways(found.packed, most.backbone if found.head else None, most.head if found.head else None)


def _find(model: Any, device: torch.device, longest: int) -> Ways:
    two = _two_examples(int(model.get_input_embeddings().weight.shape[0]))
    padded = collate(two).to(device)
    expected = _losses(model(**inputs(padded)).logits, padded)
    notes = []
    packed, backbone, head = False, None, None
    try:
        _check_packed(model, two, device, longest, expected)
        packed = True
    except (_Unlike, NotPlain) as why:
        notes.append(f"Batches of this model are padded, because {why}.")
    try:
        backbone, head = _check_head(model, padded)
    except _Unlike as why:
        notes.append(f"Its logits are made all at once, because {why}.")
    return Ways(packed, backbone, head, tuple(notes))


def inputs(micro: MicroBatch) -> dict[str, Any]:
    """What a transformers model is called with."""
    if micro.sequences is None:
        return {"input_ids": micro.ids, "attention_mask": micro.attention, "use_cache": False}
    sequences = micro.sequences
    return {"input_ids": micro.ids, "position_ids": sequences.positions, "packed": sequences, "use_cache": False}


def _two_examples(vocabulary: int) -> list[Encoded]:
    """All supervised, of different lengths, so that one is padded."""
    spread = torch.arange(1, 33) * 7919 % vocabulary
    lengths = [20, 12]
    parts = torch.split(spread, lengths)
    return [Encoded(part, torch.ones(len(part), dtype=torch.bool), cut=False) for part in parts]


def _losses(logits: Tensor, micro: MicroBatch) -> Tensor:
    return cross_entropy(logits.flatten(0, 1)[micro.predictors].float(), micro.targets, reduction="none")


# --- without padding ---------------------------------------------------------------------------------------------


def _check_packed(model: Any, two: list[Encoded], device: torch.device, longest: int, expected: Tensor) -> None:
    """Raises _Unlike or NotPlain where examples can't lie end to end."""
    _check_kind(model, longest)
    other = replace(two[0], ids=two[0].ids.roll(1))
    found = [_packed_logits(model, [first, two[1]], device, longest) for first in (two[0], other)]
    (logits, micro), (moved, _) = found
    begins = len(two[0].ids)
    if not torch.equal(logits[:, begins:], moved[:, begins:]):  # to the last bit
        raise _Unlike("one example would change what another one is told")
    apart = (_losses(logits, micro) - expected).abs()
    half = logits.dtype is not torch.float32 or autocast_dtype(device) is not None
    if not bool((apart.mean() < CLOSE_HALF) if half else (apart.max() < CLOSE * (1 + expected.max()))):
        raise _Unlike("without padding its losses would be others")


def _check_kind(model: Any, longest: int) -> None:
    """What the configuration says. Raises _Unlike."""
    config = model.config
    if not type(model).__module__.startswith("transformers.models."):
        raise _Unlike("it brings its own code")
    if not getattr(model, "_supports_attention_backend", False):
        raise _Unlike("its attention can't be replaced")
    if config.get_text_config() is not config:
        raise _Unlike("it takes more than text")
    if any("expert" in name and isinstance(value, int) and value > 1 for name, value in vars(config).items()):
        raise _Unlike("it chooses among experts")
    kinds = set(getattr(config, "layer_types", None) or ())
    if strange := sorted(kinds - {"full_attention", "sliding_attention"}):
        raise _Unlike(f"it has layers of {strange[0].replace('_', ' ')}")
    window = getattr(config, "sliding_window", None)
    if window is not None and window < longest and kinds != {"full_attention"}:
        raise NotPlain(f"its attention has a window of {window} tokens")


def _packed_logits(
    model: Any, examples: list[Encoded], device: torch.device, longest: int
) -> tuple[Tensor, MicroBatch]:
    """Raises _Unlike or NotPlain."""
    seen = 0

    def counting(*arguments: Any, **more: Any) -> tuple[Tensor, None]:
        nonlocal seen
        seen += 1
        window = more.get("sliding_window")
        if window is not None and window < longest:
            raise NotPlain(f"its attention has a window of {window} tokens")
        return attend(*arguments, **more)

    AttentionInterface.register(PROBE, counting)
    micro = collate(examples, packed=True).to(device)
    try:
        with attention(model, PROBE):
            logits = model(**inputs(micro)).logits
    except (TypeError, ValueError, RuntimeError, IndexError) as error:  # of the many ways to say no
        raise _Unlike(f"it can't be computed without ({type(error).__name__})") from None
    if seen != model.config.num_hidden_layers:
        raise _Unlike("not all of its layers are plain attention")
    return logits, micro


# --- without logits ----------------------------------------------------------------------------------------------


def _check_head(model: Any, micro: MicroBatch) -> tuple[nn.Module, nn.Linear]:
    """The two parts a model consists of. Raises _Unlike where there is more between or behind them."""
    backbone, head = model.base_model, model.get_output_embeddings()
    if backbone is model or type(head) is not nn.Linear:
        raise _Unlike("its output layer is no plain one")
    taken: list[Tensor] = []

    def loud(_module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> Tensor:
        taken.extend((given[0], made, made * LOUD))
        return taken[2]

    hook = head.register_forward_hook(loud)
    try:
        logits = model(**inputs(micro)).logits
    finally:
        hook.remove()
    hidden = backbone(**inputs(micro)).last_hidden_state
    if len(taken) != 3 or not torch.equal(taken[2].float(), logits.float()):
        raise _Unlike("something stands behind its output layer")
    if not torch.equal(taken[1], linear(hidden.to(taken[0].dtype), head.weight, head.bias)):
        raise _Unlike("something stands before or in its output layer")
    return backbone, head
