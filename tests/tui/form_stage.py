"""A form on a bare app, with a data file and model folders of its own; shared by the tests of New run."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Input

from tests.tui.stage import Stage, until
from tui.screens.new_run import NewRunScreen
from tui.widgets.more import More


class FormStage(Stage):
    """`runs_dir` as the real app has it."""

    def __init__(self, screen: NewRunScreen, runs_dir: Path) -> None:
        super().__init__(screen)
        self.form_screen = screen
        self.runs_dir = runs_dir


def data_file(folder: Path, rows: int = 40, name: str = "data.jsonl") -> Path:
    file = folder / name
    lines = [json.dumps({"prompt": f"question {n}", "completion": f"answer {n}"}) for n in range(rows)]
    file.write_text("\n".join(lines) + "\n")
    return file


def model_folder(folder: Path, parameters: int, name: str = "model") -> Path:
    """What a model folder looks like from outside: config.json, and weights that are only a header."""
    path = folder / name
    path.mkdir()
    (path / "config.json").write_text("{}")
    header = json.dumps({"weight": {"dtype": "F32", "shape": [parameters], "data_offsets": [0, 0]}}).encode()
    (path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return path


def form_stage(tmp_path: Path, **values: str | int | float) -> FormStage:
    """40 rows, a toy model, 3 epochs, batch size 4; `values` before these."""
    if "model" not in values:
        values["model"] = str(model_folder(tmp_path, 2_200_000))
    if "data" not in values:
        values["data"] = str(data_file(tmp_path))
    screen = NewRunScreen({"epochs": 3, "batch_size": 4, "learning_rate": 1e-3, **values}, "codephreak")
    return FormStage(screen, tmp_path / "runs")


async def settled(pilot: Pilot[None]) -> None:
    """Wait until the files were looked at for what stands in the form."""
    screen = form_of(pilot)
    await until(pilot, lambda: screen.is_mounted and screen.pad.looked_at == screen.form.spec() is not None)


async def more_stands_open(pilot: Pilot[None]) -> None:
    """Wait until More is shown, as it is where there is room for it."""
    screen = form_of(pilot)
    await until(pilot, lambda: any(more.display and more.ready.is_set() for more in screen.query(More)))


def form_of(pilot: Pilot[None]) -> NewRunScreen:
    assert isinstance(pilot.app, FormStage)
    return pilot.app.form_screen


async def burst(pilot: Pilot[None], keys: str) -> None:
    """Keys as they come off a slow link: all of them at once. One sign each, or a word in angle brackets."""
    for word in re.findall(r"<[^>]+>|.", keys):
        key = word.strip("<>") if len(word) > 1 else word
        pilot.app.post_message(Key(key, None if len(word) > 1 else word))
    await pilot.pause()


async def type_into(pilot: Pilot[None], field: str, text: str) -> None:
    """Replace what stands in a field, key by key."""
    form_of(pilot).query_one(f"#{field}", Input).focus()
    names = {"/": "slash", ".": "full_stop", "-": "minus", "_": "underscore", ":": "colon", " ": "space"}
    await pilot.press("end", "ctrl+u", *[names.get(sign, sign) for sign in text])
