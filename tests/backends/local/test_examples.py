"""The examples of a run: counted, split, cut and left out, and all of it said in the log."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.backends.local.conftest import ModelMaker
from trainer import models
from trainer.backends.local import examples
from trainer.backends.local.examples import Material
from trainer.backends.local.model import load_tokenizer
from trainer.backends.local.tokens import TokenSet
from trainer.cache import Cache
from trainer.control import Control
from trainer.events import DataRead, Entry, Event, Noted, PhaseEntered, encode
from trainer.rundir import RunError
from trainer.spec import RunSpec

Kind = TypeVar("Kind")
ROOT = Path(__file__).parents[3]


def row(number: int, **more: object) -> dict[str, object]:
    return {"prompt": f"question {number}", "completion": f"answer {number}", **more}


def write(file: Path, *rows: object) -> Path:
    file.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in rows))
    return file


def ended(going: Generator[Event, None, Kind]) -> tuple[Kind, list[Event]]:
    events: list[Event] = []
    while True:
        try:
            events.append(next(going))
        except StopIteration as done:
            return done.value, events


def notes(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Noted)]


def read(spec: RunSpec, control: Control | None = None) -> tuple[Material, list[Event]]:
    material, events = ended(examples.read(spec, control or Control()))
    assert material is not None
    return material, events


@pytest.fixture
def model(make_model: ModelMaker) -> str:
    return str(make_model("llama"))


def made(spec: RunSpec, longest: int = 200) -> tuple[DataRead, TokenSet, TokenSet, list[str]]:
    material, first = read(spec)
    info = models.look_up(spec.model)
    sides, events = ended(examples.make(spec, material, load_tokenizer(info)[0], info, longest, Control()))
    assert sides is not None
    return examples.account(material, *sides), *sides, notes([*first, *events])


def test_the_log_holds_hash_and_counts(tmp_path: Path, model: str) -> None:
    near = {"prompt": "Question 4!", "completion": "ANSWER 4"}
    file = write(tmp_path / "data.jsonl", *map(row, range(60)), row(3), near, '{"prompt": 1}', "{")
    told, train, held_out, said = made(RunSpec(data=str(file), model=model, allow_bad=0.05))
    assert (told.rows, told.bad, told.skipped) == (64, 2, 2)
    assert told.train_examples + told.eval_examples == len(train) + len(held_out) == 62
    assert (told.exact, told.near, told.leak, told.files) == (1, 1, 0, 1)
    assert told.fingerprint == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (told.eval_fingerprint, told.truncated, told.tokens_cut) == ("", 0, 0)
    assert (told.train_tokens, told.supervised_tokens) == (train.tokens, train.targets)
    assert said[0].startswith("1 of 64 rows stand twice and 1 nearly so; all are used, ")


def test_what_is_alike_is_on_one_side(tmp_path: Path, model: str) -> None:
    file = write(tmp_path / "data.jsonl", *[row(number // 3) for number in range(90)])
    _, train, held_out, _ = made(RunSpec(data=str(file), model=model, eval_share=0.3))
    lines = [{(one.line - 1) // 3 for one in side} for side in (train, held_out)]
    assert not lines[0] & lines[1]
    assert len(held_out) == 27


def test_the_first_twenty_bad_rows_are_said_one_by_one(tmp_path: Path) -> None:
    file = write(tmp_path / "data.jsonl", *map(row, range(30)), *['{"prompt": 1}'] * 25)
    _, events = read(RunSpec(data=str(file), allow_bad=0.5))
    said = notes(events)
    assert said[:-1] == [f"{file}:{line}: the row has the keys prompt, not the keys of prompt/completion"
                         for line in range(31, 51)]  # fmt: skip
    assert said[-1].startswith(f"25 of 55 rows skipped; first {file}:31: the row has ")


def test_a_cut_is_said_with_rows_and_tokens(tmp_path: Path, model: str) -> None:
    long = [{"prompt": f"question {number}", "completion": f"ls {number} " * 30} for number in range(20)]
    file = write(tmp_path / "data.jsonl", *map(row, range(20)), *long)
    told, train, held_out, said = made(RunSpec(data=str(file), model=model), longest=60)
    assert told.truncated == train.cut + held_out.cut == 20
    assert told.tokens_cut == train.tokens_cut + held_out.tokens_cut > 500
    (line,) = [line for line in said if "training examples are cut at 60 tokens" in line]
    assert line.startswith(f"{train.cut} of {len(train)} training examples")
    assert f": {train.tokens_cut:,} tokens (" in line


def test_rows_with_nothing_left_are_bad_rows(tmp_path: Path, model: str) -> None:
    file = write(tmp_path / "data.jsonl", *map(row, range(97)), *[row(n, prompt="w " * 300) for n in (97, 98, 99)])
    told, _, _, said = made(RunSpec(data=str(file), model=model, allow_bad=0.03))
    assert (told.bad, told.skipped) == (3, 3)
    assert "3 of 100 rows have no answer left within 200 tokens: left out." in said
    with pytest.raises(RunError, match=rf"^{file}:98: no answer is left within max length 200 \(and 2 ") as caught:
        made(RunSpec(data=str(file), model=model, allow_bad=0.02))
    helps = re.search(r"raise max length to (\d+), .* allow more with --allow-bad 3%\.$", str(caught.value))
    assert helps
    enough = int(helps[1])
    spec = RunSpec(data=str(file), model=model, allow_bad=0.02)
    assert made(spec, longest=enough)[0].bad == 0
    with pytest.raises(RunError):
        made(spec, longest=enough - 64)


def test_bad_rows_and_those_with_nothing_left_count_together(tmp_path: Path, model: str) -> None:
    file = write(tmp_path / "data.jsonl", *map(row, range(98)), row(98, prompt="w " * 300), "{")
    assert made(RunSpec(data=str(file), model=model, allow_bad=0.02))[0].bad == 2
    with pytest.raises(RunError, match=r": 2 of 100 rows are bad, more than 1%; "):
        made(RunSpec(data=str(file), model=model, allow_bad=0.01))


def test_a_validation_file_is_checked_and_compared(tmp_path: Path, model: str) -> None:
    file = write(tmp_path / "data.jsonl", *map(row, range(20)))
    held_out = write(tmp_path / "held-out.jsonl", row(3), {"prompt": "QUESTION 4", "completion": "answer 4."}, row(99))
    spec = RunSpec(data=str(file), eval_data=str(held_out), model=model)
    told, train, validation, said = made(spec)
    assert (len(train), len(validation), told.leak) == (20, 3, 2)
    assert told.eval_fingerprint == hashlib.sha256(held_out.read_bytes()).hexdigest()
    assert "2 of 3 validation examples stand in the training data as well." in said
    write(held_out, row(3), "{")
    with pytest.raises(RunError, match=rf"^{held_out}:2: it is not JSON"):
        read(spec)


def test_an_example_says_where_it_stands(tmp_path: Path, model: str) -> None:
    write(tmp_path / "a.jsonl", *map(row, range(10)))
    write(tmp_path / "b.jsonl", *map(row, range(10, 20)))
    _, train, held_out, _ = made(RunSpec(data=str(tmp_path), model=model))
    places = {one.place for side in (train, held_out) for one in side}
    assert places == {f"{tmp_path}/{name}.jsonl:{line}" for name in "ab" for line in range(1, 11)}


def test_large_data_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "LARGE", 0)
    file = write(tmp_path / "data.jsonl", *map(row, range(30)), row(3), "{")
    spec = RunSpec(data=str(file), allow_bad=0.1)
    first, said = read(spec)

    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(examples, "reading", never)
    again, told = read(spec)
    assert (again.parts, again.data.data.duplicates) == (first.parts, first.data.data.duplicates)
    assert notes(told) == notes(said)
    for entry in Cache().folder.iterdir():
        (entry / "account.json").write_text("{}")
    with pytest.raises(AssertionError):
        read(spec)


def test_a_stop_while_reading_ends_it(tmp_path: Path) -> None:
    control = Control()
    going = examples.read(RunSpec(data=str(write(tmp_path / "data.jsonl", *map(row, range(5000))))), control)
    assert next(going) == PhaseEntered("reading data")
    control.ask_stop()
    assert ended(going) == (None, [])


def test_reading_says_how_far_it_is(tmp_path: Path) -> None:
    _, events = read(RunSpec(data=str(write(tmp_path / "data.jsonl", *map(row, range(45_000))))))
    phases = [event for event in events if isinstance(event, PhaseEntered)]
    assert [phase.done for phase in phases] == [0, 20_000, 40_000]
    assert phases[1].total == pytest.approx(45_000, rel=0.1)


@pytest.mark.parametrize(("logged", "changed"), [("same", False), ("other", True), ("", False)])
def test_data_that_changed_since_the_run_began_are_said(tmp_path: Path, logged: str, changed: bool) -> None:
    file = write(tmp_path / "data.jsonl", *map(row, range(30)))
    told = hashlib.sha256(file.read_bytes()).hexdigest() if logged == "same" else logged
    event = DataRead("messages", 1, 1, 1, 1, 0, 0, fingerprint=told)
    (tmp_path / "events.jsonl").write_text(encode(Entry(0, 0.0, 0.0, event)) + "\n")
    _, events = read(RunSpec(data=str(file)), Control(tmp_path, resuming=True))
    assert ("The data are not what they were when this run began" in " ".join(notes(events))) == changed


# A row is 6 kB, so that the file is many times what the process may grow by; letters stand for tokens, so that it does
# not take minutes.
MEMORY = """
import random, resource, sys
import torch
from trainer.backends.local import encoder, examples, tokenizing
from trainer.backends.local.batches import BatchOrder
from trainer.backends.local.chat import Encoded
from trainer.backends.local.model import load_tokenizer
from trainer.control import Control
from trainer import models
from trainer.spec import RunSpec

