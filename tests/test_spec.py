"""The one declaration of every knob: what it accepts, what it says, what is written to TOML and read back."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from tests.keys import CANARIES
from trainer import spec as specs
from trainer.spec import GROUP_TITLES, KNOBS, Knob, RunSpec, SpecError, Value

MAIN = ("epochs", "batch_size", "learning_rate")
NUMBERS = [knob for knob in KNOBS.values() if knob.kind in ("int", "float")]
INTS = [knob for knob in NUMBERS if knob.kind == "int"]


def kind_of(raw: object) -> str:
    """A test's id; not the value, which may be endless."""
    return type(raw).__name__


def problem(name: str, raw: object) -> str:
    """The sentence for a raw value that must be refused."""
    with pytest.raises(SpecError) as caught:
        specs.parse(name, raw)
    assert set(caught.value.problems) == {name}
    return caught.value.problems[name]


def test_the_three_hyperparameters_come_first() -> None:
    assert tuple(KNOBS)[:3] == MAIN
    assert [name for name, knob in KNOBS.items() if knob.group == "main"] == list(MAIN)


@pytest.mark.parametrize("knob", KNOBS.values(), ids=lambda knob: knob.name)
def test_every_knob_is_declared_completely(knob: Knob) -> None:
    assert knob.label
    assert knob.label == knob.label.strip()
    assert knob.help.endswith(".")
    assert knob.group == "main" or knob.group in GROUP_TITLES
    assert knob.flag == "--" + knob.name.replace("_", "-")
    assert specs.parse(knob.name, knob.default) == knob.default
    if knob.kind in ("int", "float"):
        assert knob.low is not None
        assert knob.high is not None
        assert knob.low < knob.high
        assert knob.bounds
    if knob.kind == "choice":
        assert knob.default in knob.choices
        assert knob.bounds == ", ".join(knob.choices)


@pytest.mark.parametrize("name", MAIN)
def test_the_three_have_a_unit_two_sentences_and_a_ladder(name: str) -> None:
    knob = KNOBS[name]
    assert len(re.findall(r"[.!?](?:\s|$)", knob.help)) == 2
    assert re.search(r"too (few|low|small)", knob.help, re.IGNORECASE)
    assert re.search(r"too (many|high|large)", knob.help, re.IGNORECASE)
    assert knob.unit
    assert knob.ladder


def test_the_defaults_are_the_promised_ones() -> None:
    spec = RunSpec()
    assert (spec.epochs, spec.batch_size, spec.learning_rate) == (5, 4, 1e-3)


@pytest.mark.parametrize("raw", ["1e-4", "0.0001", "1E-4", " 1e-4 ", "10e-5", 1e-4])
def test_a_learning_rate_can_be_typed_in_many_ways(raw: object) -> None:
    assert specs.parse("learning_rate", raw) == 1e-4


@pytest.mark.parametrize(
    "raw",
    ["0", 0, "-1e-3", "1.5", "abc", "", " ", "1,5", "1e", "0x1", "nan", "inf", "-inf", "1e999", "1e-400",
     math.nan, math.inf, True, False, None, [1e-3], {"a": 1}, b"1", 10**400, "9" * 5000, int("f" * 5000, 16)],
    ids=kind_of,
)  # fmt: skip
def test_a_learning_rate_that_is_none_is_refused_in_one_sentence(raw: object) -> None:
    said = problem("learning_rate", raw)
    assert said.startswith("Learning rate must be a number above 0 up to 1, ")
    assert said.endswith(".")
    assert len(said) < 150
    assert "\n" not in said


@pytest.mark.parametrize(("raw", "value"), [("5", 5), (" 5 ", 5), ("+5", 5), (5, 5), (5.0, 5), ("5.0", 5)])
def test_a_whole_number_can_be_typed(raw: object, value: int) -> None:
    parsed = specs.parse("epochs", raw)
    assert parsed == value
    assert type(parsed) is int


@pytest.mark.parametrize(
    "raw", ["0", "-1", "5.5", 5.5, "five", "", True, math.nan, math.inf, None, 10**5000, "1001"], ids=kind_of
)
@pytest.mark.parametrize("name", ["epochs", "batch_size"])
def test_a_count_below_one_or_not_whole_is_refused(name: str, raw: object) -> None:
    if name == "batch_size" and raw == "1001":
        raw = "4097"
    said = problem(name, raw)
    assert said.startswith(f"{KNOBS[name].label} must be a whole number from 1 to ")


