"""What a run is asked to do: every knob declared once.

From this one declaration come the TOML of presets and run directories, the form, the command line and the
reference. It knows values and words, not files: whether a path exists is `trainer.check`'s question.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tomli_w

from trainer.knob import Group, Knob, Value, convert, knob, knobs_of, next_rung, show
from trainer.secrets import redact

__all__ = [
    "GROUP_TITLES",
    "KNOBS",
    "Knob",
    "RunSpec",
    "SpecError",
    "Value",
    "from_toml",
    "make",
    "parse",
    "read",
    "show",
    "step",
    "to_toml",
]

GROUP_TITLES: dict[Group, str] = {
    "model": "Model",
    "data": "Data",
    "method": "Full or LoRA",
    "schedule": "Optimizer and schedule",
    "run": "Run",
}


class SpecError(ValueError):
    """The spec is wrong; `problems` maps a field's name (or "") to one sentence each."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = dict(problems)


@dataclass(frozen=True)
class RunSpec:
    """One run, as asked: the shape of a preset, of spec.toml, of the form and of the command line."""

    epochs: int = knob(
        5,
        "Epochs",
        "main",
        "How often the model sees every training example. "
        "Too few: both curves still fall at the end; too many: loss keeps falling while eval loss turns up.",
        unit="passes over the data",
        ladder="one",
        ge=1,
        le=1000,
    )
    batch_size: int = knob(
        4,
        "Batch size",
        "main",
        "How many examples are averaged into one step; however they must be cut to fit the memory, the "
        "result is the same. Too small: a ragged, jumpy loss; too large: few steps, and the loss falls slowly.",
        unit="examples per step",
        ladder="two",
        ge=1,
        le=4096,
    )
    learning_rate: float = knob(
        1e-3,
        "Learning rate",
        "main",
        "How far each step moves the weights, at its peak after warmup. "
        "Too low: the loss hardly falls; too high: it spikes, swings, or climbs and never comes back.",
        unit="per step, peak",
        ladder="log",
        gt=0.0,
        le=1.0,
    )

    model: str = knob(
        "builtin:tiny",
        "Model",
        "model",
        "builtin:tiny (a toy that shows the curves), smollm2 (a real small assistant), a model folder, "
        "or a Hugging Face id such as Qwen/Qwen2.5-0.5B-Instruct.",
    )
    max_length: int = knob(
        512,
        "Max length",
        "model",
        "Longer examples are cut here; memory grows with it.",
        unit="tokens per example",
        ladder="two",
        ge=8,
        le=131072,
    )
    data: str = knob(
        "builtin:codephreak",
        "Data file",
        "data",
        "A file or a folder of them: JSONL, JSON, CSV, Parquet or text, also as gz or zst; or a Hugging Face data set, "
        "org/name. Chats, questions and answers, preference sets and plain text are told apart.",
    )
    eval_share: float = knob(
        0.1,
        "Validation share",
        "data",
        "The share of the data held out for eval loss, drawn by the seed; not used with a validation file.",
        unit="of the rows",
        gt=0.0,
        le=0.9,
    )
    eval_data: str = knob(
        "",
        "Validation file",
        "data",
        "A file of its own for eval loss, in any shape the data file may have; empty: the share is used.",
    )
    columns: str = knob(
        "",
        "Columns",
        "data",
        "What stands in which column, where that can't be told: prompt=question,completion=answer, or messages=chat, "
        "or text=body; beside them system=..., input=... and tools=... Empty: told by their names.",
    )
    allow_bad: float = knob(
        0.01,
        "Bad rows allowed",
        "data",
        "The share of rows that may be left out because they can't be read, teach nothing, or keep no answer within "
        "max length; 5% or 0.05. With more the run does not start.",
        unit="of the rows",
        ge=0.0,
        le=1.0,
    )
    method: Literal["full", "lora"] = knob(
        "full",
        "Train",
        "method",
        "full: all weights move. lora: small adapters beside frozen weights, a fraction of the memory, "
        "and about ten times the learning rate.",
    )
    lora_rank: int = knob(16, "LoRA rank", "method", "Width of the adapters.", ladder="two", ge=1, le=1024)
    lora_alpha: float = knob(
        32.0,
        "LoRA alpha",
        "method",
        "Strength of the adapters; they are scaled by alpha / rank.",
        gt=0.0,
        le=4096.0,
    )
    lora_dropout: float = knob(
        0.0, "LoRA dropout", "method", "Dropout before the adapters, while training.", ge=0.0, le=0.9
    )
    schedule: Literal["constant", "linear", "cosine"] = knob(
        "linear",
        "Schedule",
        "schedule",
        "How the learning rate goes on after warmup: it stays, or falls to zero by the last step.",
    )
    warmup: float = knob(
        0.05,
        "Warmup",
        "schedule",
        "The share of all steps over which the learning rate climbs to its peak.",
        unit="of the steps",
        ge=0.0,
        le=1.0,
    )
    optimizer: Literal["adamw", "adam", "adagrad", "rmsprop", "sgd"] = knob(
        "adamw", "Optimizer", "schedule", "AdamW unless you know why not; SGD runs with momentum 0.9."
    )
    weight_decay: float = knob(0.0, "Weight decay", "schedule", "Pulls the weights towards zero.", ge=0.0, le=1.0)
    max_grad_norm: float = knob(
        1.0,
        "Gradient clip",
        "schedule",
        "Longer gradients are shortened to this norm; 0 leaves them as they are.",
        ge=0.0,
        le=1e6,
    )
    eval_every: int = knob(
        0,
        "Evaluate every",
        "run",
        "Steps between evaluations besides the end of each epoch; 0 chooses.",
        unit="steps",
        ge=0,
        le=1_000_000,
    )
    keep: Literal["best", "last"] = knob(
        "best",
        "Keep at the end",
        "run",
        "The model at the lowest eval loss, or the one after the last step.",
    )
    save_every: int = knob(
        0,
        "Save every",
        "run",
        "Steps between checkpoints besides those at every evaluation; 0: only those.",
        unit="steps",
        ge=0,
        le=1_000_000,
    )
    keep_checkpoints: int = knob(
        1,
        "Newest checkpoints kept",
        "run",
        "How many stay on disk besides the best; a run goes on from the newest.",
        ge=1,
        le=1000,
    )
    keep_epochs: Literal["no", "yes"] = knob(
        "no", "Keep every epoch's", "run", "Whether the checkpoint of every epoch's end stays on disk too."
    )
    auto_resume: Literal["no", "yes"] = knob(
        "no",
        "Start again by itself",
        "run",
        "Whether a run whose process dies unasked (kill -9, out of memory, power) goes on from its newest checkpoint.",
    )
    seed: int = knob(
        42,
        "Seed",
        "run",
        "The same seed and settings give the same losses.",
        ge=0,
        le=2**32 - 1,
    )
    name: str = knob("", "Name", "run", "A word for the run's folder; empty: the model's name.")
    backend: Literal["local", "replay"] = knob(
        "local", "Where", "run", "local: this machine. replay: plays a recorded run again."
    )

    def __post_init__(self) -> None:
        """Checks and converts every field; raises SpecError naming every wrong one."""
        for name, value in read(vars(self)).items():
            object.__setattr__(self, name, value)


