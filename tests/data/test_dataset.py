"""The account of a source: what was read, what was left out, when too much is wrong; and a look at its beginning."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from trainer.data import DataError, DataSet, dataset, load, look
from trainer.data.dataset import estimate, reading
from trainer.data.rows import read_rows
from trainer.data.source import find

GOOD = {"prompt": "q", "completion": "a"}
ALPACA = {"instruction": "q", "input": "", "output": "a"}
BAD = {"prompt": "q", "completion": ""}


def good(number: int) -> dict[str, str]:
    return {"prompt": f"question {number}", "completion": f"answer {number}"}


def jsonl(folder: Path, *rows: object, name: str = "data.jsonl") -> Path:
    file = folder / name
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), "utf-8")
    return file


def read(folder: Path, *rows: object) -> DataSet:
    return load(str(jsonl(folder, *rows)))


def refused(folder: Path, *rows: object, allow_bad: float = 0.01) -> str:
    """The sentence, without the file's name."""
    with pytest.raises(DataError) as caught:
        read(folder, *rows).check(allow_bad)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said.removeprefix(f"{folder / 'data.jsonl'}:")


def lines(data: DataSet) -> list[int]:
    return [example.line for example in data.examples()]


@pytest.mark.parametrize(
    ("row", "shape"),
    [
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, "messages"),
        (ALPACA, "instruction/input/output"),
        (GOOD, "prompt/completion"),
        ({"text_input": "q", "output": "a"}, "text_input/output"),
    ],
)
def test_every_row_is_counted_and_can_be_read_again(tmp_path: Path, row: dict[str, Any], shape: str) -> None:
    data = read(tmp_path, row, row, row).check()
    assert (data.shape.name, data.rows, data.used, data.bad_count, data.bad) == (shape, 3, 3, 0, ())
    for _ in range(2):
        assert lines(data) == [1, 2, 3]
    first = next(data.examples())
    assert [message.content for message in first.conversation.messages] == ["q", "a"]
    assert data.place(first) == f"{tmp_path}/data.jsonl:1"


def test_the_account_is_the_same_whatever_stands_in_the_rows(tmp_path: Path) -> None:
    """It holds no row: ten times the text is the same account."""
    short, long = read(tmp_path, *map(good, range(50))), read(tmp_path, *[good(n * 10**30) for n in range(50)])
    assert (short.rows, short.used, short.bad, short.warnings) == (long.rows, long.used, long.bad, long.warnings)


def test_wrong_keys_are_named_with_those_that_would_do(tmp_path: Path) -> None:
    said = refused(tmp_path, {"frage": "q", "antwort": "a"}, {"frage": "q", "antwort": "a"})
    assert said.startswith("1: the rows have the keys frage, antwort: wanted are messages; ")
    assert "columns" in said


def test_columns_settle_what_is_which(tmp_path: Path) -> None:
    file = jsonl(tmp_path, {"frage": "q", "antwort": "a"})
    data = load(str(file), "prompt=frage,completion=antwort")
    assert [message.content for message in next(data.examples()).conversation.messages] == ["q", "a"]


def test_a_broken_line_in_a_small_file_is_named(tmp_path: Path) -> None:
    said = refused(tmp_path, GOOD, '{"prompt": ', GOOD)
    assert said.startswith("2: it is not JSON (")
    assert said.endswith(
        ": 1 of 3 rows are bad, more than 1%; mend or remove them, or allow more with --allow-bad 34%."
    )


def test_a_file_of_nothing_but_broken_lines_is_named_by_its_first(tmp_path: Path) -> None:
    assert refused(tmp_path, "", '{"a": x}', '{"a": y}').startswith("2: it is not JSON (")


@pytest.mark.parametrize("empty", ["[]", "a,b\n"], ids=["list", "header"])
def test_data_without_a_row_say_so(tmp_path: Path, empty: str) -> None:
    file = tmp_path / ("data.json" if empty == "[]" else "data.csv")
    file.write_text(empty)
    with pytest.raises(DataError, match=rf"^{file}.*\.$"):
        load(str(file))


@pytest.mark.parametrize(("rows", "allowed"), [(99, False), (100, True), (101, True)])
def test_one_bad_row_in_a_hundred_is_left_out(tmp_path: Path, rows: int, allowed: bool) -> None:
    data = read(tmp_path, *[GOOD] * (rows - 1), BAD)
    assert (data.rows, data.used, data.bad_count) == (rows, rows - 1, 1)
    assert (data.bad[0].line, data.bad[0].why) == (rows, "an assistant message is blank")
    if allowed:
        assert data.check() is data
    else:
        with pytest.raises(DataError, match=rf":{rows}: an assistant message is blank: 1 of {rows} rows are bad"):
            data.check()


def test_a_person_may_allow_more_or_none(tmp_path: Path) -> None:
    rows = [GOOD, BAD, GOOD, GOOD]
    assert read(tmp_path, *rows).check(0.25).used == 3
    assert "more than 20%;" in refused(tmp_path, *rows, allow_bad=0.2)
    assert "more than 0%;" in refused(tmp_path, *[GOOD] * 1000, BAD, allow_bad=0.0)


def test_several_bad_rows_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    said = refused(tmp_path, GOOD, BAD, GOOD, "{", 5)
    assert said.startswith("2: an assistant message is blank (and 2 more bad rows): 3 of 5 rows are bad")


