"""The most memory that stood at one time within a block, measured: the card's allocator, or this process's resident
set. On Linux the system keeps that high-water mark itself and lets it be set back; where it does not, it is sampled.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from trainer.machine import field

PROC = Path("/proc/self")
SET_BACK = "5"  # to clear_refs: the high-water mark begins anew at what is resident now (proc(5))
SAMPLE = 0.005  # seconds


class Peak:
    """`with Peak(device) as peak: ...`; afterwards `peak.bytes` is what the block needed beyond what stood before it.

    0 where it can't be told (no /proc). Of another thread's memory it can't be told apart.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sampler: threading.Thread | None = None
        self._done = threading.Event()
        self._before = self._most = 0
        self.bytes = 0

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
            return self
        _trim()
        self._before = self._most = _resident()
        try:
            (PROC / "clear_refs").write_text(SET_BACK)
        except OSError:
            self._sampler = threading.Thread(target=self._sample, name="memory", daemon=True)
            self._sampler.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        if self._device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self._device) - self._before
            return
        self._done.set()
        if self._sampler is not None:
            self._sampler.join()
            most = self._most
        else:
            most = field(PROC / "status", "VmHWM:") or 0
        self.bytes = max(0, most - self._before)

    def _sample(self) -> None:
        while not self._done.wait(SAMPLE):
            self._most = max(self._most, _resident())


def _resident() -> int:
    """Bytes of this process in memory; 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError):
        return int((PROC / "statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _trim() -> None:
    """Give freed blocks back to the system (glibc keeps them), else what uses them again would not be seen."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
