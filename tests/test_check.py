"""Everything that is found wrong before a run starts, each by its field, and what the run would be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer import check
from trainer.check import data_path, look_ahead, settled, stamp
from trainer.data import DataError, load, look, split
from trainer.spec import RunSpec


def data_file(folder: Path, rows: int = 20, name: str = "data.jsonl") -> Path:
    file = folder / name
    lines = [json.dumps({"prompt": f"question {n}", "completion": f"answer {n}"}) for n in range(rows)]
    file.write_text("\n".join(lines), "utf-8")
    return file


def test_the_starter_has_no_problem_and_a_plan() -> None:
    prospect = look_ahead(RunSpec())
    assert prospect.problems == {}
    assert prospect.plan is not None
    assert prospect.plan.total_steps == 5 * prospect.plan.steps_per_epoch
    assert prospect.model is not None
    assert (prospect.shape, prospect.skipped) == ("messages", 0)


def test_steps_and_sizes_come_from_the_data(tmp_path: Path) -> None:
    plan = look_ahead(RunSpec(data=str(data_file(tmp_path)), batch_size=4, epochs=3, eval_share=0.1)).plan
    assert plan is not None
    assert (plan.train_examples, plan.eval_examples, plan.steps_per_epoch, plan.total_steps) == (18, 2, 5, 15)


def test_every_problem_is_found_at_once(tmp_path: Path) -> None:
    spec = RunSpec(model=str(tmp_path), data="nowhere.jsonl", eval_data="neither.jsonl")
    problems = look_ahead(spec).problems
    assert set(problems) == {"model", "data", "eval_data"}
    for said in problems.values():
        assert said.endswith(".")
        assert "\n" not in said


def test_a_share_that_leaves_nothing_is_the_shares_problem(tmp_path: Path) -> None:
    prospect = look_ahead(RunSpec(data=str(data_file(tmp_path, rows=3)), eval_share=0.1))
    assert set(prospect.problems) == {"eval_share"}
    assert "leaves no validation example" in prospect.problems["eval_share"]
    assert prospect.plan is None


def test_with_a_validation_file_the_share_does_not_matter(tmp_path: Path) -> None:
    held_out = data_file(tmp_path, 7, "eval.jsonl")
    plan = look_ahead(RunSpec(data=str(data_file(tmp_path, 3)), eval_data=str(held_out), eval_share=0.01)).plan
    assert plan is not None
    assert (plan.train_examples, plan.eval_examples) == (3, 7)


def test_no_data_file_is_said() -> None:
    assert look_ahead(RunSpec(data="")).problems == {"data": "No data file is given."}


@pytest.mark.parametrize(
    "name", ["builtin:nothing", "builtin:../x", "builtin:/etc/passwd", "builtin:", "builtin:" + "x" * 5000]
)
def test_an_unknown_built_in_names_those_there_are(name: str) -> None:
    with pytest.raises(DataError, match=r"; there is builtin:codephreak\.$"):
        data_path(name)


@pytest.mark.parametrize(
    "name", ["~nobody-here/x", "x" * 5000, "x/" * 3000, "/", ".", "/dev/null"], ids=lambda n: n[:9]
)
def test_any_path_gets_a_sentence(name: str) -> None:
    spec = RunSpec(data=name, eval_data=name, model=name)
    problems = look_ahead(spec).problems
    assert set(problems) == {"data", "eval_data", "model"}
    settled(spec)


def test_a_run_means_the_same_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_file(tmp_path)
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    spec = settled(RunSpec(data="data.jsonl", eval_data="./data.jsonl", model="model"))
    assert (spec.data, spec.eval_data) == (str(tmp_path / "data.jsonl"), str(tmp_path / "data.jsonl"))
    assert spec.model == str(tmp_path / "model")


def test_names_that_are_no_paths_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for model in ("builtin:tiny", "smollm2", "Qwen/Qwen2.5-0.5B"):
        spec = RunSpec(model=model)
        assert settled(spec) == spec


def test_what_is_read_is_what_was_foreseen(tmp_path: Path) -> None:
    file = data_file(tmp_path, 50)
    parts = split(load(str(file), near=True), None, 0.2, 42)
    prospect = look_ahead(RunSpec(data=str(file), eval_share=0.2))
    assert prospect.plan is not None
    assert (parts.train, parts.eval) == (prospect.plan.train_examples, prospect.plan.eval_examples) == (40, 10)
    assert (prospect.shape, prospect.about) == ("prompt/completion", False)


def test_columns_and_bad_rows_are_as_a_person_says(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    rows = [{"frage": f"q {n}", "antwort": f"a {n}" if n % 10 else ""} for n in range(40)]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert "columns" in look_ahead(RunSpec(data=str(file))).problems["data"]
    spec = RunSpec(data=str(file), columns="prompt=frage,completion=antwort")
    said = look_ahead(spec).problems["data"]
    assert "(and 3 more bad rows): 4 of 40 rows are bad, more than 1%; mend or remove them, " in said
    prospect = look_ahead(RunSpec(data=str(file), columns=spec.columns, allow_bad=0.1))
    assert (prospect.problems, prospect.skipped) == ({}, 4)


def test_a_folder_is_data(tmp_path: Path) -> None:
    data_file(tmp_path, 20, "a.jsonl")
    data_file(tmp_path, 30, "b.jsonl")
    plan = look_ahead(RunSpec(data=str(tmp_path), eval_share=0.2)).plan
    assert plan is not None
    assert plan.train_examples + plan.eval_examples == 50


def test_of_large_data_only_the_beginning_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = data_file(tmp_path, 20_000)
    monkeypatch.setattr(check, "LARGE", 100_000)
    monkeypatch.setattr(check, "look", lambda named, columns: look(named, columns, 50_000))
    prospect = look_ahead(RunSpec(data=str(file)))
    assert prospect.about
    assert prospect.plan is not None
    assert prospect.plan.train_examples == pytest.approx(18_000, rel=0.1)


def test_unchanged_data_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form asks at every key; other data, other columns or another time of the last change are read."""
    reads: list[str] = []

    def counting(named: str, columns: str = "") -> object:
        reads.append(named)
        return load(named, columns)

    monkeypatch.setattr(check, "load", counting)
    file = data_file(tmp_path)
    for epochs in (1, 2, 3):
        look_ahead(RunSpec(data=str(file), epochs=epochs, seed=epochs, allow_bad=epochs / 10))
    assert len(reads) == 1
    look_ahead(RunSpec(data=str(file), columns="prompt=completion,completion=prompt"))
    data_file(tmp_path, 30)
    assert stamp(str(file)) != (str(file),)
    look_ahead(RunSpec(data=str(file)))
    look_ahead(RunSpec(data=str(data_file(tmp_path, 30, "other.jsonl"))))
    assert len(reads) == 4


