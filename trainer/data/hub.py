"""A data set of the Hugging Face hub → its rows as Arrow files in the local cache.

Only data files are read: the library runs no code of a data set. Imported only when a name of the hub turns up, since
the library is large and may be absent.
"""

from __future__ import annotations

from pathlib import Path

import datasets
from datasets.utils.logging import disable_progress_bar

from trainer.data.errors import DataError, quoted


def fetch(name: str) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """(Arrow files, notes) of `org/name`, `org/name:split` or `org/name:config/split`. Raises DataError."""
    disable_progress_bar()  # it would write over a screen
    repository, _, wanted = name.partition(":")
    config, _, split = wanted.rpartition("/")
    try:
        found = datasets.load_dataset(repository, config or None)
    except Exception as error:  # the library raises whatever its parts raise: no net, no such name, several configs
        raise DataError(_sentence(repository, error)) from None
    if not split:
        split = "train" if "train" in found else next(iter(found), "")
    if split not in found:
        raise DataError(f"hub:{repository}: there is no split {split!r}; there is {', '.join(map(str, found))}.")
    files = tuple(Path(entry["filename"]) for entry in found[split].cache_files)
    if not files:
        raise DataError(f"hub:{repository}: the split {split!r} has no rows on the disk: save it and give the folder.")
    others = [str(other) for other in found if other != split]
    note = f"hub:{repository}: read is the split {split}; not read are {', '.join(others)}."
    return files, ((note,) if others else ())


def _sentence(repository: str, error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    why = quoted(lines[0], 160)[1:-1].rstrip(".:")
    return (
        f"hub:{repository}: there is no such file here, and the hub's data set can't be had ({why}): "
        "check the name and the network; of several configs name one, as in hub:NAME:CONFIG/SPLIT."
    )
