"""Choosing a preset to fill in the form with, and saving the form as one."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from trainer import presets
from trainer import spec as specs
from trainer.presets import Preset, PresetError
from trainer.spec import KNOBS, RunSpec, Value
from tui.safe import safe
from tui.sheets.confirm import ConfirmSheet
from tui.sheets.sheet import Sheet
from tui.widgets.line_input import LineInput

NAME = 24


class ChoosePreset(Sheet[tuple[str, dict[str, Value]] | None]):
    """Answers (name, values), or None when nothing was chosen. A broken preset says why and can't be chosen."""

    FIRST = "OptionList"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", id="presets.back", tooltip="Leave the form as it is"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._values: dict[str, dict[str, Value]] = {}

    def compose(self) -> ComposeResult:
        yield Static("Fill in from a preset", classes="title", markup=False)
        yield OptionList(*[self._option(preset) for preset in presets.list_presets()], markup=False)
        yield Static("enter takes it · escape leaves the form as it is", classes="hint", markup=False)

    def _option(self, preset: Preset) -> Option:
        title = Content.assemble(
            (preset.name.ljust(NAME), "bold"), ("built-in" if preset.builtin else "", "$foreground 60%")
        )
        try:
            self._values[preset.name] = values = presets.load(preset.name)
        except PresetError as error:
            sentence = str(error).replace(str(preset.file), preset.file.name)
            told = Content.styled(safe(sentence, 400, one_line=True), "$text-error")
            return Option(Content("\n").join([title, told]), id=preset.name, disabled=True)
        return Option(Content("\n").join([title, Content.styled(_summary(values), "$foreground 60%")]), id=preset.name)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        name = event.option.id or ""
        self.give((name, self._values[name]))

    def action_leave(self) -> None:
        self.give(None)


class SavePreset(Sheet[str | None]):
    """Asks for a name and saves; answers the name, or None when nothing was saved."""

    FIRST = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", id="save.back", tooltip="Save nothing"),
    ]

    def __init__(self, spec: RunSpec, origin: str) -> None:
        super().__init__()
        self._spec, self._origin = spec, origin

    def compose(self) -> ComposeResult:
        own = any(preset.name == self._origin and not preset.builtin for preset in presets.list_presets())
        yield Static("Save these settings as a preset", classes="title", markup=False)
        yield LineInput(self._origin if own else "", placeholder="a name", max_length=200)  # so that too long is said
        yield Static(classes="told", markup=False)
        where = safe(str(presets.user_dir()), one_line=True)
        yield Static(f"enter saves in {where} · escape leaves", classes="hint", markup=False)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._tell(_wrong(event.value.strip()) if event.value else "")

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self._save(event.value.strip())

    def _save(self, name: str, replace: bool = False) -> None:
        try:
            presets.save(name, self._named(name), replace=replace)
        except presets.Exists:
            question = f"There is a preset called {name} already. Replace it?"
            self.room.lay(ConfirmSheet(question, "Replace", "Keep it"), partial(self._replace, name))
        except PresetError as error:
            self._tell(str(error))
        else:
            self.give(name)

    def action_leave(self) -> None:
        self.give(None)

    def _replace(self, name: str, yes: bool) -> None:
        if yes:
            self._save(name, replace=True)

    def _named(self, name: str) -> RunSpec:
        """A name that came with the preset it was filled in from goes to the new preset as the new name."""
        return dataclasses.replace(self._spec, name=name) if self._spec.name == self._origin else self._spec

    def _tell(self, text: str) -> None:
        self.query_one(".told", Static).update(Content(safe(text, 2000)))


def _wrong(name: str) -> str:
    try:
        presets.check_name(name)
    except PresetError as error:
        return str(error)
    return ""


def _summary(values: dict[str, Value]) -> str:
    """`builtin:tiny · 5 epochs · batch size 4 · learning rate 1e-3 · full`."""
    shown = {name: specs.show(values.get(name, knob.default)) for name, knob in KNOBS.items()}
    return safe(
        f"{shown['model'][-40:]} · {shown['epochs']} epochs · batch {shown['batch_size']} · "
        f"lr {shown['learning_rate']} · {shown['method']}",
        one_line=True,
    )
