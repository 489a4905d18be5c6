"""What a run is asked to do: every knob declared once.

From this one declaration come the TOML of presets and run directories, the form, the command line and the
reference. It knows values and words, not files: whether a path exists is `trainer.check`'s question.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args, get_origin

import tomli_w
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

Value = int | float | str
Group = Literal["main", "model", "data", "method", "schedule", "run"]
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
class Knob:
    """How one field of RunSpec is shown and stepped; made from the declaration, never by hand."""

    name: str
    label: str
    group: Group
    default: Value
    kind: Literal["int", "float", "choice", "text"]
    low: float | None
    high: float | None
    above_low: bool  # the lower bound itself is not allowed
    unit: str
    help: str
    choices: tuple[str, ...]
    ladder: Literal["", "one", "two", "log"]  # what one press of an arrow key does

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def bounds(self) -> str:
        """The allowed values in words: "1 to 1000"."""
        if self.kind == "choice":
            return ", ".join(self.choices)
        if self.low is None or self.high is None:
            return ""
        between = "above {} up to {}" if self.above_low else "{} to {}"
        return between.format(show(self.low), show(self.high))

    def sentence(self, raw: object) -> str:
        """What to say when `raw` is not allowed here."""
        given = f"not {str(raw)[:60]!r}" if str(raw).strip() else "but it is empty"
        if self.kind == "choice":
            return f"{self.label} must be one of {self.bounds}, {given}."
        if self.kind == "text":
            return f"{self.label} must be text on one line, {given}."
        number = "a whole number" if self.kind == "int" else "a number"
        bounds = self.bounds if self.above_low else f"from {self.bounds}"
        return f"{self.label} must be {number} {bounds}, {given}."


def _plain(value: object) -> object:
    """Refuse what pydantic would bend into a number or a text: true, null, lists, tables."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a plain value")
    return value


