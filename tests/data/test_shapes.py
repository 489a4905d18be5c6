"""Which shape rows have and why, what a row of each shape becomes, and the sentence for rows of none or of several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.data.errors import DataError
from trainer.data.messages import Call, Conversation, LeftOut, Message, RowError
from trainer.data.shapes import PAIRS, SHAPES, conversation, detect, shape_of

Row = dict[str, Any]
SHARED = Path(__file__).parents[3] / "shared" / "data"
TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}


def message(role: str, content: object = "x") -> Row:
    return {"role": role, "content": content}


def said(who: str, value: str = "x") -> Row:
    return {"from": who, "value": value}


def call(name: str, **arguments: object) -> Call:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def whole(row: Row, columns: str = "") -> Conversation:
    shape = detect([row], columns)
    assert shape is not None
    return conversation(row, shape)


def read(row: Row, columns: str = "") -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in whole(row, columns).messages]


QA = [("user", "q"), ("assistant", "a")]
CHAT = [message("user", "q"), message("assistant", "a")]


@pytest.mark.parametrize(
    ("row", "name", "expected"),
    [
        ({"messages": CHAT}, "messages", QA),
        ({"messages": CHAT, "system": "s"}, "messages", [("system", "s"), *QA]),
        ({"messages": [message("system", "s"), *CHAT], "system": "s"}, "messages", [("system", "s"), *QA]),
        ({"conversations": [said("human", "q"), said("gpt", "a")]}, "conversations", QA),
        ({"conversations": CHAT, "system": "s"}, "conversations", [("system", "s"), *QA]),
        ({"instruction": "q", "input": "", "output": "a"}, "instruction/input/output", QA),
        ({"instruction": "q", "input": None, "output": "a"}, "instruction/input/output", QA),
        ({"instruction": "q", "output": "a"}, "instruction/input/output", QA),
        ({"instruction": "q", "input": "i", "output": "a"}, "instruction/input/output",
         [("user", "q\n\ni"), ("assistant", "a")]),
        ({"instruction": "q", "input": "", "output": "a", "system": "s", "history": [["q1", "a1"], ["q2", "a2"]]},
         "instruction/input/output",
         [("system", "s"), ("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("assistant", "a2"), *QA]),
        ({"instruction": "q", "context": "c", "response": "a"}, "instruction/response",
         [("user", "q\n\nc"), ("assistant", "a")]),
        ({"prompt": "q", "completion": "a"}, "prompt/completion", QA),
        ({"prompt": [message("system", "s"), message("user", "q")], "completion": [message("assistant", "a")]},
         "prompt/completion", [("system", "s"), *QA]),
        ({"prompt": "q", "completion": [message("assistant", "a")]}, "prompt/completion", QA),
        ({"prompt": "q", "response": "a"}, "prompt/response", QA),
        ({"question": "q", "answer": "a"}, "question/answer", QA),
        ({"context": "c", "question": "q", "answer": "a"}, "question/answer", [("user", "c\n\nq"), ("assistant", "a")]),
        ({"question": "q", "answers": ["a", "b"]}, "question/answers", QA),
        ({"question": "q", "answers": {"text": ["a", "b"], "answer_start": [1, 2]}}, "question/answers", QA),
        ({"system_prompt": "s", "question": "q", "response": "a"}, "question/response", [("system", "s"), *QA]),
        ({"query": "q", "response": "a"}, "query/response", QA),
        ({"problem": "q", "solution": "a"}, "problem/solution", QA),
        ({"input": "q", "output": "a"}, "input/output", QA),
        ({"text_input": "q", "output": "a"}, "text_input/output", QA),
        ({"contents": [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": [{"text": "a"}]}],
          "systemInstruction": {"role": "system", "parts": [{"text": "s"}]}}, "contents", [("system", "s"), *QA]),
    ],
)  # fmt: skip
def test_each_shape_is_named_and_becomes_a_conversation(row: Row, name: str, expected: list[tuple[str, str]]) -> None:
    shape = detect([row])
    assert shape is not None
    assert shape.name == name
    assert read(row) == expected


def test_raw_text_is_a_conversation_without_messages() -> None:
    shape = detect([{"text": "x", "url": "u"}])
    assert shape is not None
    assert (shape.name, shape.why) == ("text", "all 1 rows looked at have text; not used: url")
    assert conversation({"text": "x"}, shape) == Conversation((), text="x")


def test_every_pair_is_read() -> None:
    for question, answer, *_ in PAIRS:
        assert read({question: "q", answer: "a"}) == QA


def test_tools_and_calls_in_openais_way() -> None:
    row = {
        "messages": [
            message("user", "q"),
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1", **call("look", at="sky")}]},
            message("tool", "blue"),
            message("assistant", "Blue."),
        ],
        "tools": json.dumps([TOOL]),
    }
    shape = detect([row])
    assert shape is not None
    assert shape.name == "messages with tools"
    talk = conversation(row, shape)
    assert talk.tools == (TOOL,)
    assert talk.messages[1] == Message("assistant", "", tool_calls=(call("look", at="sky"),))


@pytest.mark.parametrize("key", ["tools", "functions"])
def test_tools_in_sharegpts_way(key: str) -> None:
    row = {
        "conversations": [
            said("human", "q"),
            said("function_call", '{"name": "look", "arguments": {"at": "sky"}}'),
            said("observation", "blue"),
            said("gpt", "Blue."),
        ],
        key: '[{"name": "look", "parameters": {}}]',
    }
    talk = whole(row)
    assert talk.tools == (TOOL,)
    assert [m.role for m in talk.messages] == ["user", "assistant", "tool", "assistant"]
    assert talk.messages[1].tool_calls == (call("look", at="sky"),)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, QA),
        ({"prompt": "q", "chosen": CHAT, "rejected": CHAT}, QA),
        ({"prompt": "q", "chosen": [message("assistant", "a")], "rejected": [message("assistant", "b")]}, QA),
        ({"prompt": [message("user", "q")], "chosen": [message("assistant", "a")], "rejected": []}, QA),
        ({"chosen": CHAT, "rejected": CHAT}, QA),
        ({"instruction": "q", "input": "i", "chosen": "a", "rejected": "b"}, [("user", "q\n\ni"), ("assistant", "a")]),
        ({"conversations": [said("human", "q")], "chosen": said("gpt", "a"), "rejected": said("gpt", "b")}, QA),
        ({"messages": [message("user", "q")], "chosen": message("assistant", "a"), "rejected": message("assistant")},
         QA),
        ({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}, QA),
    ],
)  # fmt: skip
def test_the_chosen_side_of_a_preference_set_is_offered_in_words(row: Row, expected: list[tuple[str, str]]) -> None:
    shape = detect([row])
    assert shape is not None
    assert shape.name == "chosen/rejected"
    assert "a preference set: training on the chosen answers" in shape.why
    assert read(row) == expected


def test_a_chosen_text_without_a_prompt_is_a_bad_row() -> None:
    with pytest.raises(RowError, match="chosen is text and there is no prompt beside it"):
        whole({"chosen": "a", "rejected": "b"})


@pytest.mark.parametrize(("tag", "yes", "no"), [("label", True, False), ("kto_tag", "true", "False")])
@pytest.mark.parametrize("row", [{"messages": CHAT}, {"prompt": "q", "completion": "a"}])
def test_a_kto_set_leaves_out_its_bad_answers(row: Row, tag: str, yes: object, no: object) -> None:
    good, bad = {**row, tag: yes}, {**row, tag: no}
    shape = detect([good, bad])
    assert shape is not None
    assert f"a KTO set: training on the rows whose {tag} is true" in shape.why
    assert [(m.role, m.content) for m in conversation(good, shape).messages] == QA
    with pytest.raises(LeftOut):
        conversation(bad, shape)
    with pytest.raises(RowError, match="is neither true nor false"):
        conversation({**row, tag: "maybe"}, shape)


def test_a_label_that_is_no_yes_or_no_makes_no_kto_set() -> None:
    shape = detect([{"prompt": "q", "completion": "a", "label": "sports"}])
    assert shape is not None
    assert shape.name == "prompt/completion"
    assert "not used: label" in shape.why


def test_why_names_the_keys_read_and_those_that_are_not() -> None:
    rows = [{"id": 1, "instruction": "q", "input": "", "output": "a", "text": "t"}] * 3 + [{"odd": 1}]
    shape = detect(rows)
    assert shape is not None
    assert shape.why == "3 of the 4 rows looked at have instruction, input, output; not used: id, text"


def test_why_says_that_only_the_first_of_several_answers_is_taken() -> None:
    shape = detect([{"question": "q", "answers": ["a"]}])
    assert shape is not None
    assert "the first of several answers is taken" in shape.why


def test_texts_are_kept_as_they_are() -> None:
    answer = "  def f():\n\treturn '数据 größe 🎉'\r\n"
    assert read({"prompt": " q\n", "completion": answer}) == [("user", " q\n"), ("assistant", answer)]


def test_columns_of_a_table_that_are_empty_count_as_not_there() -> None:
    row = {"messages": None, "prompt": "q", "completion": "a", "conversations": None, "tools": None, "system": None}
    assert read(row) == QA


@pytest.mark.parametrize(
    ("columns", "row", "expected"),
    [
        ("prompt=ask,completion=say", {"ask": "q", "say": "a"}, QA),
        ("prompt=ask,completion=say,input=i,system=s", {"ask": "q", "say": "a", "i": "i", "s": "s"},
         [("system", "s"), ("user", "q\n\ni"), ("assistant", "a")]),
        ("prompt=prompt,completion=chosen", {"prompt": "q", "chosen": "a", "rejected": "b"}, QA),
        ("messages=dialog", {"dialog": [said("human", "q"), said("gpt", "a")]}, QA),
        ("messages=dialog", {"dialog": CHAT}, QA),
        ("messages=conversations", {"messages": "other", "conversations": CHAT}, QA),
    ],
)  # fmt: skip
def test_columns_settle_what_keys_do_not(columns: str, row: Row, expected: list[tuple[str, str]]) -> None:
    assert read(row, columns) == expected


def test_columns_that_are_not_named_are_not_read() -> None:
    assert read({"ask": "q", "say": "a", "system": "s", "history": [["x", "y"]]}, "prompt=ask,completion=say") == QA


def test_columns_may_name_tools_and_text() -> None:
    assert whole({"d": CHAT, "t": [TOOL]}, "messages=d,tools=t").tools == (TOOL,)
    assert whole({"body": "x"}, "text=body") == Conversation((), text="x")


def test_the_shape_that_columns_make_says_so() -> None:
    shape = detect([{"ask": "q", "say": "a", "id": 1}], "prompt=ask,completion=say")
    assert shape is not None
    assert shape.name == "prompt=ask and completion=say"
    assert shape.why == "all 1 rows looked at have ask, say; not used: id"


def test_a_column_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(DataError, match=r"^columns: there is no column 'say': the data has ask, id\.$"):
        detect([{"ask": "q", "id": 1}], "prompt=ask,completion=say")


def test_nothing_is_no_shape() -> None:
    assert detect([]) is None


@pytest.mark.parametrize(
    ("values", "begins"),
    [
        ([{"prompt": "q"}], "the rows have the keys prompt: wanted are messages; conversations; "),
        ([{"a": 1, "b": 2}] * 3 + [{"messages": CHAT}], "the rows have the keys a, b: wanted are messages"),
        ([{}], "the rows have no keys: wanted are"),
        ([["q", "a"]], "the rows are lists and not objects: wanted are messages"),
        (["q"], "the rows are strings and not objects: wanted are"),
        ([5, None], "the rows are numbers and not objects: wanted are"),
        ([None], "the rows are null and not objects: wanted are"),
    ],
)
def test_an_unknown_shape_names_the_keys_and_what_is_wanted(values: list[object], begins: str) -> None:
    with pytest.raises(DataError) as caught:
        detect(values)
    assert str(caught.value).startswith(begins)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"messages": CHAT, "conversations": CHAT},
         "the rows can be read as messages and as conversations (they have the keys messages, conversations): "
         "say which with columns: messages=messages or messages=conversations."),
        ({"problem": "q", "solution": "a", "messages": CHAT},
         "the rows can be read as messages and as problem/solution (they have the keys problem, solution, messages): "
         "say which with columns: messages=messages or prompt=problem,completion=solution."),
        ({"prompt": "q", "completion": "a", "response": "b"},
         "the rows can be read as prompt/completion and as prompt/response (they have the keys prompt, completion, "
         "response): say which with columns: prompt=prompt,completion=completion or prompt=prompt,completion=response"
         "."),
    ],
)  # fmt: skip
def test_rows_that_are_two_things_at_once_say_how_to_settle_it(row: Row, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        detect([row])
    assert str(caught.value) == sentence
    first = sentence.rpartition("columns: ")[2].partition(" or ")[0]
    assert read(row, first) == QA


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"messages": CHAT, "images": ["a.png"]}, "an image"),
        ({"messages": [message("user", "<audio>q"), message("assistant")], "audios": ["a.wav"]}, "audio"),
        ({"messages": [message("user", [{"type": "image_url", "image_url": {"url": "u"}}]), message("assistant")]},
         "an image"),
        ({"question": "q", "answer": "a", "image": {"bytes": "..."}}, "an image"),
        ({"contents": [{"role": "user", "parts": [{"inlineData": {}}]}]}, "a file"),
    ],
)  # fmt: skip
def test_a_set_with_images_or_audio_is_refused(row: Row, what: str) -> None:
    with pytest.raises(DataError, match=f"^the rows hold {what}: only text is learnt here; give a text-only set.$"):
        detect([row] * 3)


def test_a_single_row_with_an_image_is_a_bad_row() -> None:
    with_image = {"messages": CHAT, "images": ["a.png"]}
    shape = detect([{"messages": CHAT}] * 3 + [with_image])
    assert shape is not None
    with pytest.raises(RowError, match="it holds an image, and only text is learnt here"):
        conversation(with_image, shape)


def test_no_images_are_no_images() -> None:
    assert read({"messages": CHAT, "images": [], "videos": None, "audios": ""}) == QA


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("x", "the row is not an object"),
        ({"messages": CHAT}, "the row is messages while most are prompt/completion"),
        ({"a": 1}, "the row has the keys a, not the keys of prompt/completion"),
        ({}, "the row has no keys, not the keys of prompt/completion"),
        ({"prompt": "q", "completion": ""}, "an assistant message is blank"),
        ({"prompt": "  ", "completion": "a"}, "the user's message is blank"),
        ({"prompt": "q", "completion": None}, "completion is not text"),
        ({"prompt": 5, "completion": "a"}, "prompt is not text"),
        ({"prompt": "q", "completion": "a", "system": 5}, "system is not text"),
        ({"prompt": "q", "completion": "\ud83d"}, "completion holds half a character (a surrogate without its pair)"),
        ({"prompt": "q", "completion": "a", "history": "x"},
         "history is not a list of pairs of question and answer"),
        ({"prompt": [message("system"), *CHAT[:1]], "completion": "a", "system": "s"},
         "there is one system message among the messages and another beside them"),
    ],
)  # fmt: skip
def test_a_row_that_is_not_like_the_others_says_why(row: object, why: str) -> None:
    shape = detect([{"prompt": "q", "completion": "a"}])
    assert shape is not None
    with pytest.raises(RowError) as caught:
        conversation(row, shape)
    assert str(caught.value) == why


def test_a_very_long_key_is_cut_in_the_sentence() -> None:
    shape = detect([{"prompt": "q", "completion": "a"}])
    assert shape is not None
    with pytest.raises(RowError) as caught:
        conversation({"x" * 1000: 1}, shape)
    assert len(str(caught.value)) < 120


def test_names_and_ways_to_ask_are_each_ones_own() -> None:
    assert len({shape.name for shape in SHAPES}) == len(SHAPES)
    assert shape_of({"prompt": "q"}) is None
    assert shape_of([]) is None


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data files are not here")
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("alpaca_en_demo.json", "instruction/input/output"),
        ("code_alpaca_2k.json", "instruction/input/output"),
        ("c4_demo.jsonl", "text"),
        ("dpo_en_demo.json", "chosen/rejected"),
        ("glaive_toolcall_en_demo.json", "conversations with tools"),
    ],
)
def test_real_files(file: str, name: str) -> None:
    text = (SHARED / file).read_text(encoding="utf-8")
    rows = json.loads(text) if file.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    shape = detect(rows[:200])
    assert shape is not None
    assert shape.name == name
    bad = 0
    for row in rows:
        try:
            conversation(row, shape)
        except RowError:
            bad += 1
    assert bad <= len(rows) * 0.01
