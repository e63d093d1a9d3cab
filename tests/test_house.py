"""The shape of the package: small files and functions, a picture of its rooms that is true, one name for each thing."""

from __future__ import annotations

import ast
import re

from tests.own_files import PACKAGE, ROOT, files

FILE_LINES, FUNCTION_LINES = 450, 60
CONDUCTOR_LINES = 350
"""Of `conductor/pipeline.py`, which is read as a whole: the stages of a run and nothing else."""


def test_no_file_is_longer_than_can_be_read_at_one_sitting() -> None:
    """At most 450 lines; the conductor's pipeline, which everything tends to, at most 350."""
    lines = {str(file.relative_to(PACKAGE)): len(file.read_text(encoding="utf-8").splitlines()) for file in files()}
    assert {name: count for name, count in lines.items() if count > FILE_LINES} == {}
    assert lines["conductor/pipeline.py"] <= CONDUCTOR_LINES


def test_no_function_is_longer_than_a_screen() -> None:
    """At most 60 lines from its `def` to its end, docstring included."""
    too_long: dict[str, int] = {}
    for file in files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = (node.end_lineno or 0) - node.lineno + 1
                if count > FUNCTION_LINES:
                    too_long[f"{file.relative_to(PACKAGE)}: {node.name}"] = count
    assert too_long == {}


def test_contributing_shows_the_rooms_that_there_are() -> None:
    """The picture in CONTRIBUTING.md has every folder and root module of the package, and no other."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    picture = text[text.index("    floor\n") : text.index("Beside it:")]
    shown = set(re.findall(r"^ +(?:\d+ +)?(\w+)/ ", picture, re.MULTILINE)) | {"shim"}
    assert "shim/" in picture
    hidden = {"__pycache__", "templates", "programs"}
    there = {folder.name for folder in PACKAGE.rglob("*") if folder.is_dir()} - hidden
    assert shown == there
    modules = {file.name for file in PACKAGE.glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"\b\w+\.py\b", picture)) == modules


def test_no_public_class_name_stands_for_two_things() -> None:
    """Whoever reads `Task` or `Watch` in a signature must not have to look up which one is meant."""
    places: dict[str, list[str]] = {}
    for file in files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(file.relative_to(PACKAGE)))
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert len(places) > 200
    assert not twice
