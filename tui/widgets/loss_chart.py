"""The live loss chart: shows curves and marks, and refreshes only what has changed.

It keeps the picture it shows as strips and compares a new picture with it cell by cell. Nothing changed means no
byte. It does not smooth, find minima or read runs: that is its screen's business.

It imports plotext: import it only where a live chart opens.
"""

from asyncio import to_thread
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from time import perf_counter

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from trainer.insight.series import bounds
from tui.charts import Axes, Curve, Mark, draw, grow_axes
from tui.stretches import changed

LOOP_BUDGET = 0.03  # seconds: a draw that took longer is followed by draws in a thread
BREATH = 0.5  # seconds between two draws at the least: the newest column is sent again by each
REST = 4.0  # times the last draw's cost between two draws: at most a fifth of one core


@dataclass(frozen=True)
class _Picture:
    """What its screen wants to be seen."""

    curves: tuple[Curve, ...] = ()
    marks: tuple[Mark, ...] = ()
    placeholder: str = ""
    x_end: float = 0.0


@dataclass(frozen=True)
class _Drawn:
    """A finished drawing and what it took in seconds."""

    strips: tuple[Strip, ...]
    axes: Axes | None
    cost: float


@dataclass(frozen=True)
class _Job:
    """All that one drawing depends on, so that it can be made in any thread."""

    picture: _Picture
    axes: Axes | None
    log_y: bool
    x_label: str
    dark: bool
    width: int
    height: int

    def run(self) -> _Drawn:
        started = perf_counter()
        axes = grow_axes(self.axes, self.picture.curves, log_y=self.log_y, x_end=self.picture.x_end)
        strips = draw(
            self.picture.curves,
            self.picture.marks,
            self.width,
            self.height,
            axes=axes,
            log_y=self.log_y,
            x_label=self.x_label,
            placeholder=self.picture.placeholder,
            dark=self.dark,
        )
        has_data = self.axes is not None or any(bounds(c.y) for c in self.picture.curves)
        return _Drawn(strips, axes if has_data else None, perf_counter() - started)


class LossChart(Widget, can_focus=False):
    """Curves over steps, redrawn in place; give it data by `show`."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    LossChart { width: 1fr; height: 1fr; overflow: hidden; }
    """

    def __init__(
        self,
        *,
        log_y: bool = False,
        x_label: str = "step",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._log_y = log_y
        self._x_label = x_label
        self._picture = _Picture()
        self._axes: Axes | None = None
        self._strips: tuple[Strip, ...] = ()
        self._cost = 0.0
        self._drawn_at = 0.0
        self._waiting: Timer | None = None
        self._in_thread = False
        self._stale = False

    def show(
        self, curves: Sequence[Curve], marks: Sequence[Mark] = (), placeholder: str = "", *, x_end: float = 0.0
    ) -> None:
        """Show these instead of the former ones; call it as often as there is news.

        Several calls while a picture is being drawn, or sooner after it than its cost allows,
        become one: the newest wins. The axes only widen; see `reset`. x ends at `x_end` while no
        curve goes beyond it.
        """
        self._picture = _Picture(tuple(curves), tuple(marks), placeholder, x_end)
        self._draw_soon()

    def reset(self, axes: Axes | None = None) -> None:
        """Let the next picture have axes of its own (for another run), or grow from these."""
        self._axes = axes

    @property
    def log_y(self) -> bool:
        """Whether y is drawn on a logarithmic axis; values <= 0 are gaps then."""
        return self._log_y

    @log_y.setter
    def log_y(self, value: bool) -> None:
        if value != self._log_y:
            self._log_y = value
            self._axes = None
            self._draw_soon()

    @property
    def axes(self) -> Axes | None:
        """What the picture spans; None before the first one."""
        return self._axes

    @property
    def strips(self) -> tuple[Strip, ...]:
        """The rows of the picture that is kept; none before the first."""
        return self._strips

    def render_line(self, y: int) -> Strip:
        """Row y on the widget's ground; blank where the picture is not of this size yet."""
        width, plain = self.size.width, self.rich_style
        strip = self._strips[y].adjust_cell_length(width) if y < len(self._strips) else Strip.blank(width)
        ground = Style(bgcolor=plain.bgcolor)
        segments = [Segment(text, ground + style if style or text.isspace() else plain) for text, style, _ in strip]
        return Strip(segments, strip.cell_length)

    def on_mount(self) -> None:
        """The grid's colour goes with the theme."""
        self.app.theme_changed_signal.subscribe(self, lambda _: self._draw_soon())

    def on_resize(self) -> None:
        """Draw for the new size at once and here, so that no row of the old width is seen.

        What a thread draws meanwhile is of another size and will be thrown away; it has the newest axes no more.
        """
        self._stop_waiting()
        job = self._job()
        self._take(job, job.run())

    def _draw_soon(self) -> None:
        """Draw now, or once the last draw is `BREATH` and the rest that its cost asks for ago."""
        if not self.size or not self.is_attached:
            return
        left = self._drawn_at + max(BREATH, REST * self._cost) - perf_counter()
        if left <= 0 or self._axes is None:  # what is waited for is seen at once
            self._draw_now()
        elif self._waiting is None:
            self._waiting = self.set_timer(left, self._draw_now)

    def _draw_now(self) -> None:
        """Draw the newest picture: here, or in a thread when the last draw was slow."""
        self._stop_waiting()
        if self._in_thread:
            self._stale = True
            return
        job = self._job()
        if self._cost <= LOOP_BUDGET:
            self._take(job, job.run())
        else:
            self._in_thread, self._stale = True, False
            self.run_worker(self._draw_in_thread(job))

    def _job(self) -> _Job:
        width, height = self.size
        dark = self.app.current_theme.dark
        return _Job(self._picture, self._axes, self._log_y, self._x_label, dark, width, height)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.stop()
            self._waiting = None

    async def _draw_in_thread(self, job: _Job) -> None:
        """Draw without holding up keys; draw again if there was news meanwhile."""
        try:
            drawn = await to_thread(job.run)
        finally:
            self._in_thread = False
        if (job.width, job.height) == self.size:
            self._take(job, drawn)
        if self._stale or self._axes is not drawn.axes:
            self._draw_soon()

    def _take(self, job: _Job, drawn: _Drawn) -> None:
        """Keep the new picture and refresh what differs from the one on the screen."""
        if self._axes is job.axes and self._log_y == job.log_y:
            self._axes = drawn.axes
        self._cost, self._drawn_at = drawn.cost, perf_counter()
        before = self._strips or (Strip.blank(job.width),) * job.height
        self._strips = drawn.strips
        regions = [
            Region(start, y, end - start, 1)
            for y, (old, new) in enumerate(zip_longest(before, drawn.strips, fillvalue=Strip([], 0)))
            for start, end in changed(old, new)
        ]
        if regions:
            self.refresh(*regions)
