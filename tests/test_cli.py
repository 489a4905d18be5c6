"""The command line: what it prints, what it answers, and one clear sentence for whatever can't be used."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest

from tests.builders import RunBuilder, held
from trainer import known, launch, presets, rundir
from trainer.cache import Cache
from trainer.data.lengths import Lengths
from trainer.events import Finished, StepTaken, decode
from trainer.follow import Follower
from trainer.rundir import Command, RunDir
from trainer.spec import KNOBS, RunSpec
from tui.cli import main

Record = Callable[..., Path]
WaitFor = Callable[..., None]
# A shell without job control starts its background jobs with SIGINT ignored; a person's shell does not.
COMMAND = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from tui.cli import main; sys.exit(main())"  # noqa: E501


class Said(NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Said]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Call:
    """Run the command in this process; nothing it prints may be a traceback or a control character."""

    def run(*arguments: object) -> Said:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        said = Said(code, *capfd.readouterr())
        for text in (said.out, said.err):
            assert "Traceback" not in text
            assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
        return said

    return run


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-P", "-c", COMMAND, *(str(argument) for argument in arguments)]


@contextmanager
def started(*arguments: object, code: str = COMMAND) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, gone when the block ends."""
    whole = [sys.executable, "-P", "-c", code, *(str(argument) for argument in arguments)]
    with subprocess.Popen(
        whole, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


def remainder(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it still prints until it ends. (`communicate` would lose what `readline` had read ahead.)"""
    assert process.stdout is not None
    assert process.stderr is not None
    said = process.stdout.read(), process.stderr.read()
    process.wait(30)
    return said


def replay(recorded: Path, runs_dir: Path) -> list[str]:
    return ["run", "--backend", "replay", "--data", str(recorded), "--runs-dir", str(runs_dir)]


def only(runs_dir: Path) -> RunDir:
    (run,) = rundir.list_runs(runs_dir)
    return run


def status(run: RunDir) -> str:
    return Follower(run).look().status


def step_is_logged(runs_dir: Path) -> bool:
    runs = rundir.list_runs(runs_dir)
    return bool(runs) and b"step_taken" in b"".join(runs[0].read_lines()[0])


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# --- run -----------------------------------------------------------------------------------------------------------


def test_a_run_is_followed_as_lines(call: Call, record: Record, runs_dir: Path) -> None:
    said = call(*replay(record(8), runs_dir))
    run = only(runs_dir)
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == f"{run.name} in {runs_dir}"
    assert "step 0: eval loss 7.500" in lines
    assert "step 8: eval loss 0.8750 (best so far)" in lines
    assert lines[-1] == "finished at step 8"


def test_json_is_exactly_the_log(call: Call, record: Record, runs_dir: Path) -> None:
    said = call(*replay(record(8), runs_dir), "--json")
    assert said.code == 0
    assert said.out == only(runs_dir).events_file.read_text("ascii")
    assert said.err == "finished at step 8\n"


def test_detached_it_prints_the_runs_name_and_returns(
    call: Call, record: Record, runs_dir: Path, wait_for: WaitFor
) -> None:
    said = call(*replay(record(4), runs_dir), "--detach", "--name", "Mine", "--epochs", "3")
    run = only(runs_dir)
    assert said == Said(0, f"{run.name}\n", "")
    assert "-mine-" in run.name
    assert run.spec().epochs == 3
    wait_for(lambda: status(run) == "finished", "the end")


def test_detached_as_json_it_prints_name_and_path(call: Call, record: Record, runs_dir: Path) -> None:
    said = call(*replay(record(4), runs_dir), "--detach", "--json")
    run = only(runs_dir)
    assert objects(said.out) == [{"run": run.name, "path": str(run.path)}]


def test_a_run_that_fails_says_why_and_where_more_is(call: Call, runs_dir: Path) -> None:
    said = call(*replay(Path("/nowhere"), runs_dir))
    assert said.code == 1
    run = only(runs_dir)
    assert said.out.endswith(
        f"failed at step 0: /nowhere holds no recorded run to replay.\nMore is in {run.host_log}\n"
    )


def test_runs_go_where_the_environment_says(
    call: Call, record: Record, runs_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FINETUNEGEM_RUNS", str(runs_dir))
    monkeypatch.chdir(tmp_path)
    call("run", "--backend", "replay", "--data", record(4))
    assert len(rundir.list_runs(runs_dir)) == 1
    monkeypatch.delenv("FINETUNEGEM_RUNS")
    assert call("list").out.startswith(only(tmp_path / "runs").name)


# --- bad input -----------------------------------------------------------------------------------------------------

GOOD_ROW = '{"prompt": "q", "completion": "a"}\n'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"data\.jsonl: there is no such file: check the path\."),
        ("", r"data\.jsonl: the file is empty: give one with a row for each example\."),
        (GOOD_ROW + "{broken\n", r"data\.jsonl:2: it is not JSON \(.*\): 1 of 2 rows are bad, .*\."),
        ('{"question": "q"}\n', r"data\.jsonl:1: the rows have the keys question: wanted are messages; .*\."),
        (GOOD_ROW, r"data\.jsonl: a validation share of 0\.1 of 1 usable row leaves no validation example: .*\."),
        ("[" * 100_000, r"data\.jsonl:1: it is nested deeper than 1000 brackets: no row is; mend the file\."),
    ],
)
def test_data_that_can_not_be_used_is_one_sentence_and_leaves_no_run(
    call: Call, tmp_path: Path, runs_dir: Path, content: str | None, said: str
) -> None:
    file = tmp_path / "data.jsonl"
    if content is not None:
        file.write_text(content, "utf-8")
    done = call("run", "--data", file, "--runs-dir", runs_dir)
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(rf"{re.escape(str(tmp_path))}/{said}\n", done.err)
    assert not runs_dir.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--learning-rate", "0"], "--learning-rate: Learning rate must be a number above 0 up to 1, not '0'."),
        (["--learning-rate", "fast"], "--learning-rate: Learning rate must be a number above 0 up to 1, not 'fast'."),
        (["--learning-rate", "nan"], "--learning-rate: Learning rate must be a number above 0 up to 1, not 'nan'."),
        (["--learning-rate", "-1"], "--learning-rate: Learning rate must be a number above 0 up to 1, not '-1'."),
        (["--epochs", "0"], "--epochs: Epochs must be a whole number from 1 to 1000, not '0'."),
        (["--batch-size", "0"], "--batch-size: Batch size must be a whole number from 1 to 4096, not '0'."),
        (["--batch-size", ""], "--batch-size: Batch size must be a whole number from 1 to 4096, but it is empty."),
        (["--epochs", "9" * 5000], "--epochs: Epochs must be a whole number from 1 to 1000, not '" + "9" * 60 + "'."),
        (["--model", "/"], "/ is no model folder (no config.json in it): give one made by save_pretrained."),
        (["--model", "nothing"], "nothing: there is no such folder, and it is no Hugging Face id (those look like "
         "owner/name)."),
        (["--model", "builtin:x"], "There is no built-in model 'builtin:x'; there is builtin:tiny."),
        (["--model", ""], "No model is given: take builtin:tiny, smollm2, a model folder or a Hugging Face id."),
        (["--model", "smollm2"], "SmolLM2-135M-Instruct is not here yet: `finetunegem fetch smollm2` brings it."),
        (["--data", "builtin:x"], "There is no built-in data set 'builtin:x'; there is builtin:codephreak."),
        (["--data", "~nobody-here/x"], None),
        (["--model", "x" * 5000], None),
        (["--preset", "none"], None),
        (["--preset", "../codephreak"], None),
        (["--optimizer", "lion"], "--optimizer: Optimizer must be one of adamw, adam, adagrad, rmsprop, sgd, not "
         "'lion'."),
        (["--speed", "9"], None),
        (["--epochs"], None),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)  # fmt: skip
def test_a_setting_that_can_not_be_used_is_one_sentence_and_leaves_no_run(
    call: Call, runs_dir: Path, arguments: list[str], said: str | None
) -> None:
    done = call("run", *arguments, "--runs-dir", runs_dir)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    if said:
        assert done.err == f"{said}\n"
    assert not runs_dir.exists()


def test_every_wrong_setting_has_its_line(call: Call, runs_dir: Path) -> None:
    done = call("run", "--epochs", "0", "--learning-rate", "x", "--runs-dir", runs_dir)
    assert done.code == 2
    assert sorted(line.split(":")[0] for line in done.err.splitlines()) == ["--epochs", "--learning-rate"]


def test_runs_that_can_not_be_made_are_one_sentence(call: Call, record: Record, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    done = call(*replay(record(4), tmp_path / "file"))
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(r"No run can be made in .*; give another folder with --runs-dir\.\n", done.err)


@pytest.mark.parametrize("verb", ["attach", "stop"])
@pytest.mark.parametrize("name", ["none", "", "..", "/etc", "last"])
def test_an_unknown_run_is_one_sentence(call: Call, runs_dir: Path, verb: str, name: str) -> None:
    if name != "last":
        RunBuilder(runs_dir)
    done = call(verb, name, "--runs-dir", runs_dir)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1


def test_text_from_outside_can_not_speak_to_the_terminal(call: Call, runs_dir: Path, tmp_path: Path) -> None:
    hostile = "\x1b]0;owned\x07\x9b31m\u202e"
    file = tmp_path / f"{hostile}.jsonl"
    file.write_text(f'{{"{hostile}": 1}}\n'.replace("\x1b", "\\u001b").replace("\x07", "\\u0007"), "utf-8")
    RunBuilder(runs_dir, name=f"2026-11-23-1412-{hostile}-0000").failed(f"It broke: {hostile}")
    for arguments in (["data", file], ["data", file, "--json"], ["run", "--model", hostile], ["run", hostile],
                      ["run", "--data", file], ["list"], ["attach", "last"], ["attach", hostile], [hostile],
                      ["list", "--json"], ["run", "--preset", hostile]):  # fmt: skip
        said = call(*arguments, *([] if arguments[0] in ("data", hostile) else ["--runs-dir", runs_dir]))
        assert "\u202e" not in said.out + said.err


def test_without_a_terminal_the_screen_says_so(runs_dir: Path) -> None:
    done = subprocess.run(
        command("--runs-dir", runs_dir), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "The screen needs a terminal; `finetunegem run` works without one (see --help).\n"


# --- help ----------------------------------------------------------------------------------------------------------


def test_help_names_the_commands(call: Call) -> None:
    said = call("--help")
    assert said.code == 0
    for word in ("run", "list", "attach", "stop", "data", "presets", "fetch"):
        assert re.search(rf"^    {word} ", said.out, re.MULTILINE)


def test_help_of_run_has_every_setting_with_its_help(call: Call) -> None:
    flat = " ".join(call("run", "--help").out.split())
    for knob in KNOBS.values():
        assert (knob.flag in flat) is (knob.name != "backend")
        if knob.name != "backend":
            assert knob.help.split()[0] in flat


def test_the_version_is_said(call: Call) -> None:
    assert re.fullmatch(r"finetunegem \d+\.\d+\.\d+\n", call("--version").out)


# --- list ----------------------------------------------------------------------------------------------------------


def test_a_list_of_nothing_says_so(call: Call, runs_dir: Path) -> None:
    assert call("list", "--runs-dir", runs_dir).out == f"There are no runs in {runs_dir}.\n"
    assert call("list", "--runs-dir", runs_dir, "--json") == Said(0, "", "")
    assert call("--runs-dir", runs_dir, "list").out == f"There are no runs in {runs_dir}.\n"


@pytest.mark.parametrize("command", ["list", "list --json", "attach last", "stop last", "resume last"])
def test_a_file_is_no_folder_of_runs(call: Call, tmp_path: Path, command: str) -> None:
    file = tmp_path / "runs.txt"
    file.touch()
    said = call(*command.split(), "--runs-dir", file)
    assert said == Said(2, "", f"{file} is not a folder; say where runs are with --runs-dir.\n")


@pytest.mark.parametrize("command", [["data", ""], ["run", "--data", ""], ["run", "--data", " "]])
def test_an_empty_name_is_no_data_file(call: Call, runs_dir: Path, command: list[str]) -> None:
    said = call("--runs-dir", runs_dir, *command)
    assert said.code > 0
    assert "No data file is given." in said.err


@pytest.fixture
def several(runs_dir: Path) -> Path:
    RunBuilder(runs_dir, name="2026-11-23-1410-good-0001").prepared().trained(34).finished()
    RunBuilder(runs_dir, name="2026-11-23-1411-bad-0002").prepared().failed("The disk is full.")
    RunBuilder(runs_dir, name="2026-11-23-1412-dead-0003").prepared().trained(3)
    RunBuilder(runs_dir, name="2026-11-23-1413-odd-0004").write_spec("epochs = ")
    return runs_dir


def test_a_list_has_a_line_for_every_run_newest_first(call: Call, several: Path) -> None:
    lines = call("list", "--runs-dir", several).out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["2026-11-23-1413-odd-0004", "crashed"],
        ["2026-11-23-1412-dead-0003", "crashed"],
        ["2026-11-23-1411-bad-0002", "failed"],
        ["2026-11-23-1410-good-0001", "finished"],
    ]
    assert "5/4/1e-3" in lines[3]
    assert "step 34 of 340" in lines[3]


def test_a_list_as_json_has_the_fields_names(call: Call, several: Path) -> None:
    rows = objects(call("list", "--runs-dir", several, "--json").out)
    good = rows[3]
    assert (good["run"], good["status"], good["global_step"], good["total_steps"]) == (
        "2026-11-23-1410-good-0001", "finished", 34, 340
    )  # fmt: skip
    assert (good["epochs"], good["batch_size"], good["learning_rate"]) == (5, 4, 1e-3)
    assert good["best_step"] == 34
    assert rows[0]["epochs"] is None


def test_a_list_fits_any_encoding(several: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = subprocess.run(command("list", "--runs-dir", several), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == 4


def test_a_run_that_can_not_be_read_hides_no_other(call: Call, several: Path) -> None:
    log = several / "2026-11-23-1411-bad-0002" / "events.jsonl"
    log.unlink()
    log.mkdir()
    said = call("list", "--runs-dir", several)
    assert (said.code, len(said.out.splitlines())) == (0, 3)
    assert said.err == f"2026-11-23-1411-bad-0002: {log}: Is a directory.\n"


@pytest.mark.parametrize(("redirection", "code"), [(">&-", 0), ("> /dev/full", 1), ("2>&-", 0)])
def test_an_output_that_is_closed_or_full_is_no_traceback(several: Path, redirection: str, code: int) -> None:
    if redirection.endswith("full") and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    shell = ["sh", "-c", f'"$@" {redirection}', "sh", *command("list", "--runs-dir", several)]
    done = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr == ("list: No space left on device.\n" if code else "")


# --- attach --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "code"), [("good", 0), ("bad", 1), ("dead", 1)])
def test_an_ended_run_is_told_again(call: Call, several: Path, name: str, code: int) -> None:
    said = call("attach", name, "--runs-dir", several, "--json")
    assert said.code == code
    assert said.out == rundir.find(several, name).events_file.read_text("ascii")
    assert call("attach", name, "--runs-dir", several).code == code


def test_what_is_no_event_is_left_out(call: Call, runs_dir: Path) -> None:
    builder = RunBuilder(runs_dir).add(StepTaken(1, 0.1, 2.0, 1e-3, 1.0, 4, 0.1))
    with builder.run.events_file.open("ab") as log:
        log.write(b"\x1b]0;owned\x07\n\x00\x00\nnull\n")
    builder.add(Finished(1))
    said = call("attach", "last", "--runs-dir", runs_dir, "--json")
    assert [row["event"] for row in objects(said.out)] == ["step_taken", "finished"]


def test_a_live_run_is_followed_to_its_end(record: Record, runs_dir: Path, wait_for: WaitFor) -> None:
    run = launch.start(runs_dir, RunSpec(backend="replay", data=str(record(3000, 0.04))))
    with started("attach", run.name, "--runs-dir", runs_dir, "--json") as process:
        first = line(process.stdout)
        wait_for(lambda: step_is_logged(runs_dir), "a step")
        run.ask(Command("stop"))
        rest, err = remainder(process)
    assert process.returncode == 0
    assert first + rest == run.events_file.read_text("ascii")
    assert re.fullmatch(r"stopped at step \d+\n", err)


# --- stop ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["last", None])
def test_a_run_is_stopped_and_its_end_told(call: Call, record: Record, runs_dir: Path, keep: str | None) -> None:
    run = launch.start(runs_dir, RunSpec(backend="replay", data=str(record(3000, 0.04))))
    said = call("stop", "last", "--runs-dir", runs_dir, *(["--keep", keep] if keep else []))
    assert said.code == 0
    assert re.fullmatch(r"stopped at step \d+\n", said.out)
    assert run.read_commands()[0] == [Command("stop", keep)]  # type: ignore[arg-type]


def test_a_stop_names_the_best_checkpoint_that_stands(record: Record, runs_dir: Path, wait_for: WaitFor) -> None:
    builder = RunBuilder(runs_dir).prepared().trained(34)
    with held(builder.run), started("stop", "last", "--runs-dir", runs_dir) as process:
        wait_for(lambda: builder.run.read_commands()[0], "the stop")
        assert builder.run.read_commands()[0] == [Command("stop", None, 34)]
        builder.stopped(step=34, eval_loss=3.825)
        out, _ = remainder(process)
    assert process.returncode == 0
    assert out.splitlines()[1] == f"Kept the best: step 34, eval loss 3.825. It is in {builder.run.path / 'model'}"
    assert "AutoModelForCausalLM.from_pretrained(" in out


def test_a_run_that_has_ended_can_not_be_stopped(call: Call, several: Path) -> None:
    said = call("stop", "good", "--runs-dir", several)
    assert said == Said(2, "", "2026-11-23-1410-good-0001 has ended already (finished).\n")
    assert not (several / "2026-11-23-1410-good-0001" / "commands.jsonl").exists()


# --- data ----------------------------------------------------------------------------------------------------------


def good_rows(count: int) -> str:
    """Rows that have nothing in common."""
    words = (hashlib.sha256(str(n).encode()).hexdigest() for n in range(count))
    return "".join(GOOD_ROW.replace('"q"', f'"{word}"') for word in words)


def test_good_data_are_counted(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text(good_rows(200) + '{"prompt": "q", "completion": ""}\n', "utf-8")
    said = call("data", file, "--no-tokens")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == str(file)
    assert lines[1].startswith("shape        prompt/completion: ")
    assert lines[2] == "rows         201, 1 bad"
    assert lines[3] == "split        180 training + 20 validation"
    assert lines[-1] == f"{file}:201: an assistant message is blank"


def test_for_machines_data_are_one_object(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text(good_rows(200) + '{"prompt": "q", "completion": ""}\n', "utf-8")
    said = call("data", file, "--no-tokens", "--json", "--batch-size", "8", "--eval-share", "0.5", "--row", "201")
    (found,) = objects(said.out)
    assert said.code == 0
    assert (found["source"], found["shape"]) == (str(file), "prompt/completion")
    assert (found["rows"], found["used"], found["bad"]) == (201, 200, 1)
    assert found["problems"] == [{"place": f"{file}:201", "why": "an assistant message is blank"}]
    assert found["fingerprint"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (found["row"]["number"], found["row"]["why"]) == (200, "an assistant message is blank")
    assert found["lengths"] is None
    assert "error" not in found


def test_the_starter_data_can_be_asked_for(call: Call) -> None:
    said = call("data", "builtin:codephreak", "--no-tokens")
    assert said.code == 0
    assert "318, none bad" in said.out


@pytest.mark.slow
def test_what_max_length_costs_and_a_row_as_the_model_reads_it(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    answers = ["short", *["long " * 100] * 9]
    rows = [json.dumps({"prompt": f"q{n}", "completion": f"{n} {answer}"}) for n, answer in enumerate(answers)]
    file.write_text("\n".join(rows), "utf-8")
    said = call("data", file, "--max-length", "64", "--row", "2")
    assert (said.code, said.err) == (0, "")
    assert re.search(r"^cut at 64    9 rows, [\d,]+ tokens \(\d+ %\)$", said.out, re.MULTILINE)
    assert " cut at 64 " in said.out
    assert "\n  <|im_start|>assistant\n▌ 1 long long" in said.out
    assert "── cut here ──" in said.out
    (found,) = objects(call("data", file, "--max-length", "64", "--json").out)
    assert found["lengths"]["cut"]["rows"] == 9
    assert found["lengths"]["model"] == "builtin:tiny"


@pytest.mark.slow
def test_rows_that_the_cut_empties_are_refused(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"{n} {'q ' * 500}", "completion": "a"}) + "\n" for n in range(9)))
    said = call("data", file, "--max-length", "64")
    assert said.code == 1
    assert "9 of 9 rows can't be used, more than 1%: 9 keep no answer within 64 tokens" in said.err
    assert call("data", file, "--max-length", "64", "--allow-bad", "100%").code == 0


def test_columns_settle_what_can_not_be_told(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("frage,antwort\n" + "".join(f"Wo ist {n}?,Da.\n" for n in range(40)), "utf-8")
    assert call("data", file, "--no-tokens").code == 1
    said = call("data", file, "--no-tokens", "--columns", "prompt=frage,completion=antwort")
    assert said.code == 0
    assert "40, none bad" in said.out


def test_bad_data_are_listed_and_refused(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text(GOOD_ROW + "{broken\n" + GOOD_ROW, "utf-8")
    said = call("data", file, "--no-tokens")
    assert said.code == 1
    assert f"\n{file}:2: it is not JSON (" in said.out
    assert "1 of 3 rows are bad, more than 1%; mend or remove them" in said.err
    assert said.err.count("\n") == 1
    (found,) = objects(call("data", file, "--json", "--no-tokens").out)
    assert found["bad"] == 1
    assert found["error"] == said.err.strip()


def test_missing_data_are_one_sentence_and_one_object(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "nowhere.jsonl"
    sentence = f"{file}: there is no such file: check the path."
    assert call("data", file) == Said(1, "", f"{sentence}\n")
    said = call("data", file, "--json")
    assert (said.code, said.err) == (1, f"{sentence}\n")
    (found,) = objects(said.out)
    assert (found["source"], found["error"], found["rows"]) == (str(file), sentence, 0)


@pytest.mark.parametrize(
    "arguments", [("--max-length", "3"), ("--model", "/nowhere"), ("--row", "0"), ("--row", "999"), ("--seed", "x")]
)
def test_wrong_usage_is_told_from_bad_data(call: Call, arguments: tuple[str, str]) -> None:
    said = call("data", "builtin:codephreak", "--json", *arguments)
    assert said.code == 2
    assert said.err.count("\n") == 1
    assert objects(said.out)[0]["error"] == said.err.strip()


# --- presets -------------------------------------------------------------------------------------------------------


def test_presets_are_listed_the_starter_first(call: Call) -> None:
    presets.save("mine", RunSpec(epochs=7))
    lines = call("presets").out.splitlines()
    assert lines[0] == "codephreak: builtin:tiny, full, 5 epochs, batch 4, learning rate 1e-3 (built-in)"
    assert lines[-1].startswith("mine: builtin:tiny, full, 7 epochs, ")
    rows = objects(call("presets", "--json").out)
    assert (rows[0]["name"], rows[0]["builtin"], rows[-1]["epochs"]) == ("codephreak", True, 7)


def test_a_broken_preset_hides_no_other(call: Call) -> None:
    presets.save("mine", RunSpec())
    (presets.user_dir() / "broken.toml").write_text("epochs = ", "utf-8")
    said = call("presets")
    assert said.code == 0
    assert said.err.startswith("broken: ")
    assert said.err.count("\n") == 1
    assert "mine: " in said.out


def test_a_preset_of_ones_own_starts_a_run(call: Call, record: Record, runs_dir: Path) -> None:
    presets.save("mine", RunSpec(backend="replay", data=str(record(4)), epochs=7, name="x"))
    assert call("run", "--preset", "mine", "--batch-size", "16", "--runs-dir", runs_dir).code == 0
    spec = only(runs_dir).spec()
    assert (spec.epochs, spec.batch_size, spec.name) == (7, 16, "x")


# --- interrupted ---------------------------------------------------------------------------------------------------


def interrupt(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Press Ctrl-C; returns what was still printed."""
    process.send_signal(signal.SIGINT)
    return remainder(process)


def test_ctrl_c_stops_the_run_politely(record: Record, runs_dir: Path, wait_for: WaitFor) -> None:
    with started(*replay(record(3000, 0.04), runs_dir), "--json") as process:
        first = line(process.stdout)
        wait_for(lambda: step_is_logged(runs_dir), "a step")
        out, err = interrupt(process)
    assert process.returncode == 130
    run = only(runs_dir)
    assert status(run) == "stopped"
    assert re.fullmatch(r"stopping… \(once more leaves it to itself\)\nstopped at step \d+\n", err)
    assert first + out == run.events_file.read_text("ascii")


def test_ctrl_c_leaves_a_run_of_somebody_else_alone(runs_dir: Path) -> None:
    run = RunBuilder(runs_dir).prepared().trained(2).run
    with held(run), started("attach", "last", "--runs-dir", runs_dir) as process:
        assert line(process.stdout)
        _, err = interrupt(process)
        assert process.returncode == 130
        assert err == f"{run.name} goes on; `finetunegem attach {run.name}` opens it.\n"
        assert run.read_commands()[0] == []


FOLLOW = """
import signal, sys
from pathlib import Path
from trainer.rundir import RunDir
from tui.plain import follow
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(follow(RunDir(Path(sys.argv[1])), as_json=False))
"""


def test_a_second_ctrl_c_leaves_a_run_that_does_not_stop_to_itself(runs_dir: Path, wait_for: WaitFor) -> None:
    run = RunBuilder(runs_dir).prepared().trained(2).run
    with held(run) as host, started(run.path, code=FOLLOW) as process:
        assert line(process.stdout)
        process.send_signal(signal.SIGINT)
        assert line(process.stderr).startswith("stopping…")
        assert run.read_commands()[0] == [Command("stop")]
        _, err = interrupt(process)
        assert process.returncode == 130
        assert err.startswith(f"{run.name} goes on; ")
        assert host.poll() is None


def test_a_reader_that_goes_away_leaves_the_run_going(record: Record, runs_dir: Path, wait_for: WaitFor) -> None:
    with started(*replay(record(3000, 0.04), runs_dir), "--json") as process:
        assert decode(line(process.stdout)).seq == 0
        assert process.stdout is not None
        process.stdout.close()
        assert line(process.stderr) == ""
        assert process.wait(30) == 1
    run = only(runs_dir)
    taken = len(run.read_lines()[0])
    wait_for(lambda: len(run.read_lines()[0]) > taken + 2, "more events")
    assert run.holder() is not None


def test_a_short_answer_to_a_reader_that_is_gone_is_no_traceback(several: Path) -> None:
    with started("list", "--runs-dir", several) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert line(process.stderr) == ""
        assert process.wait(30) == 1


@pytest.mark.parametrize("python", ["/nowhere/python3", "true"])
def test_the_set_up_refuses_what_is_no_python_before_it_makes_anything(tmp_path: Path, python: str) -> None:
    root = Path(__file__).parent.parent
    for name in ("dev.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(root / name, tmp_path)
    done = subprocess.run(
        ["sh", "dev.sh", "setup"], cwd=tmp_path, env={**os.environ, "PYTHON": python}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == f"finetunegem: PYTHON={python} is no Python of 3.11 or newer\n"
    assert not (tmp_path / ".venv").exists()
    assert not (tmp_path / ".venv.lock").exists()


def test_the_cache_of_tokens_can_be_cleared(call: Call) -> None:
    cache = Cache()
    with cache.make("a" * 40) as new:
        (new.path / "tokens").write_bytes(bytes(2_500_000))
    known.remember("entry", Lengths("m", {1: 1}, {1: 1}, 1))
    said = call("data", "--clear-cache")
    assert (said.code, said.out) == (
        0,
        f"0.0 MB of tokens and the token counts of 1 look at data taken away from {cache.folder.parent}; "
        "1 in use by a run stay.\n",
    )
    new.held.release()
    said = call("data", "--clear-cache")
    assert (said.code, said.out) == (
        0,
        f"2.5 MB of tokens and the token counts of 0 looks at data taken away from {cache.folder.parent}.\n",
    )
    assert known.recall("entry") is None
    assert list(cache.folder.iterdir()) == []


def test_data_needs_to_know_which(call: Call) -> None:
    said = call("data")
    assert (said.code, said.out) == (2, "")
    assert "which data?" in said.err
