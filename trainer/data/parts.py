"""Large data read by several processes at once, each a part of it; what they count is what one would have counted.

    python -P -m trainer.data.part

is one of them: it takes its question as a line of JSON and answers with lines of JSON, the last of which is followed by
what it holds of its rows. JSONL is parted at line ends, of other formats and packed files a process reads whole ones.
Where anything goes wrong there (damage of a file above all) all is read again in one process, which knows the line.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from trainer.data.rows import BadRow
from trainer.data.source import DataFile, Source, on_hub
from trainer.data.stream import CHUNK, Part

if TYPE_CHECKING:
    from trainer.data.dataset import Tally

FROM = 24_000_000  # bytes; smaller data are read before the processes have begun
MOST = 8  # processes
_PACKED = 4  # so many times its size a packed file takes to read
_COMMAND = (sys.executable, "-P", "-m", "trainer.data.part")

Stretch = tuple[int, int, int]  # a file's index in the source, and the part of it; 0, 0 for all of it
Said = Mapping[str, Any]


class Parts:
    """The processes of one source, from `with` on; there are none where parts would save nothing.

    They begin to read at once, so that the one who asks can prepare meanwhile.
    """

    def __init__(self, source: Source, columns: str, *, near: bool) -> None:
        self._source = source
        self._shares = [] if on_hub(source.named) else shares_of(source, min(MOST, len(os.sched_getaffinity(0))))
        self._question = {"named": source.named, "columns": columns, "near": near, "files": files_of(source)}
        self._heard: queue.SimpleQueue[tuple[int, Said | None]] = queue.SimpleQueue()
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError):  # there are too few of them then, see `read`
            for number, share in enumerate(self._shares if len(self._shares) > 1 else ()):
                process = subprocess.Popen(
                    _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/"
                )
                self._processes.append(process)
                asked = json.dumps(self._question | {"share": share}).encode() + b"\n"
                threading.Thread(target=_follow, args=(process, asked, number, self._heard), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def read(self, tally: Tally) -> Generator[int, None, bool]:
        """Yields how many rows are read so far; whether `tally` has them all now. If not, it is as it was."""
        if not self._processes or len(self._processes) < len(self._shares):
            return False
        rows, answers = [0] * len(self._shares), dict[int, Said]()
        while len(answers) < len(self._shares):
            number, said = self._heard.get()
            if said is None:
                return False
            rows[number] = said["rows"]
            if "held" in said:
                answers[number] = said
            yield sum(rows)
        for number, share in enumerate(self._shares):
            _add(tally, answers[number], self._source, share)
        return True


def files_of(source: Source) -> list[list[object]]:
    """What both sides must see alike."""
    return [[str(file.path), file.format, file.packing, file.size] for file in source.files]


def shares_of(source: Source, processes: int) -> list[list[Stretch]]:
    """What each process reads, in the order of the data and about equally much; one share where parts save nothing."""
    sizes = [file.size * (_PACKED if file.packing else 1) for file in source.files]
    total = sum(sizes)
    shares: list[list[Stretch]] = [[] for _ in range(processes)]
    if total < FROM:
        return shares[:1]
    passed = 0
    for index, (file, size) in enumerate(zip(source.files, sizes, strict=True)):
        if file.format == "jsonl" and not file.packing:
            at = 0
            for number in range(processes):
                end = _line_end(file, total * (number + 1) // processes - passed)
                if end > at:
                    shares[number].append((index, at, end))
                    at = end
        else:
            shares[min(processes - 1, (passed + size // 2) * processes // total)].append((index, 0, 0))
        passed += size
    return [share for share in shares if share]


def _line_end(file: DataFile, wanted: int) -> int:
    """The first place behind a line end, from `wanted` on."""
    if wanted <= 0 or wanted >= file.size:
        return max(0, min(wanted, file.size))
    with file.path.open("rb") as handle:
        handle.seek(wanted)
        handle.readline()
        return min(handle.tell(), file.size)


def _follow(
    process: subprocess.Popen[bytes], asked: bytes, number: int, heard: queue.SimpleQueue[tuple[int, Said | None]]
) -> None:
    """Tell what one process says; None when it ends without an answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with process.stdin, process.stdout:
            process.stdin.write(asked)
            process.stdin.flush()
            for line in process.stdout:
                said = json.loads(line)
                if "sizes" in said:
                    said["held"] = {name: _exactly(process.stdout, size) for name, size in said["sizes"].items()}
                heard.put((number, said))
                if "held" in said:
                    return
    except (OSError, ValueError):
        pass
    heard.put((number, None))


def _exactly(stream: IO[bytes], size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise ValueError("it broke off")
    return found


def _add(tally: Tally, said: Said, source: Source, share: list[Stretch]) -> None:
    """What one process found, behind what those before it did."""
    from trainer.data.dataset import FIRST_BAD  # which imports this

    begins = {index: (start, end) for index, start, end in share}
    tally.rows += said["rows"]
    tally.bad_count += said["bad_count"]
    tally.left_out += said["left_out"]
    for line, why, index in said["bad"][: FIRST_BAD - len(tally.bad)]:
        tally.bad.append(BadRow(line + _lines_before(source.files[index].path, begins[index]), why, index))
    tally.finder.take(said["held"])


def _lines_before(path: Path, part: Part) -> int:
    """Line ends in front of it."""
    found, left = 0, part[0]
    with path.open("rb") as handle:
        while left > 0 and (piece := handle.read(min(left, CHUNK))):
            found += piece.count(b"\n")
            left -= len(piece)
    return found
