"""The live chart in an app: what is shown, and how little is refreshed."""

import asyncio
import random
import threading
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

import tui.widgets.loss_chart as loss_chart
from trainer.insight.series import ema
from tui.charts import Axes, Curve, Mark, draw
from tui.widgets.loss_chart import LossChart


class ChartApp(App[None]):
    def compose(self) -> ComposeResult:
        yield LossChart(id="chart")


def curves_of(count: int) -> list[Curve]:
    source = random.Random(5)
    x = list(range(1, count + 1))
    y = [2 + 4 * 0.99**i + source.gauss(0, 0.2) for i in x]
    return [
        Curve("loss", x, y, "#68748e", faint=True),
        Curve("loss (smoothed)", x, ema(y, half_life=10), "#0fa3b8"),
    ]


def shown(chart: LossChart) -> list[str]:
    return [strip.text for strip in chart.strips]


@pytest.fixture(autouse=True)
def draws_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is: no rest between draws and no thread, unless a test asks."""
    monkeypatch.setattr(loss_chart, "LOOP_BUDGET", 60.0)
    monkeypatch.setattr(loss_chart, "REST", 0.0)
    monkeypatch.setattr(loss_chart, "BREATH", 0.0)


def on_screen(app: App[None]) -> list[str]:
    """What the compositor would send; private, but nothing public says it without markup."""
    return [strip.text for strip in app.screen._compositor.render_strips()]


@pytest.fixture
def refreshed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Region, ...]]:
    """The regions of every refresh that a chart asks for; () is all of it."""
    calls: list[tuple[Region, ...]] = []
    refresh = Widget.refresh

    def record(self: Widget, *regions: Region, **options: Any) -> Widget:
        calls.append(regions)
        return refresh(self, *regions, **options)

    monkeypatch.setattr(LossChart, "refresh", record)
    return calls


async def test_shows_a_placeholder_then_curves() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.query_one(LossChart)
        chart.show([], placeholder="waiting for the first step")
        await pilot.pause()
        assert any("waiting for the first step" in row for row in shown(chart))
        chart.show(curves_of(50), [Mark(50, 4.4, "best", "green")])
        await pilot.pause(0.3)
        assert "━ loss (smoothed)" in shown(chart)[0]
        assert not any("waiting" in row for row in shown(chart))
        assert on_screen(app) == shown(chart)


async def test_one_more_point_refreshes_a_small_part(refreshed: list[tuple[Region, ...]]) -> None:
    app = ChartApp()
    async with app.run_test(size=(120, 40)) as pilot:
        chart = app.query_one(LossChart)
        chart.show(curves_of(300))
        await pilot.pause()
        cells = []
        for count in range(301, 311):
            refreshed.clear()
            chart.show(curves_of(count))
            assert () not in refreshed
            regions = [region for call in refreshed for region in call]
            assert all(region.height == 1 for region in regions)
            assert len(regions) <= 12
            cells.append(sum(region.area for region in regions))
        assert 0 < sum(cells) / len(cells) < 40


async def test_nothing_new_refreshes_nothing(refreshed: list[tuple[Region, ...]]) -> None:
    app = ChartApp()
    async with app.run_test(size=(120, 40)) as pilot:
        chart = app.query_one(LossChart)
        chart.show(curves_of(300))
        await pilot.pause()
        refreshed.clear()
        for _ in range(3):
            chart.show(curves_of(300))
            await pilot.pause()
        assert refreshed == []


async def test_the_x_axis_stands_still_until_the_run_outgrows_it() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.query_one(LossChart)
        for count, end in ((330, 640), (640, 640), (641, 1280)):
            chart.show(curves_of(count))
            await pilot.pause(0.3)
            assert chart.axes is not None
            assert chart.axes.x_high == end


async def test_a_run_of_known_length_can_fix_the_axis() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)):
        chart = app.query_one(LossChart)
        chart.reset(Axes(0, 1000, 0, 8))
        chart.show(curves_of(100))
        assert chart.axes == Axes(0, 1000, 0, 8)


async def test_a_young_run_refreshes_few_cells(refreshed: list[tuple[Region, ...]]) -> None:
    """Two steps a show, four shows a second, as `benchmarks/screen_bytes.py` measures it in bytes."""
    app = ChartApp()
    async with app.run_test(size=(80, 20)):
        chart = app.query_one(LossChart)
        chart.show([], placeholder="waiting", x_end=250)
        refreshed.clear()
        for count in range(2, 122, 2):
            chart.show(curves_of(count), x_end=250)
        assert () not in refreshed
        assert sum(region.area for call in refreshed for region in call) < 60 * 80


async def test_the_first_point_is_seen_at_once_and_those_after_it_twice_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(loss_chart, "BREATH", 0.5)
    monkeypatch.setattr(loss_chart, "perf_counter", lambda: now)
    app = ChartApp()
    async with app.run_test(size=(80, 24)):
        chart = app.query_one(LossChart)
        chart.show([], placeholder="waiting")
        chart.show(curves_of(1))
        first = shown(chart)
        assert "waiting" not in "".join(first)
        chart.show(curves_of(20))
        assert shown(chart) == first
        now += 0.5
        chart.show(curves_of(21))
        assert shown(chart) != first


async def test_an_empty_start_does_not_widen_the_axes() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.query_one(LossChart)
        chart.show([], placeholder="waiting")
        await pilot.pause()
        chart.show(curves_of(20))
        await pilot.pause(0.3)
        assert chart.axes is not None
        assert chart.axes.y_low > 1


async def test_resize_redraws_at_the_new_size() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.query_one(LossChart)
        chart.show(curves_of(100))
        for size in ((120, 40), (5, 3), (1, 1), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert {len(row) for row in shown(chart)} == {size[0]}
            assert on_screen(app) == shown(chart)
        assert "loss" in shown(chart)[0]


async def test_slow_draws_go_to_a_thread_and_the_newest_wins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loss_chart, "LOOP_BUDGET", -1.0)
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.query_one(LossChart)
        for count in range(10, 200, 10):
            chart.show(curves_of(count))
        chart.show(curves_of(401))
        for _ in range(100):
            await pilot.pause(0.02)
            if chart.axes is not None and chart.axes.x_high == 640:
                break
        assert chart.axes is not None
        assert chart.axes.x_high == 640
        await asyncio.sleep(0)


async def test_a_resize_does_not_wait_for_a_slow_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under load a draw in its thread takes long; the old picture must not stand in the new size meanwhile."""
    app, real, go_on = ChartApp(), draw, threading.Event()

    def slow_elsewhere(*args: Any, **options: Any) -> tuple[Strip, ...]:
        if threading.current_thread() is not threading.main_thread():
            go_on.wait(30)
        return real(*args, **options)

    monkeypatch.setattr(loss_chart, "draw", slow_elsewhere)
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.query_one(LossChart)
        chart.show(curves_of(100))
        await pilot.pause()
        monkeypatch.setattr(loss_chart, "LOOP_BUDGET", -1.0)
        monkeypatch.setattr(loss_chart, "REST", 1000.0)
        chart._drawn_at = -1e9
        chart.show(curves_of(120))
        await pilot.pause()
        await pilot.resize_terminal(100, 30)
        await pilot.pause()
        assert chart._in_thread, "the slow draw is still going on"
        assert {len(row) for row in shown(chart)} == {100}
        assert len(shown(chart)) == 30
        drawn = shown(chart)
        go_on.set()
        await pilot.pause(0.3)
        assert shown(chart) == drawn


