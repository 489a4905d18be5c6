"""Presets: named starting points, TOML of the same shape as a run's spec.toml.

Built-in ones come with the project and are read-only; a person's own stand in the usual config folder and win
over a built-in one of the same name never: such a name is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from trainer import spec as specs
from trainer.files import write_whole
from trainer.spec import RunSpec, Value

BUILTIN = Path(__file__).parent.parent / "presets"
STARTER = "codephreak"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z", re.ASCII)


class PresetError(Exception):
    """A preset can't be read or written; the text is one sentence."""


class Exists(PresetError):
    """A preset of this name is there already; writing it needs a yes."""


@dataclass(frozen=True, slots=True)
class Preset:
    name: str
    file: Path
    builtin: bool


def user_dir() -> Path:
    return Path(platformdirs.user_config_dir("finetunegem", appauthor=False)) / "presets"


def list_presets() -> list[Preset]:
    """Built-in ones first, the starter before all, then the person's own by name."""
    builtin = [Preset(p.stem, p, True) for p in sorted(BUILTIN.glob("*.toml"))]
    builtin.sort(key=lambda preset: preset.name != STARTER)
    own = [Preset(p.stem, p, False) for p in sorted(user_dir().glob("*.toml")) if _NAME.match(p.stem)]
    return [*builtin, *own]


def load(name: str) -> dict[str, Value]:
    """The fields a preset sets. Raises PresetError naming the presets there are, or what is wrong in the file."""
    presets = {preset.name: preset for preset in reversed(list_presets())}
    if name not in presets:
        raise PresetError(f"There is no preset called {name!r}; there are {', '.join(sorted(presets))}.")
    file = presets[name].file
    try:
        return specs.from_toml(file.read_text("utf-8"), file)
    except (OSError, UnicodeDecodeError) as error:
        raise PresetError(f"The preset {file} can't be read: {error}.") from None
    except specs.SpecError as error:
        raise PresetError(str(error)) from None


def check_name(name: str) -> None:
    """Raises PresetError unless `name` can be a preset of one's own: no path leaves the folder by it."""
    if not _NAME.match(name):
        raise PresetError(
            "A preset's name is letters, digits, dot, dash and underscore, at most 64, beginning with a letter "
            "or digit."
        )
    if any(preset.builtin and preset.name == name for preset in list_presets()):
        raise PresetError(f"{name} is a built-in preset and stays as it is: choose another name.")


def save(name: str, spec: RunSpec, *, replace: bool = False) -> Path:
    """Write a preset of one's own. Raises Exists where there is one and `replace` is not given; PresetError else."""
    check_name(name)
    file = user_dir() / f"{name}.toml"
    if file.exists() and not replace:
        raise Exists(f"There is a preset called {name} already.")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(file, specs.to_toml(spec))
    except OSError as error:
        raise PresetError(f"{file} can't be written: {error.strerror}.") from None
    return file
