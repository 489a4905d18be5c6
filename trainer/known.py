"""Token lengths that were counted before, kept for the next look: the form can say what is cut without counting.

An entry is known again by the data files, the columns and the model's tokenizer files (paths, sizes, times of their
last change); it holds counts, no text. It is made again when it is lost or can't be read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

from trainer import __version__, cache, check
from trainer.data.lengths import Lengths, from_fields
from trainer.files import write_whole
from trainer.models import ModelInfo
from trainer.spec import RunSpec

MOST = 200  # entries
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json", "tokenizer.model")


def key(spec: RunSpec, info: ModelInfo) -> str:
    """What lengths of these data in this model's tokens are known by; "" where the data are no files here."""
    files = check.stamp(spec.data)[1:]
    if not files:
        return ""
    model = [_stamp(Path(info.source) / name) for name in _TOKENIZER]
    told = json.dumps([__version__, files, spec.columns, info.source, model])
    return hashlib.sha256(told.encode()).hexdigest()


def recall(key: str) -> Lengths | None:
    """The lengths that were kept under a key."""
    try:
        return from_fields(json.loads((_folder() / f"{key}.json").read_text("utf-8"))) if key else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def remember(key: str, lengths: Lengths) -> None:
    """Keep them, and let the oldest go. Where nothing can be written nothing is kept."""
    if not key:
        return
    with contextlib.suppress(OSError):
        _folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(_folder() / f"{key}.json", json.dumps(lengths.fields()))
        entries = sorted(_folder().glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
        for old in entries[MOST:]:
            old.unlink(missing_ok=True)


def clear() -> int:
    """Take all entries away; how many there were."""
    gone = 0
    for file in _folder().glob("*.json"):
        with contextlib.suppress(OSError):
            file.unlink()
            gone += 1
    return gone


def _folder() -> Path:
    return cache.root() / "lengths"


def _stamp(file: Path) -> tuple[int, int]:
    try:
        seen = file.stat()
    except OSError:
        return (0, 0)
    return seen.st_size, seen.st_mtime_ns
