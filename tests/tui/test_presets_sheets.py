"""Choosing and saving presets from the form."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Input, OptionList

from tests.tui.form_stage import form_of, form_stage, settled
from tests.tui.stage import SMALL, sheet_of, shows, text_of, until
from trainer import presets
from trainer import spec as specs
from tui.sheets.presets import SavePreset


async def test_a_preset_is_saved_and_loaded_again(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("up", "up", "ctrl+s")
        await shows(pilot, "Save these settings")
        await pilot.press(*"mine", "enter")
        await shows(pilot, "Saved as mine", "from preset mine")
        assert presets.load("mine")["epochs"] == 5
        assert "changed" not in text_of(app)
        await pilot.press("up")
        await shows(pilot, "from preset mine · changed")
        await pilot.press("ctrl+o")
        await shows(pilot, "Fill in from a preset", "built-in", "mine", "5 epochs · batch 4")
        await pilot.press("end", "enter")
        await until(pilot, lambda: form_of(pilot).form.texts["epochs"] == "5")
        assert form_of(pilot).form.origin == "mine"


async def test_loading_keeps_the_presets_own_learning_rate(tmp_path: Path) -> None:
    """Another model comes with the preset: its learning rate is the preset's, not the usual one for the size."""
    app = form_stage(tmp_path)
    spec = specs.make({**presets.load(presets.STARTER), "learning_rate": 0.5})
    presets.save("odd", spec)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("ctrl+o")
        await shows(pilot, "odd")
        await pilot.press("end", "enter")
        await until(pilot, lambda: form_of(pilot).form.texts["model"] == "builtin:tiny")
        await settled(pilot)
        assert form_of(pilot).form.texts["learning_rate"] == "0.5"


async def test_escape_leaves_the_form_as_it_is(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        before = dict(form_of(pilot).form.texts)
        await pilot.press("ctrl+o")
        await shows(pilot, "Fill in from a preset")
        await pilot.press("escape")
        await until(pilot, lambda: sheet_of(app) is None)
        assert form_of(pilot).form.texts == before


async def test_a_name_is_checked_as_it_is_typed(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("ctrl+s")
        await shows(pilot, "Save these settings")
        await pilot.press("full_stop", "full_stop", "slash", "x")
        await shows(pilot, "A preset's name is letters")
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(sheet_of(app), SavePreset)
        app.screen.query_one(Input).value = "codephreak"
        await shows(pilot, "is a built-in preset")
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(sheet_of(app), SavePreset)
        assert list(presets.user_dir().parent.rglob("*.toml")) == []


async def test_an_existing_one_is_replaced_only_on_a_yes(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    presets.save("mine", specs.make({"epochs": 77}))
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("ctrl+s")
        await shows(pilot, "Save these settings")
        await pilot.press(*"mine", "enter")
        await shows(pilot, "Replace it?")
        await pilot.press("enter")  # no has the focus
        await until(pilot, lambda: isinstance(sheet_of(app), SavePreset))
        assert presets.load("mine")["epochs"] == 77
        await pilot.press("enter")
        await shows(pilot, "Replace it?")
        await pilot.press("y")
        await shows(pilot, "Saved as mine")
        assert presets.load("mine")["epochs"] == 3


async def test_a_wrong_form_is_not_saved(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("end", "ctrl+u", "ctrl+s")
        await shows(pilot, "Not saved: Epochs must be")
        assert sheet_of(app) is None


async def test_the_name_proposed_is_the_last_own_one(tmp_path: Path) -> None:
    presets.save("codephreak2", specs.make({}))
    app = form_stage(tmp_path)
    app.form_screen.form.origin = "codephreak2"
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(sheet_of(app), SavePreset) and app.screen.query(Input))
        assert app.screen.query_one(Input).value == "codephreak2"


async def test_a_broken_preset_says_why_and_cannot_be_chosen(tmp_path: Path) -> None:
    presets.save("fine", specs.make({}))
    (presets.user_dir() / "broken.toml").write_text("epochs = [bold]\n")
    app = form_stage(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await settled(pilot)
        await pilot.press("ctrl+o")
        await shows(pilot, "broken.toml is not TOML")
        options = app.screen.query_one(OptionList)
        assert options.get_option("broken").disabled
        assert not options.get_option("fine").disabled


async def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    presets.user_dir().parent.mkdir(parents=True)
    presets.user_dir().write_text("a file where the folder should be")
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("ctrl+s")
        await shows(pilot, "Save these settings")
        await pilot.press(*"mine", "enter")
        await shows(pilot, "can't be written")


async def test_a_name_that_is_too_long_is_said_and_not_cut(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("ctrl+s")
        await shows(pilot, "Save these settings")
        await pilot.press(*"a" * 65, "enter")
        await shows(pilot, "most 64, beginning")
        assert isinstance(sheet_of(app), SavePreset)
    assert not [preset for preset in presets.list_presets() if not preset.builtin]


async def test_where_the_form_comes_from_stays_on_its_row(tmp_path: Path) -> None:
    app = form_stage(tmp_path)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        form_of(pilot).form.origin = "b" * 20 + "c" * 24 + "d" * 20
        await pilot.press("up")
        text = await shows(pilot, "New run · from run bbbb", "dddd · changed")
        assert "…" in text.splitlines()[0]
