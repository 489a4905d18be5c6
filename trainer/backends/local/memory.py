"""Running out of memory, the card's or the machine's: how it is told from other errors, what is free, what it costs.

It knows nothing of models and micro-batches: `compute` tries again, `fits` looks for what would fit. Where the system
itself kills a process that takes too much there is no error to see, and nothing here helps.
"""

from __future__ import annotations

import errno
import gc
import logging
import re
import statistics
from collections import deque

import torch

from trainer import machine
from trainer.rundir import RunError

# As torch's allocators, C++, cuBLAS, cuDNN, oneDNN and safetensors word it; most of it comes as a plain RuntimeError.
# A card that is full when cuBLAS makes its handle says NOT_INITIALIZED.
_SAID = re.compile(
    r"out of memory|(?:can't|cannot) allocate memory|not enough memory|bad_alloc|could not create a memory object"
    r"|CUBLAS_STATUS_(?:ALLOC_FAILED|NOT_INITIALIZED)|CUDNN_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)

log = logging.getLogger(__name__)  # ends up in host.log


def ran_out(error: Exception) -> bool:
    """Whether an error says that memory could not be had."""
    if isinstance(error, RunError):  # has its sentence already
        return False
    known = isinstance(error, MemoryError | torch.OutOfMemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    return known or _SAID.search(str(error)) is not None


class memory_permitting:
    """A block that is left quietly where memory runs out. What comes after it is for that case alone: there the error
    is gone, whose frames held all that the block had made.

        with memory_permitting():
            return everything_at_once()
        return bit_by_bit()
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not (isinstance(error, Exception) and ran_out(error)):
            return False
        log.warning("Memory ran out: %s", str(error))  # text alone: a log that is kept must not keep the frames
        return True


def release(device: torch.device) -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


class RandomState:
    """A place in the random numbers to come back to, so that what is done again draws what it drew before."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def put_back(self) -> None:
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self._device)


class Slowdown:
    """What smaller micro-batches cost in speed: the median pace after memory ran out, against the one before."""

    def __init__(self, what: str, enough: int) -> None:
        self._what = what
        self._enough = enough  # after which the cost is said
        self._paces: deque[float] = deque(maxlen=20)
        self._before: float | None = None

    def begin(self) -> None:
        """Memory has just run out. What is done again holds the failed try too: it is not for `took`."""
        if self._before is None and self._paces:
            self._before = statistics.median(self._paces)
        self._paces.clear()

    def took(self, pace: float) -> str:
        """One more was done, in so many seconds a token or a piece; a sentence when the cost is known, else ""."""
        self._paces.append(pace)
        if self._before is None or len(self._paces) < self._enough:
            return ""
        percent = round(100 * (statistics.median(self._paces) / self._before - 1))
        self._before = None
        longer = f"about {percent} % longer" if percent > 0 else "no longer"
        return f"Since memory ran out, {self._what} take {longer}."


def in_words(parameters: float) -> str:
    """1.2B, 640M, 90k."""
    scale, letter = next((s for s in ((1e9, "B"), (1e6, "M")) if parameters >= s[0]), (1e3, "k"))
    return f"{parameters / scale:.{0 if parameters >= 10 * scale else 1}f}{letter}"


# --- what is free ------------------------------------------------------------------------------------------------


def free_bytes(device: torch.device) -> int | None:
    """What can still be had, on a CPU within the limits of this process and of its control group; None: not known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return machine.free_bytes()
