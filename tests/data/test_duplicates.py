"""What says the same: exactly, by its letters alone, by most of its pieces; and what only begins the same."""

from __future__ import annotations

import random
from array import array

import pytest

from trainer.data import Conversation, Message, duplicates, near
from trainer.data.duplicates import Duplicates, Finder, distinct, first_of_each, leaks, letters
from trainer.data.near import Sketches

WORDS = ("file", "list", "count", "lines", "where", "disk", "space", "show", "hidden", "all", "of", "the", "in", "a")


def chat(question: str, answer: str, *more: str, learn: bool = True) -> Conversation:
    turns = [Message("user", question), Message("assistant", answer, learn)]
    turns += [Message("user" if n % 2 == 0 else "assistant", text) for n, text in enumerate(more)]
    return Conversation(tuple(turns))


def found(*talks: Conversation, close: bool = True) -> Duplicates:
    finder = Finder(Sketches() if close else None)
    finder.add(talks)
    return finder.found()


def counts(*talks: Conversation) -> tuple[int, int, int]:
    same = found(*talks)
    return same.exact, same.near, same.same_prompt


def prose(seed: int, words: int = 120) -> str:
    drawing = random.Random(seed)
    return " ".join(drawing.choice(WORDS) + str(drawing.randrange(1000)) for _ in range(words))


def changed(text: str, words: int, seed: int = 0) -> str:
    """With so many of its words replaced."""
    drawing = random.Random(seed)
    parts = text.split()
    for place in drawing.sample(range(len(parts)), words):
        parts[place] = f"other{drawing.randrange(10**6)}"
    return " ".join(parts)


def test_rows_that_are_all_different_have_no_groups() -> None:
    same = found(*[chat(f"question {n}", f"answer {n}") for n in range(100)])
    assert (same.exact, same.near, same.same_prompt, len(same.leaders)) == (0, 0, 0, 0)


def test_the_same_conversation_counts_once_for_each_repetition() -> None:
    assert counts(chat("q", "a"), chat("q", "a"), chat("p", "a"), chat("q", "a")) == (2, 0, 0)


def test_groups_are_led_by_their_first_row() -> None:
    same = found(chat("q", "a"), chat("x", "y"), chat("Q", "A!"), chat("x", "y"), chat("z", "z"))
    assert list(same.leaders) == [0, 1, 0, 1, 4]
    assert found(chat("q", "a"), chat("x", "y"), chat("Q", "A"), chat("x", "y"), close=False).leaders == array(
        "q", [0, 1, 2, 1]
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I list files?", "how do i LIST files"),
        ("a  b\n\nc", "a b c"),
        ("don't", "don’t"),
        ("“Größe”", "GRÖSSE"),
        ("Привет, мир!", "привет мир"),
        ("你好，世界。", "你好世界"),
        ("ＡＢＣ！", "ａｂｃ"),
    ],
)
def test_case_space_and_signs_make_no_difference(one: str, other: str) -> None:
    assert counts(chat(one, "a"), chat(other, "a")) == (0, 1, 0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (chat("ab", "c"), chat("a", "bc")),  # letters don't wander between messages
        (chat("q", "a"), chat("q", "a", "q", "a")),
        (chat("café", "a"), chat("cafe", "a")),
        (chat("1.5", "a"), chat("25", "a")),
        (chat("q", "你好"), chat("q", "您好")),
        (Conversation((), text="one"), Conversation((), text="two")),
    ],
)
def test_other_letters_are_another_text(one: Conversation, other: Conversation) -> None:
    assert counts(one, other)[:2] == (0, 0)


@pytest.mark.parametrize(
    "other",
    [
        Conversation((Message("system", "q"), Message("assistant", "a"))),
        chat("q", "a", learn=False),
        Conversation(chat("q", "a").messages, tools=({"type": "function", "function": {"name": "f"}},)),
    ],
    ids=["role", "not learnt", "tools"],
)
def test_exact_is_more_than_the_words(other: Conversation) -> None:
    assert counts(chat("q", "a"), other)[:2] == (0, 1)


