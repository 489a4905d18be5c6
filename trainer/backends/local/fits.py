"""What would fit where memory ran out for good. Changes are tried on the spot, on the model of a run that can't go on
and is spoiled by it; only the size of a smaller model is an estimate, from bytes that were counted, and says "about".
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Tensor, nn
from torch.optim import Optimizer

from trainer.backends.local.chat import Encoded
from trainer.backends.local.compute import Compute, trained
from trainer.backends.local.memory import in_words, memory_permitting, release
from trainer.backends.local.model import with_new_adapters
from trainer.backends.local.optim import STATES, allocate, make_optimizer
from trainer.spec import RunSpec

log = logging.getLogger(__name__)  # ends up in host.log
SHORTEST = 8  # tokens


def instead_of_example(spec: RunSpec, compute: Compute, optimizer: Optimizer, example: Encoded) -> str:
    """Two changes under which the example would fit, as a sentence."""
    with memory_permitting():
        length, kept = _longest_that_fits(compute, example)
        fixed = _fixed_bytes(spec, compute.model)
        smaller = _smaller_model(compute.model, fixed + kept, fixed + kept * len(example.ids) // max(1, length))
        optimizer.state.clear()
        return _either(f"max length {length} (tried)" if length else "", _as_lora(spec, compute, example), smaller)
    return "Try a lower max length, or LoRA."


def instead_of_states(spec: RunSpec, compute: Compute, optimizer: Optimizer, example: Encoded) -> str:
    """Two changes under which the optimizer's states would fit, and the example beside them, as a sentence."""
    with memory_permitting():
        weights = sum(_size(parameter) for parameter in compute.model.parameters())
        smaller = _smaller_model(compute.model, weights, _fixed_bytes(spec, compute.model))
        optimizer.state.clear()
        return _either(_as_sgd(spec, compute, example), _as_lora(spec, compute, example), smaller)
    return "Try LoRA, or a smaller model."


def _either(*changes: str) -> str:
    return f"What would fit: {', or '.join([change for change in changes if change][:2])}."


def _longest_that_fits(compute: Compute, example: Encoded) -> tuple[int, int]:
    """The largest power of two below the example's tokens that fits, and the bytes it keeps; zeros where none does."""
    length = 1 << (len(example.ids) - 1).bit_length() - 1
    while length >= SHORTEST:
        short = replace(example, ids=example.ids[:length], supervised=example.supervised[:length])
        if kept := _tried(compute, partial(compute.trial, short)):
            return length, kept
        length //= 2
    return 0, 0


def _as_sgd(spec: RunSpec, compute: Compute, example: Encoded) -> str:
    changed = replace(spec, optimizer="sgd")
    lighter = STATES[changed.optimizer] < STATES[spec.optimizer]
    return "optimizer sgd (tried)" if lighter and _tried(compute, lambda: _learn(changed, compute, example)) else ""


def _as_lora(spec: RunSpec, compute: Compute, example: Encoded) -> str:
    changed = replace(spec, method="lora")

    def learn() -> int:
        compute.model = with_new_adapters(compute.model, changed)
        return _learn(changed, compute, example)

    return "LoRA instead of full (tried)" if spec.method == "full" and _tried(compute, learn) else ""


def _learn(spec: RunSpec, compute: Compute, example: Encoded) -> int:
    optimizer = make_optimizer(compute.model, spec)
    allocate(optimizer)
    return compute.trial(example)


def _tried(compute: Compute, work: Callable[[], int]) -> int:
    """What `work` returns, 0 where it fails: whatever it fails of, the change can't be recommended."""
    try:
        return work()
    except Exception as error:
        log.warning("Tried in vain: %s", str(error))
        return 0
    finally:
        compute.model.zero_grad(set_to_none=True)
        release(compute.device)


def _smaller_model(model: nn.Module, fits: int, needed: int) -> str:
    """The size of a model that needs what fits, if this one needs `needed` bytes. At the usual shapes what is kept for
    the way back shrinks slower than the parameters, with their 2/3; so this is on the safe side."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if fits >= needed:
        return "a smaller model"
    return f"a model of up to about {in_words(parameters * (fits / needed) ** 1.5)} parameters"


def _fixed_bytes(spec: RunSpec, model: nn.Module) -> int:
    """Weights, gradients and the optimizer's states: what a step needs however short its examples are."""
    learns = sum(_size(parameter) for parameter in trained(model))
    return sum(_size(parameter) for parameter in model.parameters()) + learns * (1 + STATES[spec.optimizer])


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