KNOBS: dict[str, Knob] = knobs_of(RunSpec)


def parse(name: str, raw: object) -> Value:
    """One field's value from what was typed or read; raises SpecError with its sentence."""
    return read({name: raw})[name]


def read(raw: Mapping[str, object]) -> dict[str, Value]:
    """The given fields, checked and converted; raises SpecError naming every wrong one."""
    problems: dict[str, str] = {}
    values: dict[str, Value] = {}
    for name, value in raw.items():
        if name not in KNOBS:
            problems[name] = f"There is no setting called {redact(name)[:60]!r}."
            continue
        try:
            values[name] = convert(KNOBS[name], value)
        except (ValueError, OverflowError):
            problems[name] = KNOBS[name].sentence(value)
    if problems:
        raise SpecError(problems)
    return values


def make(raw: Mapping[str, object]) -> RunSpec:
    """A whole spec; what is not given has its default. Raises SpecError naming every wrong field."""
    return RunSpec(**read(raw))  # type: ignore[arg-type]


def step(name: str, value: float, up: bool) -> Value:
    """The field's next value on its ladder, see `trainer.knob.next_rung`."""
    return next_rung(KNOBS[name], value, up)


def to_toml(spec: RunSpec) -> str:
    return tomli_w.dumps({name: getattr(spec, name) for name in KNOBS})


def from_toml(text: str, where: Path | str) -> dict[str, Value]:
    """The fields a TOML text sets; raises SpecError that begins with the file's name."""
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # besides TOMLDecodeError: endless numbers, endless nesting
        raise SpecError({"": f"{where} is not TOML: {error}."}) from None
    try:
        return read(raw)
    except SpecError as error:
        raise SpecError({name: f"{where}: {text}" for name, text in error.problems.items()}) from None
