"""Data files as they come in life, most of them broken: each with what is wrong, what is to become of it, and where.

A case makes its file (or folder) in a folder of its own and returns what a person would point at.
`python -m tests.data.broken FOLDER` writes them all out, to try another reader on them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.data.cases import in_bytes, in_csv, in_files, in_json, in_packing, in_parquet, in_shapes

FAMILIES = {
    "byte": in_bytes.CASES,
    "JSON": in_json.CASES,
    "shape": in_shapes.CASES,
    "CSV": in_csv.CASES,
    "Parquet": in_parquet.CASES,
    "file": in_files.CASES,
    "packed": in_packing.CASES,
}
CASES = [case for cases in FAMILIES.values() for case in cases]


def main(target: Path) -> None:
    """Write every case into a folder of its own, and a list of what is expected."""
    for family, cases in FAMILIES.items():
        for case in cases:
            folder = target / family / case.name.replace(" ", "-").replace("'", "")
            folder.mkdir(parents=True)
            line = "" if case.line is None else case.line
            print(family, case.name, case.wrong, case.verdict, line, repr(str(case.make(folder))), sep="\t")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
