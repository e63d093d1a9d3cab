"""What the import contracts of pyproject.toml cannot say: when a package is imported, and who opens files.

Who may import whom is checked by import-linter (`make lint`).
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest

from tests.own_files import PACKAGE, ROOT, files

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")

PURE = ("ecs", "evidence", "model", "plan", "renderers", "report", "scenario", "verdict")
READ_FILES = {"scenario/named_files.py", "scenario/check_options.py", "scenario/compose/loading.py"}
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
"""Engines: `conductor/open_engine.py` imports the one that is chosen, so they may import at once what they need."""


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
    """None of the heavy packages, not the pipeline, and not even the model."""
    late = {
        "botocore",
        "jmespath",
        "pydantic",
        "yaml",
        "stop_harness.conductor.pipeline",
        "stop_harness.scenario.scenario_file",
    }
    if arguments[0] != "check":  # whose options are the settings of a container, which have types of the model
        late.add("stop_harness.model")
    heavy = sorted(HEAVY | late)
    said, loaded = performed(arguments, heavy)
    assert loaded == "[]"
    assert said


@pytest.mark.docker
def test_a_check_that_passes_loads_nothing_that_it_does_not_use() -> None:
    """Neither what reads files and other requests, nor what is said of failures: its CPU time is imports."""
    unused = HEAVY - {"re2", "rich"} | {
        "pydantic",
        "yaml",
        "stop_harness.ecs.task_definition",
        "stop_harness.engines.dockerfile",
        "stop_harness.experiments.remedies",
        "stop_harness.renderers.html",
        "stop_harness.renderers.results.results_json",
        "stop_harness.report.trend",
        "stop_harness.scenario.scenario_file",
        "stop_harness.trial.traffic",
        "stop_harness.verdict.advice",
    }
    program = ["perl", "-e", '$SIG{TERM} = sub { exit 0 }; $| = 1; print "ready\\n"; sleep 1 while 1']
    options = ["--engine", "docker", "--ready-log", "^ready$", "--timeout", "10s"]
    said, loaded = performed(["check", BASE_IMAGE, *options, "--", *program], sorted(unused))
    assert loaded == "[]"
    assert any("graceful" in line for line in said)


@pytest.mark.docker
def test_a_check_makes_its_records_the_quick_way() -> None:
    """By `stop_harness.records`: those that the standard library makes were a third of the instructions of a check."""
    program = ["perl", "-e", '$SIG{TERM} = sub { exit 0 }; $| = 1; print "ready\\n"; sleep 1 while 1']
    options = ["--engine", "docker", "--ready-log", "^ready$", "--timeout", "10s"]
    dear = (
        "ours = [item for name, module in list(sys.modules.items()) if name.startswith('stop_harness')\n"
        "        for item in vars(module).values() if hasattr(item, '__dataclass_params__')]\n"
        "assert len(ours) > 100\n"
        "dear = {item.__qualname__ for item in ours if item.__dataclass_params__.frozen}\n"
        "print('LOADED', sorted(dear))\n"
    )
    _, made = performed(["check", BASE_IMAGE, *options, "--", *program], [], look=dear)
    assert made == "[]"


def performed(arguments: list[str], modules: list[str], look: str | None = None) -> tuple[list[str], str]:
    """What a command prints, in a process of its own, and which of the modules it has loaded then.

    `look`: a program that looks at something else then, and prints it behind the word `LOADED`.
    """
    look = look or f"print('LOADED', sorted(set(sys.modules) & set({modules!r})))\n"
    code = (
        "import sys\n"
        f"sys.argv = ['stop-harness', *{arguments!r}]\n"
        "from stop_harness.cli.main import perform\n"
        "perform()\n"
        f"{look}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    *said, last = done.stdout.splitlines()
    return said, last.removeprefix("LOADED ")


def test_parts_of_docker_are_imported_through_their_package() -> None:
    """`from docker import utils`: `from docker.utils import …` does not wait until another thread, which looks for an
    engine, has imported the package. Both then fail, for parts of it import each other: KeyError, `'docker'`. So it is
    with requests, which docker imports: the reaper's threads then started no container again."""
    past_it = {
        f"{file.relative_to(PACKAGE)}: {node.module}"
        for file in files()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("docker.", "requests."))
    }
    assert past_it == set()