def test_data_that_are_refused_are_read_once_and_again_when_they_are_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    def counting(named: str, columns: str = "") -> object:
        reads.append(named)
        return load(named, columns)

    monkeypatch.setattr(check, "load", counting)
    file = tmp_path / "data.jsonl"
    spec = RunSpec(data=str(file))
    assert "there is no such file" in look_ahead(spec).problems["data"]
    file.write_text('{"x": 1}\n' * 30)
    said = {look_ahead(spec).problems["data"] for _ in range(3)}
    assert len(said) == len(reads) == 1
    data_file(tmp_path)
    assert look_ahead(spec).problems == {}


def test_a_data_set_of_the_hub_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(named: str) -> object:
        raise AssertionError(named)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trainer.data.source.find", never)
    for spec in (RunSpec(data="org/name"), RunSpec(eval_data="hub:org/name:config/test")):
        prospect = look_ahead(spec)
        assert (prospect.problems, prospect.plan, prospect.remote) == ({}, None, True)
        assert settled(spec) == spec


def test_a_replayed_run_needs_neither_data_nor_model() -> None:
    assert look_ahead(RunSpec(backend="replay", data="/recorded", model="builtin:tiny")).problems == {}


def test_looking_ahead_writes_nothing(tmp_path: Path) -> None:
    file = data_file(tmp_path)
    before = file.stat()
    look_ahead(RunSpec(data=str(file)))
    assert list(tmp_path.iterdir()) == [file]
    assert file.stat().st_mtime_ns == before.st_mtime_ns


def test_the_size_of_data_is_that_of_their_files(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text("12345", "utf-8")
    (tmp_path / "two.jsonl").write_text("123", "utf-8")
    assert check.size(str(tmp_path / "one.jsonl")) == 5
    assert check.size(str(tmp_path)) == 8
    assert check.size(str(tmp_path / "none.jsonl")) is check.size("someone/something") is check.size("") is None
    starter = check.size(RunSpec().data)
    assert starter is not None
    assert starter > 10_000
