"""Parquet and Arrow files, whole and cut."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.cases.making import ROWS, TEN, Make, accepted, chat, refused, write


def parquet(rows: Sequence[object] = ROWS, name: str = "data.parquet", cut: int = 0, spoil: int = 0) -> Make:
    """Rows as Parquet; `cut` so many bytes shorter, `spoil` bytes from an offset on overwritten."""

    def make(folder: Path) -> Path:
        file = folder / name
        pq.write_table(pa.Table.from_pylist(list(rows)), file, compression="zstd")
        content = file.read_bytes()
        content = content[: len(content) - cut]
        file.write_bytes(content[:spoil] + b"\x55" * 40 + content[spoil + 40 :] if spoil else content)
        return file

    return make


def parquet_table(data: pa.Table) -> Make:
    def make(folder: Path) -> Path:
        pq.write_table(data, folder / "data.parquet")
        return folder / "data.parquet"

    return make


def arrow(cut: int = 0) -> Make:
    def make(folder: Path) -> Path:
        sink = io.BytesIO()
        data = pa.Table.from_pylist(ROWS)
        with pa.ipc.new_stream(sink, data.schema) as stream:
            stream.write_table(data)
        return write(sink.getvalue()[: len(sink.getvalue()) - cut], "data.arrow")(folder)

    return make


TALKS = [chat(("user", "a"), ("assistant", "b"))] * 4
CASES = [
    accepted("parquet", "Parquet", parquet(), 3),
    accepted("nested", "lists of structs", parquet(TALKS), 4),
    accepted("parquet by another name", "Parquet in a file named .json", parquet(name="data.json"), 3),
    accepted("json in parquet", "JSONL in a file named .parquet", TEN, 10, "data.parquet"),
    accepted("arrow", "an Arrow stream", arrow(), 3),
    refused("truncated parquet", "Parquet without its end", parquet(cut=50), "Parquet", "cut short"),
    refused("parquet's first bytes", "the first four bytes of Parquet and no more", b"PAR1", "Parquet",
            file="x.parquet"),
    refused("damaged parquet", "bytes overwritten within", parquet(TALKS * 99, spoil=60), "Parquet", "damaged"),
    refused("empty parquet", "Parquet without rows", parquet_table(pa.table({"text": pa.array([], pa.string())})),
            "no rows"),
    refused("column twice", "two columns of one name",
            parquet_table(pa.Table.from_arrays([pa.array(["a"])] * 2, names=["text", "text"])), "'text' stands twice"),
    refused("encrypted parquet", "encrypted Parquet", b"PARE\x00\x01\x02PARE", "encrypted", file="data.parquet"),
    refused("no parquet", "prose in a file named .parquet", "hello there", "is none", file="data.parquet"),
    refused("truncated arrow", "an Arrow stream without its end", arrow(cut=8), "Arrow", "cut short"),
    refused("torn arrow", "an Arrow stream that breaks off", arrow(cut=120), "Arrow", "cut short"),
]  # fmt: skip
