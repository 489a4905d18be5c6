"""The data files in a folder: by name, in order, and what of it is passed over and why.

It goes by names alone and opens no data file. Folders within are not entered: which of them is meant, who knows.
"""

from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from trainer.data.errors import DataError, shown
from trainer.data.formats import SUFFIXES, kind_of_name
from trainer.data.stream import Damage, open_regular, read, reason

MOST_FILES = 10_000
_ABOUT = re.compile(
    r"(readme|licen[cs]e|notice|changelog|changes|citation|contributing|code_of_conduct|requirements|constraints|"
    r"datasheet|dataset_infos?|dataset_dict|state|metadata|robots)\b", re.I
)  # fmt: skip
_HELD_OUT = re.compile(r"(?:^|[._-])(test|testing|valid|validation|val|dev|eval|evaluation)(?:[._-]|$)", re.I)
_SMALL = 16 << 20  # bytes of what `datasets` says of a set; kB as a rule
_NAMED = 6  # names in a sentence


@dataclass(frozen=True, slots=True)
class Found:
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def look(folder: Path) -> Found:
    """The data files of a folder, or of a data set saved in it. Raises DataError when there are none."""
    try:
        names = sorted(file.name for file in folder.iterdir())
    except OSError as error:
        raise DataError(
            f"{shown(folder)}: the folder can't be read ({reason(error)}): check its permissions."
        ) from None
    if "dataset_dict.json" in names:
        return _saved_splits(folder)
    if {"state.json", "dataset_info.json"} <= set(names):
        return Found(_saved(folder))
    return _files(folder, [name for name in names if not name.startswith(".")])


def _files(folder: Path, names: list[str]) -> Found:
    inside = [name for name in names if (folder / name).is_dir()]
    about = [name for name in names if _ABOUT.match(name)]
    data = [n for n in names if n not in inside and n not in about and _is_data(n)]
    if not data:
        within = f"; in it are the folders {_listed(inside)}: give one of them" if inside else ": give the data file"
        raise DataError(f"{shown(folder)}: there is no data file in this folder{within}.")
    if len(data) > MOST_FILES:
        raise DataError(f"{shown(folder)}: there are {len(data)} data files in this folder: join them to fewer.")
    empty = [name for name in data if _is_empty(folder / name)]
    held_out = [name for name in data if _HELD_OUT.search(name) and name not in empty]
    read = [name for name in data if name not in held_out and name not in empty]
    if not read:  # nothing but test files: then they are what is meant
        read, held_out = held_out or empty[:1], []
    notes = (
        *_note(folder, [name for name in names if name not in data], "no data files by their names"),
        *_note(folder, [name for name in empty if name not in read], "empty"),
        *_note(folder, held_out, "held out by their names; give them as validation data"),
    )
    return Found(tuple(folder / name for name in read), notes)


def _is_data(name: str) -> bool:
    return kind_of_name(Path(name)) in SUFFIXES


def _is_empty(file: Path) -> bool:
    try:
        state = file.stat()
    except OSError:
        return False  # it is refused when it is opened
    return stat.S_ISREG(state.st_mode) and state.st_size == 0


def _note(folder: Path, names: list[str], why: str) -> tuple[str, ...]:
    return (f"{shown(folder)}: not read are {_listed(names)} ({why}).",) if names else ()


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shown(name) for name in names[:_NAMED]) + more


def _saved_splits(folder: Path) -> Found:
    """The training split of several that were saved together."""
    splits = _names(folder / "dataset_dict.json", "splits")
    chosen = splits[0] if len(splits) == 1 else "train"
    if chosen not in splits:
        raise DataError(f"{shown(folder)}: this holds the data sets {_listed(splits)}: give the folder of one of them.")
    others = [name for name in splits if name != chosen]
    why = "other splits; give one's folder as validation data"
    return Found(_saved(folder / chosen), _note(folder, others, why))


def _saved(folder: Path) -> tuple[Path, ...]:
    return tuple(folder / name for name in _names(folder / "state.json", "_data_files"))


def _names(file: Path, key: str) -> list[str]:
    """The file or folder names under a key of one of the small files that `datasets` writes; none leads elsewhere."""
    try:
        with open_regular(file) as handle:
            found = json.loads(read(handle, _SMALL))[key]
        names = [item["filename"] if isinstance(item, dict) else item for item in found]
        if names and all(isinstance(name, str) and Path(name).name == name for name in names):
            return names
    except (ValueError, KeyError, TypeError, RecursionError, Damage):
        pass
    raise DataError(f"{shown(file)}: this does not say where the data are: save the data set anew.")
