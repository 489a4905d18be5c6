"""Series to picture: exact sizes, hostile series, still axes."""

import random
import subprocess
import sys
from math import inf, nan
from pathlib import Path

import plotext
import pytest
from rich.cells import cell_len
from textual.strip import Strip

from trainer.insight.series import bounds, ema
from tui.chart_axes import SHORTEST, fence, reach, x_ticks, y_ticks
from tui.charts import Axes, Curve, Mark, draw, grow_axes
from tui.plotext_adapter import Limits, plot

SIZES = [(0, 0), (1, 1), (5, 3), (20, 5), (24, 7), (40, 10), (80, 24), (120, 40), (200, 50)]
BRAILLE = {chr(code) for code in range(0x2801, 0x2900)}


def raw(values: list[float | None]) -> Curve:
    return Curve("loss", list(range(1, len(values) + 1)), values, "#68748e", faint=True)


def plain(values: list[float | None]) -> Curve:
    return Curve("loss (smoothed)", list(range(1, len(values) + 1)), values, "#0fa3b8")


def falling(count: int, seed: int = 3) -> list[float | None]:
    source = random.Random(seed)
    return [2 + 4 * 0.99**i + source.gauss(0, 0.2) for i in range(count)]


def texts(rows: tuple[Strip, ...]) -> list[str]:
    return [row.text for row in rows]


def dots(rows: tuple[Strip, ...]) -> int:
    return sum(character in BRAILLE for row in rows for character in row.text)


def usual(count: int = 300) -> tuple[list[Curve], list[Mark]]:
    y = falling(count)
    held_out = Curve("eval_loss", [100, 200, 300], [3.5, 2.5, 2.75], "#e8780c", dots=True)
    best = Mark(200, 2.5, "best 2.500 at step 200", "#2f9e44")
    return [raw(y), plain(list(ema(y, half_life=10))), held_out], [best]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("log_y", [False, True])
def test_rows_have_the_exact_size(width: int, height: int, log_y: bool) -> None:
    curves, marks = usual()
    for what in (curves, []):
        rows = draw(what, marks, width, height, log_y=log_y, placeholder="waiting for 第一 step")
        assert len(rows) == height
        assert {row.cell_length for row in rows} <= {width}
        assert {cell_len(row.text) for row in rows} <= {width}


def test_legend_tells_curves_apart_without_colour() -> None:
    curves, marks = usual()
    legend = draw(curves, marks, 80, 24)[0].text.rstrip()
    assert legend == "─ loss  ━ loss (smoothed)  ◆ eval_loss  ● best 2.500 at step 200"


def test_a_narrow_legend_leaves_out_whole_entries_and_the_faint_first() -> None:
    curves, marks = usual()
    assert draw(curves, marks, 58, 24)[0].text.startswith("━ loss (smoothed)  ◆ eval_loss  ●")
    assert draw(curves, marks, 36, 24)[0].text.rstrip() == "━ loss (smoothed)  ◆ eval_loss"


def test_labels_cannot_break_rows() -> None:
    hostile = Curve("\x1b[31mred\n日本\x00", [1, 2], [1.0, 2.0], "red")
    row = draw([hostile], [], 80, 24)[0]
    assert cell_len(row.text) == 80
    assert row.text.isprintable()


def test_best_and_eval_points_are_drawn() -> None:
    curves, marks = usual()
    body = "\n".join(texts(draw(curves, marks, 80, 24))[1:])
    assert body.count("●") == 1
    assert body.count("◆") == 2  # the third lies under the ●


def test_a_point_lies_on_the_row_of_its_tick() -> None:
    axes = Axes(0, 10, 0, 4)
    rows = texts(draw([Curve("c", [5], [2.0], "red", dots=True)], [], 60, 27, axes=axes))
    (marked,) = [row for row in rows[1:] if "◆" in row]
    assert marked.lstrip().startswith("2")


def test_ticks_and_step_label_are_on_the_last_row() -> None:
    last = draw(*usual(), 80, 24)[-1].text
    assert last.split() == ["0", "100", "200", "step"]


