"""The account of a source on the disk, for the next host that reads the same data.

What is written holds counts, the reasons of the first bad rows and 16 bytes a row, and no row.
"""

from __future__ import annotations

import json
import zlib
from array import array
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from trainer.data.dataset import LOOKED_AT, DataSet, shape_of
from trainer.data.duplicates import Duplicates
from trainer.data.rows import BadRow, read_rows
from trainer.data.source import Source

_ARRAYS = ("leaders", "digests")


def keep(folder: Path, data: DataSet) -> None:
    """Raises OSError."""
    sums = {}
    for name in _ARRAYS:
        content = getattr(data.duplicates, name).tobytes()
        (folder / name).write_bytes(content)
        sums[name] = zlib.crc32(content)
    duplicates = {name: getattr(data.duplicates, name) for name in ("exact", "near", "same_prompt", "looked", "note")}
    counts = {"rows": data.rows, "bad_count": data.bad_count, "left_out": data.left_out}
    bad = [asdict(row) for row in data.bad]
    known = {"counts": counts, "bad": bad, "duplicates": duplicates, "sums": sums, "shape": data.shape.name}
    (folder / "account.json").write_text(json.dumps(known), "utf-8")


def recall(folder: Path, source: Source, columns: str) -> DataSet | None:
    """What was kept there of this source; None for anything else. Raises DataError."""
    shape = shape_of(source, list(islice(read_rows(source), LOOKED_AT)), columns)
    try:
        known = json.loads((folder / "account.json").read_text("utf-8"))
        arrays: dict[str, Any] = {name: array("q", (folder / name).read_bytes()) for name in _ARRAYS}
        if known["sums"] != {name: zlib.crc32(content) for name, content in arrays.items()}:
            return None
        bad = tuple(BadRow(**row) for row in known["bad"])
        duplicates = Duplicates(**known["duplicates"], **arrays)
        return DataSet(source, shape, bad=bad, duplicates=duplicates, **known["counts"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
