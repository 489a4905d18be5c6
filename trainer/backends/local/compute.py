"""Loss, gradients and evaluation of one model: the arithmetic between two events.

Loss is the mean over supervised tokens of the whole batch, exactly, however it is cut: each micro-batch's summed
cross-entropy is divided by the supervised tokens of the whole batch before it is propagated back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainer.backends.local.batches import MicroBatch, micro_batches
from trainer.backends.local.chat import Encoded
from trainer.backends.local.model import Loaded
from trainer.backends.local.tokens import lengths_of, targets_of
from trainer.rundir import RunError

LOGITS = 2**28  # elements; 1 GiB in float32
SMALLEST_BUDGET, LARGEST_BUDGET = 512, 8192  # tokens


class Compute:
    """Runs examples through a model in micro-batches that fit; halves them when memory runs out."""

    def __init__(self, loaded: Loaded, vocabulary: int) -> None:
        self.model = loaded.model
        self._device = loaded.device
        self._autocast = loaded.compute_dtype is not torch.float32
        self.token_budget = max(SMALLEST_BUDGET, min(LARGEST_BUDGET, LOGITS // max(1, vocabulary)))

    def gradients(self, batch: Sequence[Encoded], stopped: Callable[[], bool]) -> float | None:
        """Add the batch's gradients to the parameters; returns its loss, or None when `stopped` cut it short."""
        self.model.train()
        while True:
            with suppress(torch.OutOfMemoryError):
                return self._propagate(batch, stopped)
            self._shrink(batch)

    @torch.inference_mode()
    def evaluate(self, examples: Sequence[Encoded], stopped: Callable[[], bool]) -> float | None:
        """Mean loss over all supervised tokens of all examples; None when `stopped` cut it short."""
        self.model.eval()
        while True:
            with suppress(torch.OutOfMemoryError):
                return self._add_up(examples, stopped)
            self._shrink(examples)

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
        for micro in micro_batches(examples, self.token_budget):
            if stopped():
                return None
            total += self._summed_loss(micro).to("cpu", torch.float64)
        return float(total) / targets_of(examples)

    def _summed_loss(self, micro: MicroBatch) -> Tensor:
        """Summed cross-entropy in float32 of the micro-batch's supervised tokens; a scalar on the device."""
        ids, attention = micro.ids.to(self._device), micro.attention.to(self._device)
        with self._precision():
            logits = self.model(input_ids=ids, attention_mask=attention, use_cache=False).logits
        chosen = micro.supervised[:, 1:].to(self._device)
        return cross_entropy(logits[:, :-1][chosen].float(), ids[:, 1:][chosen], reduction="sum")

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self._device.type, torch.bfloat16) if self._autocast else nullcontext()

    def _shrink(self, examples: Sequence[Encoded]) -> None:
        """Half the micro-batch for another try; a step's half-made gradients are thrown away.

        To be called when the failed try is left: its frames hold the memory of all its activations.
        """
        self.model.zero_grad(set_to_none=True)
        longest = max(lengths_of(examples))
        if self.token_budget <= longest:
            raise RunError(
                f"One example of {longest} tokens does not fit in the memory: lower max length, use LoRA, or a "
                "smaller model."
            )
        self.token_budget = max(longest, self.token_budget // 2)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