@pytest.mark.parametrize("raw", ["5%", " 5 % ", "0.05", 0.05, "5e-2"])
def test_a_share_can_be_typed_in_percent(raw: object) -> None:
    assert (specs.parse("allow_bad", raw), specs.parse("eval_share", raw)) == (0.05, 0.05)


@pytest.mark.parametrize(("name", "raw"), [("allow_bad", "101%"), ("allow_bad", "%"), ("learning_rate", "5%")])
def test_percent_are_of_something_and_at_most_all_of_it(name: str, raw: str) -> None:
    with pytest.raises(specs.SpecError):
        specs.parse(name, raw)


def test_an_empty_field_is_said_to_be_empty() -> None:
    assert problem("epochs", "") == "Epochs must be a whole number from 1 to 1000, but it is empty."


@pytest.mark.parametrize("knob", NUMBERS, ids=lambda knob: knob.name)
def test_bounds_are_included_unless_they_say_above(knob: Knob) -> None:
    assert knob.low is not None
    assert knob.high is not None
    assert specs.parse(knob.name, knob.high) == knob.high
    if knob.above_low:
        assert problem(knob.name, knob.low)
    else:
        assert specs.parse(knob.name, knob.low) == knob.low
    assert problem(knob.name, knob.low - 1)
    assert problem(knob.name, knob.high + 1)


@pytest.mark.parametrize("raw", ["a\nb", "a\x1b[31mb", "\x00", "a\tb", "\ud800", 5, None, ["x"], True])
@pytest.mark.parametrize("name", ["name", "model", "data", "eval_data"])
def test_text_is_one_line_without_control_characters(name: str, raw: object) -> None:
    said = problem(name, raw)
    assert said.startswith(f"{KNOBS[name].label} must be text on one line, ")
    assert not re.search(r"[\x00-\x1f]", said)


def test_text_is_stripped_and_may_hold_any_letters() -> None:
    assert specs.parse("data", "  /data/größe 数据.jsonl ") == "/data/größe 数据.jsonl"


def test_a_choice_names_the_choices() -> None:
    assert problem("optimizer", "lion") == ("Optimizer must be one of adamw, adam, adagrad, rmsprop, sgd, not 'lion'.")


def test_a_long_wrong_value_is_cut_in_the_sentence() -> None:
    assert len(problem("epochs", "x" * 10_000)) < 150


def test_every_wrong_field_is_named_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        specs.make({"epochs": 0, "learning_rate": "fast", "batch_size": 8, "speed": 3})
    assert set(caught.value.problems) == {"epochs", "learning_rate", "speed"}
    assert caught.value.problems["speed"] == "There is no setting called 'speed'."


def test_a_spec_can_not_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        RunSpec().epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.001, "1e-3"), (1e-4, "1e-4"), (2.5e-5, "2.5e-5"), (0.05, "0.05"), (5.0, "5"), (0.0, "0"), (32.0, "32"),
        (1e-8, "1e-8"), (0.1, "0.1"), (7, "7"), ("cosine", "cosine"), (1 / 3, "0.333333333333"),
    ],
)  # fmt: skip
def test_show_writes_a_value_as_a_person_would(value: Value, shown: str) -> None:
    assert specs.show(value) == shown


@pytest.mark.parametrize("knob", NUMBERS, ids=lambda knob: knob.name)
def test_what_is_shown_can_be_typed_again(knob: Knob) -> None:
    assert specs.parse(knob.name, specs.show(knob.default)) == pytest.approx(knob.default)


def test_the_learning_rate_steps_on_a_1_3_10_ladder() -> None:
    rates = [1e-4]
    for _ in range(4):
        rates.append(float(specs.step("learning_rate", rates[-1], True)))
    assert rates == pytest.approx([1e-4, 3e-4, 1e-3, 3e-3, 1e-2])
    for expected in (3e-3, 1e-3, 3e-4, 1e-4):
        rates.append(float(specs.step("learning_rate", rates[-1], False)))
        assert rates[-1] == pytest.approx(expected)


