"""Loss, gradients and evaluation of one model: the arithmetic between two events.

Loss is the mean over supervised tokens of the whole batch, exactly, however it is cut: each micro-batch's summed
cross-entropy is divided by the supervised tokens of the whole batch before it is propagated back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import cross_entropy

from trainer.backends.local.batches import MicroBatch, collate, groups, micro_batches, padded
from trainer.backends.local.chat import Encoded
from trainer.backends.local.memory import RandomState, memory_permitting, release
from trainer.backends.local.model import Loaded
from trainer.backends.local.tokens import lengths_of, targets_of
from trainer.rundir import RunError

LOGITS = 2**28  # elements; 1 GiB in float32
SMALLEST_BUDGET, LARGEST_BUDGET = 512, 8192  # tokens


class DoesNotFit(RunError):
    """Memory ran out on one example alone: smaller micro-batches can't help."""

    def __init__(self, example: Encoded) -> None:
        super().__init__(f"One example of {len(example.ids):,} tokens does not fit in the memory.")
        self.example = example


class Compute:
    """Runs examples through a model in micro-batches that fit; halves them where memory runs out.

    The budgets are tokens a micro-batch may hold, padding included: one for training, one for evaluation, which
    keeps nothing for a backward pass.
    """

    def __init__(self, loaded: Loaded, vocabulary: int) -> None:
        self.model = loaded.model
        self.device = loaded.device
        self._autocast = loaded.compute_dtype is not torch.float32
        self.token_budget = max(SMALLEST_BUDGET, min(LARGEST_BUDGET, LOGITS // max(1, vocabulary)))
        self.eval_budget = self.token_budget

    def gradients(self, batch: Sequence[Encoded], stopped: Callable[[], bool]) -> float | None:
        """Add the batch's gradients to the parameters; returns its loss, or None when `stopped` cut it short.

        Where memory runs out all of it is done again, smaller, with the same random numbers. Raises DoesNotFit.
        """
        self.model.train()
        random = RandomState(self.device)
        while True:
            with memory_permitting():
                return self._propagate(batch, stopped)
            self.model.zero_grad(set_to_none=True)  # what a half-done backward left
            self.token_budget = self._smaller(batch, self.token_budget)
            random.put_back()

    @torch.inference_mode()
    def evaluate(self, examples: Sequence[Encoded], stopped: Callable[[], bool]) -> float | None:
        """Mean loss over all supervised tokens of all examples; None when `stopped` cut it short.

        Raises DoesNotFit.
        """
        self.model.eval()
        while True:
            with memory_permitting():
                return self._add_up(examples, stopped)
            self.eval_budget = self._smaller(examples, self.eval_budget)

    def trial(self, example: Encoded) -> int:
        """One example forward and back, every token supervised, for nothing; the bytes it kept in between."""
        self.model.train()
        weights = {parameter.untyped_storage().data_ptr() for parameter in self.model.parameters()}
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor.detach()  # with its history it would be held by what it holds, for ever after an error

        micro = collate([replace(example, supervised=torch.ones_like(example.supervised))])
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = self._summed_loss(micro)
        loss.backward()  # type: ignore[no-untyped-call]
        self.model.zero_grad(set_to_none=True)
        return sum(kept.values())

    def _propagate(self, batch: Sequence[Encoded], stopped: Callable[[], bool]) -> float | None:
        targets = sum(example.targets for example in batch)
        total = torch.zeros((), dtype=torch.float64)
        for micro in micro_batches(batch, self.token_budget):
            if stopped():
                return None
            part = self._summed_loss(micro) / targets
            part.backward()  # type: ignore[no-untyped-call]
            total += part.detach().to("cpu", torch.float64)
        return float(total)

    def _add_up(self, examples: Sequence[Encoded], stopped: Callable[[], bool]) -> float | None:
        total = torch.zeros((), dtype=torch.float64)
        for micro in micro_batches(examples, self.eval_budget):
            if stopped():
                return None
            total += self._summed_loss(micro).to("cpu", torch.float64)
        return float(total) / targets_of(examples)

    def _summed_loss(self, micro: MicroBatch) -> Tensor:
        """Summed cross-entropy in float32 of the micro-batch's supervised tokens; a scalar on the device."""
        ids, attention = micro.ids.to(self.device), micro.attention.to(self.device)
        with self._precision():
            logits = self.model(input_ids=ids, attention_mask=attention, use_cache=False).logits
        chosen = micro.supervised[:, 1:].to(self.device)
        return cross_entropy(logits[:, :-1][chosen].float(), ids[:, 1:][chosen], reduction="sum")

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16) if self._autocast else nullcontext()

    def _smaller(self, examples: Sequence[Encoded], budget: int) -> int:
        """Half of the largest micro-batch that was tried, but room for the longest example. Raises DoesNotFit."""
        release(self.device)
        lengths = lengths_of(examples)
        largest = max(padded(lengths, group) for group in groups(lengths, budget))
        place = max(range(len(lengths)), key=lengths.__getitem__)
        if largest <= lengths[place]:
            raise DoesNotFit(examples[place])
        return max(lengths[place], largest // 2)


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
