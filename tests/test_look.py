"""The look at data: a real process, asked and heard over its pipes. Only the last tests load a tokenizer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from trainer import known, models
from trainer.data.lengths import from_fields
from trainer.spec import RunSpec

PATIENCE = 120.0  # seconds; loading the tokenizer's libraries takes some


class Asked:
    """The process, from outside."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, what: str, **more: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"ask": what, **more}) + "\n")
        self._process.stdin.flush()

    def look(self, data: Path | str, tokens: bool = False, **values: object) -> None:
        self.ask("look", spec={"data": str(data), **values}, tokens=tokens)

    def hear(self, what: str) -> dict[str, Any]:
        """The next thing of that kind; nothing but phases may come before an error that was not waited for."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said: dict[str, Any] = json.loads(line)
            if said["say"] == what:
                return said
            assert said["say"] != "error", said
        raise AssertionError("it ended")

    def row(self, what: str = "row", **more: object) -> dict[str, Any]:
        self.ask(what, max_length=512, **more)
        row: dict[str, Any] = self.hear("row")["row"]
        return row

    def end(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(PATIENCE)


@contextmanager
def looking() -> Iterator[Asked]:
    command = [sys.executable, "-P", "-m", "trainer.look"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as p:
        try:
            yield Asked(p)
        finally:
            p.kill()
            assert p.stderr is not None
            assert "Traceback" not in p.stderr.read()


def chats(folder: Path, rows: int = 300) -> Path:
    """The third row is bad; each answer is longer than the one before."""
    file = folder / "chats.jsonl"
    answers = ["" if n == 2 else "yes " * (n + 1) for n in range(rows)]
    file.write_text("\n".join(json.dumps({"prompt": f"question {n}", "completion": a}) for n, a in enumerate(answers)))
    return file


def test_the_account_then_rows_then_its_end(tmp_path: Path) -> None:
    with looking() as worker:
        worker.look(chats(tmp_path), batch_size=8)
        report = worker.hear("report")["report"]
        assert (report["rows"], report["used"], report["bad"]) == (300, 299, 1)
        assert report["problems"] == [{"place": f"{tmp_path}/chats.jsonl:3", "why": "an assistant message is blank"}]
        assert report["train"] + report["eval"] == 299
        assert report["steps_per_epoch"] == 34
        assert len(worker.hear("hashed")["fingerprint"]) == 64
        assert "".join(text for text, _ in worker.row(number=5)["pieces"]).startswith("user:\nquestion 5")
        assert worker.row("find", text="QUESTION 25", after=5)["number"] == 25
        assert worker.row("bad", after=5)["number"] == 2
        worker.ask("find", text="nowhere", after=0, max_length=512)
        assert worker.hear("missing")["what"] == "No row holds 'nowhere'."
        worker.ask("row", number=300, max_length=512)
        assert worker.hear("missing")["what"] == "There is no such row."
        assert worker.end() == 0


def test_data_that_can_not_be_read_are_one_sentence_and_their_rows_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "odd.jsonl"
    file.write_text('{"frage": "Wo?", "antwort": "Da."}\n' * 20)
    with looking() as worker:
        worker.look(file)
        said = worker.hear("error")
        assert said["about"] == "data"
        assert "frage" in said["error"]
        assert json.loads(worker.row(number=3)["raw"]) == {"frage": "Wo?", "antwort": "Da."}
        worker.look(file, columns="prompt=frage,completion=antwort")
        assert worker.hear("report")["report"]["used"] == 20


@pytest.mark.parametrize("data", ["/nowhere/data.jsonl", "builtin:none", "", "/dev/null", "/", "a\nb", "x" * 5000])
def test_nothing_to_read_is_one_sentence(data: str) -> None:
    with looking() as worker:
        worker.ask("look", spec={"data": data}, tokens=True)
        assert worker.hear("error")["error"]
        worker.ask("row", number=0, max_length=512)
        assert worker.end() == 0


def test_a_key_in_the_data_is_hidden_and_said(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    file.write_text(json.dumps({"prompt": "q", "completion": f"hf_{'a1B2' * 10}"}) + "\n" + json.dumps({"a": 1}) + "\n")
    with looking() as worker:
        worker.look(file, allow_bad=1.0)
        row = worker.row(number=0)
        assert row["key"]
        assert "hf_" not in json.dumps(row)


def test_a_long_row_is_said_in_part(tmp_path: Path) -> None:
    file = tmp_path / "long.jsonl"
    file.write_text(json.dumps({"prompt": "q" * 100_000, "completion": "a" * 50_000}) + "\n")
    with looking() as worker:
        worker.look(file)
        row = worker.row(number=0)
        assert sum(len(text) for text, _ in row["pieces"]) + row["more"] > 150_000
        assert sum(len(text) for text, _ in row["pieces"]) <= 20_000


@pytest.mark.slow
def test_tokens_are_counted_once_and_rows_are_as_the_model_reads_them(tmp_path: Path) -> None:
    file = chats(tmp_path)
    spec = RunSpec(data=str(file))
    with looking() as worker:
        worker.look(file, tokens=True)
        assert not worker.row(number=9)["tokens"]  # before the tokenizer is there
        row = worker.hear("row")["row"]  # the same row, as soon as it is
        assert row["pieces"][0] == ["<|im_start|>user\nquestion 9<|im_end|>\n<|im_start|>assistant\n", "read"]
        assert row["pieces"][1] == ["yes " * 10 + "<|im_end|>", "learnt"]
        assert row["learnt"] < row["tokens"]
        lengths = from_fields(worker.hear("lengths")["lengths"])
        assert lengths.rows == 299
        assert lengths.limit == 1024
        assert lengths.longest is not None
        assert lengths.longest.place == f"{file}:300"
        assert [kind for _, kind in worker.row(number=99)["pieces"]] == ["read", "learnt", "read"]
        worker.ask("row", number=99, max_length=100)
        kinds = [kind for _, kind in worker.hear("row")["row"]["pieces"]]
        assert kinds == ["read", "learnt", "cut"]
    assert known.recall(known.key(spec, models.look_up(spec.model))) == lengths
    with looking() as worker:
        worker.look(file, tokens=True)
        assert from_fields(worker.hear("lengths")["lengths"]) == lengths


@pytest.mark.slow
def test_a_model_without_a_tokenizer_costs_only_the_tokens(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    with looking() as worker:
        worker.look(chats(tmp_path), tokens=True, model=str(folder))
        worker.hear("report")
        said = worker.hear("error")
        assert said["about"] == "tokens"
        assert "tokenizer" in said["error"]
        assert worker.row(number=4)["number"] == 4
