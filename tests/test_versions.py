"""Versions of torch and transformers with known holes are refused, in one sentence that says what mends it."""

from __future__ import annotations

import pytest

from trainer.versions import installed, refusal


@pytest.mark.parametrize(
    ("package", "version"),
    [("torch", "2.9.1+cu128"), ("torch", "1.13.1"), ("torch", "2.2"), ("torch", "nightly"), ("transformers", "5.2.9"),
     ("transformers", "4.57.1"), ("transformers", "")],
)  # fmt: skip
def test_an_old_version_is_one_sentence(package: str, version: str) -> None:
    said = refusal(package, version)
    assert said.startswith(f"{package} {version} is not used here: before ")
    assert said.endswith("mends it.")
    assert f"pip install --upgrade '{package}>=" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("package", "version"),
    [("torch", "2.10.0"), ("torch", "2.13.0+cpu"), ("torch", "3.0"), ("torch", "2.10.0a0+git1"),
     ("transformers", "5.3.0"), ("transformers", "5.23.0"), ("transformers", "10.0.0"), ("peft", "0.1")],
)  # fmt: skip
def test_a_good_version_is_taken(package: str, version: str) -> None:
    assert refusal(package, version) == ""


def test_what_is_installed_here_is_taken_and_what_is_not_is_none() -> None:
    for package in ("torch", "transformers"):
        version = installed(package)
        assert version
        assert refusal(package, version) == ""
    assert installed("no-such-package-anywhere") is None
