"""Optimizers and learning-rate schedules: the numbers a person's spec comes to."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trainer.backends.local.optim import MOMENTUM, make_optimizer, make_schedule
from trainer.spec import RunSpec, make

KINDS = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}


def spec(**fields: float | str) -> RunSpec:
    return make({"learning_rate": 0.01, **fields})


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2, bias=False))


def rates(wanted: RunSpec, steps: int) -> list[float]:
    """The learning rate of each of `steps` steps, as the loop asks for it."""
    model = small()
    optimizer = make_optimizer(model, wanted)
    schedule = make_schedule(optimizer, wanted, steps)
    used: list[float] = []
    for _ in range(steps):
        used.append(float(schedule.get_last_lr()[0]))
        assert all(group["lr"] == used[-1] for group in optimizer.param_groups)
        optimizer.step()
        schedule.step()
    return used


@pytest.mark.parametrize("name", KINDS)
def test_each_optimizer_is_torchs_own_and_learns(name: str) -> None:
    model = small()
    optimizer = make_optimizer(model, spec(optimizer=name))
    assert type(optimizer) is KINDS[name]
    inputs, targets = torch.randn(16, 3), torch.randn(16, 2)
    losses: list[float] = []
    for _ in range(30):
        loss = (model(inputs) - targets).square().mean()
        losses.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", KINDS)
def test_weight_decay_falls_on_matrices_only(name: str) -> None:
    model = small()
    groups = make_optimizer(model, spec(optimizer=name, weight_decay=0.1)).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert len(decay) == len(list(model.parameters()))
    assert {decay[id(p)] for p in model.parameters() if p.ndim >= 2} == {0.1}
    assert {decay[id(p)] for p in model.parameters() if p.ndim < 2} == {0.0}


def test_frozen_parameters_are_left_out() -> None:
    model = small()
    model[0].requires_grad_(False)  # type: ignore[index]
    held = {id(p) for group in make_optimizer(model, spec()).param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}
    model[1].requires_grad_(False)  # type: ignore[index]
    assert len(make_optimizer(model, spec()).param_groups) == 1  # LoRA: only matrices, no empty group


def test_sgd_has_momentum_and_decay_pulls_to_zero() -> None:
    optimizer = make_optimizer(small(), spec(optimizer="sgd"))
    assert [group["momentum"] for group in optimizer.param_groups] == [MOMENTUM, MOMENTUM]
    weight = nn.Parameter(torch.ones(2, 2))
    holder = nn.Module()
    holder.weight = weight
    optimizer = make_optimizer(holder, spec(optimizer="sgd"))
    for _ in range(2):  # v1 = g; v2 = 0.9 g + g
        weight.grad = torch.ones(2, 2)
        optimizer.step()
    assert weight.flatten().tolist() == pytest.approx([1 - 0.01 * (1 + 1.9)] * 4)


def test_constant_climbs_to_the_peak_and_stays() -> None:
    used = rates(spec(schedule="constant", warmup=0.2), 20)
    assert used[:4] == pytest.approx([0.0, 0.0025, 0.005, 0.0075])
    assert used[4:] == pytest.approx([0.01] * 16)


def test_linear_falls_in_a_straight_line_to_just_above_zero() -> None:
    used = rates(spec(schedule="linear", warmup=0.2), 20)
    assert used[4] == pytest.approx(0.01)
    assert used[5:] == pytest.approx([0.01 * (20 - done) / 16 for done in range(5, 20)])
    assert used[-1] == pytest.approx(0.01 / 16)


def test_cosine_falls_along_half_a_wave() -> None:
    used = rates(spec(schedule="cosine", warmup=0.0), 20)
    assert used == pytest.approx([0.005 * (1 + math.cos(math.pi * done / 20)) for done in range(20)])
    assert used[0] == pytest.approx(0.01)
    assert used[10] == pytest.approx(0.005)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_only_the_first_warmup_step_is_idle_and_there_is_one_peak(schedule: str, warmup: float, steps: int) -> None:
    used = rates(spec(schedule=schedule, warmup=warmup), steps)
    assert min(used[1:], default=1.0) > 0
    assert max(used) == pytest.approx(0.01)
    peak = used.index(max(used))
    assert used[: peak + 1] == sorted(used[: peak + 1])
    assert used[peak:] == sorted(used[peak:], reverse=True)
