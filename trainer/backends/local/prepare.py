"""Everything before the first step: the data read, the model loaded, the examples tokenized, the plan made.

It says what it leaves out and why; nothing is cut or skipped silently.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import PreTrainedTokenizerBase

from trainer import models
from trainer.backends.local import examples, fits, training
from trainer.backends.local.compute import Compute
from trainer.backends.local.memory import Slowdown, memory_permitting, release
from trainer.backends.local.model import Loaded, load_model, load_tokenizer
from trainer.backends.local.optim import STATES, allocate, make_optimizer, make_schedule, one_by_one
from trainer.backends.local.store import Store
from trainer.backends.local.tokens import TokenSet, lengths_of
from trainer.backends.local.training import Progress, Saved
from trainer.checkpoints import clear_leftovers, folder_of, newest_valid
from trainer.control import Control
from trainer.events import Event, ModelLoaded, Noted, PhaseEntered, Planned, Resumed, Stopped
from trainer.files import sized
from trainer.plan import Plan, make_plan
from trainer.rundir import RunError
from trainer.spec import RunSpec


@dataclass
class Setup:
    """What the loop works on."""

    train_set: TokenSet
    eval_set: TokenSet
    plan: Plan
    compute: Compute
    optimizer: Optimizer
    schedule: LRScheduler
    store: Store
    progress: Progress
    step_cost: Slowdown = field(default_factory=lambda: Slowdown("steps", enough=5))
    eval_cost: Slowdown = field(default_factory=lambda: Slowdown("evaluations", enough=1))


def prepare(spec: RunSpec, control: Control, frugal: bool = False) -> Generator[Event, None, Setup | Stopped]:
    """Everything before the next step; Stopped when a stop was asked meanwhile. `frugal`: with the optimizer's steps
    in as little memory as they can be made. Raises RunError."""
    with memory_permitting():
        return (yield from _prepare(spec, control, frugal))
    raise RunError("Memory ran out before the first step: take fewer rows, or a smaller model.")


def _prepare(spec: RunSpec, control: Control, frugal: bool) -> Generator[Event, None, Setup | Stopped]:
    step = yield from _last_checkpoint(control)
    checkpoint = folder_of(control.folder, step) if step else None
    try:
        info = models.look_up(spec.model)
    except models.ModelError as error:
        raise RunError(str(error)) from None
    material = yield from examples.read(spec, control)
    if material is None:
        return Stopped(step)
    yield PhaseEntered("loading model")
    tokenizer, note = load_tokenizer(info)
    if note:
        yield Noted(note)
    loaded = load_model(info, spec, checkpoint)
    dtype = str(loaded.compute_dtype).removeprefix("torch.")
    yield ModelLoaded(spec.model, loaded.parameters, loaded.trainable, _device_name(loaded), dtype)
    positions = _positions(loaded)
    longest = min(spec.max_length, positions or spec.max_length)
    sides = yield from examples.make(spec, material, tokenizer, info, longest, control, positions)
    if sides is None or control.stop:
        return Stopped(step)
    train_set, eval_set = sides
    _check_vocabulary(loaded, max(train_set.largest, eval_set.largest))
    yield examples.account(material, train_set, eval_set)
    plan = make_plan(spec, len(train_set), len(eval_set))
    yield Planned(plan.epochs, plan.steps_per_epoch, plan.total_steps, plan.eval_every)
    compute = Compute(loaded, len(tokenizer), int(max(train_set.lengths.max(), eval_set.lengths.max())))
    for sentence in compute.ways.notes:
        yield Noted(sentence)
    setup = _set_up(spec, control, plan, loaded, compute, tokenizer, train_set, eval_set, checkpoint, frugal)
    yield from _enough_disk(spec, loaded, control.folder)
    return setup


def _last_checkpoint(control: Control) -> Generator[Event, None, int]:
    """The step to go on from: that of the newest checkpoint that is whole, 0 without one."""
    clear_leftovers(control.folder)
    if not control.resuming:
        return 0
    yield PhaseEntered("checking the checkpoints")
    step, set_aside = newest_valid(control.folder)
    for sentence in set_aside:
        yield Noted(sentence)
    yield Resumed(step or 0)
    return step or 0


def _set_up(
    spec: RunSpec,
    control: Control,
    plan: Plan,
    loaded: Loaded,
    compute: Compute,
    tokenizer: PreTrainedTokenizerBase,
    train_set: TokenSet,
    eval_set: TokenSet,
    checkpoint: Path | None,
    frugal: bool,
) -> Setup:
    """Optimizer, schedule and store, as new or as the checkpoint left them."""
    optimizer = make_optimizer(loaded.model, spec)
    if not checkpoint:
        _allocate(spec, compute, optimizer, train_set)
    schedule = make_schedule(optimizer, spec, plan.total_steps)
    progress = training.read_progress(checkpoint) if checkpoint else Progress()

    def write_training(folder: Path, saved: Saved) -> None:
        progress.token_budget, progress.eval_budget = compute.token_budget, compute.eval_budget
        progress.recompute = compute.recompute
        training.write(folder, progress, saved, optimizer, schedule)

    sizes = _checkpoint_bytes(spec, loaded)
    store = Store(control.folder, spec, loaded.model, tokenizer, write_training, sizes)
    if checkpoint:
        training.restore(checkpoint, optimizer, schedule)
        compute.token_budget, compute.eval_budget = progress.token_budget, progress.eval_budget
        if progress.recompute:
            compute.switch_to_recompute()
        store.take_over(progress.step)
    if frugal:
        one_by_one(optimizer)
    if control.rate_factor != 1.0:
        training.scale_rate(optimizer, schedule, spec.learning_rate * control.rate_factor)
    return Setup(train_set, eval_set, plan, compute, optimizer, schedule, store, progress)


def _allocate(spec: RunSpec, compute: Compute, optimizer: Optimizer, train_set: TokenSet) -> None:
    """The optimizer's states, before a step needs them. Raises RunError where they do not fit."""
    with memory_permitting():
        return allocate(optimizer)
    release(compute.device)
    lengths = lengths_of(train_set)
    longest = train_set[max(range(len(lengths)), key=lengths.__getitem__)]
    fitting = fits.instead_of_states(spec, compute, optimizer, longest)
    raise RunError(f"The states of {spec.optimizer} do not fit in the memory. {fitting}")


