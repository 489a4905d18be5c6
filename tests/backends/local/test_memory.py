"""What is taken for running out of memory and what is not, what is free, and what smaller micro-batches cost."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
import weakref
from collections.abc import Callable

import pytest
import torch
from safetensors import SafetensorError

from trainer.backends.local.memory import Slowdown, free_bytes, in_words, memory_permitting, ran_out
from trainer.rundir import RunError

CPU = torch.device("cpu")

# As they were seen: torch 2.13 on a CPU under `ulimit -v`, older torch, C++, and what users of GPUs report.
SHORTAGES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.64 GiB"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 55304192 bytes. Error code 12 (Cannot allocate memory)"
    ),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4096 bytes."),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("HIP out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("std::bad_alloc"),
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    SafetensorError("Error while opening: Cannot allocate memory (os error 12)"),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x8 and 9x2)"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"),
    OSError(errno.ENOSPC, "No space left on device"),
    ValueError("a memory of days long gone"),
    RunError("One example of 12 tokens does not fit in the memory: out of memory."),
]


@pytest.mark.parametrize("error", SHORTAGES, ids=lambda error: str(error)[:40])
def test_a_shortage_is_known_by_its_words(error: Exception) -> None:
    assert ran_out(error)


@pytest.mark.parametrize("error", OTHERS, ids=lambda error: str(error)[:40])
def test_other_errors_are_not_taken_for_one(error: Exception) -> None:
    assert not ran_out(error)


@pytest.mark.parametrize("allocate", [lambda: torch.empty(2**50), lambda: bytearray(2**60)], ids=["torch", "python"])
def test_a_real_shortage_is_known(allocate: Callable[[], object]) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        allocate()
    assert ran_out(caught.value)


class Activations:
    """Something large that a failed try holds."""


def test_after_the_block_nothing_of_it_is_held() -> None:
    def work() -> None:
        activations = Activations()
        held.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("CUDA out of memory (planted)")

    held: list[weakref.ref[Activations]] = []
    with memory_permitting():
        work()
    assert held[0]() is None


def test_what_went_wrong_otherwise_is_not_swallowed() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_permitting():
        raise OTHERS[0]
    with pytest.raises(KeyboardInterrupt), memory_permitting():
        raise KeyboardInterrupt


def test_free_memory_heeds_the_limit_of_the_process() -> None:
    code = (
        "import resource, torch; from trainer.backends.local.memory import free_bytes\n"
        "from trainer.machine import field\n"
        "from pathlib import Path\n"
        "used = field(Path('/proc/self/status'), 'VmSize:')\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000,) * 2)\n"
        "print(free_bytes(torch.device('cpu')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 100_000_000 < int(done.stdout) <= 300_000_000


def test_free_memory_is_some_or_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    free = free_bytes(CPU)
    assert free is None or free > 0
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1, 1))  # more is used than is allowed
    assert free_bytes(CPU) in (None, 1)


def said(slowdown: Slowdown, *paces: float) -> list[str]:
    return [sentence for pace in paces if (sentence := slowdown.took(pace))]


def test_what_it_costs_is_the_median_after_against_the_median_before() -> None:
    cost = Slowdown("steps", enough=5)
    assert said(cost, 9.0, *[1.0] * 6, 7.0) == []  # the first step and a hiccup count for little
    cost.begin()
    assert said(cost, 1.2, 1.3, 1.2, 8.0) == []
    assert said(cost, 1.2) == ["Since memory ran out, steps take about 20 % longer."]
    assert said(cost, *[5.0] * 20) == []  # it is said once


def test_a_second_shortage_before_it_is_known_keeps_the_first_pace() -> None:
    cost = Slowdown("steps", enough=3)
    assert said(cost, 1.0, 1.0) == []
    cost.begin()
    assert said(cost, 3.0) == []
    cost.begin()
    assert said(cost, 1.5, 1.5, 1.5) == ["Since memory ran out, steps take about 50 % longer."]


def test_without_a_pace_before_nothing_is_said() -> None:
    cost = Slowdown("steps", enough=2)
    cost.begin()
    assert said(cost, 1.0, 1.0, 1.0) == []


def test_no_cost_is_said_as_such() -> None:
    cost = Slowdown("evaluations", enough=1)
    assert said(cost, 2.0) == []
    cost.begin()
    assert said(cost, 1.9) == ["Since memory ran out, evaluations take no longer."]


@pytest.mark.parametrize(
    ("parameters", "words"), [(1.234e9, "1.2B"), (64e9, "64B"), (640e6, "640M"), (2_164_416, "2.2M"), (90_000, "90k")]
)
def test_parameters_in_words(parameters: float, words: str) -> None:
    assert in_words(parameters) == words