def test_a_rate_between_two_rungs_goes_to_the_next_one() -> None:
    assert specs.step("learning_rate", 2e-4, True) == pytest.approx(3e-4)
    assert specs.step("learning_rate", 2e-4, False) == pytest.approx(1e-4)


def test_the_batch_size_steps_through_powers_of_two() -> None:
    sizes = [1]
    while (larger := specs.step("batch_size", sizes[-1], True)) != sizes[-1]:
        sizes.append(int(larger))
    assert sizes == [2**power for power in range(13)]
    assert specs.step("batch_size", 6, True) == 8
    assert specs.step("batch_size", 6, False) == 4


@pytest.mark.parametrize("knob", [knob for knob in NUMBERS if knob.ladder], ids=lambda knob: knob.name)
def test_ladders_stay_within_the_bounds(knob: Knob) -> None:
    assert knob.low is not None
    assert knob.high is not None
    for up in (True, False):
        value: Value = knob.default
        for _ in range(1100):
            value = specs.step(knob.name, float(value), up)
        assert specs.parse(knob.name, value) == value
        assert specs.step(knob.name, float(value), up) == value


def test_every_field_survives_toml() -> None:
    spec = RunSpec(
        epochs=3, batch_size=16, learning_rate=3e-5, model="/m/mit Größe", data='we"ird\\path', eval_share=0.25,
        method="lora", lora_rank=8, schedule="cosine", optimizer="sgd", keep="last", seed=2**32 - 1, name="x",
    )  # fmt: skip
    text = specs.to_toml(spec)
    assert set(tomllib.loads(text)) == set(KNOBS)
    assert specs.make(specs.from_toml(text, "f.toml")) == spec


def test_a_part_of_a_spec_is_read_as_a_part() -> None:
    assert specs.from_toml("epochs = 3\nlearning_rate = 1e-5", "f.toml") == {"epochs": 3, "learning_rate": 1e-5}


@pytest.mark.parametrize(
    "text",
    ["epochs = ", "epochs = 3\nepochs = 4", "\x00", "[", "epochs = " + "9" * 5000, "a = " + "[" * 5000, "= 1", "a"],
    ids=["half", "twice", "nul", "bracket", "digits", "nested", "no-key", "bare"],
)
def test_broken_toml_is_one_sentence_that_names_the_file(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        specs.from_toml(text, Path("/p/mine.toml"))
    said = str(caught.value)
    assert said.startswith("/p/mine.toml is not TOML: ")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("epochs = true", "epochs"), ("learning_rate = nan", "learning_rate"), ("learning_rate = inf", "learning_rate"),
        ("[epochs]\na = 1", "epochs"), ("epochs = 2026-01-01", "epochs"), ('name = "a\\u001bb"', "name"),
        ("epochs = 0x" + "f" * 5000, "epochs"), ("data = ['a', 'b']", "data"), ("speed = 1", "speed"),
    ],
)  # fmt: skip
def test_wrong_values_in_toml_name_the_file_and_the_field(text: str, field: str) -> None:
    with pytest.raises(SpecError) as caught:
        specs.from_toml(text, "mine.toml")
    assert set(caught.value.problems) == {field}
    assert caught.value.problems[field].startswith("mine.toml: ")


# --- keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [key for name, key in CANARIES.items() if name != "WANDB_API_KEY"])
@pytest.mark.parametrize("name", ["model", "data", "name", "epochs", "learning_rate", "optimizer"])
def test_a_value_that_looks_like_a_key_is_refused_and_not_repeated(name: str, key: str) -> None:
    said = problem(name, f" {key}")
    assert said == (
        f"{KNOBS[name].label} holds what looks like a key or password: keys are taken from the environment (HF_TOKEN, "
        "GEMINI_API_KEY), never from settings."
    )


def test_a_setting_that_is_none_is_not_repeated_where_it_is_a_key() -> None:
    with pytest.raises(SpecError) as caught:
        specs.read({CANARIES["HF_TOKEN"]: 1})
    assert str(caught.value) == "There is no setting called '[key removed]'."


def test_a_spec_can_not_be_made_with_a_key() -> None:
    with pytest.raises(SpecError, match="looks like a key"):
        RunSpec(name=CANARIES["GEMINI_API_KEY"])
