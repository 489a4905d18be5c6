"""Counting tokens that nobody asked for: with the real process, and not where that would take long."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from trainer import spec as specs
from tui import data_worker
from tui.data_worker import Counter

ROW = '{"prompt": "a question", "completion": "an answer"}\n'


@pytest.mark.slow
async def test_the_rows_of_a_file_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(ROW.replace("answer", f"answer {n}") for n in range(20)), "utf-8")
    lengths = await Counter().count(specs.make({"data": str(file)}))
    assert lengths is not None
    assert sum(lengths.by_length.values()) == 20


async def test_large_data_are_not(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(ROW, "utf-8")
    os.truncate(file, data_worker.MOST_UNASKED + 1)
    assert await Counter().count(specs.make({"data": str(file)})) is None


async def test_data_that_are_no_files_here_are_not(tmp_path: Path) -> None:
    assert await Counter().count(specs.make({"data": "someone/something"})) is None
    assert await Counter().count(specs.make({"data": str(tmp_path / "missing.jsonl")})) is None


@pytest.mark.slow
async def test_a_name_that_may_be_half_typed_asks_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(ROW.replace("answer", f"answer {n}") for n in range(20)), "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as hub:
        hub.setblocking(False)
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.getsockname()[1]}")
        assert await Counter().count(specs.make({"data": str(file), "model": "someone/someth"})) is None
        await Counter().count(specs.make({"data": str(file), "eval_data": "someone/someth"}))
        with pytest.raises(BlockingIOError):
            hub.accept()
