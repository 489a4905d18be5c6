"""What is recommended where memory ran out for good: it was tried, here on a model whose memory is a number."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from peft import PeftModel
from torch.optim import SGD, Optimizer

from tests.backends.local.conftest import ModelMaker
from trainer import models
from trainer.backends.local import fits
from trainer.backends.local.chat import Encoded
from trainer.backends.local.compute import Compute
from trainer.backends.local.model import load_model
from trainer.backends.local.optim import allocate, make_optimizer
from trainer.spec import RunSpec

Setup = tuple[Compute, Optimizer]
PLANTED = torch.OutOfMemoryError("CUDA out of memory (planted)")
PARAMETERS = 32_000  # of the small Llama, about
SMALLER = r"a model of up to about ([\d.]+)k parameters"


def example(tokens: int) -> Encoded:
    return Encoded(torch.arange(tokens) % 300, torch.arange(tokens) > 3, cut=False)


@pytest.fixture
def setup(make_model: ModelMaker) -> Callable[[RunSpec], Setup]:
    def make(spec: RunSpec) -> Setup:
        compute = Compute(load_model(models.look_up(str(make_model("llama"))), spec), 318)
        optimizer = make_optimizer(compute.model, spec)
        allocate(optimizer)
        return compute, optimizer

    return make


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`memory(full, lora)`: how long an example may be under each."""

    def limit(full: int = 0, lora: int = 0) -> None:
        def trial(self: Compute, tried: Encoded) -> int:
            if len(tried.ids) > (lora if isinstance(self.model, PeftModel) else full):
                raise PLANTED
            return really(self, tried)

        really = Compute.trial
        monkeypatch.setattr(Compute, "trial", trial)

    return limit


def advice(spec: RunSpec, made: Setup, tokens: int) -> str:
    return fits.instead_of_example(spec, *made, example(tokens))


@pytest.mark.parametrize(
    ("tokens", "fit", "named"), [(200, 150, 128), (200, 128, 128), (129, 128, 128), (128, 127, 64), (200, 9, 8)]
)
def test_the_longest_that_fits_is_named(
    setup: Callable[[RunSpec], Setup], memory: Callable[..., None], tokens: int, fit: int, named: int
) -> None:
    memory(full=fit, lora=1000)
    spec = RunSpec(method="full")
    assert advice(spec, setup(spec), tokens) == (
        f"What would fit: max length {named} (tried), or LoRA instead of full (tried)."
    )


def test_where_lora_does_not_help_a_smaller_model_is_named(
    setup: Callable[[RunSpec], Setup], memory: Callable[..., None]
) -> None:
    memory(full=100)
    spec = RunSpec(method="full")
    sizes = []
    for tokens in (120, 240):
        found = re.fullmatch(
            rf"What would fit: max length 64 \(tried\), or {SMALLER}\.", advice(spec, setup(spec), tokens)
        )
        assert found
        sizes.append(1000 * float(found[1]))
    assert PARAMETERS > sizes[0] > sizes[1] > 0


def test_an_adapter_run_is_not_told_to_use_adapters(
    setup: Callable[[RunSpec], Setup], memory: Callable[..., None]
) -> None:
    memory(lora=50)
    spec = RunSpec(method="lora", lora_rank=2)
    assert re.fullmatch(rf"What would fit: max length 32 \(tried\), or {SMALLER}\.", advice(spec, setup(spec), 100))


def test_where_nothing_fits_that_was_tried_no_number_is_made_up(
    setup: Callable[[RunSpec], Setup], memory: Callable[..., None]
) -> None:
    memory()
    spec = RunSpec(method="full")
    assert advice(spec, setup(spec), 100) == "What would fit: a smaller model."


@pytest.mark.parametrize(
    ("fitting", "said"),
    [
        ({SGD}, rf"What would fit: optimizer sgd \(tried\), or {SMALLER}\."),
        ({"lora"}, rf"What would fit: LoRA instead of full \(tried\), or {SMALLER}\."),
        ({SGD, "lora"}, r"What would fit: optimizer sgd \(tried\), or LoRA instead of full \(tried\)\."),
        (set(), rf"What would fit: {SMALLER}\."),
    ],
)
def test_states_that_do_not_fit(
    setup: Callable[[RunSpec], Setup], monkeypatch: pytest.MonkeyPatch, fitting: set[object], said: str
) -> None:
    def within(optimizer: Optimizer) -> None:
        learns = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
        if not ({type(optimizer)} & fitting or ("lora" in fitting and learns < PARAMETERS / 2)):
            raise PLANTED
        allocate(optimizer)

    monkeypatch.setattr(fits, "allocate", within)
    spec = RunSpec(method="full", optimizer="adamw", lora_rank=2)
    assert re.fullmatch(said, fits.instead_of_states(spec, *setup(spec), example(50)))


def test_states_beside_which_the_example_does_not_fit_are_not_recommended(
    setup: Callable[[RunSpec], Setup], memory: Callable[..., None]
) -> None:
    memory(full=40, lora=60)
    spec = RunSpec(method="full", optimizer="adamw", lora_rank=2)
    said = fits.instead_of_states(spec, *setup(spec), example(50))
    assert said.startswith("What would fit: LoRA instead of full (tried), or a model of")


def test_a_trial_that_fails_otherwise_is_no_recommendation(
    setup: Callable[[RunSpec], Setup], memory: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some models take no adapters; the sentence is about memory all the same."""

    def refuse(*_: object) -> None:
        raise ValueError("no linear layers")

    memory(full=64)
    monkeypatch.setattr(fits, "with_new_adapters", refuse)
    spec = RunSpec(method="full")
    assert advice(spec, setup(spec), 100).startswith("What would fit: max length 64 (tried), or a model of")
