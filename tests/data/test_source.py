"""What a person points at → files: formats by content, folders, saved data sets, the hub, and their fingerprint."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.data import folder
from trainer.data.errors import DataError, quoted, shown
from trainer.data.rows import Row, read_rows
from trainer.data.source import Source, find, fingerprint

datasets = pytest.importorskip("datasets")

LINES = '{"prompt": "a", "completion": "b"}\n' * 2


def names(source: Source) -> list[str]:
    return [file.path.name for file in source.files]


def values(source: Source) -> list[object]:
    return [row.value for row in read_rows(source) if isinstance(row, Row)]


def fill(folder: Path, *files: str, content: str = LINES) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def refused(named: str | Path) -> str:
    with pytest.raises(DataError) as caught:
        find(str(named))
    return str(caught.value)


def test_a_file_is_a_source_of_one(tmp_path: Path) -> None:
    fill(tmp_path, "data.jsonl")
    source = find(str(tmp_path / "data.jsonl"))
    assert (source.named, source.size, source.notes) == (str(tmp_path / "data.jsonl"), len(LINES), ())
    assert (source.files[0].format, source.files[0].packing, source.files[0].how) == ("jsonl", "", "")


def test_a_home_folder_may_be_written_as_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(fill(tmp_path, "data.jsonl")))
    assert find("~/data.jsonl").files[0].path == tmp_path / "data.jsonl"


def test_what_was_taken_for_granted_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt;completion\na;b\n")
    (tmp_path / "b.txt").write_text("one\ntwo\n")
    (tmp_path / "c.md").write_text("# Title\n\nSome words\non two lines.\n\nMore.\n")
    assert [file.how for file in find(str(tmp_path)).files] == [
        "cells are separated by semicolons", "a row is a line", "a row is a paragraph, up to a blank line",
    ]  # fmt: skip


def test_a_folder_is_read_by_name_without_hidden_files(tmp_path: Path) -> None:
    fill(tmp_path, "b.jsonl", "a.jsonl", "c.jsonl.gz.part", ".hidden.jsonl", "10.jsonl")
    source = find(str(tmp_path))
    assert names(source) == ["10.jsonl", "a.jsonl", "b.jsonl"]
    assert source.notes == (f"{tmp_path}: not read are c.jsonl.gz.part (no data files by their names).",)


def test_about_a_data_set_is_not_of_it(tmp_path: Path) -> None:
    fill(tmp_path, "data.jsonl", "README.md", "LICENSE.txt", "dataset_infos.json", "state_capitals.jsonl")
    assert names(find(str(tmp_path))) == ["data.jsonl", "state_capitals.jsonl"]


@pytest.mark.parametrize(
    ("files", "read"),
    [
        (["train.jsonl", "test.jsonl", "validation.jsonl"], ["train.jsonl"]),
        (["train-00000.jsonl", "train-00001.jsonl", "test-00000.jsonl"], ["train-00000.jsonl", "train-00001.jsonl"]),
        (["my_dev.jsonl", "mine.jsonl"], ["mine.jsonl"]),
        (["test.jsonl", "validation.jsonl"], ["test.jsonl", "validation.jsonl"]),
        (["contest.jsonl", "devices.jsonl", "evaluate.jsonl"], ["contest.jsonl", "devices.jsonl", "evaluate.jsonl"]),
    ],
)
def test_held_out_files_are_not_learnt_from_by_accident(tmp_path: Path, files: list[str], read: list[str]) -> None:
    source = find(str(fill(tmp_path, *files)))
    assert names(source) == read
    left = sorted(set(files) - set(read))
    assert (source.notes == ()) is (not left)
    assert all(name in source.notes[0] for name in left)


def test_folders_within_are_named_and_not_entered(tmp_path: Path) -> None:
    fill(tmp_path, "data.jsonl", "old/data.jsonl")
    assert "not read are old" in find(str(tmp_path)).notes[0]
    (tmp_path / "data.jsonl").unlink()
    assert refused(tmp_path) == (
        f"{tmp_path}: there is no data file in this folder; in it are the folders old: give one of them."
    )


def test_a_note_names_some_and_counts_the_rest(tmp_path: Path) -> None:
    fill(tmp_path, "data.jsonl", *(f"{n}.pdf" for n in range(9)))
    assert "0.pdf, 1.pdf, 2.pdf, 3.pdf, 4.pdf, 5.pdf and 3 more" in find(str(tmp_path)).notes[0]


def test_an_empty_file_in_a_folder_is_passed_over_and_alone_refused(tmp_path: Path) -> None:
    fill(tmp_path, "data.jsonl")
    fill(tmp_path, "empty.jsonl", content="")
    assert names(find(str(tmp_path))) == ["data.jsonl"]
    (tmp_path / "data.jsonl").unlink()
    assert refused(tmp_path) == (f"{tmp_path}/empty.jsonl: the file is empty: give one with a row for each example.")


@pytest.mark.parametrize("named", ["", "  "])
def test_no_name_is_said(named: str) -> None:
    assert refused(named) == "No data file is given."


@pytest.mark.parametrize(
    ("named", "says"), [("a\0b", "null byte"), ("~nobody-here/x", "no such file"), ("x/" * 3000, "File name too long")]
)
def test_any_name_gets_a_sentence(named: str, says: str) -> None:
    said = refused(named)
    assert says in said
    assert said.isprintable()


def test_the_fingerprint_of_a_file_is_what_sha256sum_says(tmp_path: Path) -> None:
    file = fill(tmp_path, "data.jsonl") / "data.jsonl"
    assert fingerprint(find(str(file))) == hashlib.sha256(LINES.encode()).hexdigest()


def test_the_fingerprint_of_a_folder_tells_contents_and_their_borders(tmp_path: Path) -> None:
    def of(**contents: str) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, content in contents.items():
            fill(folder, f"{name}.jsonl", content=content)
        return fingerprint(find(str(folder)))

    first = of(a=LINES, b=LINES)
    assert first == of(x=LINES, y=LINES)
    assert first != of(a=LINES * 2)
    assert first != of(a=LINES, b=LINES + LINES)


def test_a_damaged_file_has_no_fingerprint_but_a_sentence(tmp_path: Path) -> None:
    source = find(str(fill(tmp_path, "data.jsonl") / "data.jsonl"))
    (tmp_path / "data.jsonl").unlink()
    with pytest.raises(DataError, match="no such file"):
        fingerprint(source)


def saved(folder: Path, splits: dict[str, int] | None = None) -> Path:
    def made(count: int) -> object:
        return datasets.Dataset.from_list([{"prompt": f"q{n}", "completion": "a"} for n in range(count)])

    datasets.disable_progress_bars()
    if splits is None:
        made(3).save_to_disk(str(folder))  # type: ignore[attr-defined]
    else:
        datasets.DatasetDict({name: made(n) for name, n in splits.items()}).save_to_disk(str(folder))
    return folder


def test_a_saved_data_set_is_read(tmp_path: Path) -> None:
    source = find(str(saved(tmp_path / "set")))
    assert [file.format for file in source.files] == ["arrow"]
    assert values(source) == [{"prompt": f"q{n}", "completion": "a"} for n in range(3)]


def test_of_saved_splits_the_training_one_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    source = find(str(saved(tmp_path / "set", {"train": 2, "test": 1})))
    assert len(values(source)) == 2
    assert source.notes == (f"{tmp_path}/set: not read are test (other splits; give one's folder as validation data).",)
    assert len(values(find(str(tmp_path / "set" / "test")))) == 1


def test_saved_splits_without_a_training_one_are_named(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", {"one": 1, "two": 1})
    assert refused(folder) == f"{folder}: this holds the data sets one, two: give the folder of one of them."


@pytest.mark.parametrize(
    "state", ["{", "[]", '{"_data_files": [{"filename": "../../etc/passwd"}]}', '{"_data_files": []}']
)
def test_a_saved_data_set_that_says_nothing_or_too_much_is_refused(tmp_path: Path, state: str) -> None:
    folder = saved(tmp_path / "set")
    (folder / "state.json").write_text(state)
    assert refused(folder) == f"{folder}/state.json: this does not say where the data are: save the data set anew."


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`hub("train=3,test=1")`: a hub whose only data set has these splits; it loads files and runs nothing."""

    def make(splits: str) -> None:
        files: dict[str, str] = {}
        for name, count in (split.split("=") for split in splits.split(",")):
            files[name] = str(tmp_path / f"{name}.json")
            Path(files[name]).write_text("".join(json.dumps({"text": f"{name} {n}"}) + "\n" for n in range(int(count))))
        real = datasets.load_dataset

        def load_dataset(path: str, config: str | None = None, **options: object) -> object:
            assert not options
            if path != "someone/set" or config not in (None, "small"):
                raise FileNotFoundError(f"Couldn't find any data file at {path}.\nA second line.")
            return real("json", data_files=files, cache_dir=str(tmp_path / "cache"))

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)

    return make


