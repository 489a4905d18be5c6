"""How a run's state looks everywhere: a word, a glyph and a colour that say the same."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.rundir import Status


@dataclass(frozen=True, slots=True)
class Badge:
    """One state; the glyph is one cell wide, the colour has at least 4.5:1 on the background."""

    glyph: str
    word: str
    color: str

    @property
    def text(self) -> str:
        return f"{self.glyph} {self.word}"


GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "#5fc27e", "#e0c060", "#f0954a", "#f0716b", "#6fb3e0", "#b4bac4"

BADGES: dict[Status, Badge] = {
    "starting": Badge("○", "starting", BLUE),
    "running": Badge("●", "running", GREEN),
    "paused": Badge("‖", "paused", YELLOW),
    "stopping": Badge("◐", "stopping…", ORANGE),
    "finished": Badge("✓", "finished", GREEN),
    "stopped": Badge("■", "stopped", GREY),
    "failed": Badge("✗", "failed", RED),
    "crashed": Badge("!", "crashed", RED),
}
UNREADABLE = Badge("!", "unreadable", RED)
