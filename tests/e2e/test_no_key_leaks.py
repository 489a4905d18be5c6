"""Keys in the environment, and every way a run or a command can go: none of them is found anywhere afterwards.

Everything is real: the command line, the host processes, torch. The model with code of its own does its worst: it
prints the keys, logs them, and throws them.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.keys import CANARIES, leaking_files, leaks
from trainer import models
from trainer.events import Failed, Noted
from trainer.rundir import RunDir, list_runs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SHORT = ["--epochs", "1", "--batch-size", "100", "--max-length", "64"]
CONFIG = """
import logging, os, sys, warnings
from transformers import LlamaConfig
class Broken(BaseException):
    pass
class OurConfig(LlamaConfig):
    model_type = "ours"
names = {names!r}
said = "401 Client Error: Unauthorized: " + " ".join(os.environ[name] for name in names)
print(said)
print(said, file=sys.stderr, flush=True)
logging.getLogger("ours").error(said)
warnings.warn(said)
if {error!r}:
    raise eval({error!r})(said)
"""
MODEL = """
from transformers import LlamaForCausalLM
from .configuration_ours import OurConfig
class OurModel(LlamaForCausalLM):
    config_class = OurConfig
"""


class Home(NamedTuple):
    """A person's folders, and the environment that leads there."""

    folder: Path
    environment: dict[str, str]

    @property
    def runs(self) -> Path:
        return self.folder / "runs"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    folder = tmp_path / "home"
    folder.mkdir()
    places = {"HOME": "", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache", "HF_HOME": "huggingface"}
    environment = {**os.environ, **CANARIES, **{name: str(folder / part) for name, part in places.items()}}
    environment |= {"FINETUNEGEM_RUNS": str(folder / "runs"), "OMP_NUM_THREADS": "1"}
    made = Home(folder, environment)
    yield made
    assert leaking_files(folder) == []
    for run in list_runs(made.runs):
        private(run)


def private(run: RunDir) -> None:
    """Every folder of a run is for its owner alone, and so is every file."""
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [run.path, *run.path.rglob("*")]}
    assert {str(path) for path, mode in modes.items() if path.is_dir() and mode != 0o700} == set()
    assert {str(path) for path, mode in modes.items() if path.is_file() and mode != 0o600} == set()


@contextmanager
def command_lines_watched() -> Iterator[list[str]]:
    """The command lines of this machine that hold a key while the block runs (its own looking included)."""
    found: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = file.read_bytes()
                except OSError:
                    continue
                if leaks(line):
                    found.append(line.decode("utf-8", "replace"))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def call(home: Home, *arguments: object, code: int = 0) -> str:
    """The command, whose output holds no key either; what it said."""
    line = [sys.executable, "-P", "-m", "tui.cli", *map(str, arguments)]
    done = subprocess.run(line, env=home.environment, cwd=home.folder, capture_output=True, check=False)
    said = done.stdout + done.stderr
    assert leaks(said) == []
    assert done.returncode == code, said.decode()
    return said.decode()


def hostile_model(folder: Path, error: str) -> Path:
    """The starter model with code of its own, which runs when it is trusted."""
    folder.mkdir()
    for file in (models.BUILTIN / "tiny").iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    (folder / "configuration_ours.py").write_text(CONFIG.format(names=list(CANARIES), error=error), "utf-8")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    code = {"AutoConfig": "configuration_ours.OurConfig", "AutoModelForCausalLM": "modeling_ours.OurModel"}
    config |= {"model_type": "ours", "auto_map": code}
    (folder / "modeling_ours.py").write_text(MODEL, "utf-8")
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def newest(home: Home) -> RunDir:
    return list_runs(home.runs)[0]


def ending(run: RunDir) -> object:
    return run.read_events()[0][-1].event


def test_a_run_that_goes_well_and_all_that_looks_at_it(home: Home) -> None:
    with command_lines_watched() as seen:
        call(home, "run", *SHORT)
        run = newest(home)
        assert (run.path / "model" / "model.safetensors").is_file()
        for arguments in (["list"], ["attach", "last"], ["presets"], ["doctor"], ["data", "builtin:codephreak"]):
            call(home, *arguments)
            call(home, *arguments, "--json")
        call(home, "stop", "last", code=2)
    assert seen == []


