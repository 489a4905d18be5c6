"""The starter data set keeps its shape, its voice and its bounds."""

import difflib
import itertools
import json
import re
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "presets" / "codephreak.jsonl"
LINES = DATA.read_text(encoding="utf-8").splitlines()

Message = dict[str, str]


def messages(line: str) -> list[Message]:
    row = json.loads(line)
    assert isinstance(row, dict)
    assert list(row) == ["messages"]
    turns = row["messages"]
    assert isinstance(turns, list)
    return turns


ROWS = [messages(line) for line in LINES]
QUESTIONS = [turn["content"] for row in ROWS for turn in row if turn["role"] == "user"]
ANSWERS = [turn["content"] for row in ROWS for turn in row if turn["role"] == "assistant"]


def normal(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip() or text


def alike(left: str, right: str, limit: float) -> bool:
    matcher = difflib.SequenceMatcher(None, left, right)
    upper_bounds = (matcher.real_quick_ratio, matcher.quick_ratio)
    return all(bound() > limit for bound in upper_bounds) and matcher.ratio() > limit


def test_counts_are_in_bounds() -> None:
    assert 290 <= len(ROWS) <= 320
    two_turn = sum(sum(turn["role"] == "user" for turn in row) == 2 for row in ROWS)
    assert 0.08 <= two_turn / len(ROWS) <= 0.16
    with_system = sum(row[0]["role"] == "system" for row in ROWS)
    assert 8 <= with_system <= 14


def test_every_row_has_the_shape_of_a_conversation() -> None:
    for row in ROWS:
        for turn in row:
            assert list(turn) == ["role", "content"]
            assert isinstance(turn["content"], str)
            assert turn["content"] == turn["content"].strip() != ""
            assert turn["content"].replace("\n", "").isprintable()
        roles = [turn["role"] for turn in row]
        if roles[0] == "system":
            del roles[0]
        assert roles in (["user", "assistant"], ["user", "assistant"] * 2)


def test_no_row_is_long() -> None:
    assert max(sum(len(turn["content"]) for turn in row) for row in ROWS) <= 900


def test_the_file_ends_with_a_line_end_and_has_no_blank_line() -> None:
    assert DATA.read_bytes().endswith(b"}\n")
    assert all(LINES)


def test_no_question_is_asked_twice() -> None:
    asked = sorted(question.lower() for question in QUESTIONS)
    assert [left for left, right in itertools.pairwise(asked) if left == right] == []


def test_no_two_questions_are_nearly_the_same() -> None:
    texts = [normal(question) for question in QUESTIONS]
    pairs = itertools.combinations(texts, 2)
    assert [pair for pair in pairs if alike(*pair, limit=0.9)] == []


def test_no_answer_is_given_twice() -> None:
    assert len({answer.lower() for answer in ANSWERS}) == len(ANSWERS)


def test_answers_are_terse() -> None:
    assert max(len(answer) for answer in ANSWERS) <= 300
    assert max(answer.count("\n") + 1 for answer in ANSWERS) <= 6
    assert sum(map(len, ANSWERS)) / len(ANSWERS) <= 140


@pytest.mark.parametrize(
    "habit",
    [
        r"```",
        r"^(sure|certainly|of course|absolutely|hello|hi\b|hey|great question)",
        r"\b(i hope|happy to help|feel free|let me know|as an ai)\b",
        r"[^\x00-\x7f]",
    ],
)
def test_the_voice_has_no_such_habit(habit: str) -> None:
    found = [answer for answer in ANSWERS if re.search(habit, answer, re.IGNORECASE)]
    assert found == []


def test_some_rows_tell_who_is_speaking() -> None:
    assert sum("Codephreak" in answer for answer in ANSWERS) >= 4


def test_dangerous_commands_carry_a_guard() -> None:
    for answer in ANSWERS:
        assert not re.search(r"rm -[a-z]*r[a-z]* +(-- +)?[/~*.]", answer)
        for removal in re.findall(r"rm -rf.*", answer):
            assert ":?" in removal or "trap" in answer
        if re.search(r"\bdd if=", answer):
            assert "of=/dev/sdX" in answer
            assert "Check of=" in answer
        if re.search(r"find .*-delete", answer):
            assert "-print" in answer


def test_hosts_are_examples() -> None:
    for answer in ANSWERS:
        for host in re.findall(r"https?://([^/\s'\"]+)", answer):
            assert host in {"example.com", "localhost"}
        for address in re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", answer):
            assert address.startswith("192.0.2.")
