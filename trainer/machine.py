"""What memory this machine has free, asked without torch: for the form, and before anything heavy is started."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from trainer.insight.estimate import Device

PATIENCE = 5.0  # seconds nvidia-smi may take


def device() -> Device:
    """Where a run would train: the first card that torch may use, else this machine's memory. May take a second."""
    card = _card_bytes()
    return Device(free_bytes()) if card is None else Device(card, half=True)


def free_bytes() -> int | None:
    """What can still be had within the limits of this process and of its control group; None: not known."""
    found = [free for free in (field(Path("/proc/meminfo"), "MemAvailable:"), _in_limit(), _in_group()) if free]
    return min(found, default=None)


def _card_bytes() -> int | None:
    """Free bytes of the card that comes first; None where torch would find none."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1") or not shutil.which("nvidia-smi"):
        return None
    with contextlib.suppress(PackageNotFoundError):
        if "+cpu" in version("torch"):
            return None
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    command = ["nvidia-smi", "-i", first, "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
        return int(done.stdout.split()[0]) * 2**20
    return None


def _in_limit() -> int | None:
    """Of the address space this process may have (ulimit -v)."""
    limit, used = resource.getrlimit(resource.RLIMIT_AS)[0], field(Path("/proc/self/status"), "VmSize:")
    return None if limit == resource.RLIM_INFINITY or used is None else max(1, limit - used)


def _in_group() -> int | None:
    """Of the memory of this process's control group, as containers and batch systems limit it (cgroup v2)."""
    with contextlib.suppress(OSError, ValueError):
        name = re.search(r"^0::/(.*)$", Path("/proc/self/cgroup").read_text("utf-8"), re.MULTILINE)
        group = Path("/sys/fs/cgroup") / (name[1] if name else "")
        most, used = (int((group / file).read_text("utf-8")) for file in ("memory.max", "memory.current"))
        return max(1, most - used + (field(group / "memory.stat", "inactive_file") or 0))
    return None


def field(file: Path, name: str) -> int | None:
    """A field of a file of fields, in bytes."""
    with contextlib.suppress(OSError, ValueError):
        found = re.search(rf"^{name}\s+(\d+)( kB)?$", file.read_text("utf-8"), re.MULTILINE)
        return int(found[1]) * (1024 if found[2] else 1) if found else None
    return None
