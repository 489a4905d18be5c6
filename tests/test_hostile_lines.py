"""What is printed without a screen gets every hostile text: nothing a terminal obeys comes out, and nothing hangs."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

import pytest

from tests.builders import RunBuilder
from tests.hostile import SHORT, STRINGS, obeyed
from tests.tui.test_hostile import hostile_runs
from trainer import presets
from tui import cli

SECONDS = 1.0  # of the processor, for one text


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETUNEGEM_RUNS", str(tmp_path / "runs"))


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command prints, whatever its end; harmless, or this fails."""
    began = time.process_time()
    with contextlib.suppress(SystemExit):
        cli.main(list(arguments))
    took = time.process_time() - began
    out, err = capsys.readouterr()
    assert obeyed(out + err) == "", f"{arguments!r:.200}"
    assert took < SECONDS, f"{arguments!r:.200}"
    return out + err


def test_list_and_attach_of_such_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = hostile_runs(tmp_path / "runs")
    cli.main(["list"])
    out, _ = capsys.readouterr()
    assert obeyed(out) == ""
    assert out.count("failed") >= made
    for run in sorted((tmp_path / "runs").iterdir()):
        assert "failed" in said(capsys, "attach", str(run))
        said(capsys, "stop", str(run))


def test_such_names_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Each text in one place, each place with a seventh of the texts, and one of each kind everywhere."""
    places: list[tuple[str, ...]] = [
        ("attach",),
        ("stop",),
        ("data",),
        ("run", "--preset"),
        ("run", "--model"),
        ("fetch",),
    ]
    everywhere = ("clipboard", "click", "lone high surrogate", "rtl override", "c0", "percent")
    for at, (name, text) in enumerate(SHORT.items()):
        word = text.replace("\0", "_")
        for place in places if name in everywhere else places[at % 6 : at % 6 + 1]:
            said(capsys, *place, word)
        if name in everywhere:
            said(capsys, "run", f"--epochs={word}")
            said(capsys, word)


def test_data_files_of_such_names_and_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for at, (name, text) in enumerate(SHORT.items()):
        rows = [
            {"messages": [{"role": text, "content": text}]},
            {"messages": text},
            {text: text},
            {"prompt": text, "completion": 1},
            text,
        ]
        file = tmp_path / f"{at}.jsonl"
        file.write_text("\n".join(json.dumps(row) for row in rows))
        assert said(capsys, "data", str(file)), name
        raw = tmp_path / f"raw{at}.jsonl"
        raw.write_bytes(text.encode("utf-8", "surrogatepass"))
        said(capsys, "data", str(raw))
        try:
            called = os.fsencode(text.replace("/", "_").replace("\0", "_"))[:200] + b".jsonl"
        except UnicodeEncodeError:
            continue
        odd = Path(os.fsdecode(called))
        odd.write_text('{"a": 1}\n')
        said(capsys, "data", str(odd))


def test_data_files_of_such_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in STRINGS.items():
        if name not in SHORT:
            file = tmp_path / "large.jsonl"
            file.write_text(json.dumps({"messages": [{"role": text, "content": "x"}]}) + "\n")
            said(capsys, "data", str(file))


def test_presets_of_such_contents(capsys: pytest.CaptureFixture[str]) -> None:
    folder = presets.user_dir()
    folder.mkdir(parents=True)
    for at, text in enumerate(SHORT.values()):
        (folder / f"raw{at}.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
        quoted = "".join(f"\\U{ord(sign):08x}" for sign in text)
        (folder / f"value{at}.toml").write_text(f'model = "{quoted}"\n', "utf-8")
        (folder / f"key{at}.toml").write_text(f'"{quoted}" = 1\n', "utf-8")
    cli.main(["presets"])
    out, err = capsys.readouterr()
    assert obeyed(out + err) == ""


def test_a_long_failure_is_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for at, (name, text) in enumerate(STRINGS.items()):
        if name not in SHORT:
            builder = RunBuilder(tmp_path / "runs", name=f"2026-11-23-1412-long-{at:04d}").prepared().failed(text)
            assert len(said(capsys, "attach", builder.run.name)) < 200_000
