"""Which versions of the libraries that load files from outside are too old to be safe. Imports none of them."""

from __future__ import annotations

import re
from importlib import metadata

# The first version without the hole, and the hole: see the advisories CVE-2026-24747 and CVE-2026-4372.
OLDEST = {
    "torch": ((2, 10), "loading a file could corrupt its memory"),
    "transformers": ((5, 3), "a model's config.json could run code"),
}


def installed(package: str) -> str | None:
    """The installed version as its metadata says it, None where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def refusal(package: str, version: str) -> str:
    """Why this version is not used, in one sentence; "" where it may be, or is of a package we know nothing of."""
    if package not in OLDEST:
        return ""
    oldest, hole = OLDEST[package]
    found = re.match(r"(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) >= oldest:
        return ""
    wanted = ".".join(map(str, oldest))
    return (
        f"{package} {version[:40]} is not used here: before {wanted}, {hole}; "
        f"`pip install --upgrade '{package}>={wanted}'` mends it."
    )