def test_the_first_twenty_bad_rows_are_kept_with_their_reason(tmp_path: Path) -> None:
    data = read(tmp_path, GOOD, *[BAD, "{"] * 40)
    assert (data.bad_count, len(data.bad)) == (80, 20)
    assert [row.line for row in data.bad] == list(range(2, 22))


def test_mixed_shapes_go_by_the_majority(tmp_path: Path) -> None:
    data = read(tmp_path, GOOD, ALPACA, GOOD, {"x": 1}, GOOD, "7")
    assert data.shape.name == "prompt/completion"
    assert [(row.line, row.why) for row in data.bad] == [
        (2, "the row is instruction/input/output while most are prompt/completion"),
        (4, "the row has the keys x, not the keys of prompt/completion"),
        (6, "the row is not an object"),
    ]
    assert lines(data) == [1, 3, 5]


def test_rows_that_are_not_to_be_learnt_from_are_not_bad(tmp_path: Path) -> None:
    rows = [{**good(n), "label": n % 3 != 0} for n in range(9)]
    data = read(tmp_path, *rows).check(0.0)
    assert (data.rows, data.used, data.left_out, data.bad_count) == (9, 6, 3, 0)
    assert lines(data) == [2, 3, 5, 6, 8, 9]


def test_a_folder_is_one_source_and_rows_know_their_file(tmp_path: Path) -> None:
    jsonl(tmp_path, good(1), good(2), name="a.jsonl")
    jsonl(tmp_path, good(3), BAD, name="b.jsonl")
    data = load(str(tmp_path))
    assert (data.rows, data.used, data.name) == (4, 3, str(tmp_path))
    assert [data.place(example) for example in data.examples()] == [
        f"{tmp_path}/a.jsonl:1", f"{tmp_path}/a.jsonl:2", f"{tmp_path}/b.jsonl:1",
    ]  # fmt: skip
    assert data.place(data.bad[0]) == f"{tmp_path}/b.jsonl:2"
    with pytest.raises(DataError, match=rf"^{tmp_path}/b\.jsonl:2: "):
        data.check()


def test_a_shape_that_can_not_be_told_is_said_with_its_place(tmp_path: Path) -> None:
    assert refused(tmp_path, "", {"x": 1}).startswith("2: the rows have the keys x: ")


def test_progress_comes_while_reading(tmp_path: Path) -> None:
    rows = list(reading(find(str(jsonl(tmp_path, *map(good, range(5000)))))))
    assert rows == [2000, 4000]


def test_duplicates_are_counted_and_not_removed(tmp_path: Path) -> None:
    file = jsonl(tmp_path, good(1), good(2), good(1), {"prompt": "Question 2!", "completion": "ANSWER 2"})
    plain, near = load(str(file)).duplicates, load(str(file), near=True).duplicates
    assert (plain.exact, plain.near, plain.looked) == (1, 0, False)
    assert (near.exact, near.near, near.looked) == (1, 1, True)
    assert load(str(file), near=True).used == 4


# --- a look at the beginning -------------------------------------------------------------------------------------


def test_small_data_are_looked_at_whole(tmp_path: Path) -> None:
    data = look(str(jsonl(tmp_path, *map(good, range(30)), good(1), BAD)))
    assert not data.estimated
    assert (data.rows, data.used, data.bad_count, data.duplicates.exact) == (32, 31, 1, 1)


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "jsonl.gz"])
def test_of_large_data_the_beginning_tells_about_how_many_rows(tmp_path: Path, kind: str) -> None:
    rows = [good(n * 7919 % 100_003) for n in range(20_000)]
    file = tmp_path / f"data.{kind}"
    if kind == "json":
        file.write_text(json.dumps(rows))
    elif kind == "csv":
        file.write_text("prompt,completion\n" + "".join(f"{r['prompt']},{r['completion']}\n" for r in rows))
    else:
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        file.write_bytes(gzip.compress(content) if kind.endswith("gz") else content)
    data = look(str(file), most=100_000)
    assert data.estimated
    assert data.rows == pytest.approx(20_000, rel=0.05 if kind in ("jsonl", "csv") else 0.35)
    assert (data.bad_count, data.used) == (0, data.rows)


def test_what_is_bad_at_the_beginning_is_scaled_and_refused(tmp_path: Path) -> None:
    file = jsonl(tmp_path, *[row for n in range(5000) for row in (good(n), BAD)])
    data = look(str(file), most=50_000)
    assert data.bad_count == pytest.approx(5000, rel=0.1)
    assert data.bad[0].line == 2
    with pytest.raises(DataError, match=rf"^{file}:2: an assistant message is blank"):
        data.check()


def test_a_look_reads_no_more_than_it_was_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counting(source: Any) -> Any:
        for row in read_rows(source):
            seen.append(row.line)
            yield row

    monkeypatch.setattr(dataset, "read_rows", counting)
    look(str(jsonl(tmp_path, *map(good, range(10_000)))), most=1000)
    assert max(seen) < 50


def test_the_estimate_is_never_less_than_what_was_seen(tmp_path: Path) -> None:
    source = find(str(jsonl(tmp_path, *map(good, range(10)))))
    assert estimate(source, list(read_rows(source))) >= 10


def test_the_starter_data_are_all_good() -> None:
    data = load(str(Path(__file__).parents[2] / "presets" / "codephreak.jsonl"), near=True).check(0.0)
    assert (data.shape.name, data.bad, data.warnings) == ("messages", (), ())
    assert (data.duplicates.exact, data.duplicates.near, len(data.duplicates.leaders)) == (0, 0, 0)
    assert data.used >= 250
