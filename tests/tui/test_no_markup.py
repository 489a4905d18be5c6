"""A lint: text becomes markup nowhere in tui/, so that nothing from outside can. The parser of markup can hang, too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tui

FOLDER = Path(tui.__file__).parent
FILES = sorted(FOLDER.rglob("*.py"))
PARSE = {"Static", "Label", "notify", "OptionList", "RichLog"}  # take markup unless told not to
FORBIDDEN = {"from_markup", "from_ansi", "render_markup", "escape_markup"}
TITLES = {"border_title", "border_subtitle", "tooltip"}


def name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def is_made(node: ast.expr) -> bool:
    """Whether this is a Content or Text, or a call of something that makes one; never a plain string."""
    return isinstance(node, ast.Call) and not (
        isinstance(node.func, ast.Name) and node.func.id in ("str", "safe", "repr", "format")
    )


def is_text(node: ast.expr) -> bool:
    """Whether this is a string that is put together: an f-string, a sum, a format."""
    return any(isinstance(part, ast.JoinedStr) for part in ast.walk(node)) and not is_made(node)


def faults(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = name_of(node.func)
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            off = isinstance(given.get("markup"), ast.Constant) and given["markup"].value is False  # type: ignore[attr-defined]
            if called in FORBIDDEN:
                yield f"line {node.lineno}: {called} reads markup or escapes"
            if called in PARSE and not off and not (node.args and is_made(node.args[0])):
                yield f"line {node.lineno}: {called} without markup=False"
            if called == "update" and node.args and is_text(node.args[0]):
                yield f"line {node.lineno}: an f-string becomes markup in update()"
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and target.attr in TITLES and not is_made(node.value):
                    yield f"line {node.lineno}: {target.attr} is read as markup"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(FOLDER)))
def test_no_text_becomes_markup(file: Path) -> None:
    assert list(faults(ast.parse(file.read_text("utf-8")))) == []


@pytest.mark.parametrize(
    "code",
    [
        "self.notify(text)",
        "yield Static(f'{name}')",
        "Label('x', markup=True)",
        "Content.from_markup(text)",
        "static.update(f'[b]{text}[/b]')",
        "widget.border_title = name",
    ],
)
def test_the_lint_finds(code: str) -> None:
    assert list(faults(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    ["notify(t, markup=False)", "Static(Content(t))", "static.update(Content(f'{t}'))", "Static('x', markup=False)"],
)
def test_the_lint_lets_pass(code: str) -> None:
    assert not list(faults(ast.parse(code)))
