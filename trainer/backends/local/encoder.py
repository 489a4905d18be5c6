"""Processes that turn conversations into tokens, one for each core.

The first of them loads the tokenizer and then forks the others, so that its libraries are in memory once. Each has a
socket of its own; batches come in and packed tokens go out, pickled. One that is left alone (the host was killed) reads
the end of its socket and ends. Which data they are and where the tokens go is not known here.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict

from transformers import PreTrainedTokenizerBase

from trainer import secrets
from trainer.backends.local.chat import encode_many
from trainer.backends.local.model import load_tokenizer
from trainer.backends.local.tokens import Packed, pack
from trainer.data import Example
from trainer.models import ModelInfo
from trainer.rundir import RunError

UNCUT = 2**31
ENDED = "A process that makes tokens ended (out of memory?); what it said last is in host.log: start the run again."
_START = f"import sys; from {__name__} import main; main(sys.argv[1:])"
_AHEAD = 2  # batches a process that are on their way


def encode_batch(tokenizer: PreTrainedTokenizerBase, batch: Sequence[Example]) -> Packed:
    """The tokens of some examples, and why the template refuses some of them."""
    encoded = encode_many(tokenizer, [example.conversation for example in batch], UNCUT)
    return pack(encoded, [(example.file, example.line) for example in batch])


class Encoders:
    """So many processes; they end with the block. Raises RunError from `encode` when one dies."""

    def __init__(self, info: ModelInfo, processes: int) -> None:
        pairs = [socket.socketpair() for _ in range(processes)]
        theirs = [pair[1].fileno() for pair in pairs]
        command = [sys.executable, "-P", "-c", _START, json.dumps(asdict(info)), *map(str, theirs)]
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self._process = subprocess.Popen(
            command, pass_fds=theirs, stdin=subprocess.DEVNULL, cwd="/", env={**os.environ, **one_thread}
        )
        self._lines = [_Line(ours) for ours, _ in pairs]
        for _, their in pairs:
            their.close()

    def __enter__(self) -> Encoders:
        return self

    def __exit__(self, *_: object) -> None:
        for line in self._lines:
            line.close()
        self._process.wait()

    def encode(self, batches: Iterable[list[Example]]) -> Iterator[Packed]:
        """The batches' tokens in the batches' order."""
        going: deque[Future[Packed]] = deque()
        for number, batch in enumerate(batches):
            going.append(self._lines[number % len(self._lines)].send(batch))
            if len(going) > _AHEAD * len(self._lines):
                yield going.popleft().result()
        while going:
            yield going.popleft().result()


class _Line:
    """To one process and back, in a thread of its own: a socket takes no more than some hundred kB at once."""

    def __init__(self, connection: socket.socket) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._connection = connection
        self._out, self._in = connection.makefile("wb"), connection.makefile("rb")

    def send(self, batch: list[Example]) -> Future[Packed]:
        return self._thread.submit(self._ask, batch)

    def close(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.shutdown(cancel_futures=True)
        for part in (self._out, self._in, self._connection):
            with suppress(OSError):
                part.close()

    def _ask(self, batch: list[Example]) -> Packed:
        try:
            pickle.dump(batch, self._out, pickle.HIGHEST_PROTOCOL)
            self._out.flush()
            packed: Packed = pickle.load(self._in)
        except (OSError, EOFError, pickle.PickleError):
            raise RunError(ENDED) from None
        return packed


def serve(tokenizer: PreTrainedTokenizerBase, fd: int) -> None:
    """Answer batches until the socket ends."""
    with ExitStack() as open_files:
        connection = open_files.enter_context(socket.socket(fileno=fd))
        asked, said = connection.makefile("rb"), connection.makefile("wb")
        with suppress(EOFError, OSError):
            while True:
                pickle.dump(encode_batch(tokenizer, pickle.load(asked)), said, pickle.HIGHEST_PROTOCOL)
                said.flush()


def main(arguments: Sequence[str]) -> None:
    """Load the tokenizer of the model that the first argument describes; a process for each socket after it."""
    secrets.install()
    info = ModelInfo(**json.loads(arguments[0]))
    tokenizer, _ = load_tokenizer(info)
    for fd in map(int, arguments[1:]):
        if os.fork() == 0:
            try:
                serve(tokenizer, fd)
            except BaseException:
                traceback.print_exc()
            os._exit(0)
        os.close(fd)
    with suppress(ChildProcessError):
        while True:
            os.wait()
