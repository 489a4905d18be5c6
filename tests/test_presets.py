"""Presets: the built-in ones stay as they are, a person's own stay in their folder, and nothing is replaced unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.keys import CANARIES, leaks
from trainer import presets
from trainer import spec as specs
from trainer.presets import Exists, PresetError, check_name, list_presets, load, save, user_dir
from trainer.spec import RunSpec


def test_the_starter_comes_first_and_every_built_in_preset_is_a_whole_spec() -> None:
    built_in = [preset for preset in list_presets() if preset.builtin]
    assert built_in[0].name == presets.STARTER == "codephreak"
    for preset in built_in:
        spec = specs.make(load(preset.name))
        assert spec.model
        assert spec.data


def test_the_starter_is_what_is_promised() -> None:
    spec = specs.make(load("codephreak"))
    assert (spec.epochs, spec.batch_size, spec.learning_rate) == (5, 4, 1e-3)
    assert (spec.model, spec.data) == ("builtin:tiny", "builtin:codephreak")


def test_a_saved_preset_is_listed_and_loaded(isolated: None) -> None:
    spec = RunSpec(epochs=7, learning_rate=3e-5, name="x")
    file = save("mine", spec)
    assert file == user_dir() / "mine.toml"
    assert specs.make(load("mine")) == spec
    last = list_presets()[-1]
    assert (last.name, last.file, last.builtin) == ("mine", file, False)
    assert list(user_dir().iterdir()) == [file]


def test_an_existing_preset_is_replaced_only_when_told() -> None:
    save("mine", RunSpec(epochs=1))
    with pytest.raises(Exists, match="There is a preset called mine already"):
        save("mine", RunSpec(epochs=2))
    assert load("mine")["epochs"] == 1
    save("mine", RunSpec(epochs=2), replace=True)
    assert load("mine")["epochs"] == 2


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\\..\\b/", "-rf", ".hidden", "a b", "a\n", "\x00", "a\x1b[31m",
     "$(id)", "größe", "[red]", "x" * 65, "\u202egnp"],
    ids=repr,
)  # fmt: skip
def test_no_name_leaves_the_folder(name: str, replace: bool) -> None:
    with pytest.raises(PresetError, match=r"^A preset's name is letters, digits, dot, dash and underscore"):
        save(name, RunSpec(), replace=replace)
    assert not user_dir().exists()


@pytest.mark.parametrize("name", ["a", "7b", "my.preset-2_x", "x" * 64, "a..b"])
def test_usual_names_do(name: str) -> None:
    check_name(name)
    save(name, RunSpec())
    assert load(name)


@pytest.mark.parametrize("replace", [True, False])
def test_a_built_in_preset_stays_as_it_is(replace: bool) -> None:
    before = (presets.BUILTIN / "codephreak.toml").read_bytes()
    with pytest.raises(PresetError, match="codephreak is a built-in preset and stays as it is"):
        save("codephreak", RunSpec(epochs=9), replace=replace)
    assert (presets.BUILTIN / "codephreak.toml").read_bytes() == before
    assert not user_dir().exists()


def test_a_file_put_in_the_folder_by_hand_never_hides_a_built_in_one() -> None:
    user_dir().mkdir(parents=True)
    (user_dir() / "codephreak.toml").write_text("epochs = 999", "utf-8")
    assert load("codephreak")["epochs"] == 5


@pytest.mark.parametrize("name", ["nowhere", "../codephreak", "/etc/passwd", ""])
def test_an_unknown_preset_names_those_there_are(name: str) -> None:
    with pytest.raises(PresetError, match=r"There is no preset called .*; there are .*codephreak.*") as caught:
        load(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"epochs = ",
        b"epochs = 0",
        b"\xff\xfe",
        b"speed = 9",
        b"\x00",
        b"epochs = " + b"9" * 5000,
        b"a = " + b"[" * 9999,
    ],
    ids=["half", "bound", "latin", "unknown", "nul", "digits", "nested"],
)
def test_a_broken_preset_is_one_sentence_that_names_its_file(content: bytes) -> None:
    user_dir().mkdir(parents=True)
    file = user_dir() / "broken.toml"
    file.write_bytes(content)
    assert "broken" in [preset.name for preset in list_presets()]
    with pytest.raises(PresetError) as caught:
        load("broken")
    said = str(caught.value)
    assert str(file) in said
    assert "\n" not in said


def test_a_preset_that_can_not_be_written_is_one_sentence(isolated: None) -> None:
    user_dir().parent.mkdir(parents=True)
    user_dir().write_text("a file where the folder should be", "utf-8")
    with pytest.raises(PresetError, match=r"can't be written: .*\.$"):
        save("mine", RunSpec())


def test_a_folder_in_a_presets_place_is_not_replaced() -> None:
    (user_dir() / "mine.toml").mkdir(parents=True)
    with pytest.raises(PresetError):
        save("mine", RunSpec(), replace=True)
    with pytest.raises(PresetError):
        load("mine")
    assert [path.name for path in user_dir().iterdir()] == ["mine.toml"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious.txt"
    target.write_text("precious", "utf-8")
    user_dir().mkdir(parents=True)
    (user_dir() / "mine.toml").symlink_to(target)
    save("mine", RunSpec(), replace=True)
    assert target.read_text("utf-8") == "precious"


@pytest.mark.parametrize(
    "key", [key for name, key in CANARIES.items() if name not in ("WANDB_API_KEY", "SERVICE_ACCOUNT_JSON")]
)
def test_a_preset_with_a_key_is_refused_with_a_sentence_that_does_not_repeat_it(isolated: None, key: str) -> None:
    user_dir().mkdir(parents=True)
    for line in (f'model = "{key}"', f'name = "x {key} y"', f'epochs = "{key}"', f'api_key = "{key}"'):
        (user_dir() / "mine.toml").write_text(line, "utf-8")
        with pytest.raises(PresetError) as caught:
            load("mine")
        said = str(caught.value)
        assert said.startswith(str(user_dir() / "mine.toml"))
        assert "looks like a key" in said or "no setting called 'api_key'" in said
        assert not leaks(said.encode())
