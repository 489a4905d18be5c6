"""The optimizer and the learning-rate schedule a spec asks for, from torch and transformers."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from trainer.spec import RunSpec

MOMENTUM = 0.9


def make_optimizer(model: nn.Module, spec: RunSpec) -> torch.optim.Optimizer:
    """Weight decay falls on matrices only: biases and norms (one dimension) are left out, as the field does."""
    learns = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learns if p.ndim >= 2], "weight_decay": spec.weight_decay},
        {"params": [p for p in learns if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    match spec.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=spec.learning_rate)
        case "adam":
            return torch.optim.Adam(groups, lr=spec.learning_rate)
        case "adagrad":
            return torch.optim.Adagrad(groups, lr=spec.learning_rate)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=spec.learning_rate)
        case "sgd":
            return torch.optim.SGD(groups, lr=spec.learning_rate, momentum=MOMENTUM)


def make_schedule(optimizer: torch.optim.Optimizer, spec: RunSpec, total_steps: int) -> LRScheduler:
    """Linear warmup over `warmup` of all steps, then constant, linear to zero, or cosine to zero: transformers' own.

    As there, the first warmup step has a learning rate of zero; at least one step is left after warmup, so that a
    run of one step learns.
    """
    name = "constant_with_warmup" if spec.schedule == "constant" else spec.schedule
    warmup = min(math.ceil(spec.warmup * total_steps), total_steps - 1)
    schedule: LRScheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total_steps)
    return schedule
