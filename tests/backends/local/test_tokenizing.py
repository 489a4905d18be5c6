"""Making tokens: once for the same data and tokenizer, on one core or several, and what becomes of it when it fails."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from tests.backends.local.conftest import ModelMaker
from trainer import cache as caches
from trainer import models
from trainer.backends.local import encoder, tokenizing
from trainer.backends.local.chat import encode, encode_many
from trainer.backends.local.encoder import Encoders
from trainer.backends.local.model import load_tokenizer
from trainer.backends.local.reading import Reading
from trainer.backends.local.tokens import Tokens, TokenSet, save_facts
from trainer.cache import Cache
from trainer.control import Control
from trainer.data import load
from trainer.data.lengths import Lengths
from trainer.events import Event, Noted, PhaseEntered
from trainer.models import ModelInfo
from trainer.rundir import RunError

ROWS = 700  # more than two batches


@pytest.fixture
def info(make_model: ModelMaker) -> ModelInfo:
    return models.look_up(str(make_model("llama")))


@pytest.fixture
def tokenizer(info: ModelInfo) -> PreTrainedTokenizerBase:
    found: PreTrainedTokenizerBase = load_tokenizer(info)[0]
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "data.jsonl"
    rows = [{"prompt": f"How do I list {n}?", "completion": "ls -la " * (n % 9 + 1)} for n in range(ROWS)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def ended(going: Generator[Event, None, Tokens | None]) -> tuple[Tokens | None, list[Event]]:
    events: list[Event] = []
    while True:
        try:
            events.append(next(going))
        except StopIteration as done:
            return done.value, events


def tokens_of(
    file: Path, tokenizer: PreTrainedTokenizerBase, info: ModelInfo, fingerprint: str = "f"
) -> tuple[Tokens, list[Event]]:
    tokens, events = ended(tokenizing.tokenized(load(str(file)), fingerprint, tokenizer, info, Control()))
    assert tokens is not None
    return tokens, events


def whole(tokens: Tokens) -> TokenSet:
    return TokenSet(tokens, np.arange(tokens.facts.examples), 2**31, ["data.jsonl"])


def same(one: Tokens, other: Tokens) -> bool:
    pairs = zip(whole(one), whole(other), strict=True)
    return all(torch.equal(a.ids, b.ids) and torch.equal(a.supervised, b.supervised) for a, b in pairs)


def entries() -> list[str]:
    return sorted(path.name for path in Cache().folder.iterdir())


def test_tokens_are_those_of_each_example_alone(
    file: Path, tokenizer: PreTrainedTokenizerBase, info: ModelInfo
) -> None:
    tokens, events = tokens_of(file, tokenizer, info)
    assert tokens.facts.examples == ROWS
    for stored, example in zip(whole(tokens), load(str(file)).examples(), strict=True):
        alone = encode(tokenizer, example.conversation, 2**31)
        assert torch.equal(stored.ids, alone.ids)
        assert torch.equal(stored.supervised, alone.supervised)
        assert stored.line == example.line
    assert PhaseEntered("tokenizing", 0, ROWS) in events


def test_the_second_time_nothing_is_made(
    file: Path, tokenizer: PreTrainedTokenizerBase, info: ModelInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = tokens_of(file, tokenizer, info)

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(tokenizing, "encode_batch", never)
    second, events = tokens_of(file, tokenizer, info)
    assert events == []
    assert same(first, second)
    assert len(entries()) == 1


def test_other_data_template_or_tokenizer_make_others(
    file: Path, tokenizer: PreTrainedTokenizerBase, info: ModelInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load(str(file))
    keys = [tokenizing.key_of(data, "f", tokenizer), tokenizing.key_of(data, "g", tokenizer)]
    keys.append(tokenizing.key_of(load(str(file), "text=completion"), "f", tokenizer))
    keys.append(tokenizing.key_of(load(str(file), "prompt=completion,completion=prompt"), "f", tokenizer))
    template = tokenizer.chat_template
    tokenizer.chat_template = template.replace("\n", " ")
    keys.append(tokenizing.key_of(data, "f", tokenizer))
    tokenizer.chat_template = template
    assert tokenizing.key_of(data, "f", tokenizer) == keys[0]
    tokenizer.add_tokens(["ls -la"])
    keys.append(tokenizing.key_of(data, "f", tokenizer))
    monkeypatch.setattr(tokenizing, "code_version", lambda: "another")
    keys.append(tokenizing.key_of(data, "f", tokenizer))
    assert len(set(keys)) == len(keys)


def test_a_tokenizer_loaded_again_is_the_same_one(info: ModelInfo, file: Path) -> None:
    data = load(str(file))
    assert len({tokenizing.key_of(data, "f", load_tokenizer(info)[0]) for _ in range(3)}) == 1


def test_damaged_tokens_are_made_again_and_said(
    file: Path, tokenizer: PreTrainedTokenizerBase, info: ModelInfo
) -> None:
    first, _ = tokens_of(file, tokenizer, info)
    (entry,) = entries()
    stored = Cache().folder / entry / "tokens"
    content = bytearray(stored.read_bytes())
    content[100] ^= 4
    stored.write_bytes(content)
    second, events = tokens_of(file, tokenizer, info)
    assert "The cached tokens are damaged and made again" in " ".join(e.message for e in events if isinstance(e, Noted))
    third, events = tokens_of(file, tokenizer, info)
    assert events == []
    assert same(second, third)
    assert len(first.index) == len(second.index)


def test_a_stop_leaves_nothing_half_made(file: Path, tokenizer: PreTrainedTokenizerBase, info: ModelInfo) -> None:
    control = Control()
    going = tokenizing.tokenized(load(str(file)), "f", tokenizer, info, control)
    assert isinstance(next(going), PhaseEntered)
    control.ask_stop()
    assert ended(going)[0] is None
    assert entries() == []


def test_a_run_that_is_dropped_leaves_nothing_half_made(
    file: Path, tokenizer: PreTrainedTokenizerBase, info: ModelInfo
) -> None:
    going = tokenizing.tokenized(load(str(file)), "f", tokenizer, info, Control())
    next(going)
    going.close()
    assert entries() == []


def test_data_that_change_while_they_are_read_are_refused(
    file: Path, tokenizer: PreTrainedTokenizerBase, info: ModelInfo
) -> None:
    going = tokenizing.tokenized(load(str(file)), "f", tokenizer, info, Control())
    next(going)
    later = file.stat().st_mtime_ns + 10**9
    os.utime(file, ns=(later, later))
    with pytest.raises(RunError, match=r"data\.jsonl was changed while it was read: start the run again\.$"):
        ended(going)
    assert entries() == []


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_with_a_full_disk_small_data_stay_in_memory(
    file: Path, tokenizer: PreTrainedTokenizerBase, info: ModelInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, _ = tokens_of(file, tokenizer, info)
    monkeypatch.setattr(tokenizing, "save_facts", full)
    tokens, events = tokens_of(file, tokenizer, info, "another")
    (said,) = [event.message for event in events if isinstance(event, Noted)]
    assert "can't be written (No space left on device); the tokens are kept in memory." in said
    assert same(tokens, kept)


def test_with_a_full_disk_large_data_are_refused_in_a_sentence(
    file: Path, tokenizer: PreTrainedTokenizerBase, info: ModelInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizing, "SMALL", 0)
    monkeypatch.setattr(tokenizing, "save_facts", full)
    with pytest.raises(RunError) as caught:
        tokens_of(file, tokenizer, info)
    assert str(caught.value) == (
        f"The token cache {caches.root()}/tokens can't be written (No space left on device): make room there, or name "
        "another folder by FINETUNEGEM_CACHE."
    )
    assert entries() == []


def test_a_full_disk_is_tried_again_without_what_nobody_uses(
    file: Path, tokenizer: PreTrainedTokenizerBase, info: ModelInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, _ = tokens_of(file, tokenizer, info, "old")
    before = set(entries())
    del old
    calls: list[int] = []

    def full_once(*arguments: Any) -> None:
        calls.append(1)
        full() if len(calls) == 1 else save_facts(*arguments)

    monkeypatch.setattr(tokenizing, "save_facts", full_once)
    _, events = tokens_of(file, tokenizer, info, "new")
    assert not [event for event in events if isinstance(event, Noted)]
    assert len(entries()) == 1
    assert set(entries()) != before


def test_a_cache_that_can_not_be_made_is_said(
    file: Path, tokenizer: PreTrainedTokenizerBase, info: ModelInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNEGEM_CACHE", str(file))
    tokens, events = tokens_of(file, tokenizer, info)
    assert tokens.facts.examples == ROWS
    assert any("can't be written" in event.message for event in events if isinstance(event, Noted))


# --- several processes -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_several_processes_make_the_same_tokens_in_the_same_order(
    file: Path, tokenizer: PreTrainedTokenizerBase, info: ModelInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, _ = tokens_of(file, tokenizer, info)
    monkeypatch.setattr(tokenizing, "PROCESSES_FROM", 0)
    monkeypatch.setattr(tokenizing, "BATCH", 60)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    together, _ = tokens_of(file, tokenizer, info, "again")
    assert same(alone, together)
    assert together.facts == alone.facts


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="it looks processes up in /proc")
def test_a_process_that_dies_is_said_and_none_is_left_behind(file: Path, info: ModelInfo) -> None:
    batches = list(tokenizing._batches(load(str(file)).examples()))
    with Encoders(info, 2) as running:
        coming = running.encode(batches * 50)
        next(coming)
        first = running._process.pid
        one, other = children_of(first)
        os.kill(first, signal.SIGKILL)  # the one that forked the others; they go on
        assert next(coming).words
        os.kill(one, signal.SIGKILL)
        with pytest.raises(RunError, match=r"^A process that makes tokens ended"):
            list(coming)
        assert is_alive(other)
    for _ in range(500):
        if not is_alive(other):
            break
        time.sleep(0.01)
    assert not is_alive(other)  # nobody told it to: its socket ended


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_processes_that_do_not_start_are_said(file: Path, info: ModelInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "_START", "import sys; sys.exit(3)")
    batches = tokenizing._batches(load(str(file)).examples())
    with Encoders(info, 2) as running, pytest.raises(RunError, match=r"^A process that makes tokens ended"):
        list(running.encode(batches))
    assert running._process.returncode == 3


def test_a_refusal_keeps_its_place_in_a_batch(
    file: Path, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = list(load(str(file)).examples())[:3]

    def choosy(*arguments: Any) -> list[Any]:
        one, _, three = encode_many(*arguments)
        return [one, RunError("No."), three]

    monkeypatch.setattr(encoder, "encode_many", choosy)
    packed = encoder.encode_batch(tokenizer, examples)
    assert [(refused.file, refused.line, refused.why) for refused in packed.refused] == [(0, 2, "No.")]


def test_lengths_are_heard_while_they_are_counted(file: Path, info: ModelInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizing, "PROGRESS_SECONDS", 0.0)
    heard: list[Lengths] = []
    found = Reading(info).lengths(load(str(file)), "f", Control(), lambda *_: None, heard.append)
    assert found is not None
    assert [some.rows for some in heard] == [256, 512]
    assert found.rows == ROWS
    assert all(some.by_length[length] <= found.by_length[length] for some in heard for length in some.by_length)