def quick(tokenizer, talks, longest):
    for talk in talks:
        ids = torch.frombuffer(bytearray(talk.messages[1].content.encode()), dtype=torch.uint8).long()
        yield Encoded(ids, torch.ones(len(ids), dtype=torch.bool), False)

def ended(going):
    try:
        while True:
            next(going)
    except StopIteration as done:
        return done.value

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

tokenizing.PROCESSES_FROM = 1 << 60
encoder.encode_many = lambda *arguments: list(quick(*arguments))
info = models.look_up(sys.argv[1])
tokenizer, _ = load_tokenizer(info)
def once(data):
    spec = RunSpec(data=data, model=sys.argv[1], max_length=100_000)
    material = ended(examples.read(spec, Control()))
    train, held_out = ended(examples.make(spec, material, tokenizer, info, 100_000, Control()))
    order = BatchOrder(len(train), 8, 1)
    seen = sum(len(train[index].ids) for place in range(len(train) // 8 + 1) for index in order.batch(0, place))
    assert seen == train.tokens
    return seen
once(sys.argv[2])
before = peak()
tokens = once(sys.argv[3])
print(tokens, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit there")
def test_memory_does_not_grow_with_the_data(tmp_path: Path, model: str) -> None:
    text = "".join(f"{number} {number * 7919 % 1009} " for number in range(700))
    small, large = tmp_path / "small.jsonl", tmp_path / "large.jsonl"
    for file, rows in ((small, 300), (large, 14_000)):
        with file.open("w") as out:
            for number in range(rows):
                out.write(json.dumps({"prompt": f"question {number}", "completion": f"{number} {text[number % 97 :]}"}))
                out.write("\n")
    size = large.stat().st_size / 2**20
    assert size > 70
    environment: dict[str, Any] = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", MEMORY, model, str(small), str(large)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tokens, growth = map(int, done.stdout.split())
    assert tokens > 60_000_000
    assert growth < 40  # MB; the tokens are 300
