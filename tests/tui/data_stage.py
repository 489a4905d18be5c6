"""The Data screen on a bare app, over a worker whose tokens are characters."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from textual.pilot import Pilot

from tests.tui.stage import Stage, until
from trainer.spec import RunSpec
from tui.screens.data import DataScreen

FAKE = [sys.executable, str(Path(__file__).with_name("fake_look.py"))]


class DataStage(Stage):
    """`taken` holds what the form was given."""

    def __init__(self, spec: RunSpec, command: list[str]) -> None:
        self.taken: list[Mapping[str, str]] = []
        self.data_screen = DataScreen(spec, self.taken.append, command)
        super().__init__(self.data_screen)


def data_stage(data: Path, *arguments: str, **values: str | int | float) -> DataStage:
    return DataStage(RunSpec(data=str(data), **values), [*FAKE, *arguments])  # type: ignore[arg-type]


def screen_of(pilot: Pilot[None]) -> DataScreen:
    assert isinstance(pilot.app, DataStage)
    return pilot.app.data_screen


async def counted(pilot: Pilot[None]) -> None:
    """Wait until all is known and the first row is there as the model reads it."""
    screen = screen_of(pilot)
    await until(pilot, lambda: screen.view.report is not None and screen.view.report.lengths is not None)
    await until(pilot, lambda: screen.view.row is not None and screen.view.row.tokens)


def chats(folder: Path, rows: int = 60, name: str = "chats.jsonl", bad: tuple[int, ...] = ()) -> Path:
    """Each answer is longer than the one before, but for the bad rows, which have none."""
    file = folder / name
    answers = ["" if n in bad else f"answer {n} " + "so " * n for n in range(rows)]
    lines = [json.dumps({"prompt": f"question {n}", "completion": answer}) for n, answer in enumerate(answers)]
    file.write_text("\n".join(lines) + "\n")
    return file
