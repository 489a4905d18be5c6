"""Loss, gradients and evaluation of one model: the arithmetic between two events.

Loss is the mean over supervised tokens of the whole batch, exactly, however it is cut: each micro-batch's summed
cross-entropy is divided by the supervised tokens of the whole batch before it is propagated back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import cross_entropy

from trainer.backends.local.ahead import ahead
from trainer.backends.local.batches import MicroBatch, collate, group_size, groups, micro_batches, smaller_parts
from trainer.backends.local.chat import Encoded
from trainer.backends.local.head import summed_loss, token_losses
from trainer.backends.local.memory import RandomState, memory_permitting, release
from trainer.backends.local.model import Loaded
from trainer.backends.local.packing import NAME, attention
from trainer.backends.local.tokens import lengths_of, targets_of
from trainer.backends.local.ways import Ways, find, inputs
from trainer.insight.estimate import token_budget
from trainer.rundir import RunError


class DoesNotFit(RunError):
    """Memory ran out on one example alone: smaller micro-batches can't help."""

    def __init__(self, example: Encoded) -> None:
        super().__init__(f"One example of {len(example.ids):,} tokens does not fit in the memory.")
        self.example = example


@dataclass(frozen=True, slots=True)
class Losses:
    """Of several examples: `sums` (examples,) float64 over the supervised tokens of each, and how many in all."""

    sums: Tensor
    targets: int

    @property
    def mean(self) -> float:
        """Over tokens, so that every token counts the same."""
        return float(self.sums.sum()) / self.targets


@dataclass(frozen=True, slots=True)
class Cut:
    """A batch as micro-batches within a budget, made before they are needed."""

    budget: int
    parts: tuple[MicroBatch, ...]