def test_tool_calls_are_words_too() -> None:
    calls = [Message("assistant", "", tool_calls=({"function": {"name": name, "arguments": {}}},)) for name in "fgf"]
    assert counts(*[Conversation((Message("user", "q"), call)) for call in calls])[:2] == (1, 0)


def test_signs_count_where_there_is_nothing_else() -> None:
    assert counts(chat("?", "!"), chat("!", "?"), chat("?", "!")) == (1, 0, 0)


def test_the_same_prompt_with_another_answer() -> None:
    assert counts(chat("q", "a"), chat("q", "b"), chat("q", "c"), chat("q", "a")) == (1, 0, 2)
    assert counts(chat("q", "a", "more", "b"), chat("q", "a", "more", "c")) == (0, 0, 1)
    assert counts(Conversation((), text="a"), Conversation((), text="b")) == (0, 0, 0)


@pytest.mark.parametrize("words", [1, 2, 3])
def test_a_long_text_with_some_words_changed_is_near(words: int) -> None:
    texts = [prose(n) for n in range(30)]
    talks = [chat("go on", text) for text in texts] + [chat("go on", changed(text, words)) for text in texts]
    same = found(*talks)
    assert (same.exact, same.near) == (0, 30)
    assert list(same.leaders) == [*range(30), *range(30)]


@pytest.mark.parametrize("words", [40, 80])
def test_a_text_with_a_third_of_its_words_changed_is_another_one(words: int) -> None:
    texts = [prose(n) for n in range(30)]
    same = found(*[chat("go on", text) for text in (*texts, *(changed(text, words) for text in texts))])
    assert same.near == 0


def test_near_goes_on_from_row_to_row() -> None:
    """Each is near the one before it, so all are one group, and none is torn from its neighbour."""
    texts = [prose(1)]
    for step in range(6):
        texts.append(changed(texts[-1], 3, seed=step))
    assert len(set(found(*[chat("q", text) for text in texts]).leaders)) == 1


def test_short_texts_are_near_by_their_letters_only() -> None:
    same = found(chat("Where am I? (7)", "pwd tells you"), chat("Where am I? (8)", "pwd tells you"))
    assert (same.exact, same.near) == (0, 0)


def test_a_long_prompt_in_many_rows_makes_no_copies_of_them() -> None:
    prompt = prose(1, 400)
    same = found(*[chat(f"{prompt} {n}", f"answer {n}") for n in range(300)], *[chat("q", prose(n)) for n in range(5)])
    assert same.near == 0
    assert "300 rows share most of a long prompt" in same.note


def test_a_very_long_text_is_compared_by_its_beginning() -> None:
    text = " ".join(prose(n) for n in range(300))
    assert len(text) > near.ROOM
    assert found(chat("q", text), chat("q", text + " and more"), chat("q", text[::-1])).near == 1


def test_the_same_rows_are_found_in_whatever_batches_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    talks = [chat("q", changed(prose(n % 40), n % 7, n)) for n in range(120)]
    leaders = found(*talks).leaders
    monkeypatch.setattr(near, "ROOM", 3000)
    assert found(*talks).leaders == leaders


def test_what_could_not_be_looked_at_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "MOST_ROWS", 10)
    same = found(*[chat("q", prose(n % 15)) for n in range(30)])
    assert same.exact == 15
    assert same.note == "near duplicates were looked for among the first 10 longer rows only"
    assert len(set(same.leaders)) == 15  # those that are exact are still together


def test_leaks_are_counted_by_the_validation_rows() -> None:
    training = found(chat("q", "a"), chat("x", "y"))
    validation = found(chat("Q.", "A."), chat("q", "a"), chat("z", "z"))
    assert leaks(training, validation) == 2
    assert leaks(validation, training) == 1


def test_many_rows_are_counted_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = random.Random(4)
    values = array("q", [drawing.randrange(-(2**63), 2**63) if n % 3 else n % 50 for n in range(3000)])
    few = distinct(values), first_of_each(values)
    monkeypatch.setattr(duplicates, "MANY", 10)
    assert (distinct(values), first_of_each(values)) == few
    assert (distinct(array("q")), len(first_of_each(array("q")))) == (0, 0)


def test_letters_are_utf8_in_lower_case() -> None:
    assert letters("Ab, c\x1f1.0 É!") == "abc\x1f10é".encode()
