"""The examples of a source as tokens: taken from the cache, or made now on all cores and put there.

It says how far it is and stops when asked to. When the disk is full it makes room in the cache; small data are then
kept in memory, large ones end the run in a sentence.
"""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
import tokenizers
import transformers
from transformers import PreTrainedTokenizerBase

import trainer
from trainer.backends.local.encoder import Encoders, encode_batch
from trainer.backends.local.tokens import INDEX, Damaged, Index, Packed, Tokens, Writer, open_tokens, save_facts
from trainer.cache import Cache
from trainer.control import Control
from trainer.data import DataSet, Example
from trainer.data.source import Source
from trainer.events import Event, Noted, PhaseEntered
from trainer.files import reason
from trainer.models import ModelInfo
from trainer.rundir import RunError

BATCH = 256  # examples
PROCESSES_FROM = 64_000_000  # bytes of data; below, starting processes takes longer than they save
SMALL = 50_000_000  # bytes of data that memory may hold when the disk can't
PROGRESS_SECONDS = 0.5
_FULL = (errno.ENOSPC, errno.EDQUOT)

Making = Generator[Event, None, Tokens | None]
Heed = Callable[[Index], None]  # takes the index records of the examples as they are made


class _Asked(Exception):
    """A stop was asked."""


def tokenized(
    data: DataSet,
    fingerprint: str,
    tokenizer: PreTrainedTokenizerBase,
    info: ModelInfo,
    control: Control,
    heed: Heed = lambda index: None,
) -> Making:
    """The tokens of all examples of `data`, whose files have this fingerprint; None when a stop was asked.

    Raises RunError, also where the files are no longer what they were.
    """
    cache = Cache()
    key = key_of(data, fingerprint, tokenizer)
    held = cache.find(key)
    if held is not None:
        try:
            return open_tokens(held)
        except Damaged as damage:
            yield Noted(f"The cached tokens are damaged and made again ({damage}).")
            cache.drop(held)
    try:
        tokens = yield from _into_cache(cache, key, data, tokenizer, info, control, heed)
    except _Asked:
        return None
    return tokens


def key_of(data: DataSet, fingerprint: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """What tokens hang on: the data and how they are read, the tokenizer and its template, and the code between."""
    parts = {
        "data": fingerprint,
        "shape": [data.shape.name, *data.shape.needs, *data.shape.takes],
        "rows": [data.rows, data.used],
        "tokenizer": _identity(tokenizer),
        "template": tokenizer.chat_template,
        "code": code_version(),
        "libraries": [transformers.__version__, tokenizers.__version__],
    }
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:40]


def code_version() -> str:
    """A hash of the code that reads rows and makes tokens of them."""
    folder = Path(trainer.__file__).parent
    names = ("chat", "forms", "spans", "template", "words", "tokens", "encoder")
    files = [*sorted((folder / "data").rglob("*.py")), *(folder / f"backends/local/{name}.py" for name in names)]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files if file.is_file())).hexdigest()


def _identity(tokenizer: PreTrainedTokenizerBase) -> str:
    """All that makes a tokenizer: its rules as one text, or the words it knows where it is written in Python."""
    rules = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else json.dumps(tokenizer.get_vocab())
    more = [type(tokenizer).__name__, str(tokenizer.special_tokens_map), str(sorted(tokenizer.init_kwargs.items()))]
    return hashlib.sha256("\0".join([rules, *more]).encode("utf-8", "replace")).hexdigest()


def _into_cache(
    cache: Cache,
    key: str,
    data: DataSet,
    tokenizer: PreTrainedTokenizerBase,
    info: ModelInfo,
    control: Control,
    heed: Heed,
) -> Making:
    for last in (False, True):
        try:
            with cache.make(key) as new:
                with (new.path / "tokens").open("wb") as words, (new.path / "index").open("wb") as index:
                    writer = yield from _write(words, index, data, tokenizer, info, control, heed)
                save_facts(new.path, writer.facts)
            return open_tokens(new.held)
        except OSError as error:
            if error.errno in _FULL and not last and cache.clear().entries:
                continue
            failed = f"The token cache {cache.folder} can't be written ({reason(error)})"
            break
    if data.source.size > SMALL:
        raise RunError(f"{failed}: make room there, or name another folder by FINETUNEGEM_CACHE.")
    yield Noted(f"{failed}; the tokens are kept in memory.")
    in_memory = io.BytesIO(), io.BytesIO()
    writer = yield from _write(*in_memory, data, tokenizer, info, control, heed)
    return Tokens(in_memory[0].getvalue(), np.frombuffer(in_memory[1].getvalue(), INDEX), writer.facts)


def _write(
    words: IO[bytes],
    index: IO[bytes],
    data: DataSet,
    tokenizer: PreTrainedTokenizerBase,
    info: ModelInfo,
    control: Control,
    heed: Heed,
) -> Generator[Event, None, Writer]:
    """All examples in order, with progress. Raises _Asked, RunError, and OSError where they can't be written."""
    before = stamps(data.source)
    writer = Writer(words, index)
    said = 0.0
    with _packed(data, tokenizer, info) as packed:
        for batch in packed:
            if time.monotonic() - said > PROGRESS_SECONDS:
                said = time.monotonic()
                yield PhaseEntered("tokenizing", writer.facts.examples, data.used)
            if control.stop:
                raise _Asked
            writer.add(batch)
            heed(np.frombuffer(batch.index, INDEX))
    if writer.facts.examples != data.used or stamps(data.source) != before:
        raise RunError(f"{data.name} was changed while it was read: start the run again.")
    return writer


@contextmanager
def _packed(data: DataSet, tokenizer: PreTrainedTokenizerBase, info: ModelInfo) -> Iterator[Iterator[Packed]]:
    batches = _batches(data.examples())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ExitStack() as running:
        # Forking a process with these libraries in it is not safe on a Mac.
        if data.source.size >= PROCESSES_FROM and cores > 1 and sys.platform != "darwin":
            yield running.enter_context(Encoders(info, cores)).encode(batches)
        else:
            running.enter_context(_rust_threads())
            yield (encode_batch(tokenizer, batch) for batch in batches)


def _batches(examples: Iterator[Example]) -> Iterator[list[Example]]:
    while batch := list(itertools.islice(examples, BATCH)):
        yield batch


@contextmanager
def _rust_threads() -> Iterator[None]:
    """Let a fast tokenizer use all cores; otherwise they are left to torch (`trainer.launch.host_environment`)."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def stamps(source: Source) -> list[tuple[int, int, int]]:
    """By which a changed file is noticed: inode, size and time of the last change of each."""
    found = []
    for file in source.files:
        with suppress(OSError):
            now = file.path.stat()
            found.append((now.st_ino, now.st_size, now.st_mtime_ns))
    return found
