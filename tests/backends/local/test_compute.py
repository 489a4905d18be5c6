"""The loss is the mean over the supervised tokens of the whole batch, exactly, and its gradients are that loss's:
held against one plain transformers forward and backward, for every architecture and every cut of the batch.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from tests.backends.local.conftest import DataMaker, ModelMaker
from trainer import data, models
from trainer.backends.local.chat import Encoded, encode
from trainer.backends.local.compute import Compute, DoesNotFit, trained
from trainer.backends.local.memory import memory_permitting
from trainer.backends.local.model import Loaded, load_model, load_tokenizer
from trainer.insight.estimate import LARGEST_CPU_BUDGET, SMALLEST_BUDGET
from trainer.spec import RunSpec

METHODS = ("full", "lora")
ONE_EACH = 1  # a token budget that cuts the batch into single examples
HALVED = 99  # of the 198 tokens in the largest micro-batch within 200
Gradients = dict[str, Tensor]


def never() -> bool:
    return False


@pytest.fixture
def setup(make_model: ModelMaker, make_data: DataMaker) -> Callable[[str, str], tuple[Compute, list[Encoded]]]:
    """setup(architecture, method) → the model in a Compute, and a batch of chats of very different lengths."""

    def make(architecture: str, method: str) -> tuple[Compute, list[Encoded]]:
        info = models.look_up(str(make_model(architecture)))
        tokenizer, _ = load_tokenizer(info)
        torch.manual_seed(3)
        loaded = load_model(info, RunSpec(method=method, lora_rank=4))  # type: ignore[arg-type]
        for name, parameter in loaded.model.named_parameters():
            if "lora_B" in name:  # zero at first, which would hide the gradients of lora_A
                nn.init.normal_(parameter, std=0.05)
        examples = data.load(str(make_data(9))).examples()
        return Compute(loaded, len(tokenizer)), [encode(tokenizer, example.conversation, 96) for example in examples]

    return make


def plain(model: nn.Module, batch: Sequence[Encoded]) -> tuple[Tensor, int]:
    """Summed cross-entropy of the batch by one forward of one padded tensor, and how many tokens it is over."""
    width = max(len(example.ids) for example in batch)
    ids = torch.full((len(batch), width), 1)  # another padding than ours
    labels = torch.full((len(batch), width), -100)
    mask = torch.zeros((len(batch), width), dtype=torch.int64)
    for row, example in enumerate(batch):
        length = len(example.ids)
        ids[row, :length] = example.ids
        labels[row, :length] = torch.where(example.supervised, example.ids, -100)
        mask[row, :length] = 1
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    wanted = labels[:, 1:]
    chosen = log_softmax(logits, dim=-1).gather(-1, wanted.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return -(chosen * (wanted != -100)).sum(), int((wanted != -100).sum())


def plain_gradients(compute: Compute, batch: Sequence[Encoded]) -> tuple[float, Gradients]:
    compute.model.train()
    compute.model.zero_grad()
    total, tokens = plain(compute.model, batch)
    loss = total / tokens
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach()), taken(compute)


def taken(compute: Compute) -> Gradients:
    """The gradients now in the model, which are taken out of it."""
    found = {name: p.grad.clone() for name, p in compute.model.named_parameters() if p.grad is not None}
    compute.model.zero_grad(set_to_none=True)
    return found


def assert_same(found: Gradients, expected: Gradients) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5, msg=name)
    norms = [float(gradient.norm()) for gradient in expected.values()]
    assert sum(norm > 1e-4 for norm in norms) > len(norms) / 2  # there was something to compare


def evaluated(compute: Compute, batch: Sequence[Encoded]) -> float:
    found = compute.evaluate(batch, never)
    assert found is not None
    return found.mean


def parts(compute: Compute, batch: Sequence[Encoded]) -> int:
    return len(compute.cut(batch).parts)


@pytest.mark.parametrize("method", METHODS)
def test_loss_and_gradients_are_those_of_one_plain_batch(architecture: str, method: str, setup: Any) -> None:
    compute, batch = setup(architecture, method)
    loss, expected = plain_gradients(compute, batch)
    assert len(expected) == len(trained(compute.model))
    tokens = sum(len(example.ids) for example in batch)
    seen: set[int] = set()
    for budget in (LARGEST_CPU_BUDGET, tokens // 2 + 90, tokens // 4, ONE_EACH):
        compute.token_budget = budget
        seen.add(parts(compute, batch))
        assert compute.gradients(batch, never) == pytest.approx(loss, abs=1e-5)
        assert_same(taken(compute), expected)
    assert {1, 2, len(batch)} <= seen
    assert len(seen) == 4


@pytest.mark.parametrize("method", METHODS)
def test_evaluation_is_the_mean_over_all_tokens(architecture: str, method: str, setup: Any) -> None:
    """Against one unpadded forward an example, so that padding would show; not the mean of the batches' means."""
    compute, batch = setup(architecture, method)
    compute.model.eval()
    with torch.no_grad():
        alone = [plain(compute.model, [example]) for example in batch]
    token_mean = float(sum(total for total, _ in alone)) / sum(tokens for _, tokens in alone)
    mean_of_means = sum(float(total) / tokens for total, tokens in alone) / len(alone)
    assert abs(token_mean - mean_of_means) > 1e-4  # the two can be told apart here
    for budget in (LARGEST_CPU_BUDGET, 200, ONE_EACH):
        compute.eval_budget = budget
        assert evaluated(compute, batch) == pytest.approx(token_mean, abs=1e-5)
    assert taken(compute) == {}


