"""Everything before the first step: the data read, the model loaded, the examples tokenized, the plan made.

It says what it leaves out and why; nothing is cut or skipped silently.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import PreTrainedTokenizerBase

from trainer import check, models
from trainer.backends.local import fits, training
from trainer.backends.local.chat import Encoded, encode
from trainer.backends.local.compute import Compute
from trainer.backends.local.memory import Slowdown, memory_permitting, release
from trainer.backends.local.model import Loaded, load_model, load_tokenizer
from trainer.backends.local.optim import STATES, allocate, make_optimizer, make_schedule, one_by_one
from trainer.backends.local.store import Store
from trainer.backends.local.training import Progress, Saved
from trainer.checkpoints import clear_leftovers, folder_of, newest_valid
from trainer.control import Control
from trainer.data import MAX_BAD_SHARE, DataError, Example
from trainer.events import DataRead, Event, ModelLoaded, Noted, PhaseEntered, Planned, Resumed, Stopped
from trainer.files import sized
from trainer.plan import Plan, make_plan
from trainer.rundir import RunError
from trainer.spec import RunSpec

Examples = Sequence[Encoded]
PROGRESS_SECONDS = 0.5


@dataclass
class Setup:
    """What the loop works on."""

    train_set: Examples
    eval_set: Examples
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
        yield PhaseEntered("reading data")
        data, parts = check.read_split(spec)
    except (models.ModelError, DataError) as error:
        raise RunError(str(error)) from None
    if data.bad:
        first = f"{data.file}:{data.bad[0].line}: {data.bad[0].why}"
        yield Noted(f"{len(data.bad)} of {data.rows} rows skipped; first {first}.")
    yield PhaseEntered("loading model")
    tokenizer, note = load_tokenizer(info)
    if note:
        yield Noted(note)
    loaded = load_model(info, spec, checkpoint)
    dtype = str(loaded.compute_dtype).removeprefix("torch.")
    yield ModelLoaded(spec.model, loaded.parameters, loaded.trainable, _device_name(loaded), dtype)
    longest = _longest(spec, loaded)
    train_set = yield from _tokenize(tokenizer, parts.train, longest, control, "training")
    eval_set = yield from _tokenize(tokenizer, parts.eval, longest, control, "validation")
    if control.stop:
        return Stopped(step)
    _check_vocabulary(loaded, [*train_set, *eval_set])
    yield DataRead(
        data.shape,
        len(train_set),
        len(eval_set),
        sum(len(example.ids) for example in train_set),
        sum(example.targets for example in train_set),
        len(data.bad) + len(parts.train) + len(parts.eval) - len(train_set) - len(eval_set),
        sum(example.cut for example in (*train_set, *eval_set)),
    )
    plan = make_plan(spec, len(train_set), len(eval_set))
    yield Planned(plan.epochs, plan.steps_per_epoch, plan.total_steps, plan.eval_every)
    setup = _set_up(spec, control, plan, loaded, tokenizer, train_set, eval_set, checkpoint, frugal)
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
    tokenizer: PreTrainedTokenizerBase,
    train_set: Examples,
    eval_set: Examples,
    checkpoint: Path | None,
    frugal: bool,
) -> Setup:
    """Optimizer, schedule and store, as new or as the checkpoint left them."""
    compute = Compute(loaded, len(tokenizer))
    optimizer = make_optimizer(loaded.model, spec)
    if not checkpoint:
        _allocate(spec, compute, optimizer, train_set)
    schedule = make_schedule(optimizer, spec, plan.total_steps)
    progress = training.read_progress(checkpoint) if checkpoint else Progress()

    def write_training(folder: Path, saved: Saved) -> None:
        now = replace(progress, token_budget=compute.token_budget, eval_budget=compute.eval_budget)
        training.write(folder, now, saved, optimizer, schedule)

    sizes = _checkpoint_bytes(spec, loaded)
    store = Store(control.folder, spec, loaded.model, tokenizer, write_training, sizes)
    if checkpoint:
        training.restore(checkpoint, optimizer, schedule)
        compute.token_budget, compute.eval_budget = progress.token_budget, progress.eval_budget
        store.take_over(progress.step)
    if frugal:
        one_by_one(optimizer)
    if control.rate_factor != 1.0:
        training.scale_rate(optimizer, schedule, spec.learning_rate * control.rate_factor)
    return Setup(train_set, eval_set, plan, compute, optimizer, schedule, store, progress)


def _allocate(spec: RunSpec, compute: Compute, optimizer: Optimizer, train_set: Examples) -> None:
    """The optimizer's states, before a step needs them. Raises RunError where they do not fit."""
    with memory_permitting():
        return allocate(optimizer)
    release(compute.device)
    longest = max(train_set, key=lambda example: len(example.ids))
    raise RunError(
        f"The states of {spec.optimizer} do not fit in the memory. "
        + fits.instead_of_states(spec, compute, optimizer, longest)
    )


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


def _tokenize(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Example], longest: int, control: Control, kind: str
) -> Generator[Event, None, Examples]:
    """Examples that teach something, encoded, with progress; stops early when asked to.

    Rows that the chat template refuses are left out and counted, up to the share of bad rows a file may have.
    """
    encoded: list[Encoded] = []
    refused: list[str] = []
    said = 0.0
    for done, row in enumerate(rows):
        if control.stop:
            return encoded
        if time.monotonic() - said > PROGRESS_SECONDS:
            said = time.monotonic()
            yield PhaseEntered("tokenizing", done, len(rows))
        try:
            one = encode(tokenizer, row.messages, longest)
        except RunError as error:
            refused.append(f"line {row.line}: {error}")
            continue
        if one.targets:
            encoded.append(replace(one, line=row.line))
    if len(refused) > MAX_BAD_SHARE * len(rows):
        raise RunError(f"{len(refused)} of {len(rows)} {kind} rows can't be used with this model. {refused[0]}")
    yield from _left_out(kind, len(rows), encoded, refused, longest)
    if not encoded:
        raise RunError(f"No {kind} example has an answer left within max length {longest}: raise max length.")
    return encoded


def _left_out(kind: str, rows: int, encoded: Examples, refused: Sequence[str], longest: int) -> Iterator[Event]:
    """What was cut or skipped."""
    if refused:
        yield Noted(f"{len(refused)} of {rows} {kind} rows are left out. {refused[0]}")
    if cut := sum(example.cut for example in encoded):
        yield Noted(f"{cut} of {len(encoded)} {kind} examples are cut at {longest} tokens.")
    if lost := rows - len(encoded) - len(refused):
        yield Noted(f"{lost} of {rows} {kind} rows have no answer left within {longest} tokens: left out.")


def _check_vocabulary(loaded: Loaded, examples: Examples) -> None:
    """A tokenizer of another model makes ids that this one has no embedding for."""
    largest = max(int(example.ids.max()) for example in examples)
    if largest >= loaded.vocabulary:
        raise RunError(
            f"The tokenizer makes token id {largest} and the model knows {loaded.vocabulary}: they don't belong "
            "together; use the tokenizer that came with the model."
        )


def _longest(spec: RunSpec, loaded: Loaded) -> int:
    """Max length, within what the model has positions for."""
    positions = getattr(getattr(loaded.model, "config", None), "max_position_embeddings", None)
    return min(spec.max_length, positions) if isinstance(positions, int) and positions > 0 else spec.max_length


def _device_name(loaded: Loaded) -> str:
    return torch.cuda.get_device_name(loaded.device) if loaded.device.type == "cuda" else "cpu"
