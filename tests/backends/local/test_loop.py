"""A whole run as what it is: a list of events. Order, counts, stopping, pausing, keeping, and every bad ending."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertModel,
    T5Config,
    T5ForConditionalGeneration,
)

from tests.backends.local.conftest import DataMaker, ModelMaker
from tests.backends.local.runs import SpecMaker, at, notes, only, whole
from trainer.backends.local import compute, encoder, guard, loop, train
from trainer.backends.local.batches import BatchOrder
from trainer.backends.local.chat import Encoded, encode, encode_many
from trainer.backends.local.compute import Compute
from trainer.cache import Cache
from trainer.control import Control, Stop
from trainer.data import Conversation, load, split
from trainer.events import (
    CheckpointFailed,
    CheckpointSaved,
    Continued,
    DataRead,
    Evaluated,
    Event,
    Failed,
    Finished,
    ModelLoaded,
    ModelSaved,
    Noted,
    Paused,
    PhaseEntered,
    Planned,
    StepTaken,
    Stopped,
)
from trainer.rundir import RunError
from trainer.spec import RunSpec

ROWS, STEPS = 24, 5  # 18 to train in batches of 4: 5 steps an epoch; 6 to evaluate


@pytest.fixture
def spec(make_model: ModelMaker, make_data: DataMaker) -> SpecMaker:
    """A run of two epochs on the small Llama; fields as wanted."""

    def make(**fields: Any) -> RunSpec:
        given = {"model": str(make_model("llama")), "data": str(make_data(ROWS)), "epochs": 2, "eval_share": 0.25}
        return RunSpec(**{"learning_rate": 0.01, "batch_size": 4, **given, **fields})

    return make


def stop_after(wanted: RunSpec, folder: Path, when: Callable[[Event], bool], stop: Stop | None = None) -> list[Event]:
    """The events of a run that is asked to stop when the first event is seen for which `when` holds."""
    control = Control(folder)
    events: list[Event] = []
    for event in train(wanted, control):
        events.append(event)
        if control.stop is None and when(event):
            control.ask_stop(stop)
    return events


def entering(phase: str, time: int = 1) -> Callable[[Event], bool]:
    """True when the phase is entered for the `time`-th time."""
    seen = iter(range(1, 1000))
    return lambda event: isinstance(event, PhaseEntered) and event.phase == phase and next(seen) == time


# --- the usual run -----------------------------------------------------------------------------------------------


def test_events_come_in_order_and_add_up(spec: SpecMaker, tmp_path: Path) -> None:
    events = whole(spec(), tmp_path)
    kinds = [type(event).__name__ for event in events if not isinstance(event, PhaseEntered)]
    one_epoch = ["StepTaken"] * STEPS + ["Evaluated", "CheckpointSaved"]
    assert kinds == [
        "ModelLoaded", "DataRead", "Planned", "Measured",
        "Evaluated", *one_epoch, *one_epoch, "ModelSaved", "Finished",
    ]  # fmt: skip
    phases = [event.phase for event in only(PhaseEntered, events)]
    assert list(dict.fromkeys(phases)) == [
        "reading data",
        "loading model",
        "tokenizing",
        "dry run",
        "evaluating",
        "saving the model",
    ]
    (plan,) = only(Planned, events)
    assert plan == Planned(2, STEPS, 2 * STEPS, STEPS)
    (loaded,) = only(ModelLoaded, events)
    assert (loaded.device, loaded.dtype) == ("cpu", "float32")
    assert loaded.parameters == loaded.trainable > 10_000
    assert events[-1] == Finished(2 * STEPS)


def test_counts_are_those_of_the_data(spec: SpecMaker, tmp_path: Path) -> None:
    events = whole(spec(), tmp_path)
    (read,) = only(DataRead, events)
    assert (read.shape, read.train_examples, read.eval_examples) == ("messages", 18, 6)
    assert (read.skipped, read.truncated) == (0, 0)
    assert 18 < read.supervised_tokens < read.train_tokens
    taken = only(StepTaken, events)
    for epoch in (taken[:STEPS], taken[STEPS:]):
        assert sum(step.num_tokens for step in epoch) == read.train_tokens
    assert [step.step for step in taken] == list(range(1, 2 * STEPS + 1))
    assert [step.epoch for step in taken] == pytest.approx([step.step / STEPS for step in taken])
    assert max(step.learning_rate for step in taken) == 0.01
    assert all(step.grad_norm > 0 and step.seconds > 0 for step in taken)
    assert taken[-1].loss < taken[0].loss


def test_evaluation_comes_first_and_at_every_epochs_end(spec: SpecMaker, tmp_path: Path) -> None:
    found = only(Evaluated, whole(spec(epochs=3), tmp_path))
    assert [(event.step, event.epoch) for event in found] == [(0, 0.0), (5, 1.0), (10, 2.0), (15, 3.0)]
    assert len({event.num_tokens for event in found}) == 1
    assert found[0].eval_loss == pytest.approx(math.log(318), abs=0.3)  # random weights know nothing


def test_evaluation_in_between_where_asked(spec: SpecMaker, tmp_path: Path) -> None:
    found = only(Evaluated, whole(spec(eval_every=2), tmp_path))
    assert [event.step for event in found] == [0, 2, 4, 5, 7, 9, 10]


def test_a_validation_file_of_its_own(spec: SpecMaker, make_data: DataMaker, tmp_path: Path) -> None:
    (read,) = only(DataRead, whole(spec(eval_data=str(make_data(7, "held-out")), epochs=1), tmp_path))
    assert (read.train_examples, read.eval_examples) == (ROWS, 7)


def test_the_same_spec_gives_the_same_losses_to_the_last_bit(spec: SpecMaker, tmp_path: Path) -> None:
    wanted = spec(method="lora", lora_dropout=0.2)
    curves = []
    for number in range(2):
        torch.rand(1)  # whoever used the random numbers before, or the global seed, is no matter
        random.random()
        events = whole(wanted, tmp_path / str(number))
        curves.append(
            [event.loss for event in only(StepTaken, events)] + [e.eval_loss for e in only(Evaluated, events)]
        )
    assert curves[0] == curves[1]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_another_seed_gives_other_losses(spec: SpecMaker, tmp_path: Path, method: str) -> None:
    first, second = (only(StepTaken, whole(spec(seed=s, method=method), tmp_path / str(s))) for s in (1, 2))
    assert [step.loss for step in first] != [step.loss for step in second]


@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "rmsprop", "sgd"])
def test_every_optimizer_trains(spec: SpecMaker, tmp_path: Path, optimizer: str) -> None:
    taken = only(StepTaken, whole(spec(optimizer=optimizer, schedule="cosine", epochs=3), tmp_path))
    assert taken[-1].loss < taken[0].loss


@pytest.mark.parametrize("method", ["full", "lora"])
def test_every_architecture_trains_and_its_result_loads(
    spec: SpecMaker, make_model: ModelMaker, architecture: str, method: str, tmp_path: Path
) -> None:
    wanted = spec(model=str(make_model(architecture)), method=method, epochs=1, batch_size=9)
    events = whole(wanted, tmp_path)
    (saved,) = only(ModelSaved, events)
    assert isinstance(events[-1], Finished)
    assert (saved.step, saved.method) == (2, method)
    assert (tmp_path / "model" / "adapter_model.safetensors").is_file() == (method == "lora")
    if method == "full":
        loaded, missing = AutoModelForCausalLM.from_pretrained(tmp_path / "model", output_loading_info=True)
        assert not missing["missing_keys"]
        assert not missing["unexpected_keys"]
        before = AutoModelForCausalLM.from_pretrained(wanted.model)
        moved = [not torch.equal(a, b) for a, b in zip(loaded.parameters(), before.parameters(), strict=True)]
        assert sum(moved) > 0.9 * len(moved)
    assert AutoTokenizer.from_pretrained(tmp_path / "model").chat_template


def test_the_steps_are_those_of_a_plain_loop(spec: SpecMaker, tmp_path: Path) -> None:
    """Ten steps written out: one unpadded forward an example, torch's AdamW, clipping, a straight line to zero."""
    wanted = spec(warmup=0.0)
    model = AutoModelForCausalLM.from_pretrained(wanted.model)
    tokenizer = AutoTokenizer.from_pretrained(wanted.model)
    data = load(wanted.data)
    sides = zip(data.examples(), split(data, None, wanted.eval_share, wanted.seed).held_out, strict=True)
    examples = [encode(tokenizer, example.conversation, 512) for example, held_out in sides if not held_out]
    order = BatchOrder(len(examples), 4, wanted.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.0)
    losses: list[float] = []
    for step in range(2 * STEPS):
        batch = [examples[index] for index in order.batch(*divmod(step, STEPS))]
        total = torch.zeros(())
        for example in batch:
            logits = model(input_ids=example.ids[None]).logits[0, :-1]
            labels = torch.where(example.supervised, example.ids, -100)[1:]
            total = total + cross_entropy(logits, labels, reduction="sum")
        loss = total / sum(example.targets for example in batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = 0.01 * (2 * STEPS - step) / (2 * STEPS)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert [step.loss for step in only(StepTaken, whole(wanted, tmp_path))] == pytest.approx(losses, abs=1e-4)


# --- stopping and pausing ----------------------------------------------------------------------------------------


def test_a_stop_takes_effect_before_the_next_step(spec: SpecMaker, tmp_path: Path) -> None:
    events = stop_after(spec(), tmp_path, at(7), Stop("last"))
    saved, *ended = events[-3:]
    assert isinstance(saved, CheckpointSaved)  # so that the run can go on from here
    assert saved.step == 7
    assert ended == [ModelSaved(7, "last", "model", None, "full"), Stopped(7)]
    assert only(StepTaken, events)[-1].step == 7


def test_a_stop_from_another_thread_takes_effect_within_one_step(spec: SpecMaker, tmp_path: Path) -> None:
    """As a host does it: the one thread trains, the other asks."""
    control = Control(tmp_path)
    third = threading.Event()
    asked_at: list[int] = []
    taken: list[int] = []

    def ask() -> None:
        third.wait()
        asked_at.append(len(taken))
        control.ask_stop(Stop("last"))

    asker = threading.Thread(target=ask)
    asker.start()
    events: list[Event] = []
    for event in train(spec(epochs=200), control):
        events.append(event)
        if isinstance(event, StepTaken):
            taken.append(event.step)
            if event.step == 3:
                third.set()
    asker.join()
    assert events[-1] == Stopped(len(taken))
    assert len(taken) <= asked_at[0] + 1
    assert only(ModelSaved, events)[0].step == len(taken)


@pytest.mark.usefixtures("no_dry_run")
def test_a_stop_within_a_step_drops_that(spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two micro-batches: the half-made gradients reach no weight."""
    control = Control(tmp_path)
    losses = Compute._losses
    calls: list[int] = []

    def counting(self: Compute, micro: Any, reduction: Any) -> Tensor:
        calls.append(1)
        if len(calls) == 6 + 4 + 2:  # the evaluation whole, step 1 in four, half of step 2
            control.ask_stop(Stop("last"))
        return losses(self, micro, reduction)

    monkeypatch.setattr(compute, "token_budget", lambda *_, **__: 1)
    monkeypatch.setattr(Compute, "_losses", counting)
    events = list(train(spec(), control))
    assert events[-1] == Stopped(1)
    assert len(calls) == 12


def test_a_stop_keeps_the_best_by_default(spec: SpecMaker, tmp_path: Path) -> None:
    events = stop_after(spec(), tmp_path, at(7))
    best = next(event for event in only(Evaluated, events) if event.step == STEPS)
    assert only(ModelSaved, events) == [ModelSaved(STEPS, "best", "model", best.eval_loss, "full")]
    assert events[-1] == Stopped(7)


def test_a_stop_keeps_the_best_that_was_shown(spec: SpecMaker, tmp_path: Path) -> None:
    """A newer best may have come between the look at the sheet and the key."""
    events = stop_after(spec(epochs=3), tmp_path, at(2 * STEPS + 1), Stop("best", STEPS))
    checkpoints = only(CheckpointSaved, events)
    assert [saved.step for saved in checkpoints] == [STEPS, 2 * STEPS, 2 * STEPS + 1]  # step 10 was better
    (saved,) = only(ModelSaved, events)
    assert saved.step == STEPS
    assert saved.eval_loss == only(Evaluated, events)[1].eval_loss
    model, checkpoint = (tmp_path / where / "model.safetensors" for where in ("model", checkpoints[0].path))
    assert model.read_bytes() == checkpoint.read_bytes()


def test_a_stop_for_the_last_keeps_it_over_the_specs_best(spec: SpecMaker, tmp_path: Path) -> None:
    events = stop_after(spec(keep="best"), tmp_path, at(STEPS), Stop("last"))
    (saved,) = only(ModelSaved, events)
    # The stop cut the evaluation after step 5 short, so nothing is known of its loss.
    assert saved == ModelSaved(STEPS, "last", "model", None, "full")


def test_a_stop_before_the_first_evaluation_keeps_the_last_for_want_of_a_best(spec: SpecMaker, tmp_path: Path) -> None:
    events = stop_after(spec(), tmp_path, at(3), Stop("best"))
    assert only(ModelSaved, events) == [ModelSaved(3, "last", "model", None, "full")]


@pytest.mark.parametrize("phase", ["reading data", "loading model", "tokenizing"])
def test_a_stop_before_training_leaves_nothing(spec: SpecMaker, tmp_path: Path, phase: str) -> None:
    events = stop_after(spec(), tmp_path, entering(phase))
    assert events[-1] == Stopped(0)
    assert only(ModelSaved, events) == only(Planned, events) == []  # type: ignore[comparison-overlap]
    assert list(tmp_path.iterdir()) == []


def test_a_stop_in_the_first_evaluation_says_that_there_is_no_model(spec: SpecMaker, tmp_path: Path) -> None:
    events = stop_after(spec(), tmp_path, entering("evaluating"))
    assert events[-2:] == [Noted("No step was taken, so there is no model to keep."), Stopped(0)]
    assert not (tmp_path / "model").exists()


def test_a_stop_in_a_later_evaluation_counts_it_for_nothing(spec: SpecMaker, tmp_path: Path) -> None:
    events = stop_after(spec(), tmp_path, entering("evaluating", 3))
    assert [event.step for event in only(Evaluated, events)] == [0, STEPS]
    assert only(ModelSaved, events)[0].step == STEPS
    assert isinstance(events[-1], Finished)  # all steps were taken


def test_a_pause_holds_and_changes_no_number(spec: SpecMaker, tmp_path: Path) -> None:
    through = [step.loss for step in only(StepTaken, whole(spec(), tmp_path / "through"))]
    control = Control(tmp_path / "paused")
    events: list[Event] = []
    for event in train(spec(), control):
        events.append(event)
        if at(3)(event):
            control.pause(True)
        if isinstance(event, Paused):
            timer = threading.Timer(1.0, control.pause, [False])
            timer.start()
    timer.join()
    place = events.index(Paused(3))
    assert at(3)(events[place - 1])
    assert events[place + 1] == Continued(3)
    assert [step.loss for step in only(StepTaken, events)] == through
    assert max(step.seconds for step in only(StepTaken, events)) < 1.0  # the pause is in no step's time


def test_a_pause_can_be_stopped(spec: SpecMaker, tmp_path: Path) -> None:
    control = Control(tmp_path)
    events: list[Event] = []
    for event in train(spec(), control):
        events.append(event)
        if at(3)(event):
            control.pause(True)
        if isinstance(event, Paused):
            threading.Timer(0.1, control.ask_stop, [Stop("last")]).start()
    assert events[-1] == Stopped(3)
    assert only(ModelSaved, events)[0].step == 3


# --- what is kept at the end -------------------------------------------------------------------------------------


def test_the_natural_end_keeps_the_best(spec: SpecMaker, tmp_path: Path) -> None:
    """Held out is what the training says nothing of, so that the best is not the last."""
    held_out = tmp_path / "held-out.jsonl"
    held_out.write_text('{"prompt": "Sing!", "completion": "QWERTY QWERTZ 0123"}\n', encoding="utf-8")
    wanted = spec(epochs=12, learning_rate=0.01, schedule="constant", eval_data=str(held_out))
    events = whole(wanted, tmp_path)
    evaluations = only(Evaluated, events)
    best = min(evaluations[1:], key=lambda event: event.eval_loss)
    assert best.step < evaluations[-1].step
    assert only(ModelSaved, events) == [ModelSaved(best.step, "best", "model", best.eval_loss, "full")]
    assert events[-1] == Finished(evaluations[-1].step)
    assert len(list((tmp_path / "checkpoints").iterdir())) <= 2


def test_the_natural_end_keeps_the_last_where_asked(spec: SpecMaker, tmp_path: Path) -> None:
    events = whole(spec(keep="last"), tmp_path)
    final = only(Evaluated, events)[-1]
    assert only(ModelSaved, events) == [ModelSaved(2 * STEPS, "last", "model", final.eval_loss, "full")]


def test_a_training_that_only_harms_says_so(spec: SpecMaker, tmp_path: Path) -> None:
    events = whole(spec(learning_rate=1.0, epochs=1), tmp_path)
    first, *others = only(Evaluated, events)
    assert min(event.eval_loss for event in others) > first.eval_loss
    assert "No evaluation was better than the untrained model's" in notes(events)
    assert "lower learning rate" in notes(events)
    assert len(only(ModelSaved, events)) == 1


def test_a_training_that_helps_does_not_say_so(spec: SpecMaker, tmp_path: Path) -> None:
    assert notes(whole(spec(), tmp_path)) == ""


# --- bad endings -------------------------------------------------------------------------------------------------


def ruin_from(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From this step on the loss is no number."""
    gradients = Compute.gradients
    calls: list[int] = []

    def ruined(self: Compute, *arguments: Any) -> Tensor | float | None:
        calls.append(1)
        loss = gradients(self, *arguments)
        return loss if len(calls) < step else math.nan

    monkeypatch.setattr(Compute, "gradients", ruined)


@pytest.mark.usefixtures("no_dry_run")
def test_a_loss_that_is_no_number_ends_the_run_with_the_best_before(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ruin_from(8, monkeypatch)
    events = whole(spec(), tmp_path)
    assert events[-1] == Failed(
        7, "The loss became nan at step 8; the best model so far (step 5) is kept. Try a third of the learning rate."
    )
    (saved,) = only(ModelSaved, events)
    assert (saved.step, saved.keep) == (5, "best")
    kept = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert all(bool(parameter.isfinite().all()) for parameter in kept.parameters())
    assert [step.step for step in only(StepTaken, events)] == list(range(1, 8))


def test_a_loss_that_is_no_number_from_the_start_keeps_nothing(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ruin_from(1, monkeypatch)
    events = whole(spec(), tmp_path)
    assert events[-1] == Failed(0, "The loss became nan at step 1; no model is kept. Try a third of the learning rate.")
    assert not (tmp_path / "model").exists()


def test_a_gradient_that_is_no_number_reaches_no_weight(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def norm(_: object) -> Tensor:
        calls.append(1)
        return torch.tensor(1.0 if len(calls) < 7 else math.inf)

    monkeypatch.setattr(guard, "get_total_norm", norm)
    events = whole(spec(), tmp_path)
    assert isinstance(events[-1], Failed)
    assert events[-1].message.startswith("The gradient norm became inf at step 7; the best model so far (step 5)")


def test_a_real_explosion_ends_in_a_sentence(spec: SpecMaker, tmp_path: Path, make_model: ModelMaker) -> None:
    """Plain SGD, no clipping, weights a thousand times too large: float32 overflows within a few steps."""
    model = AutoModelForCausalLM.from_pretrained(make_model("gpt2"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e3)
    model.save_pretrained(tmp_path / "wild")
    AutoTokenizer.from_pretrained(make_model("gpt2")).save_pretrained(tmp_path / "wild")
    wanted = spec(model=str(tmp_path / "wild"), optimizer="sgd", learning_rate=1.0, max_grad_norm=0, epochs=50)
    events = whole(wanted, tmp_path / "run")
    assert isinstance(events[-1], Failed)
    assert "Try a third of the learning rate." in events[-1].message


def sentence(wanted: RunSpec, folder: Path) -> str:
    """What a person reads; nothing half-made is left."""
    with pytest.raises(RunError) as caught:
        whole(wanted, folder)
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said
    assert len(said) < 500
    assert not (folder / "model").exists()
    return said


def test_max_length_too_short_for_any_answer(spec: SpecMaker, tmp_path: Path) -> None:
    assert sentence(spec(max_length=8), tmp_path) == (
        "No training example has an answer left within max length 8: raise max length to 64."
    )


def test_cutting_is_never_silent(spec: SpecMaker, tmp_path: Path) -> None:
    events = whole(spec(max_length=60), tmp_path)
    (read,) = only(DataRead, events)
    assert read.truncated > 0
    assert "training examples are cut at 60 tokens" in notes(events)
    assert read.train_examples + read.eval_examples + read.skipped == ROWS


def test_examples_without_an_answer_left_are_counted(spec: SpecMaker, tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "w " * long}, {"role": "assistant", "content": "ls"}]}
        for long in (3, 3, 3, 3, 3, 3, 400, 400)
    ]
    (tmp_path / "long.json").write_text(json.dumps(rows), encoding="utf-8")
    held_out = tmp_path / "held-out.json"
    held_out.write_text(json.dumps(rows[:2]), encoding="utf-8")
    wanted = spec(data=str(tmp_path / "long.json"), eval_data=str(held_out), max_length=64, allow_bad=0.25)
    events = whole(wanted, tmp_path / "run")
    (read,) = only(DataRead, events)
    assert (read.train_examples, read.eval_examples, read.skipped, read.truncated) == (6, 2, 2, 0)
    assert (read.rows, read.bad, read.exact, read.leak) == (10, 2, 6, 2)
    assert "2 of 8 rows have no answer left within 64 tokens: left out." in notes(events)
    assert sentence(spec(**{**vars(wanted), "allow_bad": 0.2}), tmp_path / "again") == (
        f"{tmp_path}/long.json:1: no answer is left within max length 64 (and 1 more bad row): 2 of 8 rows "
        "are bad, more than 20%; mend or remove them, or allow more with --allow-bad 25%."
    )


def test_a_row_that_the_template_refuses_is_left_out_and_said(
    spec: SpecMaker, make_data: DataMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in more than a hundred is skipped, as a bad row of the file would be; more end the run in a sentence."""
    refused = {1}

    def choosy(tokenizer: Any, talks: Sequence[Conversation], longest: int) -> list[Encoded | RunError]:
        encoded = encode_many(tokenizer, talks, longest)
        return [RunError("The template says no.") if at in refused else one for at, one in enumerate(encoded)]

    monkeypatch.setattr(encoder, "encode_many", choosy)
    data = make_data(160)
    wanted = spec(data=str(data), epochs=1, batch_size=64)
    events = whole(wanted, tmp_path)
    assert f"{data}:2: The template says no." in notes(events)
    assert "1 of 160 rows are refused by the chat template: left out." in notes(events)
    (read,) = only(DataRead, events)
    assert (read.train_examples + read.eval_examples, read.skipped, read.bad) == (159, 1, 1)

    refused.add(7)
    Cache().clear()
    assert sentence(wanted, tmp_path / "again") == (
        f"{data}:2: The template says no (and 1 more bad row): 2 of 160 rows are bad, more than 1%; mend or remove "
        "them, or allow more with --allow-bad 2%."
    )


@pytest.mark.usefixtures("no_dry_run")
def test_an_error_in_the_middle_keeps_the_best_so_far(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Compute.gradients

    def failing(self: Compute, *arguments: Any) -> Tensor | None:
        calls.append(1)
        if len(calls) == STEPS + 2:
            raise RunError("The card fell off the bus.")
        return plain(self, *arguments)

    calls: list[int] = []
    monkeypatch.setattr(Compute, "gradients", failing)
    events: list[Event] = []
    with pytest.raises(RunError, match="fell off"):
        deque(map(events.append, train(spec(), Control(tmp_path))), maxlen=0)
    (saved,) = only(ModelSaved, events)
    assert (saved.keep, saved.step) == ("best", STEPS)
    AutoModelForCausalLM.from_pretrained(tmp_path / "model")


def test_max_length_is_within_the_models_positions(spec: SpecMaker, tmp_path: Path, make_model: ModelMaker) -> None:
    """GPT-2 has a table of positions and no more: a longer example would end in an index error."""
    rows = [{"prompt": "say", "completion": f"ls -la {number} " * 300} for number in range(4)]
    (tmp_path / "long.json").write_text(json.dumps(rows), encoding="utf-8")
    wanted = spec(model=str(make_model("gpt2")), data=str(tmp_path / "long.json"), max_length=4096, epochs=1)
    events = whole(wanted, tmp_path / "run")
    assert "3 of 3 training examples are cut at 256 tokens: " in notes(events)
    assert only(StepTaken, events)[0].num_tokens == 3 * 256


@pytest.fixture
def broken(make_model: ModelMaker, tmp_path: Path) -> Path:
    """A copy of the model to be damaged."""
    folder = tmp_path / "broken"
    shutil.copytree(make_model("llama"), folder)
    return folder


def test_truncated_weights(spec: SpecMaker, broken: Path, tmp_path: Path) -> None:
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert "its weights can't be loaded" in sentence(spec(model=str(broken)), tmp_path / "run")


def test_weights_that_are_none(spec: SpecMaker, broken: Path, tmp_path: Path) -> None:
    (broken / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert "its weights can't be loaded" in sentence(spec(model=str(broken)), tmp_path / "run")


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2"])  # transformers makes an empty one for some
def test_a_missing_tokenizer(spec: SpecMaker, make_model: ModelMaker, tmp_path: Path, architecture: str) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(make_model(architecture), broken)
    for file in broken.glob("*token*"):
        file.unlink()
    (broken / "chat_template.jinja").unlink(missing_ok=True)
    assert "has no tokenizer files" in sentence(spec(model=str(broken)), tmp_path / "run")


def test_a_broken_tokenizer(spec: SpecMaker, broken: Path, tmp_path: Path) -> None:
    (broken / "tokenizer.json").write_text("{", encoding="utf-8")
    assert "its tokenizer can't be loaded" in sentence(spec(model=str(broken)), tmp_path / "run")


def test_a_broken_chat_template(spec: SpecMaker, broken: Path, tmp_path: Path) -> None:
    (broken / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }", encoding="utf-8")
    assert "chat template" in sentence(spec(model=str(broken)), tmp_path / "run")


def test_a_broken_config(spec: SpecMaker, broken: Path, tmp_path: Path) -> None:
    (broken / "config.json").write_text("{", encoding="utf-8")
    sentence(spec(model=str(broken)), tmp_path / "run")


def test_an_architecture_nobody_knows(spec: SpecMaker, broken: Path, tmp_path: Path) -> None:
    config = json.loads((broken / "config.json").read_text("utf-8"))
    (broken / "config.json").write_text(json.dumps({**config, "model_type": "megamind"}), encoding="utf-8")
    assert "does not know this kind of model" in sentence(spec(model=str(broken)), tmp_path / "run")


def test_a_tokenizer_of_another_model(spec: SpecMaker, broken: Path, tmp_path: Path) -> None:
    """It has tokens that the model has no row for."""
    config = json.loads((broken / "config.json").read_text("utf-8"))
    narrow = AutoModelForCausalLM.from_pretrained(broken)
    narrow.resize_token_embeddings(100)
    narrow.save_pretrained(broken)
    assert config["vocab_size"] > 100
    said = sentence(spec(model=str(broken)), tmp_path / "run")
    assert "tokenizer" in said
    assert "100" in said


@pytest.mark.parametrize(("kind", "why"), [("t5", "no causal language model (T5Config)"), ("bert", "and 5 more")])
def test_a_model_that_writes_no_text(spec: SpecMaker, broken: Path, tmp_path: Path, kind: str, why: str) -> None:
    """Encoder-decoder, or encoder only: no causal language model."""
    (broken / "model.safetensors").unlink()
    if kind == "t5":
        sizes = {"d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
        T5ForConditionalGeneration(T5Config(vocab_size=318, **sizes)).save_pretrained(broken)
    else:
        sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        BertModel(BertConfig(vocab_size=318, **sizes)).save_pretrained(broken)
    assert why in sentence(spec(model=str(broken)), tmp_path / "run")


def test_weights_without_an_output_head(spec: SpecMaker, broken: Path, tmp_path: Path) -> None:
    """A base model saved without its head would be trained with a random one, silently."""
    model = AutoModelForCausalLM.from_pretrained(broken)
    model.model.save_pretrained(broken)
    said = sentence(spec(model=str(broken)), tmp_path / "run")
    assert "lm_head.weight" in said


def test_generation_settings_that_contradict_each_other_do_not_stop_the_save(
    spec: SpecMaker, broken: Path, tmp_path: Path
) -> None:
    """Published models have them: a temperature without sampling."""
    (broken / "generation_config.json").write_text(
        json.dumps({"temperature": 0.6, "do_sample": False}), encoding="utf-8"
    )
    events = whole(spec(model=str(broken), epochs=1), tmp_path / "run")
    assert isinstance(events[-1], Finished)
    assert len(only(ModelSaved, events)) == 1


def test_a_full_disk_ends_no_run_and_says_so_at_the_end(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every checkpoint fails, all steps are taken, the result is tried again, and then it is one sentence."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    monkeypatch.setattr(loop, "LAST_TRY_SECONDS", 0.0)
    events: list[Event] = []
    said = r"run/model can't be written: No space left on device\..* There is no checkpoint: make room, then resume"
    with pytest.raises(RunError, match=said):
        deque(map(events.append, train(spec(), Control(tmp_path / "run"))), maxlen=0)
    assert only(StepTaken, events)[-1].step == 2 * STEPS
    assert [failed.step for failed in only(CheckpointFailed, events)] == [STEPS, 2 * STEPS, 2 * STEPS]
    assert only(CheckpointFailed, events)[0].message.endswith("Training goes on.")
    assert notes(events).count("Trying again.") == 2


@pytest.mark.usefixtures("no_dry_run")
def test_space_that_comes_back_is_used(spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def full_at_first(fd: int) -> None:
        calls.append(fd)
        if len(calls) < 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_at_first)
    events = whole(spec(epochs=4), tmp_path)
    assert len(only(CheckpointFailed, events)) == 2
    assert len(only(CheckpointSaved, events)) == 2
    assert isinstance(events[-1], Finished)


def test_a_disk_too_small_is_refused_before_the_first_step(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    assert re.match(
        r"A checkpoint and the result need about \d\.\d MB and 0\.1 MB are free", sentence(spec(), tmp_path)
    )
