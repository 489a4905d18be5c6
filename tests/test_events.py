"""The log's lines: every event comes back as it was, and nothing else is taken for one."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import Any

import pytest

from trainer.events import (
    CheckpointFailed,
    CheckpointSaved,
    Continued,
    DataRead,
    Entry,
    Evaluated,
    Event,
    Failed,
    Finished,
    Measured,
    ModelLoaded,
    ModelSaved,
    Noted,
    NotFinite,
    Paused,
    PhaseEntered,
    Planned,
    Resumed,
    Started,
    StepTaken,
    Stopped,
    decode,
    encode,
)

EVENTS: list[Event] = [
    Started(4242, "box", "0.1.0"),
    PhaseEntered("tokenizing", 3, 270),
    Noted('a note: "quotes", \\, größe, 数据, \x1b]0;x\x07, \ud83d\nsecond line'),
    DataRead("messages", 270, 30, 27_400, 16_200, 2, 1),
    DataRead("messages", 270, 30, 27_400, 16_200, 2, 1, 812, 302, 2, 5, 3, 1, 2, "e387bf02", "5c1f77aa"),
    ModelLoaded("builtin:tiny", 1_984_512, 1_984_512, "cpu", "float32"),
    Planned(5, 68, 340, 34),
    Measured(1_100_000_000, 1_000_000_000, 22_000_000_000, 0.4, 52_000_000, 0.3, 180.0, 8192, 1.1),
    StepTaken(1, 0.0147, 7.25, 5.9e-5, 12.5, 412, 0.21),
    Evaluated(68, 1.0, 2.5, 1800, 0.4),
    CheckpointSaved(68, "checkpoints/step-000068", 8_000_000, 0.1),
    CheckpointFailed(102, "No space left on device.", 8_000_000, 12),
    NotFinite(103, "loss", 7.0, "blackbox-step-000103.json"),
    Resumed(68),
    Paused(70),
    Continued(70),
    ModelSaved(68, "best", "model", 2.5, "full"),
    ModelSaved(70, "last", "model", None, "lora"),
    Finished(340),
    Stopped(70),
    Failed(3, "The disk is full."),
]


def line(event: str = "finished", **fields: Any) -> str:
    return json.dumps({"seq": 0, "time": 1.0, "elapsed": 0.5, "event": event, **fields})


def test_every_kind_of_event_is_tried_here() -> None:
    assert {type(event) for event in EVENTS} == set(Event.__args__)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_entry_comes_back_as_it_was(event: Event) -> None:
    entry = Entry(7, 1_795_000_000.125, 12.5, event)
    assert decode(encode(entry)) == entry
    assert decode(encode(entry).encode() + b"\n") == entry


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_a_line_is_one_line_of_plain_ascii_json(event: Event) -> None:
    text = encode(Entry(7, 1_795_000_000.125, 12.5, event))
    assert text.isascii()
    assert "\n" not in text
    assert not any(ord(c) < 32 for c in text)
    raw = json.loads(text)
    assert list(raw)[:4] == ["seq", "time", "elapsed", "event"]
    assert set(raw) == {"seq", "time", "elapsed", "event", *(f.name for f in fields(event))}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_written_as_strict_json(value: float) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    event = StepTaken(3, 0.5, value, 1e-3, value, 412, 0.2)
    text = encode(Entry(1, 2.0, 3.0, event))
    json.loads(text, parse_constant=refuse)
    back = decode(text).event
    assert isinstance(back, StepTaken)
    for got in (back.loss, back.grad_norm):
        assert math.isnan(got) if math.isnan(value) else got == value
    assert back.learning_rate == 1e-3


def test_an_eval_loss_that_is_not_finite_comes_back_in_a_saved_model() -> None:
    back = decode(encode(Entry(1, 2.0, 3.0, ModelSaved(3, "last", "model", math.nan, "full")))).event
    assert isinstance(back, ModelSaved)
    assert back.eval_loss is not None
    assert math.isnan(back.eval_loss)


def test_a_newer_logs_fields_are_left_out() -> None:
    assert decode(line(step=3, mood="good", more={"a": [1]})).event == Finished(3)


def test_an_older_logs_missing_fields_have_their_defaults() -> None:
    assert decode(line("phase_entered", phase="loading")).event == PhaseEntered("loading", 0, 0)


def test_an_older_logs_data_are_read_without_what_it_did_not_count() -> None:
    counts = {"train_examples": 270, "eval_examples": 30, "train_tokens": 27_400, "supervised_tokens": 16_200}
    old = line("data_read", shape="messages", **counts, skipped=2, truncated=1)
    assert decode(old).event == DataRead("messages", 270, 30, 27_400, 16_200, 2, 1)


def test_a_whole_number_where_a_float_belongs_is_a_float() -> None:
    event = decode(line("evaluated", step=1, epoch=1, eval_loss=2, num_tokens=3, seconds=0)).event
    assert isinstance(event, Evaluated)
    assert isinstance(event.epoch, float)
    assert isinstance(event.eval_loss, float)


@pytest.mark.parametrize(
    "garbage",
    [
        b"", b"{", b"null", b"5", b'"x"', b"[]", b"\x00" * 64, b"\xff\xfe", b"[" * 100_000, b"{}", b"not json",
        line("dreamt", step=1).encode(), line(step=1).replace('"seq": 0', '"seq": 1e999').encode(),
        line().encode(), line("step_taken", step=1).encode(), b'{"event": ["finished"]}', b'{"event": null}',
        line(step=1)[:-1].encode(), line(step=1).replace('"time": 1.0', '"time": "noon"').encode(),
    ],
)  # fmt: skip
def test_what_is_no_event_raises_value_error(garbage: bytes) -> None:
    with pytest.raises(ValueError):
        decode(garbage)


STEP = {"step": 1, "epoch": 0.1, "loss": 2.0, "learning_rate": 1e-3, "grad_norm": 1.0, "num_tokens": 4, "seconds": 0.1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"step": "1"}, {"step": None}, {"step": 1.5}, {"step": True}, {"step": [1]}, {"step": 2**63}, {"loss": None},
        {"loss": "low"}, {"loss": [2.0]}, {"loss": 10**400}, {"num_tokens": {}},
    ],
    ids=str,
)  # fmt: skip
def test_an_event_with_a_value_of_another_kind_is_no_event(wrong: dict[str, Any]) -> None:
    assert decode(line("step_taken", **STEP)).event == StepTaken(**STEP)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        decode(json.dumps({**json.loads(line("step_taken", **STEP)), **wrong}))


def test_a_text_that_is_none_is_no_event() -> None:
    with pytest.raises(ValueError):
        decode(line("failed", step=1, message=None))