@pytest.mark.parametrize("error", ["OSError", "Broken"])
def test_a_run_that_fails_with_an_error_that_quotes_the_keys(home: Home, tmp_path: Path, error: str) -> None:
    model = hostile_model(tmp_path / "model", error)
    with command_lines_watched() as seen:
        said = call(home, "run", *SHORT, "--model", model, "--trust-remote-code", code=1)
        assert "failed at step 0: " in said
        run = newest(home)
        assert isinstance(ending(run), Failed)
        log = run.host_log.read_text("utf-8")
        assert "401 Client Error: Unauthorized: [key removed] [key removed]" in log  # it did its worst
        assert ("Traceback" in log) is (error == "Broken")
        call(home, "list", "--json")
        call(home, "attach", "last", code=1)
        call(home, "attach", "last", "--json", code=1)
    assert seen == []


def test_the_same_model_runs_nothing_unless_the_command_line_asks(home: Home, tmp_path: Path) -> None:
    model = hostile_model(tmp_path / "model", "OSError")
    home.environment[models.TRUST_CODE] = "1"  # a line in somebody's profile does not count
    said = call(home, "run", *SHORT, "--model", model, code=1)
    assert "needs code from its own repository, which is not run unless asked" in said
    assert "401" not in newest(home).host_log.read_text("utf-8")
    assert "trust" not in (newest(home).path / "spec.toml").read_text("utf-8")


def test_it_is_said_in_the_log_that_code_of_the_models_may_run(home: Home, tmp_path: Path) -> None:
    """And it trains: what is saved (that code too) is for its owner alone."""
    model = hostile_model(tmp_path / "model", "")
    call(home, "run", *SHORT, "--model", model, "--trust-remote-code")
    assert (newest(home).path / "model" / "configuration_ours.py").is_file()
    notes = [entry.event.message for entry in newest(home).read_events()[0] if isinstance(entry.event, Noted)]
    assert notes[0] == f"Code that comes with {model} may run here, as --trust-remote-code asked."


@pytest.mark.parametrize("name", ["GEMINI_API_KEY", "WANDB_API_KEY"])
def test_a_key_given_as_a_setting_is_refused_and_not_repeated(home: Home, tmp_path: Path, name: str) -> None:
    key = CANARIES[name]
    for flag in ("--model", "--name", "--data", "--epochs"):
        said = call(home, "run", flag, key, code=2)
        assert "holds what looks like a key or password: keys are taken from the environment" in said
        assert said.count("\n") == 1
    call(home, "run", "--" + key, code=2)
    call(home, key, code=2)
    call(home, "attach", key, code=2)
    call(home, "data", key, "--json", code=2)
    call(home, "run", "--preset", key, code=2)


def test_a_preset_with_a_key_is_refused_and_not_repeated(home: Home) -> None:
    folder = home.folder / "config" / "finetunegem" / "presets"
    folder.mkdir(parents=True)
    texts = [f'model = "{CANARIES["HF_TOKEN"]}"', f'api_key = "{CANARIES["GEMINI_API_KEY"]}"',
             f'{CANARIES["HF_TOKEN"]} = 1', f'epochs = "{CANARIES["OPENAI_API_KEY"]}"',
             f'name = ["{CANARIES["OPENAI_API_KEY"]}"]', f'data = "{CANARIES["WANDB_API_KEY"]}"']  # fmt: skip
    for text in texts:
        (folder / "mine.toml").write_text(text, "utf-8")
        said = call(home, "run", "--preset", "mine", code=2)
        assert "mine.toml: " in said
        call(home, "presets")
        call(home, "presets", "--json")
    (folder / "mine.toml").unlink()


def test_rows_with_keys_are_not_repeated(home: Home) -> None:
    file = home.folder / "rows.jsonl"
    keys = " ".join(key for name, key in CANARIES.items() if name != "SERVICE_ACCOUNT_JSON")
    file.write_text(f'{{"prompt": "q", "completion": "a"}}\n{{broken {keys}\n{{"{keys}": 1}}\n{keys}\n', "utf-8")
    call(home, "data", file, code=1)
    call(home, "data", file, "--json", code=1)
    call(home, "run", "--data", file, code=2)
    file.write_text(f"{keys}\n", "utf-8")
    call(home, "data", file, code=1)
    file.unlink()
