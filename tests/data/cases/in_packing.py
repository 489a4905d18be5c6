"""gzip and Zstandard, whole, cut and hostile; and archives that are not read."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Literal

import zstandard

from tests.data.cases.making import LINE, TEN, Make, accepted, good, refused, write

TEN_FILE = write(TEN)


def zst(content: bytes, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(content)


def zip_file(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "data.zip", "w") as made:
        made.writestr("data.jsonl", TEN)
    return folder / "data.zip"


def tar_file(name: str, how: Literal["w", "w:gz"]) -> Make:
    def make(folder: Path) -> Path:
        with tarfile.open(folder / name, how) as made:
            made.add(TEN_FILE(folder), "data.jsonl")
        return folder / name

    return make


def gz_bomb(folder: Path) -> Path:
    """A row, and 130 MB of line breaks."""
    with gzip.open(folder / "data.jsonl.gz", "wb") as made:
        made.write(LINE.encode())
        for _ in range(130):
            made.write(b"\n" * (1 << 20))
    return folder / "data.jsonl.gz"


def zst_bomb(said: bool) -> Make:
    """A row, and 130 MB of line breaks; `said`: the size stands in front."""

    def make(folder: Path) -> Path:
        content = LINE.encode() + b"\n" * (130 << 20)
        with (folder / "data.jsonl.zst").open("wb") as file:
            size = len(content) if said else -1
            zstandard.ZstdCompressor().copy_stream(io.BytesIO(content), file, size=size)
        return folder / "data.jsonl.zst"

    return make


def long_line(folder: Path) -> Path:
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefgh ", k=1 << 10)) for _ in range(16)]
    with gzip.open(folder / "data.jsonl.gz", "wb", compresslevel=1) as made:
        made.write(good(3).encode() + b'{"prompt": "')
        for _ in range(72):
            made.write("".join(draw.choices(words, k=1 << 10)).encode())
    return folder / "data.jsonl.gz"


BIG = "".join(
    json.dumps({"prompt": f"{i} and {i * i % 977}", "completion": f"{i * 31 % 5003}"}) + "\n" for i in range(5000)
)
GZ, ZST = gzip.compress(BIG.encode()), zst(BIG.encode())
CASES = [
    accepted("gz", "gzip", GZ, 5000, "data.jsonl.gz"),
    accepted("zst", "Zstandard", ZST, 5000, "data.jsonl.zst"),
    accepted("gz by another name", "gzip in a file named .jsonl", GZ, 5000, "data.jsonl"),
    accepted("gz members", "two gzip members, and zeros", gzip.compress(TEN.encode()) * 2 + b"\0" * 512, 20,
             "data.jsonl.gz"),
    accepted("zst frames", "two Zstandard frames", zst(TEN.encode()) * 2, 20, "data.jsonl.zst"),
    accepted("csv gz", "CSV in gzip", gzip.compress(b"prompt,completion\na,b\n"), 1, "data.csv.gz"),
    accepted("text zst", "text in Zstandard", zst(b"one\ntwo\n"), 2, "data.txt.zst"),
    refused("no gz", "a file named .gz that is none", TEN, "named .gz but is not gzip", file="data.jsonl.gz"),
    refused("no zst", "a file named .zst that is none", TEN, "named .zst but is not Zstandard", file="data.jsonl.zst"),
    refused("zst named gz", "Zstandard in a file named .gz", ZST, "named .gz but is not gzip", file="data.jsonl.gz"),
    refused("truncated gz", "gzip that breaks off", GZ[: len(GZ) // 2], "break off", file="data.jsonl.gz"),
    refused("truncated zst", "Zstandard that breaks off", ZST[: len(ZST) // 2], "break off", file="data.jsonl.zst"),
    refused("gz without its end", "gzip without its last bytes", GZ[:-4], "break off", line=5001, file="data.jsonl.gz"),
    refused("damaged gz", "gzip with wrong bytes", GZ[:200] + b"\xaa" * 20 + GZ[220:], "damaged", file="data.jsonl.gz"),
    refused("damaged zst", "Zstandard with wrong bytes", ZST[:2000] + b"\xaa" * 200 + ZST[2200:], "damaged",
            file="data.jsonl.zst"),
    refused("wrong sum", "gzip with a wrong check sum", GZ[:-8] + b"\0" * 8, "damaged", file="data.jsonl.gz"),
    refused("rubbish behind", "rubbish behind gzip", GZ + b"rubbish behind", "damaged", line=5001,
            file="data.jsonl.gz"),
    refused("gz of nothing", "gzip of an empty file", gzip.compress(b""), "empty", file="data.jsonl.gz"),
    refused("gz bomb", "130 MB of line breaks in gzip", gz_bomb, "bomb"),
    refused("zst bomb", "130 MB of line breaks in Zstandard", zst_bomb(False), "bomb"),
    refused("zst bomb said", "the same, and it says so", zst_bomb(True), "bomb"),
    refused("long line", "a line of 72 MB", long_line, "longer than 64 MB", line=4),
    refused("gz in gz", "packed twice", gzip.compress(GZ), "packed twice", file="data.jsonl.gz"),
    refused("parquet gz", "Parquet in gzip", gzip.compress(b"PAR1\x15\x04"), "unpack it", file="data.parquet.gz"),
    refused("zip", "a zip archive", zip_file, "zip archive", "unpack it"),
    refused("xz", "xz", lzma.compress(TEN.encode()), "unxz", file="data.jsonl.xz"),
    refused("bz2", "bzip2", bz2.compress(TEN.encode()), "bunzip2", file="data.jsonl.bz2"),
    refused("tar", "a tar archive", tar_file("data.tar", "w"), "tar archive", "give the folder"),
    refused("tar gz", "a tar archive in gzip", tar_file("data.tar.gz", "w:gz"), "tar archive"),
    refused("pickle", "a pickle", b"\x80\x04\x95\x10\x00\x00", "pickle", file="data.pkl"),
]  # fmt: skip