@pytest.mark.parametrize(
    "named", ["someone/set", "hub:someone/set", "hub:someone/set:train", "hub:someone/set:small/train"]
)
def test_a_data_set_of_the_hub_is_read(named: str, hub: Callable[[str], None]) -> None:
    hub("train=3,test=1")
    source = find(named)
    assert values(source) == [{"text": f"train {n}"} for n in range(3)]
    assert source.named == named
    assert source.notes == ("hub:someone/set: read is the split train; not read are test.",)


def test_a_split_of_the_hub_may_be_named_and_the_only_one_need_not(hub: Callable[[str], None]) -> None:
    hub("train=3,test=1")
    assert len(values(find("hub:someone/set:test"))) == 1
    assert "there is no split 'dev'; there is train, test." in refused("hub:someone/set:dev")


def test_a_set_that_can_not_be_had_says_so_in_one_sentence(hub: Callable[[str], None]) -> None:
    hub("train=3")
    said = refused("nobody/nothing")
    assert said.startswith(
        "hub:nobody/nothing: there is no such file here, and the hub's data set can't be had (Couldn't"
    )
    assert said.isprintable()
    assert said.endswith(".")


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.delitem(sys.modules, "trainer.data.hub", raising=False)
    assert "pip install 'finetunegem[hub]'" in refused("someone/set")


