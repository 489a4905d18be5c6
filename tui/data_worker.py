"""The process that reads data for a screen or a command (`python -m trainer.look`): started, asked, heard, ended.

What it says comes as JSON lines and goes on as `Said`; the tokenizer's libraries stay in that process.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from trainer import check
from trainer.data.lengths import Lengths, from_fields
from trainer.launch import host_environment
from trainer.spec import RunSpec

LONGEST_LINE = 2**25  # bytes; a row is cut short long before
MOST_UNASKED = 32_000_000  # bytes of data that are counted without having been asked for it
OFFLINE = {"HF_HUB_OFFLINE": "1"}  # huggingface_hub's own word, which transformers and datasets heed too
COMMAND = (sys.executable, "-P", "-m", "trainer.look")

Said = Mapping[str, Any]


def answers(asked: Sequence[Said], command: Sequence[str] = COMMAND) -> Iterator[Said]:
    """All it says to these questions, one by one; for whoever can wait. It ends when the iterator is closed."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()
        )
    except OSError as error:
        yield _not_started(error)
        return
    with process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(OSError):
                process.stdin.write(b"".join(map(_line, asked)))
                process.stdin.flush()
            for line in process.stdout:
                if said := _parsed(line):
                    yield said
            yield _ended(process.wait())
        finally:
            process.kill()


class DataWorker:
    """`hear` is called in the event loop with each thing it says; the last one may be an error of its own.

    `offline`: it asks no network, whatever name it is given.
    """

    def __init__(
        self, hear: Callable[[Said], None], command: Sequence[str] = COMMAND, *, offline: bool = False
    ) -> None:
        self._hear, self._command = hear, command
        self._environment = _environment() | (OFFLINE if offline else {})
        self._process: Process | None = None
        self._waiting: list[bytes] = []

    async def follow(self) -> None:
        """Start it and hear it until it ends; cancelled, it ends at once."""
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=self._environment, limit=LONGEST_LINE
            )
        except OSError as error:
            self._hear(_not_started(error))
            return
        try:
            assert process.stdout is not None
            self._send()
            async for line in process.stdout:
                if said := _parsed(line):
                    self._hear(said)
            self._hear(_ended(await process.wait()))
        finally:
            await self.end()

    async def end(self) -> None:
        """It is gone when this returns."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def ask(self, what: str, **more: object) -> None:
        """Any time; what is asked before it has started is sent when it has."""
        self._waiting.append(_line({"ask": what, **more}))
        self._send()

    def _send(self) -> None:
        if self._process is None or self._process.stdin is None:
            return
        with suppress(OSError):  # it is on its way out; that is said where its end is seen
            self._process.stdin.writelines(self._waiting)
        self._waiting.clear()


class Counter:
    """Counts tokens that nobody asked for: gently, and offline, for a name may be half typed."""

    def __init__(self) -> None:
        self._worker: DataWorker | None = None

    async def count(self, spec: RunSpec) -> Lengths | None:
        """The rows' lengths in the model's tokens; None where they can't be had, or where the data are too large."""
        if await asyncio.to_thread(_size, spec) > MOST_UNASKED:
            return None
        answer: asyncio.Future[Lengths | None] = asyncio.get_running_loop().create_future()

        def hear(said: Said) -> None:
            if said["say"] in ("lengths", "error") and not answer.done():
                answer.set_result(from_fields(said["lengths"]) if said["say"] == "lengths" else None)

        self._worker = DataWorker(hear, offline=True)
        self._worker.ask("look", spec=vars(spec), tokens=True, gently=True)
        following = asyncio.ensure_future(self._worker.follow())
        try:
            return await answer
        finally:
            following.cancel()
            await self.end()

    async def end(self) -> None:
        """Nothing is counted any more when this returns."""
        if self._worker is not None:
            await self._worker.end()


def _size(spec: RunSpec) -> int:
    """Bytes of the data files; more than any where there are none here."""
    size = check.size(spec.data)
    return MOST_UNASKED + 1 if size is None else size


def _environment() -> dict[str, str]:
    """The tokenizer may use all cores there: that process forks no other."""
    return host_environment() | {"TOKENIZERS_PARALLELISM": os.environ.get("TOKENIZERS_PARALLELISM", "true")}


def _line(said: Said) -> bytes:
    return json.dumps(said).encode() + b"\n"


def _not_started(error: OSError) -> Said:
    return _error(f"The look at the data can't be started: {error.strerror or error}.")


def _ended(code: int) -> Said:
    return _error(f"The look at the data ended with code {code} and without a word.")


def _error(sentence: str) -> Said:
    return {"say": "error", "about": "worker", "error": sentence}


def _parsed(line: bytes) -> Said | None:
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) and "say" in said else None
