"""The optimizer and the learning-rate schedule a spec asks for, from torch and transformers."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from trainer.backends.local.memory import memory_permitting
from trainer.insight.estimate import STATES as STATES
from trainer.spec import RunSpec

MOMENTUM = 0.9


def make_optimizer(model: nn.Module, spec: RunSpec) -> torch.optim.Optimizer:
    """Weight decay falls on matrices only: biases and norms (one dimension) are left out, as the field does.

    `fused`: torch's own step in one pass over weights, gradients and states, for those that have it on every device
    (but `meta`, where nothing is computed).
    """
    learns = [p for p in model.parameters() if p.requires_grad]
    fused = learns[0].device.type != "meta"
    groups = [
        {"params": [p for p in learns if p.ndim >= 2], "weight_decay": spec.weight_decay},
        {"params": [p for p in learns if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    match spec.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=spec.learning_rate, fused=fused)
        case "adam":
            return torch.optim.Adam(groups, lr=spec.learning_rate, fused=fused)
        case "adagrad":
            return torch.optim.Adagrad(groups, lr=spec.learning_rate)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=spec.learning_rate)
        case "sgd":
            return torch.optim.SGD(groups, lr=spec.learning_rate, momentum=MOMENTUM, fused=fused)


def allocate(optimizer: torch.optim.Optimizer) -> None:
    """Make a new optimizer's states now, not within its first step, where running out of memory would spoil weights.

    It takes a step that moves nothing: no gradient, no learning rate. What its steps need beside the states is shown
    to fit as well; where it does not, the weights are taken one by one from now on, which is slower and needs least.
    """
    with memory_permitting():
        return idle_step(optimizer)
    one_by_one(optimizer)
    return idle_step(optimizer)


def one_by_one(optimizer: torch.optim.Optimizer) -> None:
    """From now on take the weights one by one, not all at once as torch does on a GPU: that needs a copy of them."""
    for group in optimizer.param_groups:
        group["foreach"] = False


def idle_step(optimizer: torch.optim.Optimizer) -> None:
    """A step that moves nothing. All five optimizers begin with states of zeros, so zeros they are afterwards."""
    groups = optimizer.param_groups
    rates = [group["lr"] for group in groups]
    try:
        for group in groups:
            group["lr"] = 0.0
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    finally:
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, torch.Tensor):
                value.zero_()


def make_schedule(optimizer: torch.optim.Optimizer, spec: RunSpec, total_steps: int) -> LRScheduler:
    """Linear warmup over `warmup` of all steps, then constant, linear to zero, or cosine to zero: transformers' own.

    As there, the first warmup step has a learning rate of zero; at least one step is left after warmup, so that a
    run of one step learns.
    """
    name = "constant_with_warmup" if spec.schedule == "constant" else spec.schedule
    warmup = min(math.ceil(spec.warmup * total_steps), total_steps - 1)
    schedule: LRScheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total_steps)
    return schedule
