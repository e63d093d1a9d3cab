"""What the import contracts of pyproject.toml cannot say: when a package is imported, and who opens files.

Who may import whom is checked by import-linter (`make lint`).
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "harness" / "stop_harness"

PURE = ("ecs", "evidence", "model", "plan", "renderers", "report", "scenario", "verdict")
READ_FILES = {"scenario/discovery.py", "scenario/check_options.py", "scenario/compose/loading.py"}
HEAVY = {
    "boto3",
    "docker",
    "jinja2",
    "matplotlib",
    "numpy",
    "pandas",
    "re2",
    "requests",
    "rich",
    "scipy",
    "testcontainers",
}
LOADED_LATE = {"docker", "process", "ecs"}
"""Engines: `run/open_engine.py` imports the one that is chosen, so they may import at once what they need."""


def files() -> list[Path]:
    """The modules of the package."""
    found = sorted(PACKAGE.rglob("*.py"))
    assert len(found) > 150
    return found


def executed_on_import(node: ast.AST) -> list[ast.AST]:
    """Everything but the bodies of functions and of `if TYPE_CHECKING`."""
    found: list[ast.AST] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            found += [item for branch in child.orelse for item in (branch, *executed_on_import(branch))]
            continue
        found += [child, *executed_on_import(child)]
    return found


def packages(nodes: list[ast.AST]) -> set[str]:
    """The top-level packages that the nodes import."""
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def test_pure_rooms_open_no_files() -> None:
    """`open` is a builtin, which no import contract sees."""
    for file in files():
        name = str(file.relative_to(PACKAGE))
        if name.partition("/")[0] not in PURE or name in READ_FILES:
            continue
        calls = [node.func for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        assert "open" not in {function.id for function in calls if isinstance(function, ast.Name)}, name


def test_heavy_packages_are_imported_where_they_are_used() -> None:
    """So that every command loads what it needs and no more. Engines, themselves loaded late, may at their top."""
    for file in files():
        name = file.relative_to(PACKAGE)
        if name.parts[0] != "engines" or name.parts[1] not in LOADED_LATE:
            assert not packages(executed_on_import(ast.parse(file.read_text()))) & HEAVY, name


HELP = [
    ["--help"],
    ["--version"],
    ["run", "--help"],
    ["check", "--help"],
    ["doctor", "--help"],
    ["stop-task", "--help"],
]


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """None of the heavy packages, and not even the pipeline."""
    late = {
        "botocore",
        "jmespath",
        "pydantic",
        "yaml",
        "stop_harness.run.pipeline",
        "stop_harness.scenario.scenario_file",
    }
    heavy = sorted(HEAVY | late)
    code = (
        "import sys\n"
        f"sys.argv = ['stop-harness', *{arguments!r}]\n"
        "from stop_harness.cli.main import perform\n"
        "perform()\n"
        f"print('LOADED', sorted(set(sys.modules) & set({heavy!r})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "LOADED []"
    assert len(done.stdout.splitlines()) > 1


def test_contributing_shows_the_rooms_that_there_are() -> None:
    """The picture in CONTRIBUTING.md has every folder and root module of the package, and no other."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    picture = text[text.index("    floor\n") : text.index("Beside it:")]
    shown = set(re.findall(r"^ +(?:\d+ +)?(\w+)/ ", picture, re.MULTILINE)) | {"shim"}
    assert "shim/" in picture
    hidden = {"__pycache__", "templates", "witness_program"}
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
