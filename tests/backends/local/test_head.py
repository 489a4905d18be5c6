"""The loss from hidden states in chunks against logits and torch's cross-entropy: values and every gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainer.backends.local import head
from trainer.backends.local.head import summed_loss, token_losses
from trainer.insight.estimate import loss_rows

TOKENS, WIDTH, VOCABULARY = 37, 16, 91


@pytest.fixture(params=["torch's own", "ours"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(head, "SMALL", 0)
    if request.param == "ours":
        monkeypatch.setattr(head, "_NATIVE", False)
    elif not head._NATIVE:
        pytest.skip("this torch has no linear_cross_entropy")
    return str(request.param)


def made(bias: bool = False) -> tuple[Tensor, nn.Linear, Tensor]:
    torch.manual_seed(5)
    layer = nn.Linear(WIDTH, VOCABULARY, bias)
    nn.init.normal_(layer.weight)
    return torch.randn(TOKENS, WIDTH, requires_grad=True), layer, torch.randint(0, VOCABULARY, (TOKENS,))


def gradients(loss: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss * 0.37, of)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [1, 5, 36, 37, 512])
def test_every_chunk_size_gives_the_same(kind: str, monkeypatch: pytest.MonkeyPatch, size: int, bias: bool) -> None:
    monkeypatch.setattr(head, "loss_rows", lambda _: size)
    hidden, layer, targets = made(bias)
    plain = cross_entropy(layer(hidden), targets, reduction="sum")
    found = summed_loss(hidden, layer, targets)
    assert float(found.detach()) == pytest.approx(float(plain.detach()), rel=1e-6)
    of = (hidden, *layer.parameters())
    for one, other in zip(gradients(found, *of), gradients(plain, *of), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_little_work_goes_the_way_of_fewer_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> Tensor:
        raise AssertionError("this is for much work")

    monkeypatch.setattr(head, "_native", fails)
    hidden, layer, targets = made()
    plain = cross_entropy(layer(hidden), targets, reduction="sum")
    torch.testing.assert_close(summed_loss(hidden, layer, targets), plain)


def test_a_frozen_head_gets_no_gradient(kind: str) -> None:
    hidden, layer, targets = made()
    layer.requires_grad_(False)
    plain = gradients(cross_entropy(layer(hidden), targets, reduction="sum"), hidden)
    torch.testing.assert_close(gradients(summed_loss(hidden, layer, targets), hidden), plain, rtol=1e-5, atol=1e-5)
    summed_loss(hidden, layer, targets).backward()  # type: ignore[no-untyped-call]
    assert layer.weight.grad is None


def test_nothing_supervised_is_a_loss_of_zero_that_propagates(kind: str) -> None:
    hidden, layer, targets = made()
    loss = summed_loss(hidden[:0], layer, targets[:0])
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0.0


def test_sixteen_bits_are_summed_in_thirty_two() -> None:
    """As on a GPU: products in bfloat16, the loss and what goes to a float32 head in float32."""
    hidden, layer, targets = made()
    exact = cross_entropy(layer(hidden), targets, reduction="sum")
    with torch.autocast("cpu", torch.bfloat16):
        found = summed_loss(hidden.bfloat16(), layer, targets)
    assert found.dtype is torch.float32
    assert float(found.detach()) == pytest.approx(float(exact.detach()), rel=0.01)
    (one,), (other,) = gradients(found, layer.weight), gradients(exact, layer.weight)
    assert one.dtype is torch.float32
    assert float((one - other).norm() / other.norm()) < 0.02


@pytest.mark.parametrize("size", [1, 36, 512])
def test_the_losses_of_single_tokens(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(head, "loss_rows", lambda _: size)
    hidden, layer, targets = made(bias=True)
    found = token_losses(hidden, layer, targets)
    torch.testing.assert_close(found, cross_entropy(layer(hidden), targets, reduction="none").detach())
    assert not found.requires_grad


def test_logits_never_stand_in_memory_whole() -> None:
    for vocabulary in (300, 8_192, 128_256, 1_000_000):
        assert loss_rows(vocabulary) * vocabulary <= max(2**25, 64 * vocabulary)
    assert loss_rows(300) == 512
