"""The fold: what a log comes to, entry by entry, without ever changing an earlier state."""

from __future__ import annotations

import copy
import math

import pytest

from trainer.events import (
    CheckpointSaved,
    Continued,
    Entry,
    Evaluated,
    Event,
    Failed,
    Finished,
    ModelSaved,
    Noted,
    Paused,
    PhaseEntered,
    Planned,
    Resumed,
    Started,
    StepTaken,
    Stopped,
)
from trainer.state import Column, RunState, apply, apply_all


def entries(*events: Event) -> list[Entry]:
    return [Entry(i, 1000.0 + i, float(i), event) for i, event in enumerate(events)]


def fold(*events: Event) -> RunState:
    return apply_all(RunState(), entries(*events))


def step(number: int, loss: float = 2.0, seconds: float = 0.1) -> StepTaken:
    return StepTaken(number, number / 10, loss, 1e-3, 1.0, 400, seconds)


def evaluated(number: int, loss: float) -> Evaluated:
    return Evaluated(number, number / 10, loss, 1800, 0.4)


STORY: list[Event] = [
    Started(1, "box", "0.1.0"), PhaseEntered("loading"), Planned(2, 10, 20, 10), evaluated(0, 7.0), step(1), step(2),
    Paused(2), Continued(2), evaluated(2, 3.0), CheckpointSaved(2, "checkpoints/step-000002", 1, 0.1), step(3),
    evaluated(3, 2.0), Noted("hm"), ModelSaved(3, "best", "model", 2.0, "full"), Finished(3),
]  # fmt: skip


def test_no_state_is_changed_by_what_comes_after_it() -> None:
    states, copies = [RunState()], [copy.deepcopy(RunState())]
    for entry in entries(*STORY):
        states.append(apply(states[-1], entry))
        copies.append(copy.deepcopy(states[-1]))
    for state, kept in zip(states, copies, strict=True):
        assert state == kept
    lengths = [len(state.steps.loss) for state in states]
    assert lengths == sorted(lengths)
    assert lengths[-1] == 3


def test_folding_in_two_parts_is_folding_at_once() -> None:
    for cut in range(len(STORY) + 1):
        log = entries(*STORY)
        assert apply_all(apply_all(RunState(), log[:cut]), log[cut:]) == fold(*STORY)


def test_clocks_and_place_come_from_the_entries() -> None:
    state = fold(*STORY)
    assert state.next_seq == len(STORY)
    assert (state.began, state.updated, state.elapsed) == (1000.0, 1014.0, 14.0)


def test_a_column_reads_as_a_sequence() -> None:
    column = Column()
    for value in (1.0, 2.0, 3.0):
        column = column.added(value)
    assert list(column) == [1.0, 2.0, 3.0]
    assert (column[0], column[-1], column[1:]) == (1.0, 3.0, [2.0, 3.0])
    assert len(column) == 3
    for index in (3, -4):
        with pytest.raises(IndexError):
            column[index]


def test_columns_that_branch_do_not_see_each_other() -> None:
    trunk = Column().added(1.0).added(2.0)
    left = trunk.added(3.0)
    right = trunk.added(4.0).added(5.0)
    assert trunk[:] == [1.0, 2.0]
    assert left[:] == [1.0, 2.0, 3.0]
    assert right[:] == [1.0, 2.0, 4.0, 5.0]
    assert left.added(6.0)[:] == [1.0, 2.0, 3.0, 6.0]
    assert trunk == Column().added(1.0).added(2.0)
    assert trunk != left


def test_an_older_column_hides_what_was_added_to_its_storage() -> None:
    old = Column().added(1.0)
    old.added(2.0)
    assert (len(old), old[-1], old[:], old[-5:], list(old)) == (1, 1.0, [1.0], [1.0], [1.0])
    with pytest.raises(IndexError):
        old[1]


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([(0, 1.0)], None),  # the untrained model is never the best
        ([(0, 1.0), (1, 5.0)], 1),
        ([(1, 3.0), (2, 2.0), (3, 2.5)], 2),
        ([(1, 2.0), (2, 2.0)], 1),  # the earlier on a tie
        ([(1, math.nan)], None),
        ([(1, math.nan), (2, 9.0)], 2),
        ([(1, 2.0), (2, math.nan), (3, -math.inf), (4, math.inf)], 1),
        ([], None),
    ],
)
def test_the_best_is_the_lowest_eval_loss(losses: list[tuple[int, float]], best: int | None) -> None:
    state = fold(*(evaluated(number, loss) for number, loss in losses))
    assert (state.best.step if state.best else None) == best
    assert len(state.evals.eval_loss) == len(losses)


