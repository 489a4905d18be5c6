"""The memory of one real step, found without weights: the model on `meta`, our own step, live storages counted.

The step is the one the run takes (`Compute.gradients`, `Compute.evaluate` is smaller, the optimizer's own step), under
a dispatch mode that adds up the storages that are alive. It takes a second or two for any size and architecture that
transformers builds from a config.

What it does not know: what the allocator loses between blocks, buffers inside kernels, and the base of the process
(the libraries, a CUDA context). On a card with bfloat16 the model is run in bfloat16 and what stays in float32 beside
it is counted, not run.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AutoConfig, AutoModelForCausalLM

from trainer.backends.local.chat import Encoded
from trainer.backends.local.compute import Compute
from trainer.backends.local.model import Loaded, with_new_adapters
from trainer.backends.local.optim import allocate, make_optimizer
from trainer.backends.local.trust import code_trusted
from trainer.backends.local.ways import Ways, as_in, by_config
from trainer.spec import RunSpec

META = torch.device("meta")
SHADOWED = 2**22  # elements; larger tensors of numbers are not followed


@dataclass(frozen=True, slots=True)
class Found:
    """Bytes. `peak` is the most that was alive at one time; the rest are its steady parts."""

    peak: int
    weights: int
    gradients: int
    states: int

    @property
    def activations(self) -> int:
        """What stands beside weights, gradients and states at the peak."""
        return max(0, self.peak - self.weights - self.gradients - self.states)


def one_step(
    spec: RunSpec,
    source: str,
    batch: Sequence[Encoded],
    *,
    half: bool = False,
    token_budget: int | None = None,
    config: Any = None,
    ways: Ways | None = None,
) -> Found:
    """The memory of a step on `batch` for a model folder or hub id (`config` instead, where there is one already).

    `ways`: those that were found for the model itself.

    `half`: as on a card with bfloat16. Raises whatever transformers raises for a model it can't build.
    """
    config = config or AutoConfig.from_pretrained(source, trust_remote_code=code_trusted())
    with torch.device(META), torch.random.fork_rng(devices=[]):
        dtype = torch.bfloat16 if half else torch.float32
        model: nn.Module = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=code_trusted())
        if spec.method == "lora":
            model = with_new_adapters(model, spec)
    vocabulary = int(model.get_input_embeddings().weight.shape[0])  # type: ignore[operator]
    longest = max(len(example.ids) for example in batch)
    parameters = list(model.parameters())
    learns = [p for p in parameters if p.requires_grad]
    loaded = Loaded(model, META, torch.float32, 0, 0, vocabulary)
    compute = Compute(loaded, vocabulary, longest, by_config(model, longest) if ways is None else as_in(ways, model))
    if token_budget:
        compute.token_budget = token_budget
    with Live(parameters) as live, FusedAttention():
        optimizer = make_optimizer(model, spec)
        allocate(optimizer)
        states = live.now - _bytes(parameters)
        live.peak = live.now
        compute.gradients(batch, lambda: False)
        optimizer.step()
    weights, gradients, peak = _bytes(parameters), _bytes(learns), live.peak
    if half and spec.method == "full":  # float32 weights, gradients and states; bfloat16 copies while it computes
        activations = peak - weights - gradients - states
        peak = activations + weights + 2 * (weights + gradients + states)
        weights, gradients, states = 3 * weights, 2 * gradients, 2 * states
    return Found(peak, weights, gradients, states)


def of_spec(spec: RunSpec, source: str) -> Found:
    """A step of the spec's batch size on examples of max length (or of all positions the model has), all of it
    learnt: the most its settings may need, known before any data are."""
    config = AutoConfig.from_pretrained(source, trust_remote_code=code_trusted())
    positions = getattr(config, "max_position_embeddings", None)
    length = min(spec.max_length, positions) if isinstance(positions, int) and positions > 0 else spec.max_length
    example = Encoded(torch.zeros(length, dtype=torch.int64), torch.ones(length, dtype=torch.bool), cut=False)
    half = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return one_step(spec, source, [example] * spec.batch_size, half=half, config=config)


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that are alive on `meta`; numbers that steer the step (masks, lengths) keep their values.

    A tensor of whole numbers or truths that came from the CPU is followed by a shadow there, so that what a model asks
    of it (is anything masked? how long is the longest?) has its answer.
    """

    def __init__(self, known: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._seen: dict[int, weakref.ref[Any]] = {}
        self._shadows = WeakIdKeyDictionary()
        for tensor in known:
            self._count(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        first = next((one for one in args if isinstance(one, Tensor)), None)
        if first is not None and first.device == META:
            if name == "_local_scalar_dense":
                return func(self._value_of(first))
            if name == "_to_copy" and torch.device(kwargs.get("device") or META).type == "cpu":
                return func(self._value_of(first), **kwargs)
            if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
                args = (args[0], self._places(args[1]), *args[2:])
        out = func(*args, **kwargs)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.device == META:
                self._count(tensor)
        self._follow(func, args, kwargs, out)
        return out

    def _value_of(self, tensor: Tensor) -> Tensor:
        """On the CPU: its shadow, or ones where nothing is known (a loss, a norm)."""
        shadow: Tensor | None = self._shadows.get(tensor)  # type: ignore[no-untyped-call]
        return torch.ones(tensor.shape, dtype=tensor.dtype) if shadow is None else shadow

    def _places(self, indices: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Masks as the places they mark: how many those are is known of the shadow."""
        found: list[Tensor | None] = []
        for index in indices:
            if index is None or index.dtype is not torch.bool:
                found.append(index)
                continue
            marked = int(self._value_of(index).sum())
            found += [torch.empty(marked, dtype=torch.int64, device=META) for _ in range(index.ndim)]
        return found

    def _follow(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """Do on the shadows what was done, where all that went in is known and whole numbers come out."""
        if not isinstance(out, Tensor) or out.device != META or out.is_floating_point() or out.numel() > SHADOWED:
            return
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        if any(one.device == META and one not in self._shadows for one in given):
            return
        args, kwargs = tree_map(self._on_cpu, (args, kwargs))
        with contextlib.suppress(Exception):  # then it has no shadow
            self._shadows[out] = func(*args, **kwargs)

    def _on_cpu(self, one: Any) -> Any:
        if isinstance(one, Tensor) and one.device == META:
            return self._shadows[one]
        return torch.device("cpu") if isinstance(one, torch.device) else one

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return

        def gone(_: object) -> None:
            self.now -= size
            self._seen.pop(key, None)

        self._seen[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


class FusedAttention(TorchFunctionMode):
    """Attention as the fused kernels of CPU and CUDA do it, without the matrix of scores; on `meta` torch takes the
    plain way, which would be counted."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not functional.scaled_dot_product_attention or args[0].device != META:
            return func(*args, **(kwargs or {}))
        return _attention(*args, **(kwargs or {}))


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if attn_mask is not None and attn_mask.dtype is torch.bool:
        attn_mask = torch.empty(attn_mask.shape, dtype=query.dtype, device=META)
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out: Tensor = fused(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]
    return out


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
