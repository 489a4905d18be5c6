"""One of a few words, on one row: `full  [lora]`; left, right and space choose, a click takes the word clicked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click
from textual.geometry import clamp
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from tui.widgets.in_order import InOrder

GAP = 2


class Choice(InOrder, Widget, can_focus=True):
    """Posts `Changed` when a person chooses; not when `value` is set by the program."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,up", "move(-1)", "Choose", show=False, id="choice.left", tooltip="The choice to the left"),
        Binding("right,down", "move(1)", "Choose", show=False, id="choice.right", tooltip="The choice to the right"),
        Binding("space", "cycle", "Choose", show=False, id="choice.next", tooltip="The next choice, round and round"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"choice--taken"}
    DEFAULT_CSS = """
    Choice { height: 1; color: $foreground-muted; }
    Choice:focus { color: $foreground; background: $surface; }
    Choice:disabled { color: $foreground 35%; }
    .choice--taken { color: $text-primary; text-style: bold; }
    Choice:disabled .choice--taken { color: $foreground 35%; }
    """
    value: reactive[str] = reactive("")

    @dataclass
    class Changed(Message):
        choice: Choice
        value: str

        @property
        def control(self) -> Choice:
            return self.choice

    def __init__(self, choices: tuple[str, ...], value: str, *, name: str, id: str) -> None:
        super().__init__(name=name, id=id)
        self.choices = choices
        self.set_reactive(Choice.value, value)

    def render(self) -> Content:
        taken = self.get_visual_style("choice--taken")
        words = [
            Content.assemble((f"[{word}]", taken)) if word == self.value else Content(f" {word} ")
            for word in self.choices
        ]
        return Content(" " * (GAP - 1)).join(words)

    def action_move(self, by: int) -> None:
        at = self.choices.index(self.value) if self.value in self.choices else 0
        self._choose(self.choices[clamp(at + by, 0, len(self.choices) - 1)])

    def action_cycle(self) -> None:
        at = self.choices.index(self.value) if self.value in self.choices else -1
        self._choose(self.choices[(at + 1) % len(self.choices)])

    def on_click(self, event: Click) -> None:
        left = 0
        for word in self.choices:
            if left <= event.x < left + len(word) + GAP:
                self._choose(word)
            left += len(word) + GAP + GAP - 1

    def _choose(self, word: str) -> None:
        if word != self.value:
            self.value = word
            self.post_message(self.Changed(self, word))
