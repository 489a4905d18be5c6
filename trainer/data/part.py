"""One of the processes that read large data, see `trainer.data.parts`. Where anything is wrong it ends unanswered."""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import replace

from trainer.data.dataset import LOOKED_AT, Tally, shape_of
from trainer.data.parts import files_of
from trainer.data.readers import reader
from trainer.data.rows import read_rows
from trainer.data.source import find


def main() -> int:
    """Answer one question; the exit code."""
    asked = json.loads(sys.stdin.buffer.readline())
    out = sys.stdout.buffer
    source = find(asked["named"])
    if files_of(source) != asked["files"]:
        return 1
    shape = shape_of(source, list(itertools.islice(read_rows(source), LOOKED_AT)), asked["columns"])
    tally = Tally(shape, asked["near"])
    for index, start, end in asked["share"]:
        file = source.files[index]
        for rows in tally.read(reader(file.format).rows(replace(file, part=(start, end)), index)):
            out.write(json.dumps({"rows": rows}).encode() + b"\n")
            out.flush()
    held = tally.finder.held()
    said = {
        "rows": tally.rows,
        "bad_count": tally.bad_count,
        "left_out": tally.left_out,
        "bad": [(row.line, row.why, row.file) for row in tally.bad],
        "sizes": {name: len(content) for name, content in held.items()},
    }
    out.write(json.dumps(said).encode() + b"\n" + b"".join(held.values()))
    out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
