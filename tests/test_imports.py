"""The screen's process loads no heavy library, and the trainer knows nothing of terminals: looked up at run time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "peft", "google.genai", "safetensors", "trainer.backends.local")
TERMINAL = ("textual", "rich", "plotext", "tui")
LIGHT = ("tui.cli", "tui.commands", "trainer.host", "trainer.launch", "trainer.follow", "trainer.check")


def modules(package: str) -> list[str]:
    """Every module of a package, by its file."""
    files = sorted((ROOT / package).rglob("*.py"))
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]
    return [name for name in names if not name.endswith(".__main__")]


def loaded(imported: list[str], looked_for: tuple[str, ...]) -> list[str]:
    """Which of `looked_for` are in sys.modules of a fresh process that imported `imported`."""
    code = (
        "import importlib, sys\n"
        f"for name in {imported!r}: importlib.import_module(name)\n"
        f"print(*(name for name in {looked_for!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("name", LIGHT)
def test_it_loads_no_heavy_library_and_no_screen(name: str) -> None:
    unwanted = (*HEAVY, "textual", "plotext", *(("rich", "tui") if name.startswith("trainer") else ()))
    assert loaded([name], unwanted) == []


def test_the_whole_screen_loads_no_heavy_library() -> None:
    found = modules("tui")
    assert {"tui.app", "tui.cli", "tui.commands"} <= set(found)
    assert loaded(found, HEAVY) == []


def test_the_whole_trainer_knows_nothing_of_terminals() -> None:
    light = [name for name in modules("trainer") if not name.startswith("trainer.backends.local")]
    assert {"trainer.spec", "trainer.host", "trainer.backends.replay"} <= set(light)
    assert loaded(light, (*TERMINAL, *HEAVY)) == []
