"""What stands under the chart of an ended run: what was kept, where, and the lines that load it."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.outcome import Outcome
from tui.safe import safe


class ResultPanel(VerticalScroll, can_focus=False):
    """Text that wraps and can be selected; long paths are broken, never cut."""

    DEFAULT_CSS = """
    ResultPanel {
        height: auto; max-height: 60%; display: none; padding: 0 1;
        border-top: solid $success-darken-1; scrollbar-size-vertical: 1;
        Static { height: auto; }
        .headline { text-style: bold; }
        .code { background: $surface; padding: 0 1; margin: 0 0 0 0; color: $text; }
        .hint { color: $text-muted; }
        &.-bad { border-top: solid $error-darken-1; }
        &.-bad .headline { color: #f0716b; }
    }
    """

    def compose(self) -> ComposeResult:
        for part in ("headline", "details", "code", "hint"):
            yield Static(id=part, classes=part, markup=False)

    def show(self, outcome: Outcome | None) -> None:
        """Show an outcome; None hides the panel."""
        self.display = outcome is not None
        if outcome is None:
            return
        self.set_class(outcome.bad, "-bad")
        code = safe("\n".join(outcome.code))
        for part, text in (
            ("headline", outcome.headline),
            ("details", "\n".join(outcome.details)),
            ("code", code),
            ("hint", "c copies these two lines" if code else ""),
        ):
            widget = self.query_one(f"#{part}", Static)
            widget.update(Content(text))
            widget.display = bool(text)