def _checkpoint_bytes(spec: RunSpec, loaded: Loaded) -> tuple[int, int]:
    """About how large a checkpoint is, and the model in it."""
    weights = 4 * (loaded.parameters if spec.method == "full" else loaded.trainable)
    return weights + 4 * STATES[spec.optimizer] * loaded.trainable, weights


def _enough_disk(spec: RunSpec, loaded: Loaded, folder: Path) -> Iterator[Event]:
    """What the checkpoints will take, said; refused when not even one and the result fit."""
    one, weights = _checkpoint_bytes(spec, loaded)
    most = spec.keep_checkpoints + 3 + (spec.epochs if spec.keep_epochs == "yes" else 0)  # 2 best, 1 being written
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < one + weights:
        raise RunError(
            f"A checkpoint and the result need about {sized(one + weights)} and {sized(free)} are free in {folder}: "
            "free some space, use --runs-dir on another disk, or LoRA."
        )
    if free < most * one:
        yield Noted(f"The checkpoints may take {sized(most * one)} ({sized(one)} each) and {sized(free)} are free.")


def _check_vocabulary(loaded: Loaded, largest: int) -> None:
    """A tokenizer of another model makes ids that this one has no embedding for."""
    if largest >= loaded.vocabulary:
        raise RunError(
            f"The tokenizer makes token id {largest} and the model knows {loaded.vocabulary}: they don't belong "
            "together; use the tokenizer that came with the model."
        )


def _positions(loaded: Loaded) -> int:
    """How many tokens the model has positions for; 0 where its config does not say."""
    positions = getattr(getattr(loaded.model, "config", None), "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 0 else 0


def _device_name(loaded: Loaded) -> str:
    return torch.cuda.get_device_name(loaded.device) if loaded.device.type == "cuda" else "cpu"
