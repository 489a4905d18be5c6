"""Out of memory at every place of a run. The real thing, in a host with a limit: tests/e2e/test_memory_limit.py."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests.backends.local.conftest import DataMaker
from tests.backends.local.runs import SpecMaker, at, digest, notes, numbers, only, until, whole
from trainer import checkpoints, models
from trainer.backends.local import fits, memory, optim, prepare, train
from trainer.backends.local.batches import MicroBatch
from trainer.backends.local.compute import Compute
from trainer.backends.local.store import Store
from trainer.control import Control
from trainer.events import (
    CheckpointFailed,
    CheckpointSaved,
    Evaluated,
    Event,
    Finished,
    ModelSaved,
    Noted,
    PhaseEntered,
    Resumed,
    StepTaken,
)
from trainer.rundir import RunError
from trainer.spec import RunSpec

pytestmark = pytest.mark.usefixtures("no_dry_run")  # what it makes of such memory: test_dry_run.py
STEPS = 5  # an epoch
PLANTED = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes (planted)")


def failure(wanted: RunSpec, folder: Path) -> tuple[list[Event], str]:
    """The events of a run that fails, and its sentence."""
    events: list[Event] = []
    with pytest.raises(RunError) as caught:
        deque(map(events.append, train(wanted, Control(folder))), maxlen=0)
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said
    return events, said


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """`card(learning, evaluating)`: how many tokens of a micro-batch fit, and from which forward on; returns sizes."""

    def make(learning: int = 10**6, evaluating: int = 10**6, after: int = 0) -> list[int]:
        def limited(self: Compute, micro: MicroBatch, reduction: Any) -> Tensor:
            sizes.append(micro.ids.numel())
            if len(sizes) > after and sizes[-1] > (learning if self.model.training else evaluating):
                raise PLANTED
            return really(self, micro, reduction)

        sizes: list[int] = []
        really = Compute._losses
        monkeypatch.setattr(Compute, "_losses", limited)
        return sizes

    return make


# --- in a micro-batch --------------------------------------------------------------------------------------------


def test_a_run_on_a_small_card_says_so_and_comes_to_the_same(
    spec: SpecMaker, tmp_path: Path, card: Callable[..., list[int]]
) -> None:
    wanted = spec(method="lora", lora_dropout=0.0)
    roomy = numbers(whole(wanted, tmp_path / "roomy"))
    card(learning=200)
    events = whole(wanted, tmp_path / "small")
    assert isinstance(events[-1], Finished)
    for number, expected in zip(numbers(events), roomy, strict=True):
        assert number == pytest.approx(expected, abs=1e-5)
    said = notes(events)
    found = re.match(
        r"Out of memory at step \d: micro-batches now hold (\d+) tokens \(was (\d+)\), and there are (\d) \(was 1\); "
        r"the batch is still 4 examples\.",
        said,
    )
    assert found
    now, was, parts = (int(number) for number in found.groups())
    assert was > 200 >= now >= was // 2
    assert parts >= 2


def test_what_it_costs_is_said_once_it_is_measured(
    spec: SpecMaker, tmp_path: Path, card: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that a micro-batch of any size moves on by a second."""
    sizes = card(learning=130, after=1 + 3)  # the evaluation, three steps
    monkeypatch.setattr("trainer.backends.local.loop.time.perf_counter", lambda: float(len(sizes)))
    events = whole(spec(eval_every=100, save_every=0, epochs=2), tmp_path)
    said = [event.message for event in only(Noted, events)]
    assert said[0].startswith("Out of memory at step 4: ")
    assert re.fullmatch(r"Since memory ran out, steps take about \d+ % longer\.", said[1])
    assert len(said) == 2
    place = [e.step if isinstance(e, StepTaken) else e.message[:3] for e in events if isinstance(e, StepTaken | Noted)]
    assert place == [1, 2, 3, "Out", 4, 5, 6, 7, 8, 9, "Sin", 10]  # five whole steps after the one done again


def test_the_evaluation_has_its_own_micro_batches(
    spec: SpecMaker, tmp_path: Path, card: Callable[..., list[int]]
) -> None:
    roomy = whole(spec(), tmp_path / "roomy")
    card(evaluating=250)
    events = whole(spec(), tmp_path / "small")
    assert [e for e in numbers(events) if len(e) == 5] == [e for e in numbers(roomy) if len(e) == 5]  # the steps
    for found, expected in zip(only(Evaluated, events), only(Evaluated, roomy), strict=True):
        assert found.eval_loss == pytest.approx(expected.eval_loss, abs=1e-6)
    assert re.match(
        r"Out of memory in the evaluation: micro-batches now hold \d+ tokens \(was \d+\), and there are \d+ \(was 1\); "
        r"it still takes all 6 examples\.",
        notes(events),
    )
    state = checkpoints.folder_of(tmp_path / "small", 3 * STEPS) / "training" / "state.json"
    progress = json.loads(state.read_text("utf-8"))["progress"]
    assert progress["eval_budget"] < progress["token_budget"]