def test_the_best_that_is_kept_is_the_best_of_those_on_disk() -> None:
    before = fold(evaluated(2, 3.0))
    assert before.best_kept() is None
    saved = apply(before, entries(CheckpointSaved(2, "checkpoints/step-000002", 1, 0.1))[0])
    assert saved.best_kept() == saved.best
    better = apply(saved, entries(evaluated(3, 1.0))[0])
    kept = better.best_kept()
    assert kept is not None
    assert (kept.step, kept.eval_loss) == (2, 3.0)


def test_a_resumed_run_forgets_what_came_after_its_checkpoint() -> None:
    """The log is never rewritten; the state goes back to the step, and the earlier state still reads as before."""
    saved = CheckpointSaved(2, "checkpoints/step-000002", 1, 0.1)
    before = fold(step(1), step(2), evaluated(2, 3.0), saved, step(3), evaluated(3, 1.0), step(4))
    after = apply(before, entries(Resumed(2))[0])
    assert list(after.steps.step) == [1, 2]
    assert list(after.evals.step) == [2]
    assert (after.best and after.best.step, after.best_kept() and after.step) == (2, 2)
    again = apply(after, entries(step(3))[0])
    assert list(again.steps.step) == [1, 2, 3]
    assert list(before.steps.step) == [1, 2, 3, 4]
    assert before.best
    assert before.best.step == 3


@pytest.mark.parametrize(
    "ends", [step(1), evaluated(1, 2.0), Paused(1), Continued(1), Finished(1), Stopped(1), Failed(1, "x")]
)
def test_a_phase_lasts_until_something_else_happens(ends: Event) -> None:
    state = fold(Started(1, "box", "0"), PhaseEntered("tokenizing", 1, 9))
    assert state.phase == PhaseEntered("tokenizing", 1, 9)
    assert apply(state, entries(ends)[0]).phase is None


def test_paused_holds_between_a_pause_and_what_ends_it() -> None:
    assert not fold(step(1)).paused
    assert fold(step(1), Paused(1)).paused
    assert not fold(step(1), Paused(1), Continued(1)).paused
    assert not fold(step(1), Paused(1), Stopped(1)).paused
    assert not fold(step(1), Paused(1), Started(2, "box", "0")).paused


@pytest.mark.parametrize("ending", [Finished(3), Stopped(2), Failed(1, "The disk is full.")])
def test_an_ending_stands_until_another_host_starts(ending: Event) -> None:
    state = fold(Started(1, "box", "0"), step(1), ending)
    assert state.ending == ending
    assert apply(state, entries(Started(2, "box", "0"))[0]).ending is None


def test_step_and_epoch_are_those_of_the_last_step() -> None:
    assert (RunState().step, RunState().epoch) == (0, 0.0)
    state = fold(step(1), step(2))
    assert (state.step, state.epoch) == (2, 0.2)


def test_the_time_left_is_the_recent_pace_and_the_evaluations_to_come() -> None:
    state = fold(Planned(2, 10, 20, 10), evaluated(0, 7.0), *(step(n, seconds=0.5) for n in range(1, 11)))
    assert state.seconds_left() == pytest.approx(10 * 0.5 + 1 * 0.4)


def test_the_time_left_is_unknown_before_the_first_step_and_after_the_end() -> None:
    assert RunState().seconds_left() is None
    assert fold(Planned(2, 10, 20, 10)).seconds_left() is None
    assert fold(step(1)).seconds_left() is None
    assert fold(Planned(2, 10, 20, 10), step(1), Stopped(1)).seconds_left() is None


def test_the_time_left_is_never_negative_nor_divides_by_nothing() -> None:
    assert fold(Planned(1, 1, 1, 0), step(5)).seconds_left() == 0.0
    assert fold(Planned(1, 9, 9, 0), step(5, seconds=0.0)).seconds_left() == 0.0


def test_tokens_per_second_needs_time() -> None:
    assert RunState().tokens_per_second() is None
    assert fold(step(1, seconds=0.0)).tokens_per_second() is None
    assert fold(step(1), step(2)).tokens_per_second() == pytest.approx(4000)


def test_notes_and_checkpoints_are_all_kept_in_order() -> None:
    saved = [CheckpointSaved(n, f"checkpoints/step-{n:06d}", 1, 0.1) for n in (2, 4)]
    state = fold(Noted("a"), saved[0], Noted("b"), saved[1])
    assert state.notes == ("a", "b")
    assert state.checkpoints == tuple(saved)