def test_a_path_goes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path, "someone/set/data.jsonl")
    assert names(find("someone/set")) == ["data.jsonl"]
    assert "no such file" in refused("someone/data.jsonl")
    (tmp_path / "someone" / "link").symlink_to("nowhere")
    assert "no such file" in refused("someone/link")


def test_gz_in_a_folder_is_as_good_as_plain(tmp_path: Path) -> None:
    fill(tmp_path, "b.jsonl")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(LINES.encode()))
    source = find(str(tmp_path))
    assert [file.packing for file in source.files] == ["gz", ""]
    assert len(values(source)) == 4


def test_names_and_data_are_quoted_so_that_no_terminal_obeys_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown("a\x1b[31m\n\u202e.jsonl") == r"a\x1b[31m\n\u202e.jsonl"
    assert shown(os.fsdecode(b"\xff.jsonl")) == r"\xff.jsonl"
    assert quoted("\x1b[31m" + "x" * 50) == repr("\x1b[31m" + "x" * 15)
    assert "hf_" not in quoted("hf_" + "a" * 34, 60)


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MOST_FILES", 3)
    fill(tmp_path, *(f"{n}.jsonl" for n in range(4)))
    assert refused(tmp_path) == f"{tmp_path}: there are 4 data files in this folder: join them to fewer."