def test_what_fits_is_known_after_a_resume(spec: SpecMaker, tmp_path: Path, card: Callable[..., list[int]]) -> None:
    """Else the steps after it would be cut, and rounded, in another way than in an undisturbed run."""
    card(learning=200, evaluating=250)
    wanted = spec(method="lora", lora_dropout=0.1)
    undisturbed = whole(wanted, tmp_path / "one")
    first = until(wanted, tmp_path / "two", at(9))
    rest = whole(wanted, tmp_path / "two", Control(tmp_path / "two", resuming=True))
    assert Resumed(8) in rest
    assert "Out of memory" in notes(first)
    assert "Out of memory" not in notes(rest)
    assert numbers([*first, *rest]) == numbers(undisturbed)
    assert digest(tmp_path / "two" / "model") == digest(tmp_path / "one" / "model")


def test_one_example_that_does_not_fit_is_recomputed_and_so_it_stays(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step of the ladder: said once, the same numbers, and known after a resume."""

    def small(self: Compute, micro: MicroBatch, reduction: Any) -> Tensor:
        if self.model.training and not self.recompute and micro.ids.numel() > 20:
            raise PLANTED
        return really(self, micro, reduction)

    wanted = spec(method="lora", lora_dropout=0.1)
    roomy = numbers(whole(replace(wanted, lora_dropout=0.0), tmp_path / "roomy"))
    really = Compute._losses
    monkeypatch.setattr(Compute, "_losses", small)
    plain = whole(replace(wanted, lora_dropout=0.0), tmp_path / "plain")
    for number, expected in zip(numbers(plain), roomy, strict=True):
        assert number == pytest.approx(expected, abs=1e-5)
    undisturbed = whole(wanted, tmp_path / "one")
    said = notes(undisturbed)
    assert said.count("what the layers keep is computed again on the way back, which is slower") == 1
    first = until(wanted, tmp_path / "two", at(9))
    rest = whole(wanted, tmp_path / "two", Control(tmp_path / "two", resuming=True))
    assert "Out of memory" not in notes(rest)
    assert numbers([*first, *rest]) == numbers(undisturbed)
    assert digest(tmp_path / "two" / "model") == digest(tmp_path / "one" / "model")


def test_one_example_too_long_ends_the_run_with_two_changes_that_fit(
    spec: SpecMaker, tmp_path: Path, card: Callable[..., list[int]], make_data: DataMaker
) -> None:
    """And with the best so far: the long one comes in the third epoch."""
    rows = [json.loads(line) for line in make_data(24).read_text("utf-8").splitlines()]
    held_out = make_data(6, "held-out")
    rows[7]["messages"][-1]["content"] = "ls -la " * 40
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    wanted = spec(data=str(tmp_path / "long.jsonl"), eval_data=str(held_out), method="full", lora_rank=2)
    card(learning=120, after=13)
    events, said = failure(wanted, tmp_path / "run")
    found = re.fullmatch(
        r"One example of (\d+) tokens does not fit in the memory\. What would fit: max length 64 \(tried\), or a model "
        r"of up to about [\d.]+k parameters\.",
        said,
    )
    assert found
    assert int(found[1]) > 120
    (saved,) = only(ModelSaved, events)
    assert saved.keep == "best"
    AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    assert only(PhaseEntered, events)[-1].phase == "looking for what would fit"


# --- in the optimizer's step -------------------------------------------------------------------------------------


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """`spoiled(*calls)`: in these of its steps the optimizer runs out of memory after half of the weights."""

    def make(*failing: int) -> list[int]:
        def step(self: torch.optim.AdamW, *arguments: Any) -> Any:
            taken.append(len(taken))
            if len(taken) in failing:
                for parameter in self.param_groups[0]["params"][::2]:
                    with torch.no_grad():
                        parameter.mul_(0.5)
                raise PLANTED
            return really(self, *arguments)

        taken: list[int] = []
        really = torch.optim.AdamW.step
        monkeypatch.setattr(torch.optim.AdamW, "step", step)
        return taken

    return make


@pytest.mark.parametrize(("failing", "resumed"), [(1, 0), (2, 0), (3, 2), (6, 5), (13, 12)])
def test_an_optimizer_that_runs_out_half_way_goes_back_to_the_last_checkpoint(
    spec: SpecMaker, tmp_path: Path, spoiled: Callable[..., list[int]], failing: int, resumed: int
) -> None:
    wanted = spec(method="lora", lora_dropout=0.1, schedule="cosine")
    undisturbed = whole(wanted, tmp_path / "one")
    spoiled(1 + failing)  # the first makes the states
    events = whole(wanted, tmp_path / "two")
    assert isinstance(events[-1], Finished)
    assert Resumed(resumed) in events
    assert f"Out of memory at step {failing}, outside the micro-batches: going back to the last checkpoint." in notes(
        events
    )
    assert numbers(events) == numbers(undisturbed)
    assert digest(tmp_path / "two" / "model") == digest(tmp_path / "one" / "model")


def test_after_going_back_the_optimizer_takes_as_little_memory_as_it_can(
    spec: SpecMaker, tmp_path: Path, spoiled: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(*arguments: Any) -> torch.optim.Optimizer:
        made.append(optim.make_optimizer(*arguments))
        return made[-1]

    made: list[torch.optim.Optimizer] = []
    monkeypatch.setattr(prepare, "make_optimizer", make)
    spoiled(4)
    whole(spec(), tmp_path)
    assert [[group["foreach"] for group in optimizer.param_groups] for optimizer in made] == [[None] * 2, [False] * 2]


def test_twice_at_the_same_step_is_the_end_and_the_checkpoint_stays(
    spec: SpecMaker, tmp_path: Path, spoiled: Callable[..., list[int]]
) -> None:
    spoiled(1 + 7, 1 + 7 + 1)  # in step 7, and in step 7 again after going back to step 6
    events, said = failure(spec(), tmp_path)
    assert said == "Out of memory at step 7 again: free some memory and resume, or use LoRA."
    assert [event.step for event in only(ModelSaved, events)] == [STEPS]
    checkpoints.verify(checkpoints.folder_of(tmp_path, 6))


def test_at_a_later_step_it_goes_back_again(spec: SpecMaker, tmp_path: Path, spoiled: Callable[..., list[int]]) -> None:
    undisturbed = whole(spec(), tmp_path / "one")
    spoiled(1 + 7, 1 + 7 + 2)
    events = whole(spec(), tmp_path / "two")
    assert [event.step for event in only(Resumed, events)] == [6, 6]
    assert numbers(events) == numbers(undisturbed)


def test_states_that_do_not_fit_are_said_before_the_first_step(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise PLANTED

    monkeypatch.setattr(optim, "idle_step", full)
    monkeypatch.setattr(fits, "allocate", lambda _: None)
    events, said = failure(spec(method="full", optimizer="adamw"), tmp_path)
    assert said == (
        "The states of adamw do not fit in the memory. "
        "What would fit: optimizer sgd (tried), or LoRA instead of full (tried)."
    )
    assert only(StepTaken, events) == only(Evaluated, events) == []  # type: ignore[comparison-overlap]


# --- elsewhere ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_model_too_large_to_load_is_one_sentence_with_sizes_that_fit(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise PLANTED

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", full)
    monkeypatch.setattr("trainer.backends.local.model.free_bytes", lambda _: 10**9)
    wanted = spec(method=method, optimizer="adamw")
    size = models.look_up(wanted.model).parameters
    assert size is not None
    _, said = failure(wanted, tmp_path)
    assert said == (
        f"{wanted.model} does not fit in the memory: its weights take about {4 * size / 1e6:.1f} MB and 1.0 GB are "
        "free. What would fit: a model of up to about 50M parameters, or 200M with LoRA."
    )


@pytest.mark.parametrize("what", ["make_schedule", "examples.tokenized"])
def test_any_other_shortage_before_the_first_step_is_one_sentence(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(f"trainer.backends.local.prepare.{what}", full)
    assert failure(spec(), tmp_path)[1] == "Memory ran out before the first step: take fewer rows, or a smaller model."


def test_a_checkpoint_that_memory_does_not_allow_ends_no_run(
    spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    write = Store._write_model

    def full(self: Store, folder: Path) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise PLANTED
        write(self, folder)

    monkeypatch.setattr(Store, "_write_model", full)
    events = whole(spec(), tmp_path)
    (failed,) = only(CheckpointFailed, events)
    assert (failed.step, len(only(CheckpointSaved, events))) == (4, 8)
    assert "step-000004 can't be written: out of memory." in failed.message
    assert isinstance(events[-1], Finished)


def test_what_the_allocator_said_goes_to_the_hosts_log(
    spec: SpecMaker, tmp_path: Path, card: Callable[..., list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    card(learning=200)
    whole(spec(epochs=1), tmp_path)
    assert memory.log.name in {record.name for record in caplog.records}
    assert "you tried to allocate 8 bytes" in caplog.text