WAYS = {"padded": (False, True), "all logits": (True, False), "padded, all logits": (False, False)}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["llama", "llama-tied", "qwen3", "gemma", "gpt2"])
def test_the_short_ways_change_no_number(setup: Any, name: str, method: str, way: str) -> None:
    """Without padding, and the loss from hidden states: against the same model without one or both of them."""
    compute, batch = setup(name, method)
    assert compute.ways.packed
    assert compute.ways.head is not None
    loss, evaluation = compute.gradients(batch, never), evaluated(compute, batch)
    found = taken(compute)
    packed, head = WAYS[way]
    ways = compute.ways
    compute.ways = replace(ways, packed=packed, head=ways.head if head else None)
    for budget in (LARGEST_CPU_BUDGET, 200):
        compute.token_budget = compute.eval_budget = budget
        assert compute.gradients(batch, never) == pytest.approx(loss, abs=1e-5)
        assert_same(taken(compute), found)
        assert evaluated(compute, batch) == pytest.approx(evaluation, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_recomputing_activations_changes_no_number(architecture: str, setup: Any, method: str) -> None:
    compute, batch = setup(architecture, method)
    for budget in (LARGEST_CPU_BUDGET, 200):
        compute.token_budget = budget
        loss = compute.gradients(batch, never)
        expected = taken(compute)
        compute.recompute = False
        assert compute.switch_to_recompute()
        assert compute.gradients(batch, never) == pytest.approx(loss, abs=1e-6)
        assert_same(taken(compute), expected)
        compute.model.gradient_checkpointing_disable()


def test_recomputing_draws_the_same_dropout_again(setup: Any) -> None:
    compute, batch = setup("gpt2", "full")
    with_dropout(compute)
    found = []
    for recompute in (False, True):
        if recompute:
            compute.switch_to_recompute()
        torch.manual_seed(11)
        found.append((compute.gradients(batch, never), taken(compute), torch.get_rng_state()))
    (loss, gradients, state), (expected, expected_gradients, expected_state) = found
    assert loss == expected
    assert_same(gradients, expected_gradients)
    assert torch.equal(state, expected_state)


def test_recomputing_keeps_less(setup: Any) -> None:
    compute, batch = setup("llama", "full")
    longest = max(batch, key=lambda example: len(example.ids))
    before = compute.trial(longest)
    compute.switch_to_recompute()
    assert compute.trial(longest) < before / 2


@pytest.mark.parametrize("packed", [True, False])
def test_the_order_within_a_batch_is_no_matter(setup: Any, packed: bool) -> None:
    compute, batch = setup("qwen2", "full")
    compute.ways = replace(compute.ways, packed=packed)
    loss = compute.gradients(batch, never)
    expected = taken(compute)
    for other in (batch[::-1], batch[3:] + batch[:3]):
        for budget in (LARGEST_CPU_BUDGET, 200):
            compute.token_budget = budget
            assert compute.gradients(other, never) == pytest.approx(loss, abs=1e-5)
            assert_same(taken(compute), expected)


@pytest.mark.parametrize("packed", [True, False])
def test_the_losses_of_single_examples_stand_in_their_order(setup: Any, packed: bool) -> None:
    compute, batch = setup("llama", "full")
    compute.ways = replace(compute.ways, packed=packed)
    with torch.no_grad():
        alone = [float(plain(compute.model.eval(), [example])[0]) for example in batch]
    for budget in (LARGEST_CPU_BUDGET, 200, ONE_EACH):
        compute.eval_budget = budget
        found = compute.evaluate(batch, never)
        assert found.sums.tolist() == pytest.approx(alone, rel=1e-5)
        assert found.targets == sum(example.targets for example in batch)


def test_a_batch_prepared_for_another_budget_is_cut_again(setup: Any) -> None:
    compute, batch = setup("llama", "full")
    cut = compute.cut(batch)
    compute.token_budget = 200
    loss = compute.gradients(batch, never)
    expected = taken(compute)
    assert compute.gradients(batch, never, cut) == loss
    assert all(torch.equal(gradient, expected[name]) for name, gradient in taken(compute).items())


def test_the_same_twice_is_the_same_to_the_last_bit(architecture: str, setup: Any) -> None:
    compute, batch = setup(architecture, "full")
    found = [(compute.gradients(batch, never), taken(compute), evaluated(compute, batch)) for _ in range(2)]
    assert found[0][0] == found[1][0]
    assert all(torch.equal(gradient, found[1][1][name]) for name, gradient in found[0][1].items())
    assert found[0][2] == found[1][2]


def test_evaluation_has_no_dropout_and_training_has(setup: Any) -> None:
    compute, batch = setup("gpt2", "full")
    with_dropout(compute)
    assert evaluated(compute, batch) == evaluated(compute, batch)
    assert compute.gradients(batch, never) != compute.gradients(batch, never)


PLANTED = torch.OutOfMemoryError("CUDA out of memory (planted)")


@contextmanager
def memory_for(compute: Compute, tokens: int, error: Exception = PLANTED) -> Iterator[list[int]]:
    """A forward of more than `tokens` (padding included) runs out of memory; yields the sizes that were tried."""
    tried: list[int] = []
    part = compute.ways.backbone or compute.model
    forward = part.forward

    def limited(*, input_ids: Tensor, **rest: Any) -> Any:
        tried.append(input_ids.numel())
        if tried[-1] > tokens:
            raise error
        return forward(input_ids=input_ids, **rest)

    part.forward = limited
    yield tried
    part.forward = forward


@pytest.mark.parametrize("method", METHODS)
def test_out_of_memory_in_forward_changes_no_number(setup: Any, method: str) -> None:
    compute, batch = setup("llama", method)
    loss, expected = plain_gradients(compute, batch)
    with memory_for(compute, 210) as tried:
        assert compute.gradients(batch, never) == pytest.approx(loss, abs=1e-5)
        assert_same(taken(compute), expected)
        assert 100 < compute.token_budget < 300
        tried.clear()
        assert compute.gradients(batch, never) == pytest.approx(loss, abs=1e-5)
        assert max(tried) <= 210  # the next step starts with what fits


def test_half_of_what_was_tried_is_tried_next(setup: Any) -> None:
    """Not half of a budget that the batch does not fill: every failed try costs the time of one."""
    compute, batch = setup("llama", "full")
    whole = sum(len(example.ids) for example in batch)
    assert compute.token_budget > 2 * whole
    with memory_for(compute, whole - 1) as tried:
        compute.gradients(batch, never)
    assert compute.token_budget == whole // 2
    assert tried[0] == whole > tried[1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("failing", [1, 2, 3])
def test_out_of_memory_inside_backward_leaves_no_half_gradients(setup: Any, method: str, failing: int) -> None:
    """The bomb goes off in the first layer: by then the layers above it have their part of the gradients."""
    compute, batch = setup("llama", method)
    loss, expected = plain_gradients(compute, batch)
    compute.token_budget = 200
    with bomb(compute, failing) as calls:
        assert compute.gradients(batch, never) == pytest.approx(loss, abs=1e-5)
    assert len(calls) > failing
    assert compute.token_budget == HALVED
    assert_same(taken(compute), expected)


@contextmanager
def bomb(compute: Compute, failing: int) -> Iterator[list[int]]:
    """Memory runs out in the `failing`-th backward pass; yields a list of one entry a pass."""
    calls: list[int] = []

    def explode(gradient: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == failing:
            raise PLANTED
        return gradient

    first = next(p for name, p in compute.model.named_parameters() if p.requires_grad and ".0." in name)
    hook = first.register_hook(explode)  # type: ignore[no-untyped-call]
    yield calls
    hook.remove()


def with_dropout(compute: Compute) -> Compute:
    for module in compute.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    return compute


@pytest.mark.parametrize("failing", [1, 3])
def test_a_step_done_again_draws_the_same_random_numbers(setup: Any, failing: int) -> None:
    """To the last bit what it would have been with the smaller micro-batches from the start, and all after it."""
    compute, batch = setup("gpt2", "full")
    with_dropout(compute)
    found = []
    for budget in (200, HALVED):
        torch.manual_seed(11)
        compute.token_budget = budget
        with bomb(compute, failing if budget == 200 else -1):
            losses = [compute.gradients(batch, never)]
        gradients = taken(compute)
        losses.append(compute.gradients(batch, never))
        assert taken(compute)
        found.append((losses, gradients, torch.get_rng_state()))
        assert compute.token_budget == HALVED
    (losses, gradients, state), (expected, expected_gradients, expected_state) = found
    assert losses == expected
    assert all(torch.equal(gradient, expected_gradients[name]) for name, gradient in gradients.items())
    assert torch.equal(state, expected_state)


def test_out_of_memory_in_evaluation_changes_no_number(setup: Any) -> None:
    compute, batch = setup("gpt2", "full")
    expected = evaluated(compute, batch)
    with memory_for(compute, 150):
        assert evaluated(compute, batch) == pytest.approx(expected, abs=1e-6)


def test_training_and_evaluation_have_budgets_of_their_own(setup: Any) -> None:
    compute, batch = setup("llama", "full")
    with memory_for(compute, 400):
        compute.evaluate(batch, never)
    assert compute.eval_budget < LARGEST_CPU_BUDGET
    assert compute.token_budget == LARGEST_CPU_BUDGET
    evaluating = compute.eval_budget
    with memory_for(compute, 150):
        compute.gradients(batch, never)
    assert compute.token_budget <= 150
    assert compute.eval_budget == evaluating


def test_another_error_is_no_matter_of_memory(setup: Any) -> None:
    compute, batch = setup("llama", "full")
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with memory_for(compute, 150, error), pytest.raises(RuntimeError, match="shapes"):
        compute.gradients(batch, never)
    assert compute.token_budget == LARGEST_CPU_BUDGET


@pytest.mark.parametrize("what", ["gradients", "evaluate"])
def test_an_example_that_fits_no_memory_is_named(setup: Any, what: str) -> None:
    compute, batch = setup("llama", "full")
    longest = max(batch, key=lambda example: len(example.ids))
    with memory_for(compute, len(longest.ids) - 1), pytest.raises(DoesNotFit) as caught:
        getattr(compute, what)(batch, never)
    assert str(caught.value) == f"One example of {len(longest.ids)} tokens does not fit in the memory."
    assert len(caught.value.example.ids) == len(longest.ids)
    assert taken(compute) == {}


def test_a_trial_tells_what_it_keeps_and_leaves_nothing(setup: Any) -> None:
    compute, batch = setup("llama", "full")
    weights = {name: p.clone() for name, p in compute.model.named_parameters()}
    short, long = sorted(batch, key=lambda example: len(example.ids))[:: len(batch) - 1]
    kept = [compute.trial(example) for example in (short, long)]
    assert 10_000 < kept[0] < kept[1]
    assert kept[1] / kept[0] == pytest.approx(len(long.ids) / len(short.ids), rel=0.2)
    assert taken(compute) == {}
    assert all(torch.equal(p, weights[name]) for name, p in compute.model.named_parameters())


class Tight(nn.Module):
    """Runs out of memory when it has just made something that is kept for its own way back."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(318, 8)
        self.made: list[weakref.ref[Tensor]] = []

    def forward(self, input_ids: Tensor, **_: Any) -> None:
        output = self.embedding(input_ids).tanh()
        self.made.append(weakref.ref(output))
        raise torch.OutOfMemoryError("CUDA out of memory (planted)")


@pytest.mark.parametrize("what", ["trial", "gradients", "evaluate"])
def test_a_failed_try_holds_no_memory(setup: Any, what: str) -> None:
    """Else the smaller one that follows would not fit either."""
    _, batch = setup("llama", "full")
    model = Tight()
    compute = Compute(Loaded(model, torch.device("cpu"), torch.float32, 1, 1, 318), 318)
    with suppress(DoesNotFit), memory_permitting():
        if what == "trial":
            compute.trial(batch[0])
        else:
            getattr(compute, what)(batch, never)
    assert len(model.made) >= 1
    assert [output for output in model.made if output() is not None] == []


@pytest.mark.parametrize("what", ["gradients", "evaluate"])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_stop_between_micro_batches_ends_it(setup: Any, what: str, after: int) -> None:
    compute, batch = setup("llama", "full")
    compute.token_budget = compute.eval_budget = ONE_EACH
    asked: list[int] = []

    def stopped() -> bool:
        asked.append(1)
        return len(asked) > after

    with memory_for(compute, 10_000) as forwards:
        assert getattr(compute, what)(batch, stopped) is None
    assert len(forwards) == after


def test_the_budget_suits_the_vocabulary(setup: Any) -> None:
    compute, _ = setup("llama", "full")
    assert compute.token_budget == LARGEST_CPU_BUDGET
    loaded = load_model(models.look_up(compute.model.config._name_or_path), RunSpec())
    assert Compute(loaded, 256_000).token_budget == LARGEST_CPU_BUDGET  # no logits stand in memory
    head: Any = loaded.model.lm_head
    head.register_forward_hook(lambda _module, _given, logits: logits * 2)
    assert Compute(loaded, 256_000).token_budget == 2**28 // 256_000
    assert Compute(loaded, 10**9).token_budget == SMALLEST_BUDGET


def test_padding_reaches_no_gradient_even_with_a_window_shorter_than_it(setup: Any) -> None:
    """A short row beside a long one: its padding lies outside every window, so whole attention rows are masked."""
    compute, batch = setup("mistral", "full")
    shortest, longest = min(batch, key=lambda e: len(e.ids)), max(batch, key=lambda e: len(e.ids))
    assert len(longest.ids) - len(shortest.ids) > 8
    both = [shortest, longest]
    compute.token_budget = ONE_EACH
    loss = compute.gradients(both, never)
    apart = taken(compute)
    compute.token_budget = LARGEST_CPU_BUDGET
    assert compute.gradients(both, never) == pytest.approx(loss, abs=1e-5)
    assert_same(taken(compute), apart)
