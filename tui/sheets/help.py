"""All keys that do something on a screen, made from its bindings: no key is described twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from tui.sheets.sheet import Sheet

KEY = 12
WORD = 12
GREY = "$foreground 35%"


class HelpSheet(Sheet[None]):
    """Give it `screen.active_bindings`; those with an id of ours are shown, greyed where they can do nothing now."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,q", "close", "Close", id="help.close", tooltip="Back to the screen"),
    ]

    def __init__(self, bindings: Mapping[str, ActiveBinding]) -> None:
        super().__init__()
        self._listed = [active for active in bindings.values() if active.binding.id]

    def compose(self) -> ComposeResult:
        yield Static("Keys", classes="title", markup=False)
        yield Static(self._table())
        yield Static("tab and shift+tab move; escape closes", classes="hint", markup=False)

    def action_close(self) -> None:
        self.give(None)

    def _table(self) -> Content:
        """One row a binding, its keys together: key, name, what it does."""
        keys: dict[str, list[str]] = {}
        rows: dict[str, ActiveBinding] = {}
        for active in self._listed:
            name = active.binding.id or ""
            keys.setdefault(name, []).append(self.app.get_key_display(active.binding))
            rows.setdefault(name, active)
        lines = []
        for name, active in rows.items():
            told = active.tooltip or active.binding.tooltip
            key_style, style = ("$text-accent", "$foreground") if active.enabled else (GREY, GREY)
            key = " ".join(keys[name]).ljust(KEY)
            lines.append(
                Content.assemble((key, key_style), (active.binding.description.ljust(WORD), style), (told, style))
            )
        return Content("\n").join(lines)
