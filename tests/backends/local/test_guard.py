"""Clipping and the step in one go against torch's own clipping and step; what is no number moves nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from trainer.backends.local.guard import Guard
from trainer.backends.local.optim import STATES, allocate, make_optimizer
from trainer.spec import make

Made = tuple[nn.Module, Optimizer]


def made(name: str, warm: int = 2) -> Made:
    """A model and an optimizer that has taken some steps."""
    torch.manual_seed(4)
    model = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 3))
    optimizer = make_optimizer(model, make({"learning_rate": 0.01, "optimizer": name, "weight_decay": 0.1}))
    allocate(optimizer)
    for step in range(warm):
        propagate(model, step)
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def propagate(model: nn.Module, seed: int, factor: float = 1.0) -> Tensor:
    drawn = torch.randn(8, 6, generator=torch.Generator().manual_seed(seed))
    loss: Tensor = model(drawn).square().mean() * factor
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def all_of(model: nn.Module, optimizer: Optimizer) -> list[Tensor]:
    states = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return [tensor.detach().clone() for tensor in (*model.parameters(), *states)]


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("clip", [0.01, 1.0, 1000.0, math.inf])
def test_it_is_torchs_clipping_and_step(name: str, clip: float) -> None:
    model, optimizer = made(name)
    other, plain = made(name)
    guard = Guard(optimizer, list(model.parameters()), clip)
    for step in range(4):
        loss, grad_norm = guard.step(propagate(model, step, 5.0))
        expected = propagate(other, step, 5.0)
        norm = clip_grad_norm_(other.parameters(), clip)
        plain.step()
        assert loss == pytest.approx(float(expected), rel=1e-6)
        assert grad_norm == pytest.approx(float(norm), rel=1e-6)
        for found, wanted in zip(all_of(model, optimizer), all_of(other, plain), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)
        optimizer.zero_grad()
        plain.zero_grad()


def of_loss(_model: nn.Module) -> float:
    return math.nan


def of_gradient(model: nn.Module) -> float:
    next(model.parameters()).grad[0, 0] = math.inf  # type: ignore[index]
    return 1.0


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("spoil", [of_loss, of_gradient])
def test_what_is_no_number_moves_no_weight_and_no_state(name: str, spoil: Callable[[nn.Module], float]) -> None:
    model, optimizer = made(name)
    guard = Guard(optimizer, list(model.parameters()), 1.0)
    propagate(model, 9)
    loss = spoil(model)
    before, gradients = all_of(model, optimizer), [p.grad.clone() for p in model.parameters() if p.grad is not None]
    found = guard.step(loss)
    assert not all(math.isfinite(number) for number in found)
    assert all(torch.equal(a, b) for a, b in zip(all_of(model, optimizer), before, strict=True))
    after = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(after, gradients, strict=True))  # for the black box
    optimizer.zero_grad()
    assert all(math.isfinite(number) for number in guard.step(propagate(model, 10)))
    assert not torch.equal(all_of(model, optimizer)[0], before[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_a_gpu_is_not_waited_for_before_the_step_is_queued(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer = made(name, warm=0)
    model.to("cuda")
    optimizer.state.clear()
    allocate(optimizer)
    guard = Guard(optimizer, list(model.parameters()), 1.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    reading: Any = torch.cuda.Event.synchronize

    def read(event: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")
        reading(event)

    monkeypatch.setattr(torch.cuda.Event, "synchronize", read)
    loss = torch.ones((), dtype=torch.float64, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert guard.step(loss)[0] == 1.0
    finally:
        torch.cuda.set_sync_debug_mode("default")
