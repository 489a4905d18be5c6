"""How long finetunegem takes from spawn to its first frame, beside an empty Textual app in the same run.

    python benchmarks/first_frame.py [ROUNDS]

Both run in a pseudo-terminal of 80x24, one after the other in turn; the medians and their ratio are printed.
The empty app's frame is there when its last row is painted, ours when the third field's label is.
"""

from __future__ import annotations

import os
import pty
import select
import signal
import statistics
import struct
import sys
import tempfile
import time
from fcntl import ioctl
from termios import TIOCSWINSZ

ROWS, COLUMNS = 24, 80
PATIENCE = 30.0  # seconds
EMPTY = ("from textual.app import App; App().run()", b"\x1b[24;1H")
OURS = ("from tui.cli import main; main([])", b"Learning rate")


def first_frame(program: str, marker: bytes, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds, and seconds of CPU, from fork until `marker` has come out of the terminal.

    Raises RuntimeError when it never does.
    """
    began = time.perf_counter()
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-c", program], environment)
    try:
        ioctl(fd, TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        seen = b""
        while marker not in seen:
            left = began + PATIENCE - time.perf_counter()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                raise RuntimeError(f"no first frame within {PATIENCE:.0f} s; the terminal has {seen[-500:]!r}")
            seen += os.read(fd, 65536)
        wall = time.perf_counter() - began
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(fd)
        used = os.wait4(pid, 0)[2]
    return wall, used.ru_utime + used.ru_stime


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TERM": "xterm-256color", "XDG_CONFIG_HOME": folder, "FINETUNEGEM_RUNS": folder}
        times: dict[str, list[tuple[float, float]]] = {"empty": [], "ours": []}
        for warm in range(rounds + 1):
            for name, (program, marker) in (("empty", EMPTY), ("ours", OURS)):
                taken = first_frame(program, marker, environment)
                if warm:  # the first round fills the file cache
                    times[name].append(taken)
    print(f"median of {rounds}      wall      CPU")
    medians = {
        name: [statistics.median(column) for column in zip(*taken, strict=True)] for name, taken in times.items()
    }
    for name, word in (("empty", "empty Textual app"), ("ours", "finetunegem")):
        print(f"{word:18}{medians[name][0] * 1000:5.0f} ms {medians[name][1] * 1000:5.0f} ms")
    print(
        "ratio             " + " ".join(f"{o / e:8.2f}" for o, e in zip(medians["ours"], medians["empty"], strict=True))
    )


if __name__ == "__main__":
    main()