async def test_bursts_become_one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[loss_chart._Job] = []
    run = loss_chart._Job.run

    def record(job: loss_chart._Job) -> loss_chart._Drawn:
        drawn.append(job)
        return run(job)

    monkeypatch.setattr(loss_chart._Job, "run", record)
    monkeypatch.setattr(loss_chart, "REST", 5.0)
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.query_one(LossChart)
        await pilot.pause(0.2)
        drawn.clear()
        for count in range(100, 200):
            chart.show(curves_of(count))
        await pilot.pause(0.5)
        assert len(drawn) <= 12
        assert len(drawn[-1].picture.curves[0].x) == 199


async def test_log_axis_can_be_switched() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.query_one(LossChart)
        chart.show(curves_of(100))
        chart.log_y = True
        await pilot.pause(0.3)
        assert chart.axes is not None
        assert (chart.axes.y_low, chart.axes.y_high) == (2, 10)


async def test_the_grid_goes_with_the_theme() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.query_one(LossChart)
        chart.show(curves_of(100))
        await pilot.pause()
        before = chart.strips
        app.theme = "textual-light"
        await pilot.pause(0.3)
        assert chart.strips != before
        assert shown(chart) == [strip.text for strip in before]


async def test_it_takes_no_focus_and_no_selection() -> None:
    app = ChartApp()
    async with app.run_test():
        chart = app.query_one(LossChart)
        assert not chart.can_focus
        assert not chart.allow_select
