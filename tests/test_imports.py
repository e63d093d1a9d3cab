"""The import rules of the design: pure parts do no I/O, engines do not know each other, heavy packages come late."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HARNESS = ROOT / "harness"

PURE = {"scenario", "plan", "stop_sequence", "diagnosis", "verdict", "report", "compose", "dockerfile", "signals"}
PURE |= {"rules", "moments", "remedies", "exec_form", "paste", "start_window", "process_tree"}
PURE |= {"inference", "assurance", "model.reliability"}
PURE |= {"units", "wording", "statistics", "platforms", "errors", "diagnosis_handler", "log_hints"}
PURE |= {"model", "model.scenario", "model.observation", "model.verdict", "model.report"}
PURE |= {"ecs_client.formats", "ecs_client.table", "ecs_client.yaml_1_2"}
PURE |= {"wall_time", "prediction", "process_tree", "left_behind", "scenario_values", "scenario_traffic", "reliability"}
PURE |= {f"ecs_client.{name}" for name in ("measure", "records", "verdict_text")}
PURE |= {f"ecs_endpoint.{name}" for name in ("definitions", "identifiers", "records", "tasks", "rollout", "errors")}
PURE |= {"ecs", "ecs.dependencies", "ecs.identifiers", "ecs.stop_timeouts", "static_findings"}
PURE |= {"task_definition", "task_stop", "task_report"}
PURE |= {"engines.log_pattern", "redaction", "lost_processes", "host_access", "planned_moment", "somebody_else"}
PURE |= {"survival", "doubts", "trend", "model.statistics", "model.trend", "model.run"}
DOES_IO = {"os", "subprocess", "socket", "time", "pathlib", "threading", "docker", "requests", "shutil", "tempfile"}
DOES_IO |= {"urllib", "http", "asyncio", "multiprocessing", "select", "signal", "sys", "platform"}
HEAVY = {
    "pandas",
    "matplotlib",
    "docker",
    "testcontainers",
    "boto3",
    "scipy",
    "numpy",
    "requests",
    "jinja2",
    "rich",
    "re2",
}

MODULES = {
    ".".join(("harness", *file.relative_to(HARNESS).with_suffix("").parts)).removesuffix(".__init__"): file
    for file in HARNESS.rglob("*.py")
}
TOP_LEVEL_ONLY, ALL = True, False


@cache
def imports(module: str, top_level_only: bool = ALL) -> frozenset[str]:
    """The modules that one imports, in full; `TYPE_CHECKING` blocks count only in `ALL`."""
    found: set[str] = set()
    nodes = _executed_on_import(ast.parse(MODULES[module].read_text())) if top_level_only else _every(module)
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                found.add(deeper if deeper in MODULES else node.module)
    return frozenset(found)


def _every(module: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(MODULES[module].read_text())))


def _executed_on_import(node: ast.AST) -> list[ast.AST]:
    """Everything but the bodies of functions and of `if TYPE_CHECKING`."""
    found: list[ast.AST] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            found += [item for branch in child.orelse for item in (branch, *_executed_on_import(branch))]
            continue
        found += [child, *_executed_on_import(child)]
    return found


def packages(module: str, top_level_only: bool = ALL) -> set[str]:
    """The top-level packages that a module imports."""
    return {name.partition(".")[0] for name in imports(module, top_level_only)}


def ours(module: str, top_level_only: bool = ALL) -> set[str]:
    """The modules of the harness that a module imports."""
    return {name for name in imports(module, top_level_only) if name in MODULES}


def is_pure(module: str) -> bool:
    """Pure by the design."""
    return module.removeprefix("harness.") in PURE or module.startswith("stop_harness.renderers.")


def engine_of(module: str) -> str | None:
    """The engine a module belongs to, None for the interface and everything outside."""
    name = module.removeprefix("stop_harness.engines.")
    if name == module:
        return None
    prefixes = {
        "docker_": "docker",
        "reaper": "docker",
        "process_": "docker",
        "pid_namespace": "process",
        "simulated": "simulated",
        "ecs": "ecs",
    }
    return next((engine for prefix, engine in prefixes.items() if name.startswith(prefix)), None)


def test_the_walk_sees_what_is_there() -> None:
    """The rules below would hold for an empty folder."""
    assert {
        "stop_harness.model",
        "stop_harness.cli.main",
        "stop_harness.engines.docker.engine",
        "stop_harness.renderers.html",
    } <= set(MODULES)
    assert "stop_harness.model" in ours("stop_harness.verdict.judge", TOP_LEVEL_ONLY)
    assert "docker" in packages("stop_harness.engines.docker.host")
    assert "docker" not in packages("stop_harness.engines.docker.host", TOP_LEVEL_ONLY)
    assert {engine_of(module) for module in MODULES} >= {None, "docker", "process", "simulated"}


@pytest.mark.parametrize(
    "module", ["stop_harness.errors", *(name for name in MODULES if name.startswith("stop_harness.model"))]
)
def test_the_nouns_need_nothing_but_the_standard_library(module: str) -> None:
    """Anybody can use the records without installing anything."""
    assert packages(module) <= {*sys.stdlib_module_names, "harness"}
    assert {name for name in ours(module) if not name.startswith("stop_harness.model")} == set()


@pytest.mark.parametrize("module", sorted(filter(is_pure, MODULES)))
def test_pure_parts_do_no_io(module: str) -> None:
    """No clock, no disk, no network, no environment: the same input gives the same output everywhere."""
    assert not packages(module) & DOES_IO
    called = [node.func for node in _every(module) if isinstance(node, ast.Call)]
    assert "open" not in {function.id for function in called if isinstance(function, ast.Name)}


@pytest.mark.parametrize("module", sorted(filter(is_pure, MODULES)))
def test_pure_parts_build_on_pure_parts(module: str) -> None:
    """What they import of ours is pure too."""
    packages_of_ours = {"harness", "stop_harness.renderers", "stop_harness.ecs_client", "stop_harness.engines"}
    assert {name for name in ours(module) if not is_pure(name)} <= packages_of_ours


@pytest.mark.parametrize("module", sorted(module for module in MODULES if engine_of(module)))
def test_engines_never_import_each_other(module: str) -> None:
    """Each can be read, and removed, without the others."""
    assert {engine_of(name) for name in ours(module)} <= {None, engine_of(module)}


ECS_ROOMS = {
    "stop_harness.ecs_client": "client",
    "stop_harness.ecs_endpoint": "endpoint",
    "stop_harness.engines.ecs.engine": "engine",
}


def ecs_room(module: str) -> str | None:
    """The side of the wire that a module stands on; None for what stands on none, such as `stop_harness.ecs`."""
    return next((room for prefix, room in ECS_ROOMS.items() if module.startswith(prefix)), None)


@pytest.mark.parametrize("module", sorted(filter(ecs_room, MODULES)))
def test_the_sides_of_the_ecs_api_meet_on_the_wire_only(module: str) -> None:
    """So that a misreading of the API cannot be made on both sides. The endpoint's command is told where to find it."""
    assert {ecs_room(name) for name in ours(module)} <= {None, ecs_room(module)}