class Compute:
    """Runs examples through a model in micro-batches that fit; halves them where memory runs out.

    The budgets are tokens a micro-batch may hold, padding included: one for training, one for evaluation, which
    keeps nothing for a backward pass. Where one example alone does not fit, what its layers keep for the way back is
    computed again there (`recompute`; gradient checkpointing, Chen et al. 2016, arXiv:1604.06174): slower, a
    fraction of the memory, and the same numbers.
    """

    def __init__(self, loaded: Loaded, vocabulary: int, longest: int = 2**31, ways: Ways | None = None) -> None:
        """`longest`: no example has more tokens. `ways`: where they are known already."""
        self.model = loaded.model
        self.device = loaded.device
        self.recompute = False
        self._autocast = loaded.compute_dtype is not torch.float32
        self.ways = ways or find(self.model, self.device, self._precision(), longest)
        self.token_budget = token_budget(vocabulary, card=self.device.type == "cuda", logits=self.ways.head is None)
        self.eval_budget = self.token_budget

    def gradients(self, batch: Sequence[Encoded], stopped: Callable[[], bool], cut: Cut | None = None) -> Tensor | None:
        """Add the batch's gradients to the parameters; returns its loss, float64 on the device, or None when `stopped`
        cut it short.

        Where memory runs out all of it is done again, smaller, with the same random numbers. Raises DoesNotFit.
        """
        if not self.model.training:  # it goes through all modules
            self.model.train()
        random = RandomState(self.device)
        while True:
            with memory_permitting():
                return self._propagate(batch, stopped, cut)
            self.model.zero_grad(set_to_none=True)  # what a half-done backward left
            self._relieve(batch)
            random.put_back()

    @torch.inference_mode()
    def evaluate(self, examples: Sequence[Encoded], stopped: Callable[[], bool]) -> Losses | None:
        """The losses of all examples; None when `stopped` cut it short. Raises DoesNotFit."""
        self.model.eval()
        while True:
            with memory_permitting():
                return self._add_up(examples, stopped)
            self.eval_budget = self._smaller(examples, self.eval_budget)

    def cut(self, batch: Sequence[Encoded]) -> Cut:
        """The batch as it would be cut now; any thread may ask."""
        budget = self.token_budget
        parts = micro_batches(batch, budget, self.ways.packed)
        return Cut(budget, tuple(part.pinned() if self.device.type == "cuda" else part for part in parts))

    def change(self, batch: Sequence[Encoded], budget: int, recomputed: bool) -> str:
        """What has changed since these held, in words; "" for nothing."""
        found = []
        if self.token_budget != budget:
            found.append(smaller_parts(batch, budget, self.token_budget, self.ways.packed))
        if self.recompute and not recomputed:
            found.append("what the layers keep is computed again on the way back, which is slower")
        return "; ".join(found)

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

        micro = collate([replace(example, supervised=torch.ones_like(example.supervised))], self.ways.packed)
        with self._attention():
            with saved_tensors_hooks(keep, lambda tensor: tensor):
                loss = self._summed_loss(micro)
            loss.backward()  # type: ignore[no-untyped-call]
        self.model.zero_grad(set_to_none=True)
        return sum(kept.values())

    def _propagate(self, batch: Sequence[Encoded], stopped: Callable[[], bool], cut: Cut | None) -> Tensor | None:
        if cut is None or cut.budget != self.token_budget:
            cut = self.cut(batch)
        targets = sum(example.targets for example in batch)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        with self._attention():
            for micro in cut.parts:
                if stopped():
                    return None
                part = self._summed_loss(micro) / targets
                part.backward()  # type: ignore[no-untyped-call]
                total += part.detach()
        return total

    def _add_up(self, examples: Sequence[Encoded], stopped: Callable[[], bool]) -> Losses | None:
        sums = torch.zeros(len(examples), dtype=torch.float64, device=self.device)
        parts = micro_batches(examples, self.eval_budget, self.ways.packed)
        with self._attention(), closing(ahead(parts)) as coming:
            for micro in coming:
                if stopped():
                    return None
                losses = self._losses(micro, "none")
                sums.index_add_(0, micro.owners.to(self.device), losses.double())
        return Losses(sums.cpu(), targets_of(examples))

    def _summed_loss(self, micro: MicroBatch) -> Tensor:
        return self._losses(micro, "sum")

    def _losses(self, micro: MicroBatch, reduction: Literal["sum", "none"]) -> Tensor:
        """Cross-entropy in float32 of the micro-batch's supervised tokens, on the device: of each, or their sum."""
        micro, ways = micro.to(self.device), self.ways
        with self._precision():
            if ways.backbone is None or ways.head is None:
                logits = self.model(**inputs(micro)).logits.flatten(0, 1)
                return cross_entropy(logits[micro.predictors].float(), micro.targets, reduction=reduction)
            hidden = ways.backbone(**inputs(micro)).last_hidden_state.flatten(0, 1)[micro.predictors]
            return (summed_loss if reduction == "sum" else token_losses)(hidden, ways.head, micro.targets)

    def _attention(self) -> AbstractContextManager[None]:
        return attention(self.model, NAME) if self.ways.packed else nullcontext()

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16) if self._autocast else nullcontext()

    def _relieve(self, batch: Sequence[Encoded]) -> None:
        """After memory ran out in training: a smaller budget, or the last resort. Raises DoesNotFit."""
        try:
            self.token_budget = self._smaller(batch, self.token_budget)
        except DoesNotFit:
            if self.recompute or not self.switch_to_recompute():
                raise

    def switch_to_recompute(self) -> bool:
        """From now on the layers keep their input alone; whether this model can."""
        if getattr(self.model, "supports_gradient_checkpointing", False):
            self.model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
            self.recompute = True
        return self.recompute

    def _smaller(self, examples: Sequence[Encoded], budget: int) -> int:
        """Half of the largest micro-batch that was tried, but room for the longest example. Raises DoesNotFit."""
        release(self.device)
        lengths = lengths_of(examples)
        packed = self.ways.packed
        largest = max(group_size(lengths, group, packed) for group in groups(lengths, budget, packed))
        place = max(range(len(lengths)), key=lengths.__getitem__)
        if largest <= lengths[place]:
            raise DoesNotFit(examples[place])
        return max(lengths[place], largest // 2)


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
