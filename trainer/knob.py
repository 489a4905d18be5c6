"""What can be said of one setting: its words, its bounds, its ladder, and what a raw value stands for.

The settings themselves are declared in `trainer.spec`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast, get_args, get_type_hints

from trainer.secrets import looks_like_key

Value = int | float | str
Group = Literal["main", "model", "data", "method", "schedule", "run"]
OF = "of the "  # how the unit of a share begins
NO_KEYS = (
    "what looks like a key or password: keys are taken from the environment (HF_TOKEN, GEMINI_API_KEY), never from "
    "settings."
)


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
        said = _said(raw)
        if looks_like_key(said):
            return f"{self.label} holds {NO_KEYS}"
        given = f"not {said[:60]!r}" if said.strip() else "but it is empty"
        if self.kind == "choice":
            return f"{self.label} must be one of {self.bounds}, {given}."
        if self.kind == "text":
            return f"{self.label} must be text on one line, {given}."
        number = "a whole number" if self.kind == "int" else "a number"
        bounds = self.bounds if self.above_low else f"from {self.bounds}"
        return f"{self.label} must be {number} {bounds}, {given}."


def _said(raw: object) -> str:
    try:
        return str(raw)
    except ValueError:  # Python spells no whole number of more than 4,300 digits
        return "a number of thousands of digits"


def knob(
    default: Value,
    label: str,
    group: Group,
    help: str,
    *,
    unit: str = "",
    ladder: str = "",
    **bounds: float,
) -> Any:
    """A dataclass field with all that is said of it; `bounds` are ge, gt and le, inclusive, exclusive and upper."""
    words = {"label": label, "group": group, "unit": unit, "ladder": ladder, "help": help}
    return field(default=default, metadata={**words, "bounds": bounds})


def knobs_of(declaration: type) -> dict[str, Knob]:
    """The knobs of a dataclass whose fields were all declared with `knob`, by name."""
    kinds: dict[object, Literal["int", "float", "text"]] = {int: "int", float: "float", str: "text"}
    types = get_type_hints(declaration)
    knobs: dict[str, Knob] = {}
    for declared in fields(declaration):
        words, kind = declared.metadata, types[declared.name]
        bounds: dict[str, float] = words["bounds"]
        knobs[declared.name] = Knob(
            name=declared.name,
            label=words["label"],
            group=cast(Group, words["group"]),
            default=cast(Value, declared.default),
            kind=kinds.get(kind, "choice"),
            low=bounds.get("ge", bounds.get("gt")),
            high=bounds.get("le"),
            above_low="gt" in bounds,
            unit=words["unit"],
            help=words["help"],
            choices=() if kind in kinds else get_args(kind),
            ladder=cast(Literal["", "one", "two", "log"], words["ladder"]),
        )
    return knobs


def show(value: Value) -> str:
    """A value as a person would type it: 0.001 → "1e-3", 0.05 → "0.05", 5.0 → "5"."""
    if isinstance(value, str | int):
        return str(value)
    if value and abs(value) < 0.01:
        digits, _, power = f"{value:.6e}".partition("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"
    return f"{value:.12g}"


def convert(knob: Knob, raw: object) -> Value:
    """The value `raw` stands for here; raises ValueError or OverflowError where it stands for none.

    true, null, lists and tables are no values; a number may be written as text, a text not as a number.
    """
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        raise ValueError("not a plain value")
    if knob.kind in ("choice", "text"):
        return _word(knob, raw)
    number = _number(raw) if knob.kind == "int" else _share(raw) if knob.unit.startswith(OF) else float(raw)
    assert knob.low is not None
    assert knob.high is not None
    if not knob.low <= number <= knob.high or (knob.above_low and number == knob.low):  # NaN is refused here too
        raise ValueError("out of bounds")
    return number


def _number(raw: int | float | str) -> int:
    """A whole number; 5.0 and "5.0" are, 5.5 is not."""
    try:
        whole = int(raw)
    except ValueError:
        whole = int(float(raw))
    if not isinstance(raw, int) and whole != float(raw):
        raise ValueError("not whole")
    return whole


def _share(raw: int | float | str) -> float:
    """A part of something: 0.05, "0.05" and "5%" are the same."""
    if isinstance(raw, str) and raw.rstrip().endswith("%"):
        return float(raw.rstrip()[:-1]) / 100
    return float(raw)


def _word(knob: Knob, raw: object) -> str:
    if not isinstance(raw, str) or any(ord(c) < 32 or 0xD800 <= ord(c) <= 0xDFFF for c in raw):
        raise ValueError("not one line of text")
    if knob.kind == "choice" and raw not in knob.choices:
        raise ValueError("not one of the choices")
    if looks_like_key(raw):
        raise ValueError("a key")
    return raw.strip()


def next_rung(knob: Knob, value: float, up: bool) -> Value:
    """The next value on the field's ladder: whole numbers, powers of two, or 1-3-10 (learning rate).

    A value between two rungs goes to the nearer end of its gap; the bounds hold.
    """
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