@pytest.mark.parametrize(
    "module",
    ["stop_harness.ecs.task_definition", *sorted(name for name in MODULES if name.startswith("stop_harness.ecs."))],
)
def test_what_both_sides_read_knows_neither(module: str) -> None:
    """Task definitions, dependencies and stop timeouts are read by one code, of which the nouns are the only floor."""
    allowed = ("stop_harness.ecs", "stop_harness.model", "stop_harness.errors", "stop_harness.units")
    assert not {name for name in ours(module) if not f"{name}.".startswith(tuple(f"{it}." for it in allowed))}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_nobody_imports_the_command_line(module: str) -> None:
    """`cli` and `pytest_plugin` are ends, not parts."""
    assert not {"stop_harness.cli.main", "harness.pytest_plugin"} & imports(module)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_heavy_packages_are_imported_where_they_are_used(module: str) -> None:
    """At module level only in the Docker engine, whose modules are themselves imported late."""
    if engine_of(module) != "docker":
        assert not packages(module, TOP_LEVEL_ONLY) & HEAVY
        assert not {name for name in ours(module, TOP_LEVEL_ONLY) if packages(name, TOP_LEVEL_ONLY) & HEAVY}


def test_there_are_no_cycles() -> None:
    """Modules form layers: each can be understood after those it imports."""
    done: set[str] = set()
    path: list[str] = []

    def visit(module: str) -> None:
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module in done:
            return
        path.append(module)
        for name in sorted(ours(module, TOP_LEVEL_ONLY)):
            visit(name)
        path.pop()
        done.add(module)

    for module in sorted(MODULES):
        visit(module)
    assert done == set(MODULES)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["run", "--help"], ["check", "--help"], ["doctor", "--help"], ["stop-task", "--help"]],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """So that it stays instant: none of the heavy packages, and not even the pipeline."""
    heavy = sorted(
        HEAVY
        | {
            "botocore",
            "jmespath",
            "pydantic",
            "yaml",
            "stop_harness.run.pipeline",
            "stop_harness.scenario.scenario_file",
        }
    )
    code = (
        "import sys\n"
        f"sys.argv = ['stop-harness', *{arguments!r}]\n"
        "from stop_harness.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', sorted(set(sys.modules) & set({heavy!r})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "LOADED []"
    assert len(done.stdout.splitlines()) > 1
