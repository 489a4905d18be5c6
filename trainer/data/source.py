"""What a person points at → the data files in it, each with its format; nothing is read but their first bytes.

A source is a file, a folder of files, a data set saved by Hugging Face `datasets`, or one from its hub. What the rows
mean is not its question; `builtin:` names are settled by trainer.check.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from trainer.data import folder
from trainer.data.errors import DataError as DataError
from trainer.data.errors import shown as shown
from trainer.data.formats import SUFFIXES, Format, detect, kind_of_name
from trainer.data.readers import reader
from trainer.data.stream import CHUNK, WHOLE, Packing, Part, check_bomb, head, open_regular, packing, reason

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of rows. `size` is bytes on the disk; `how` says in words what its reader takes for granted. With a
    `part`, which only JSONL has, the lines that are meant lie there, and are counted from 1."""

    path: Path
    format: Format
    packing: Packing
    size: int
    how: str = ""
    part: Part = WHOLE


@dataclass(frozen=True, slots=True)
class Source:
    """The files in the order they are read in; `notes` are sentences on what was passed over or chosen."""

    named: str
    files: tuple[DataFile, ...]
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def how(self) -> str:
        """How the files are read where that is not plain: "csv, gz: cells are separated by tabs"; "" where it is."""
        kinds = dict.fromkeys((file.format, file.packing, file.how) for file in self.files)
        told = [
            f"{format}{f', {packing}' if packing else ''}{f': {how}' if how else ''}"
            for format, packing, how in kinds
            if packing or how
        ]
        return "; ".join(told)


def find(named: str) -> Source:
    """The source that a person names by a path, `org/name` or `hub:name[:[config/]split]`. Raises DataError.

    Only a name of the hub asks the network; a path that exists always goes before it.
    """
    if named.startswith("hub:"):
        return _from_hub(named, named.removeprefix("hub:"))
    path = Path(os.path.expanduser(named))  # noqa: PTH111 - Path.expanduser raises for an unknown user
    if not named.strip():
        raise DataError("No data file is given.")
    if _is_hub_id(named, path):
        return _from_hub(named, named)
    if not _is_folder(path):
        return Source(named, (_look_at(path),))
    found = folder.look(path)
    return Source(named, tuple(_look_at(file) for file in found.files), found.notes)


def fingerprint(source: Source) -> str:
    """SHA-256 over the contents: of one file what `sha256sum` says, of several that of their sums one after the other.

    Raises DataError when a file can't be read.
    """
    sums = [_sum(file.path) for file in source.files]
    return sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()


def _sum(path: Path) -> str:
    with open_regular(path) as handle:
        total = hashlib.sha256()
        try:
            while chunk := handle.read(CHUNK):
                total.update(chunk)
        except OSError as error:
            raise DataError(f"{shown(path)}: it can't be read on ({reason(error)}): check the disk.") from None
        return total.hexdigest()


def _look_at(path: Path) -> DataFile:
    packed = packing(path)
    check_bomb(path, packed)
    start, whole = head(path, packed)
    format = detect(path, packed, start, whole)
    how = reader(format).how(start) if format in ("csv", "tsv", "text") else ""
    return DataFile(path, format, packed, path.stat().st_size, how)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False  # what is wrong with the name is said when it is opened


def on_hub(named: str) -> bool:
    """Whether `find` would ask the hub for it."""
    return named.startswith("hub:") or _is_hub_id(named, Path(os.path.expanduser(named)))  # noqa: PTH111


def _is_hub_id(named: str, path: Path) -> bool:
    if not _HUB_ID.fullmatch(named) or kind_of_name(path) in SUFFIXES:
        return False
    return not os.path.lexists(path)


def _from_hub(named: str, name: str) -> Source:
    """The files of a data set of the hub, fetched into its cache first."""
    try:
        hub = importlib.import_module("trainer.data.hub")
    except ImportError:
        raise DataError(
            f"{named}: data sets of the Hugging Face hub need the package datasets: "
            "install it with `pip install 'finetunegem[hub]'`, or give a file."
        ) from None
    paths, notes = hub.fetch(name)
    return Source(named, tuple(_look_at(path) for path in paths), notes)
