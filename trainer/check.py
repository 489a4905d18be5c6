"""Everything that can be found wrong with a spec before anything is spent, and what the run will be.

Reads files, loads no model and no torch: the form, the command line and the backend ask the same questions here. It
asks no network: of a data set of the hub that is not fetched yet nothing is known before the run.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from trainer import models
from trainer import spec as specs
from trainer.data import DataError, DataSet, load, look, split
from trainer.data import folder as folders
from trainer.data import source as sources
from trainer.data.source import Source
from trainer.plan import Plan, make_plan
from trainer.spec import RunSpec

T = TypeVar("T")
Stamp = tuple[object, ...]
BUILTIN_DATA = Path(__file__).parent.parent / "presets"
LARGE = 256_000_000  # bytes, from which on only the beginning is read here; the whole is read when the run starts
PACKED = 4  # so many times its size a packed file takes to read
KEPT = 4  # accounts, for the next question about the same data


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a spec comes to: problems by field (then the rest may be None), the plan and the model.

    Rows that are `skipped` are `bad`, or not to be learnt from. `about`: the counts are estimated from the beginning of
    large data. `remote`: the data are on the hub, and nothing is known of them yet.
    """

    problems: dict[str, str]
    plan: Plan | None
    model: models.ModelInfo | None
    shape: str = ""
    skipped: int = 0
    bad: int = 0
    about: bool = False
    remote: bool = False


def data_path(data: str) -> Path:
    """The file or folder a spec's `data` or `eval_data` names. Raises DataError for an unknown built-in."""
    if not data.startswith("builtin:"):
        return models.expanded(data).absolute()
    file = BUILTIN_DATA / f"{data.removeprefix('builtin:')}.jsonl"
    if file.parent != BUILTIN_DATA or not os.path.isfile(file):  # noqa: PTH113 - says no to any name, however long
        known = ", ".join(sorted(f"builtin:{p.stem}" for p in BUILTIN_DATA.glob("*.jsonl")))
        raise DataError(f"There is no built-in data set {data!r}; there is {known}.")
    return file


def source(data: str) -> Source:
    """The files that a spec's `data` or `eval_data` names; those of the hub are fetched. Raises DataError."""
    if not data.strip():
        raise DataError("No data file is given.")
    return sources.find(_named(data))


def stamp(data: str) -> Stamp:
    """What data are known again by: paths, sizes and times of the last change, of their permissions too."""
    try:
        return (data, *(_seen(file) for file in _files(data)))
    except (DataError, OSError, ValueError):
        return (data,)


def size(data: str) -> int | None:
    """Bytes of the files that data name, as they stand there; None where no file here is meant."""
    try:
        return sum(file.stat().st_size for file in _files(data)) or None
    except (DataError, OSError, ValueError):
        return None


def _files(data: str) -> tuple[Path, ...]:
    if not data or sources.on_hub(_named(data)):
        return ()
    path = data_path(data)
    return tuple(folders.look(path).files) if path.is_dir() else (path,)


def _seen(file: Path) -> Stamp:
    now = file.stat()
    return (str(file), now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


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
    if any(sources.on_hub(_named(data)) for data in (spec.data, spec.eval_data)):
        return Prospect(problems, None, model, remote=True)
    data = _try(problems, "data", lambda: _account(spec.data, spec))
    eval_data = _try(problems, "eval_data", lambda: _account(spec.eval_data, spec)) if spec.eval_data else None
    if data is None or "eval_data" in problems:
        return Prospect(problems, None, model)
    parts = _try(problems, "eval_share", lambda: split(data, eval_data, spec.eval_share, spec.seed))
    plan = make_plan(spec, parts.train, parts.eval) if parts else None
    skipped = data.rows - data.used
    return Prospect(problems, plan, model, data.shape.name, skipped, data.bad_count, data.estimated)


def _named(data: str) -> str:
    return str(data_path(data)) if data.startswith("builtin:") else data


def _is_path(value: str) -> bool:
    return bool(value) and not value.startswith("builtin:") and not sources.on_hub(value)


_known: OrderedDict[Stamp, DataSet | DataError] = OrderedDict()  # the form asks at every key


def _account(data: str, spec: RunSpec) -> DataSet:
    """The account of all of the data, or where they are large of their beginning. Raises DataError."""
    if not data:
        raise DataError("No data file is given.")
    key = (*stamp(data), spec.columns)
    known = _known.get(key)
    if known is None:
        known = _known[key] = _read(data, spec.columns)
        while len(_known) > KEPT:
            _known.popitem(last=False)
    if isinstance(known, DataError):
        raise known
    return known.check(spec.allow_bad)


def _read(data: str, columns: str) -> DataSet | DataError:
    try:
        found = source(data)
        size = sum(file.size * (PACKED if file.packing else 1) for file in found.files)
        return (look if size > LARGE else load)(_named(data), columns)
    except DataError as error:
        return error


def _try(problems: dict[str, str], field: str, look: Callable[[], T]) -> T | None:
    try:
        return look()
    except (DataError, models.ModelError) as error:
        problems[field] = str(error)
        return None