def test_placeholder_only_while_there_is_nothing() -> None:
    assert any("waiting" in row for row in texts(draw([], [], 80, 24, placeholder="waiting")))
    assert any("waiting" in row for row in texts(draw([raw([nan, None])], [], 80, 24, placeholder="waiting")))
    curves, marks = usual()
    assert not any("waiting" in r for r in texts(draw(curves, marks, 80, 24, placeholder="waiting")))


HOSTILE: dict[str, list[float | None]] = {
    "nan": [1.0, nan, 2.0],
    "only nan": [nan, nan],
    "inf": [1.0, inf, -inf, 2.0],
    "none": [None, 1.0, None],
    "zero and below": [0.0, -1.0, 1.0, 2.0],
    "all below zero": [-3.0, -2.0, -5.0],
    "huge": [1e308, -1e308, 1.0, 1e99, -1e99],
    "tiny": [5e-324, 1e-300, 2e-300],
    "flat": [2.0] * 50,
    "flat and large": [1e12, 1e12 + 0.001],
    "one": [3.0],
    "none at all": [],
    "spike": [*[2.0] * 30, 1e30, *[2.0] * 30],
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("log_y", [False, True])
def test_hostile_series_are_drawn(name: str, log_y: bool) -> None:
    values = HOSTILE[name]
    marks = [Mark(1, value, "best", "green") for value in (nan, inf, -1.0, 1e308)]
    for curves in ([raw(values)], [plain(values)], [raw(values), plain(values)]):
        axes = grow_axes(grow_axes(None, curves[:1], log_y=log_y), curves, log_y=log_y)
        rows = draw(curves, marks, 60, 20, axes=axes, log_y=log_y)
        assert {cell_len(row.text) for row in rows} == {60}


def test_hostile_series_do_not_end_the_process() -> None:
    """plotext's failures are aborts: run the worst in a process that may die."""
    code = (
        "from math import inf, nan\n"
        "from tui.plotext_adapter import Limits, plot\n"
        "limits = Limits(0, 10, 0, 1)\n"
        "bad = (nan, inf, -inf, 1e308, -1e308, 0.5, 5e-324)\n"
        "points = tuple((x, y) for x in (0, 3, nan, inf, -inf, 5) for y in bad)\n"
        "for lined in (True, False):\n"
        "    for w, h in ((0, 0), (1, 1), (5, 3), (80, 24)):\n"
        "        assert [len(r) for r in plot(points, w, h, limits, lined=lined)] == [w] * h\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()


def test_lines_are_broken_at_gaps_and_cut_at_the_limits() -> None:
    limits = Limits(0, 10, 0, 1)
    whole = "".join(plot(((0, 0.5), (10, 0.5)), 40, 8, limits)).count(" ")
    broken = "".join(plot(((0, 0.5), (5, nan), (10, 0.5)), 40, 8, limits)).count(" ")
    assert whole == 7 * 40
    assert broken == 8 * 40 - 2
    up = plot(((0, 0.0), (5, 1e99), (10, 0.0)), 40, 8, limits)
    assert [len(row) - row.count(" ") for row in up] == [2] * 8


def test_an_outlier_of_a_faint_curve_is_cut_and_says_so() -> None:
    values = falling(200)
    values[100] = 500.0
    axes = grow_axes(None, [raw(values)])
    assert axes.y_high < 20
    assert "▲" in "".join(texts(draw([raw(values)], [], 80, 24, axes=axes)))
    assert grow_axes(None, [plain(values)]).y_high >= 500


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("log_y", [False, True])
def test_axes_hold_the_plain_curves_and_only_widen(seed: int, log_y: bool) -> None:
    values = falling(400, seed)
    axes = None
    changes = 0
    for count in range(1, 401):
        curve = plain(values[:count])
        grown = grow_axes(axes, [curve], log_y=log_y)
        span = bounds(curve.y)
        assert span is not None
        assert grown.y_low <= span[0] <= span[1] <= grown.y_high
        assert grown.x_low <= 1
        assert count <= grown.x_high
        if axes is not None:
            assert (grown.x_low, grown.y_low) <= (axes.x_low, axes.y_low)
            assert (grown.x_high, grown.y_high) >= (axes.x_high, axes.y_high)
            changes += grown != axes
        axes = grown
    assert changes <= 12, "axes are to stand still on most steps"


@pytest.mark.parametrize("whole", [1, 6, 40, 41, 340, 4000, 100_000])
def test_the_last_axis_ends_where_the_run_does_and_the_others_are_its_halves(whole: int) -> None:
    ends = sorted({reach(step, whole) for step in range(whole + 1)})
    assert ends[-1] == whole
    assert ends[0] >= min(whole, SHORTEST)
    assert [end * 2 for end in ends[:-1]] == ends[1:]
    assert all(step <= reach(step, whole) for step in range(0, 2 * whole, 7))
    assert reach(whole + 1, whole) == 2 * whole, "more steps than planned"


def test_an_axis_can_be_longer_than_its_curves_and_never_shorter() -> None:
    assert grow_axes(None, [plain(falling(30))], x_end=250).x_high == 250
    assert grow_axes(None, [plain(falling(300))], x_end=250).x_high == reach(300)
    assert grow_axes(Axes(0, 500, 0, 8), [plain(falling(30))], x_end=250).x_high == 500


def test_the_first_axes_leave_room_to_fall_and_those_of_a_whole_run_leave_none() -> None:
    young, whole = grow_axes(None, [plain([6.5])]), grow_axes(None, [plain([6.5, 4.0, 1.5])])
    assert young.y_low < 4.5
    assert (whole.y_low, whole.y_high) == (1.5, 6.5)


def test_axes_stand_still_when_nothing_new_comes() -> None:
    curves, _ = usual()
    axes = grow_axes(None, curves)
    assert grow_axes(axes, curves) == axes
    assert grow_axes(axes, []) == axes


def test_linear_axes_are_not_taken_for_logarithmic_ones() -> None:
    curves, marks = usual()
    linear = Axes(0, 400, 0, 8)
    assert grow_axes(linear, curves, log_y=True).y_low > 0
    assert dots(draw(curves, marks, 80, 24, axes=linear, log_y=True)) > 50


def test_fence_keeps_noise_and_cuts_outliers() -> None:
    source = random.Random(1)
    noise = [source.gauss(0, 1) for _ in range(1000)]
    low, high = fence([*noise, 1e6, -1e6])
    assert -4 < low < -2.5
    assert 2.5 < high < 4
    assert fence([1.0, 100.0]) == (1.0, 100.0)


def test_tick_labels_are_short_round_and_distinct() -> None:
    for high in (0.003, 0.07, 1.0, 2.5, 12.0, 400.0, 9999.0, 123456.0, 3e9):
        axes = Axes(0, max(20, high * 100), 0, high)
        for ticks in (y_ticks(axes, 36, False), x_ticks(axes, 115)):
            labels = [label for _, label in ticks]
            assert len(labels) >= 2
            assert len(set(labels)) == len(labels)
            assert all(
                sum(c.isdigit() for c in label.split("e")[0].lstrip("0.")) <= 4 or high >= 1e4 for label in labels
            )
    assert [label for _, label in y_ticks(Axes(0, 1, 0, 5), 27, False)] == list("012345")
    assert [label for _, label in y_ticks(Axes(0, 1, 4.2, 7.4), 17, False)] == list("567")
    assert [label for _, label in y_ticks(Axes(0, 1, 0.01, 10), 30, True)] == [
        "0.01",
        "0.1",
        "1",
        "10",
    ]
    assert [label for _, label in x_ticks(Axes(0, 20000, 0, 1), 80)][-1] == "20k"


def test_plotext_still_has_the_private_parts_that_are_used() -> None:
    """A second figure, and a signal added without a colour search (`plotext_adapter`)."""
    terminal = type(plotext.terminal)()
    assert terminal._master is not plotext.figure
    assert callable(terminal._master._signals._add)
    assert plotext.version.split(".")[0] == "6"


def test_drawing_twice_is_the_same_and_leaves_the_shared_figure_alone() -> None:
    before = plotext.figure.build().string(True)
    curves, marks = usual()
    assert draw(curves, marks, 80, 24) == draw(curves, marks, 80, 24)
    assert plotext.figure.build().string(True) == before
