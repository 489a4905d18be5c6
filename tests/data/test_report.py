"""The report: its figures in words, its bars, what it refuses, and the way through JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from tests.data.test_lengths import lengths
from trainer.data import report as reports
from trainer.data.report import Problem, Report, bars, figures, from_fields, percent, scripts
from trainer.data.scripts import count, shares

REPORT = Report(
    source="/data/chats.jsonl", shape="messages", why="all 1000 rows looked at have messages",
    rows=1000, used=997, bad=3, problems=(Problem("/data/chats.jsonl:7", "an assistant message is blank"),), exact=14,
    near=2, train=897, eval=100, batch_size=4, epochs=3, steps_per_epoch=225, max_length=512, allow_bad=0.01,
    scripts=(("Latin", 0.97), ("Han", 0.02), ("Cyrillic", 0.01)), lengths=lengths(10, 600, 700),
)  # fmt: skip


def test_the_figures_in_words() -> None:
    assert dict(figures(REPORT)) == {
        "rows": "1,000, 3 bad",
        "split": "897 training + 100 validation",
        "steps": "225 per epoch of batch size 4",
        "duplicates": "14 exact, 2 near",
        "scripts": "Latin 97 %, Han 2 %, Cyrillic 1 %",
        "tokens": "1,310, 50 % learnt",
        "longest": "700 tokens, data.jsonl:2",
        "shortest": "10 tokens, data.jsonl:1",
        "cut at 512": "2 rows, 276 tokens (21 %)",
    }


def test_without_tokens_there_are_no_token_figures() -> None:
    assert "tokens" not in dict(figures(replace(REPORT, lengths=None)))


def test_nothing_cut_is_said_as_well() -> None:
    assert dict(figures(reports.at_length(REPORT, 1024)))["cut at 1,024"] == "nothing"


def test_rows_not_to_be_learnt_from_and_leaks() -> None:
    found = dict(figures(replace(REPORT, bad=0, left_out=500, leak=3, exact=0, near=0, same_prompt=8)))
    assert found["rows"] == "1,000, 500 not to be learnt"
    assert found["leak"] == "3 validation rows stand in training too"
    assert found["duplicates"] == "8 same prompt"


def test_data_that_a_run_refuses_have_no_split() -> None:
    assert "split" not in dict(figures(replace(REPORT, refusal="too many")))
    assert replace(REPORT, refusal="too many").refused == "too many"


def test_rows_that_the_cut_empties_count_as_bad() -> None:
    few = replace(REPORT, rows=100, used=100, bad=0, problems=())
    assert few.refused == ""
    emptied = replace(few, lengths=lengths(100, 200, begin=50, refused=1), max_length=20)
    assert emptied.refused.startswith("/data/chats.jsonl: 3 of 100 rows can't be used, more than 1%: ")
    assert "1 is refused by the chat template, 2 keep no answer within 20 tokens (data.jsonl:9: no)" in emptied.refused
    assert emptied.refused.endswith("; raise max length to 64, mend or remove them, or allow more with --allow-bad 3%.")
    assert "; mend or remove them, " in replace(emptied, rows=99).refused  # the one that is refused is too many
    assert replace(emptied, allow_bad=0.05).refused == ""
    assert dict(figures(emptied))["then empty"] == "2 rows: no answer is left"
    assert dict(figures(emptied))["refused"] == "1 by the chat template"


def test_where_no_max_length_helps_the_models_own_is_named() -> None:
    emptied = replace(REPORT, lengths=lengths(*[9000] * 30, begin=8000, limit=1024), max_length=512)
    said = "30 keep no answer within 512 tokens and 30 none within the 1,024 that the model has"
    assert said in emptied.refused
    assert "raise" not in emptied.refused


def test_rows_that_are_lost_are_no_longer_in_the_split() -> None:
    emptied = replace(REPORT, lengths=lengths(*[100] * 90, *[200] * 10, begin=50, refused=10), max_length=20)
    found = dict(figures(emptied))
    assert emptied.lost == emptied.fields()["lost"] == 110
    assert found["split"] == "about 798 training + 89 validation"
    assert found["steps"] == "about 200 per epoch of batch size 4"
    own = dict(figures(replace(emptied, own_eval=True)))
    assert own["split"] == "about 787 training + 100 validation"


def test_a_place_in_few_words() -> None:
    assert reports.where(REPORT, "/data/chats.jsonl:12") == "line 12"
    assert reports.where(REPORT, "/data/other.jsonl:12") == "other.jsonl:12"


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.0, "0 %"), (1.0, "100 %"), (0.97, "97 %"), (0.004, "0.4 %"), (0.0000001, "0.1 %"), (0.9999, "99.9 %"),
     (0.015, "2 %")],
)  # fmt: skip
def test_shares_are_never_rounded_to_all_or_nothing(share: float, said: str) -> None:
    assert percent(share) == said


def test_how_files_are_read_is_said_behind_why() -> None:
    assert reports.reason(REPORT) == "all 1000 rows looked at have messages"
    said = reports.reason(replace(REPORT, how="csv, gz: cells are separated by semicolons"))
    assert said == "all 1000 rows looked at have messages; read as csv, gz: cells are separated by semicolons"


def test_json_and_back() -> None:
    assert from_fields(json.loads(json.dumps(REPORT.fields()))) == REPORT
    assert from_fields(json.loads(json.dumps(Report("x").fields()))) == Report("x")


def test_for_machines_everything_is_worked_out() -> None:
    found = json.loads(json.dumps(REPORT.fields()))
    assert found["total_steps"] == 675
    assert found["lengths"]["cut"] == {"rows": 2, "tokens": 276, "nothing_left": 0, "at": 512}
    assert found["lengths"]["tokens"] == 1310
    assert found["refused"] == ""


@pytest.mark.parametrize("width", [1, 12, 29, 50, 100])
@pytest.mark.parametrize("height", [3, 6, 9, 20])
def test_bars_fit(width: int, height: int) -> None:
    found = bars(lengths(*range(3, 9000, 11)), 512, width, height)
    assert 0 < len(found) <= height
    assert max(map(len, found)) <= width


def test_bars_are_as_long_as_rows_are_many_and_the_cut_is_drawn() -> None:
    drawn = bars(lengths(*[100] * 400, *[200] * 200, 400, 3000), 512, 40, 9)
    long, half, sliver = (2 * line.count("█") + line.count("▌") for line in drawn[:3])
    assert half == pytest.approx(long / 2, abs=1)
    assert sliver == 1  # one row of four hundred is less than that, and still there
    cut = next(at for at, line in enumerate(drawn) if "cut at 512" in line)
    assert drawn[cut - 1].split()[0] == "512"
    assert drawn[-1].endswith(" 1")


def test_no_rows_no_bars() -> None:
    assert bars(replace(lengths(1), by_length={}), 512, 40, 9) == ()


def test_scripts_at_a_glance() -> None:
    text = "hello world " * 20 + "漢字かなカナ" + "привет" + "αβγ" + "12345 !? 🙂" + "한국어" + "ﬀ"
    found = dict(shares(count(Counter(text))))
    assert set(found) == {"Latin", "Han", "Kana", "Cyrillic", "Greek", "Hangul"}
    assert sum(found.values()) == pytest.approx(1.0)
    assert next(iter(found)) == "Latin"


def test_no_letters_no_scripts() -> None:
    assert shares(count(Counter("123 🙂 !?"))) == ()


def test_rare_scripts_are_put_together() -> None:
    assert scripts([("Latin", 0.9), ("Han", 0.05), ("Thai", 0.02), ("Greek", 0.02), ("Kana", 0.01)]) == (
        "Latin 90 %, Han 5 %, Thai 2 %, Greek 2 %, others 1 %"
    )
