"""Checkpoint folders: put in place whole, known to be whole, found again. Knows files and hashes, no torch.

    checkpoints/step-000120/
      model.safetensors or adapter_model.safetensors, config, tokenizer   what other tools load
      training/        what only going on needs: optimizer, schedule, random states
      manifest.json    size and sha256 of every file

A folder is written under a temporary name, every file and the folder synced, renamed, the parent synced: after a
power loss it is there whole or it is not there. One that does not match its manifest is set aside as bad-step-...
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MANIFEST = "manifest.json"
TRAINING = "training"
_NAME = re.compile(r"step-(\d{6,})\Z", re.ASCII)


class Damaged(Exception):
    """A checkpoint is not what was written; the text says what is wrong with it."""


def folder_of(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:06d}"


def steps_on_disk(run: Path) -> list[int]:
    """Steps with a checkpoint folder, newest first; whether each is whole is `verify`'s question."""
    parent = run / "checkpoints"
    found = (_NAME.match(path.name) for path in parent.iterdir()) if parent.is_dir() else ()
    return sorted((int(match[1]) for match in found if match), reverse=True)


def newest_valid(run: Path) -> tuple[int | None, list[str]]:
    """The newest step whose checkpoint is whole, and a sentence for each that was set aside on the way to it."""
    sentences: list[str] = []
    for step in steps_on_disk(run):
        try:
            verify(folder_of(run, step))
        except Damaged as error:
            sentences.append(f"The checkpoint of step {step} is damaged ({error}); {_set_aside(run, step)}.")
            continue
        return step, sentences
    return None, sentences


def _set_aside(run: Path, step: int) -> str:
    aside = _free_name(folder_of(run, step).with_name(f"bad-step-{step:06d}"))
    try:
        folder_of(run, step).rename(aside)
    except OSError as error:
        return f"it is not used, and stays where it is ({error.strerror})"
    return f"it is set aside as {aside.name}"


def seal(folder: Path) -> None:
    """Write the manifest: the last file of a checkpoint."""
    files = {str(f.relative_to(folder)): {"size": f.stat().st_size, "sha256": _sha256(f)} for f in _files(folder)}
    (folder / MANIFEST).write_text(json.dumps({"files": files}, indent=1, sort_keys=True), "utf-8")


def verify(folder: Path) -> None:
    """Raises Damaged unless every file stands there as it was written, and no other."""
    try:
        listed = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
        wanted = {str(name): (int(was["size"]), str(was["sha256"])) for name, was in listed.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"its manifest can't be read: {type(error).__name__}") from None
    if not wanted:
        raise Damaged("its manifest is empty")
    for name, (size, digest) in wanted.items():
        file = folder / name
        try:
            found = file.stat().st_size
            if found != size:
                raise Damaged(f"{name} has {found} bytes, not {size}")
            if _sha256(file) != digest:
                raise Damaged(f"{name} does not have the bytes that were written")
        except OSError as error:
            raise Damaged(f"{name} can't be read: {error.strerror}") from None


@contextmanager
def put(folder: Path) -> Iterator[Path]:
    """A temporary folder's name that becomes `folder` when all went well, and goes when not."""
    temporary = folder.with_name(f".tmp-{folder.name}")
    try:
        folder.parent.mkdir(exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        yield temporary
        for file in _files(temporary):
            sync(file)
        for directory in (d for d in temporary.rglob("*") if d.is_dir()):
            sync(directory)
        sync(temporary)
        _replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove(folder: Path) -> None:
    """Take a checkpoint away: first its name, so that a half-removed one is never taken for one."""
    old = folder.with_name(f".old-{folder.name}")
    with contextlib.suppress(OSError):
        folder.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """What stands in this file or folder is on the disk when this returns."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def clear_leftovers(run: Path) -> None:
    """Remove what a killed host left half-made."""
    for parent in (run, run / "checkpoints"):
        for path in (*parent.glob(".tmp-*"), *parent.glob(".old-*")):
            shutil.rmtree(path, ignore_errors=True)


def _replace(temporary: Path, folder: Path) -> None:
    """Rename into place; what stood there goes only after that."""
    old = folder.with_name(f".old-{folder.name}")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _free_name(path: Path) -> Path:
    names = (path if not n else path.with_name(f"{path.name}-{n}") for n in range(1000))
    return next(name for name in names if not name.exists())


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != MANIFEST)


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
