"""`--engine NAME` → an engine. `auto` takes Docker or Podman where one answers, else the embedded one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stop_harness.conductor import background
from stop_harness.engines.interface import Engine
from stop_harness.errors import (
    ChosenEngineError,
    EngineError,
    MissingExtra,
    UsageError,
    missing_extra,
    plain_reason,
    require_extra,
)
from stop_harness.model import DoctorLine, Scenario
from stop_harness.records import dataclass

if TYPE_CHECKING:
    from stop_harness.engines.docker.host import DockerHost

NAMES = ("auto", "docker", "process", "ecs")


@dataclass(frozen=True)
class Chosen:
    """An engine and, where it is not what the user may expect, a sentence that says why."""

    engine: Engine
    fallback_reason: str | None = None


@dataclass(frozen=True)
class TargetCluster:
    """Where engine `ecs` runs tasks: a cluster, and a JSON file with more of RunTask's input. None: the defaults."""

    name: str | None = None
    run_task: Path | None = None


def find_docker() -> DockerHost:
    """See `docker.host.find`."""
    from stop_harness.engines.docker import host as docker_host

    return docker_host.find()


def look_ahead() -> Callable[[], DockerHost]:
    """Begin to look for the container engine in a thread: it says who it is while the scenario is read.

    Calling what this gives waits for the answer; gives and raises what `find_docker` does.
    """
    try:
        return background.begin("look for an engine", find_docker).result
    except RuntimeError:  # no more threads
        return find_docker


def open_engine(
    name: str,
    run_id: str,
    *,
    find: Callable[[], DockerHost] = find_docker,
    base_image: str | None = None,
    scenarios: tuple[Scenario, ...] = (),
    cluster: TargetCluster | None = None,
    witness: bool = False,
) -> Chosen:
    """An engine for some scenarios: task definitions go to a local ECS endpoint on Docker, unless to `ecs` itself.

    `witness`: bring ours to a container engine whose kernel is out of reach; see docs/witness.md. `find`: gives the
    container engine, where one is needed.

    Raises UsageError for an unknown name and EngineError if the named engine does not answer.
    """
    if name == "ecs":
        return Chosen(_ecs(run_id, cluster or TargetCluster()))
    tasks = [item for item in scenarios if item.subject.task is not None]
    if not tasks or name not in {"auto", "docker"}:
        return _container_engine(name, run_id, base_image, witness, find)
    if len(tasks) == len(scenarios):
        return Chosen(local_ecs(run_id, witness=witness))
    from stop_harness.conductor.routing import RoutingEngine

    chosen = _container_engine(name, run_id, base_image, witness, find)
    if chosen.fallback_reason is not None:
        return chosen  # without a container engine no task runs; the scenarios are skipped with the reason
    missing = missing_extra("ecs", "a task definition")  # the other scenarios need no extra
    why_not = None if missing is None else str(missing)
    return Chosen(RoutingEngine(chosen.engine, lambda: local_ecs(run_id, witness=witness), no_tasks_because=why_not))


def _container_engine(
    name: str, run_id: str, base_image: str | None, witness: bool, find: Callable[[], DockerHost]
) -> Chosen:
    if name == "docker":
        return Chosen(_docker(run_id, base_image, witness, find))
    if name == "process":
        return Chosen(_process(run_id))
    if name != "auto":
        raise UsageError(f"--engine {name!r} is not known; allowed: {', '.join(NAMES)}")
    try:
        return Chosen(_docker(run_id, base_image, witness, find))
    except ChosenEngineError:
        raise
    except EngineError as error:
        return Chosen(_process(run_id), fallback_reason=_in_one_line(error))


def fall_back(run_id: str) -> Engine:
    """The embedded engine, for `auto` when an engine answers but cannot get the images."""
    return _process(run_id)


def survey() -> tuple[DoctorLine, ...]:
    """Every engine as it answers here and now, for `doctor`."""
    from stop_harness.engines.docker import host as docker_host

    lines = []
    try:
        host = docker_host.find()
        lines.append(DoctorLine("docker", host.info, f"{host.info.product} {host.info.version} at {host.url}"))
    except EngineError as error:
        lines.append(DoctorLine("docker", None, str(error), insisted_on=isinstance(error, ChosenEngineError)))
    engine = _process("doctor")
    try:
        info = engine.info()
    finally:
        engine.close()
    how = "PID 1 of its own PID namespace" if info.pid1_rules else "a plain process group, no PID namespace to be had"
    lines.append(DoctorLine("process", info, f"embedded; the subject is {how}"))
    if os.environ.get("AWS_ENDPOINT_URL_ECS"):
        lines.append(_survey_ecs())
    return tuple(lines)


def _docker(run_id: str, base_image: str | None, witness: bool, find: Callable[[], DockerHost]) -> Engine:
    host = find()
    from stop_harness.engines.docker.engine import DockerEngine

    return DockerEngine(run_id, base_image=base_image, host=host, with_witness=witness)


def _survey_ecs() -> DoctorLine:
    """Only where an endpoint is named: asking AWS would need credentials that nobody offered."""
    try:
        engine = _ecs("doctor", TargetCluster())
    except (EngineError, MissingExtra) as error:
        return DoctorLine("ecs", None, str(error))
    try:
        info = engine.info()
        return DoctorLine("ecs", info, f"{info.product} at {info.host}; used with --engine ecs")
    finally:
        engine.close()


def _ecs(run_id: str, cluster: TargetCluster) -> Engine:
    require_extra("ecs", "engine ecs")
    from stop_harness.engines.ecs.api import EcsSettings
    from stop_harness.engines.ecs.engine import EcsEngine

    return EcsEngine(run_id, EcsSettings(cluster.name or "default", run_task=_run_task(cluster.run_task)))


def local_ecs(run_id: str, *, witness: bool = False) -> Engine:
    """Engine `ecs` on an endpoint of our own; they meet on the wire, as everybody else's clients do."""
    require_extra("ecs", "a task definition")
    from stop_harness.ecs_endpoint import local
    from stop_harness.engines.ecs.api import EcsSettings
    from stop_harness.engines.ecs.engine import EcsEngine

    serving = local.serve(run_id, with_witness=witness)
    try:
        settings = EcsSettings(endpoint_url=serving.url, own_endpoint=True, token=serving.token)
        return EcsEngine(run_id, settings, on_close=serving.close)
    except BaseException:
        serving.close()
        raise


OURS = frozenset({"cluster", "taskDefinition", "count", "startedBy", "clientToken"})
"""Members of RunTask that the harness sets itself."""


def _run_task(path: Path | None) -> dict[str, object]:
    """More of RunTask's input, such as `launchType` and `networkConfiguration`. Raises UsageError."""
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--run-task {path}: {plain_reason(error)}") from None
    if not isinstance(found, dict) or (wrong := sorted(OURS & found.keys())):
        what = f"{wrong[0]} is set by stop-harness" if isinstance(found, dict) else "an object is needed"
        raise UsageError(f"--run-task {path}: {what}; give the rest of RunTask's input, such as launchType")
    return found


def _process(run_id: str) -> Engine:
    from stop_harness.engines.process.engine import PidNamespaceEngine

    return PidNamespaceEngine(run_id)


def _in_one_line(error: EngineError) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return lines[1] if len(lines) > 1 and lines[0].endswith(":") else lines[0]
