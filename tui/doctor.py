"""`finetunegem doctor`: whether this machine is ready, line by line, and what to do where it is not.

It looks at versions, files and the environment and asks nvidia-smi and logind. It loads no library that trains, asks
no network and changes nothing but a file it makes and takes away in each folder that must be writable.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from trainer import surroundings
from trainer.models import hub_cache
from trainer.presets import user_dir
from trainer.surroundings import Place
from trainer.versions import installed, refusal
from tui import terminal_kind

Level = Literal["ok", "warn", "problem"]
NEEDED = ("torch", "transformers", "peft", "safetensors")
LITTLE, SCARCE = 5e9, 500e6  # bytes free
KEYS = ("HF_TOKEN", "GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS")
INSTALL = "run `make setup` again, or `pip install finetunegem`."


@dataclass(frozen=True, slots=True)
class Line:
    """One thing looked at: how it is, and what to do ("" where nothing is to be done)."""

    name: str
    level: Level
    said: str
    do: str = ""

    def text(self) -> str:
        """Two lines where there is something to do."""
        return f"{self.level:<8} {self.name:<13} {self.said}" + (f"\n{'':23}{self.do}" if self.do else "")

    def fields(self) -> dict[str, str]:
        return asdict(self)


def look(runs_dir: Path, place: Place | None = None) -> Iterator[Line]:
    """Every line, as soon as it is known; each takes at most some seconds."""
    place = place or surroundings.here()
    yield Line("python", "ok", f"{platform.python_version()} at {sys.executable}")
    for package in NEEDED:
        yield _package(package)
    yield _gpu(place)
    yield _folder("runs", runs_dir, "give another folder with --runs-dir.", weighed=True)
    yield _folder("presets", user_dir(), "set XDG_CONFIG_HOME to a folder of yours.")
    yield _folder("models", _cache(), "set XDG_CACHE_HOME to a folder of yours.", weighed=True)
    yield _folder("hub cache", hub_cache(place.environment), "set HF_HOME to a folder of yours.", weighed=True)
    yield _keys(place)
    yield from _terminal(place)
    for finding in surroundings.findings(place):
        yield Line(finding.kind, "ok" if finding.ends is False else "warn", finding.said, finding.helps)


def exit_code(levels: list[Level]) -> int:
    """1 where something stands in the way of a run."""
    return int("problem" in levels)


def _package(name: str) -> Line:
    version = installed(name)
    if version is None:
        return Line(name, "problem", "is not installed.", INSTALL[0].upper() + INSTALL[1:])
    if said := refusal(name, version):
        sentence, _, mend = said.partition("; ")
        return Line(name, "problem", f"{sentence}.", mend[:1].upper() + mend[1:])
    return Line(name, "ok", version)


def _gpu(place: Place) -> Line:
    """The GPUs as the driver names them; whether torch can use them is known only by its build."""
    query = "--query-gpu=name,memory.total,memory.free,driver_version"
    answer = place.ask(("nvidia-smi", query, "--format=csv,noheader"))
    cards = [line.strip() for line in (answer or "").splitlines() if line.strip()]
    if not cards:
        return Line("gpu", "ok", "No NVIDIA GPU answers: runs use the CPU, which is slow beyond the small models.")
    said = "; ".join("{} with {}, {} free, driver {}".format(*_four(card)) for card in cards)
    if "+cpu" in (installed("torch") or ""):
        return Line(
            "gpu",
            "warn",
            f"{said}; but the installed torch is a build for CPUs.",
            "Set up again with TORCH_INDEX=https://download.pytorch.org/whl/cu126 (or the one for your driver).",
        )
    return Line("gpu", "ok", said)


def _four(card: str) -> list[str]:
    return (card.split(", ") + ["?"] * 4)[:4]


def _folder(name: str, folder: Path, otherwise: str, weighed: bool = False) -> Line:
    """Whether files can be made there, or it can be made itself; with `weighed`, whether there is room."""
    folder = folder.absolute()
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
        free = shutil.disk_usage(parent).free
    except OSError as error:
        return Line(name, "problem", f"{folder} can't be written: {error.strerror}.", f"Mend that, or {otherwise}")
    room = f"{folder}, {free / 1e9:.1f} GB free"
    if weighed and free < SCARCE:
        return Line(name, "problem", f"{room}: too little for checkpoints.", f"Make room, or {otherwise}")
    if weighed and free < LITTLE:
        return Line(name, "warn", f"{room}: enough for small models only.", f"Make room, or {otherwise}")
    return Line(name, "ok", room)


def _cache() -> Path:
    return Path(platformdirs.user_cache_dir("finetunegem", appauthor=False))


def _keys(place: Place) -> Line:
    """Which variables hold keys, never what they hold."""
    found = [name for name in KEYS if place.environment.get(name)]
    return Line("keys", "ok", f"in the environment: {', '.join(found) or 'none'}")


def _terminal(place: Place) -> Iterator[Line]:
    """What the screen would make of this terminal."""
    environment = place.environment
    if why := terminal_kind.why_no_screen(environment):
        yield Line("terminal", "ok", why)
        return
    columns, rows = os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ else 1)
    said = f"{environment.get('TERM', '')}, {columns}x{rows}, {sys.stdout.encoding}"
    if terminal_kind.is_too_small(columns, rows):
        yield Line("terminal", "warn", f"{said}: too small.", "Make it 40x10 or larger; 80x24 shows all.")
    elif terminal_kind.needs_ascii(environment):
        do = "For finer curves set LC_ALL=C.UTF-8 and TERM=xterm-256color, where the terminal can show them."
        yield Line("terminal", "warn", f"{said}: curves are drawn in plain ASCII.", do)
    else:
        yield Line("terminal", "ok", said)
