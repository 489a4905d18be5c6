"""Parquet and Arrow: rows by number, nested values as Python's, and files that are cut short."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.readers.reading import read, refused, write
from trainer.data.errors import DataError
from trainer.data.readers import parquet

ROWS: list[Any] = [
    {
        "messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}],
        "n": n,
        "tags": {"x": None},
    }
    for n in range(1200)
]


def made(folder: Path, rows: list[Any] | pa.Table, **options: Any) -> Path:
    data = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows)
    pq.write_table(data, folder / "data.parquet", **options)
    return folder / "data.parquet"


def made_arrow(folder: Path, data: pa.Table, stream: bool) -> Path:
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with pa.OSFile(str(folder / "data.arrow"), "wb") as sink, new(sink, data.schema) as writer:
        writer.write_table(data, max_chunksize=500)
    return folder / "data.arrow"


@pytest.mark.parametrize("compression", ["snappy", "zstd", "gzip", "none"])
def test_rows_come_in_order_whatever_the_row_groups(tmp_path: Path, compression: str) -> None:
    file = made(tmp_path, ROWS, row_group_size=500, compression=compression)
    assert read(file) == list(enumerate(ROWS, start=1))


@pytest.mark.parametrize("stream", [True, False])
def test_arrow_is_read_from_a_stream_and_from_a_file(tmp_path: Path, stream: bool) -> None:
    assert read(made_arrow(tmp_path, pa.Table.from_pylist(ROWS), stream)) == list(enumerate(ROWS, start=1))


def test_values_of_all_kinds_are_handed_on(tmp_path: Path) -> None:
    day = datetime.date(2024, 2, 29)
    row = {
        "text": "größe",
        "list": [[1, 2], []],
        "day": day,
        "raw": b"\x00\xff",
        "none": None,
        "yes": True,
        "part": 0.5,
    }
    assert read(made(tmp_path, [row])) == [(1, row)]


def test_strings_as_dictionaries_are_strings(tmp_path: Path) -> None:
    data = pa.table({"text": pa.array(["a", "b", "a"]).dictionary_encode()})
    assert read(made(tmp_path, data)) == [(1, {"text": "a"}), (2, {"text": "b"}), (3, {"text": "a"})]


def test_a_text_that_is_no_utf_8_costs_its_row(tmp_path: Path) -> None:
    raw = pa.array([b"a", b"\xff\xfe", b"c"], pa.binary())
    data = pa.table({"text": pa.Array.from_buffers(pa.string(), 3, raw.buffers())})
    for file in (made(tmp_path, data), made_arrow(tmp_path, data, stream=True)):
        assert read(file) == [
            (1, {"text": "a"}),
            (2, "a value can't be read: a text that is no UTF-8, or a date out of all bounds"),
            (3, {"text": "c"}),
        ]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["parquet", "arrow stream", "arrow file"])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    data = pa.Table.from_pylist(ROWS)
    file = made(tmp_path, data) if kind == "parquet" else made_arrow(tmp_path, data, kind == "arrow stream")
    content = file.read_bytes()
    said = refused(write(tmp_path, content[: int(len(content) * share)], file.name))
    assert said.endswith("file is damaged or cut short here: make it anew.")


@pytest.mark.parametrize("at", range(4, 3000, 300))
def test_overwritten_bytes_never_end_in_anything_but_a_sentence_or_rows(tmp_path: Path, at: int) -> None:
    content = bytearray(made(tmp_path, ROWS, compression="zstd").read_bytes())
    content[at : at + 16] = b"\xa5" * 16
    file = write(tmp_path, bytes(content), "spoilt.parquet")
    try:
        found = read(file)
    except DataError as error:
        said = str(error)
    else:
        said = f"{file}: {len(found)} rows"
    assert said.startswith(f"{file}:")


def test_damage_in_the_midst_names_the_first_row_that_was_not_read(tmp_path: Path) -> None:
    file = made(tmp_path, ROWS, row_group_size=600, compression="zstd")
    group = pq.ParquetFile(file).metadata.row_group(1).column(0)
    content = bytearray(file.read_bytes())
    begin = group.dictionary_page_offset or group.data_page_offset
    content[begin : begin + 60] = b"\xa5" * 60
    assert refused(write(tmp_path, bytes(content), "spoilt.parquet")).startswith("513: the Parquet file is damaged")


def test_no_rows_are_refused(tmp_path: Path) -> None:
    said = refused(made(tmp_path, pa.table({"text": pa.array([], pa.string())})))
    assert said == " there are no rows in this Parquet file: give one with a row for each example."


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    data = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    for file in (made(tmp_path, data), made_arrow(tmp_path, data, stream=True)):
        assert refused(file) == " the column 'text' stands twice: rename one of the two."


def test_a_bomb_is_refused_by_its_own_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BOMB_BYTES", 1 << 20)
    data = pa.table({"text": pa.array(["a" * (8 << 20)])})
    assert "archive bomb" in refused(made(tmp_path, data, compression="zstd", use_dictionary=False))