def _one_line(value: object) -> object:
    if not isinstance(value, str) or any(ord(c) < 32 or 0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise ValueError("not one line of text")
    return value.strip()


Int = Annotated[int, BeforeValidator(_plain)]
Float = Annotated[float, BeforeValidator(_plain)]
Line = Annotated[str, BeforeValidator(_one_line)]


def _knob(
    default: Value,
    label: str,
    group: Group,
    help: str,
    *,
    unit: str = "",
    ladder: str = "",
    **bounds: float,
) -> Any:
    extra = {"label": label, "group": group, "unit": unit, "ladder": ladder}
    return Field(default, description=help, json_schema_extra=extra, **bounds)  # type: ignore[call-overload]


class RunSpec(BaseModel):
    """One run, as asked: the shape of a preset, of spec.toml, of the form and of the command line."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    epochs: Int = _knob(
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
    batch_size: Int = _knob(
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
    learning_rate: Float = _knob(
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

    model: Line = _knob(
        "builtin:tiny",
        "Model",
        "model",
        "builtin:tiny (a toy that shows the curves), smollm2 (a real small assistant), a model folder, "
        "or a Hugging Face id such as Qwen/Qwen2.5-0.5B-Instruct.",
    )
    max_length: Int = _knob(
        512,
        "Max length",
        "model",
        "Longer examples are cut here; memory grows with it.",
        unit="tokens per example",
        ladder="two",
        ge=8,
        le=131072,
    )
    data: Line = _knob(
        "builtin:codephreak",
        "Data file",
        "data",
        "JSON or JSONL with messages, instruction/input/output, prompt/completion or text_input/output.",
    )
    eval_share: Float = _knob(
        0.1,
        "Validation share",
        "data",
        "The share of the data held out for eval loss, drawn by the seed; not used with a validation file.",
        unit="of the rows",
        gt=0.0,
        le=0.9,
    )
    eval_data: Line = _knob(
        "",
        "Validation file",
        "data",
        "A file of its own for eval loss, in any shape the data file may have; empty: the share is used.",
    )
    method: Literal["full", "lora"] = _knob(
        "full",
        "Train",
        "method",
        "full: all weights move. lora: small adapters beside frozen weights, a fraction of the memory, "
        "and about ten times the learning rate.",
    )
    lora_rank: Int = _knob(16, "LoRA rank", "method", "Width of the adapters.", ladder="two", ge=1, le=1024)
    lora_alpha: Float = _knob(
        32.0,
        "LoRA alpha",
        "method",
        "Strength of the adapters; they are scaled by alpha / rank.",
        gt=0.0,
        le=4096.0,
    )
    lora_dropout: Float = _knob(
        0.0, "LoRA dropout", "method", "Dropout before the adapters, while training.", ge=0.0, le=0.9
    )
    schedule: Literal["constant", "linear", "cosine"] = _knob(
        "linear",
        "Schedule",
        "schedule",
        "How the learning rate goes on after warmup: it stays, or falls to zero by the last step.",
    )
    warmup: Float = _knob(
        0.05,
        "Warmup",
        "schedule",
        "The share of all steps over which the learning rate climbs to its peak.",
        unit="of the steps",
        ge=0.0,
        le=1.0,
    )
    optimizer: Literal["adamw", "adam", "adagrad", "rmsprop", "sgd"] = _knob(
        "adamw", "Optimizer", "schedule", "AdamW unless you know why not; SGD runs with momentum 0.9."
    )
    weight_decay: Float = _knob(0.0, "Weight decay", "schedule", "Pulls the weights towards zero.", ge=0.0, le=1.0)
    max_grad_norm: Float = _knob(
        1.0,
        "Gradient clip",
        "schedule",
        "Longer gradients are shortened to this norm; 0 leaves them as they are.",
        ge=0.0,
        le=1e6,
    )
    eval_every: Int = _knob(
        0,
        "Evaluate every",
        "run",
        "Steps between evaluations besides the end of each epoch; 0 chooses.",
        unit="steps",
        ge=0,
        le=1_000_000,
    )
    keep: Literal["best", "last"] = _knob(
        "best",
        "Keep at the end",
        "run",
        "The model at the lowest eval loss, or the one after the last step.",
    )
    seed: Int = _knob(
        42,
        "Seed",
        "run",
        "The same seed and settings give the same losses.",
        ge=0,
        le=2**32 - 1,
    )
    name: Line = _knob("", "Name", "run", "A word for the run's folder; empty: the model's name.")
    backend: Literal["local", "replay"] = _knob(
        "local", "Where", "run", "local: this machine. replay: plays a recorded run again."
    )


def _make_knob(name: str) -> Knob:
    field = RunSpec.model_fields[name]
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    kinds: dict[object, Literal["int", "float", "text"]] = {int: "int", float: "float", str: "text"}
    choice = get_origin(field.annotation) is Literal
    limits = {key: getattr(m, key) for m in field.metadata for key in ("ge", "gt", "le") if hasattr(m, key)}
    return Knob(
        name=name,
        label=str(extra["label"]),
        group=cast(Group, extra["group"]),
        default=field.default,
        kind="choice" if choice else kinds[field.annotation],
        low=limits.get("ge", limits.get("gt")),
        high=limits.get("le"),
        above_low="gt" in limits,
        unit=str(extra["unit"]),
        help=field.description or "",
        choices=get_args(field.annotation) if choice else (),
        ladder=cast(Literal["", "one", "two", "log"], extra["ladder"]),
    )


KNOBS: dict[str, Knob] = {name: _make_knob(name) for name in RunSpec.model_fields}


def show(value: Value) -> str:
    """A value as a person would type it: 0.001 → "1e-3", 0.05 → "0.05", 5.0 → "5"."""
    if isinstance(value, str | int):
        return str(value)
    if value and abs(value) < 0.01:
        digits, _, power = f"{value:.6e}".partition("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"
    return f"{value:.12g}"


def parse(name: str, raw: object) -> Value:
    """One field's value from what was typed or read; raises SpecError with its sentence."""
    return read({name: raw})[name]


def read(raw: Mapping[str, object]) -> dict[str, Value]:
    """The given fields, checked and converted; raises SpecError naming every wrong one."""
    problems: dict[str, str] = {}
    known = {name: value for name, value in raw.items() if name in KNOBS}
    for name in raw.keys() - known.keys():
        problems[name] = f"There is no setting called {name[:60]!r}."
    values: dict[str, Value] = {}
    try:
        spec = RunSpec.model_validate(known)
        values = {name: getattr(spec, name) for name in known}
    except ValidationError as error:
        for detail in error.errors():
            name = str(detail["loc"][0])
            problems[name] = KNOBS[name].sentence(raw[name])
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            problems[name] = KNOBS[name].sentence(raw[name])
    if problems:
        raise SpecError(problems)
    return values


def make(raw: Mapping[str, object]) -> RunSpec:
    """A whole spec; what is not given has its default. Raises SpecError naming every wrong field."""
    return RunSpec(**read(raw))  # type: ignore[arg-type]


def step(name: str, value: float, up: bool) -> Value:
    """The next value on the field's ladder: whole numbers, powers of two, or 1-3-10 (learning rate).

    A value between two rungs goes to the nearer end of its gap; the bounds hold.
    """
    knob = KNOBS[name]
    assert knob.low is not None
    assert knob.high is not None
    if knob.ladder == "log":
        rungs = [float(f"{m}e{e}") for e in range(-8, 1) for m in (1, 3)]
    elif knob.ladder == "two":
        rungs = [float(2**power) for power in range(18)]
    else:
        rungs = [math.floor(value) + 1.0 if up else math.ceil(value) - 1.0]
    rungs = [rung for rung in rungs if knob.low <= rung <= knob.high]
    beyond = [rung for rung in rungs if (rung > value * (1 + 1e-9) if up else rung < value * (1 - 1e-9))]
    if not beyond:
        return int(value) if knob.kind == "int" else value
    nearest = min(beyond) if up else max(beyond)
    return int(nearest) if knob.kind == "int" else nearest


def to_toml(spec: RunSpec) -> str:
    return tomli_w.dumps({name: getattr(spec, name) for name in KNOBS})


def from_toml(text: str, where: Path | str) -> dict[str, Value]:
    """The fields a TOML text sets; raises SpecError that begins with the file's name."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError({"": f"{where} is not TOML: {error}."}) from None
    try:
        return read(raw)
    except SpecError as error:
        raise SpecError({name: f"{where}: {text}" for name, text in error.problems.items()}) from None
