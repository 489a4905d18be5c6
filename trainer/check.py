"""Everything that can be found wrong with a spec before anything is spent, and what the run will be.

Reads files, loads no model and no torch: the form, the command line and the backend ask the same questions here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from trainer import models
from trainer import spec as specs
from trainer.data import DataError, DataSet, Split, load, split
from trainer.plan import Plan, make_plan
from trainer.spec import RunSpec

T = TypeVar("T")
BUILTIN_DATA = Path(__file__).parent.parent / "presets"


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a spec comes to: problems by field (then the rest may be None), the plan and the model."""

    problems: dict[str, str]
    plan: Plan | None
    model: models.ModelInfo | None
    shape: str = ""
    skipped: int = 0


def data_path(data: str) -> Path:
    """The file a spec's `data` or `eval_data` names. Raises DataError for an unknown built-in."""
    if not data.startswith("builtin:"):
        return models.expanded(data).absolute()
    file = BUILTIN_DATA / f"{data.removeprefix('builtin:')}.jsonl"
    if file.parent != BUILTIN_DATA or not os.path.isfile(file):  # noqa: PTH113 - says no to any name, however long
        known = ", ".join(sorted(f"builtin:{p.stem}" for p in BUILTIN_DATA.glob("*.jsonl")))
        raise DataError(f"There is no built-in data set {data!r}; there is {known}.")
    return file


def read_split(spec: RunSpec) -> tuple[DataSet, Split]:
    """The data file, and the examples a run trains and evaluates on. Raises DataError."""
    data = _load(spec.data)
    return data, split(data, _load(spec.eval_data) if spec.eval_data else None, spec.eval_share, spec.seed)


def settled(spec: RunSpec) -> RunSpec:
    """The spec with whole paths, so that it means the same from any folder."""
    paths = {name: str(data_path(value)) for name in ("data", "eval_data") if _is_path(value := getattr(spec, name))}
    model = models.expanded(spec.model)
    if _is_path(spec.model) and os.path.isdir(model):  # noqa: PTH112 - says no to any name, however long
        paths["model"] = str(model.absolute())
    return specs.make({**vars(spec), **paths})


def look_ahead(spec: RunSpec) -> Prospect:
    """Every problem at once, each by its field; and steps and sizes where the data could be read."""
    if spec.backend != "local":
        return Prospect({}, None, None)
    problems: dict[str, str] = {}
    model = _try(problems, "model", lambda: models.look_up(spec.model))
    data = _try(problems, "data", lambda: _load(spec.data))
    eval_data = _try(problems, "eval_data", lambda: _load(spec.eval_data)) if spec.eval_data else None
    if data is None or "eval_data" in problems:
        return Prospect(problems, None, model)
    parts = _try(problems, "eval_share", lambda: split(data, eval_data, spec.eval_share, spec.seed))
    plan = make_plan(spec, len(parts.train), len(parts.eval)) if parts else None
    return Prospect(problems, plan, model, data.shape, len(data.bad))


def _is_path(value: str) -> bool:
    return bool(value) and not value.startswith("builtin:")


def _load(data: str) -> DataSet:
    if not data:
        raise DataError("No data file is given.")
    return load(data_path(data)).check()


def _try(problems: dict[str, str], field: str, look: Callable[[], T]) -> T | None:
    try:
        return look()
    except (DataError, models.ModelError) as error:
        problems[field] = str(error)
        return None
