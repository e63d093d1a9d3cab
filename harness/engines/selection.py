"""`--engine NAME` → an engine. `auto` takes Docker or Podman where one answers, else the embedded one."""

from __future__ import annotations

from dataclasses import dataclass

from harness.engines.interface import Engine
from harness.errors import EngineError, UsageError
from harness.model import DoctorLine

NAMES = ("auto", "docker", "process")


@dataclass(frozen=True)
class Chosen:
    """An engine and, where it is not what the user may expect, a sentence that says why."""

    engine: Engine
    fallback_reason: str | None = None


def open_engine(name: str, run_id: str, *, base_image: str | None = None) -> Chosen:
    """Raises UsageError for an unknown name and EngineError if the named engine does not answer."""
    if name == "docker":
        return Chosen(_docker(run_id, base_image))
    if name == "process":
        return Chosen(_process(run_id))
    if name != "auto":
        raise UsageError(f"--engine {name!r} is not known; allowed: {', '.join(NAMES)}")
    try:
        return Chosen(_docker(run_id, base_image))
    except EngineError as error:
        return Chosen(_process(run_id), fallback_reason=_in_one_line(error))


def fall_back(run_id: str) -> Engine:
    """The embedded engine, for `auto` when an engine answers but cannot get the images."""
    return _process(run_id)


def survey() -> tuple[DoctorLine, ...]:
    """Every engine as it answers here and now, for `doctor`."""
    from harness.engines import docker_host

    lines = []
    try:
        host = docker_host.find()
        lines.append(DoctorLine("docker", host.info, f"{host.info.product} {host.info.version} at {host.url}"))
    except EngineError as error:
        lines.append(DoctorLine("docker", None, str(error)))
    engine = _process("doctor")
    try:
        info = engine.info()
    finally:
        engine.close()
    how = "PID 1 of its own PID namespace" if info.pid1_rules else "a plain process group, no PID namespace to be had"
    lines.append(DoctorLine("process", info, f"embedded; the subject is {how}"))
    return tuple(lines)


def _docker(run_id: str, base_image: str | None) -> Engine:
    from harness.engines import docker_host

    host = docker_host.find()
    from harness.engines.docker_api import DockerEngine

    return DockerEngine(run_id, base_image=base_image, host=host)


def _process(run_id: str) -> Engine:
    from harness.engines.pid_namespace import PidNamespaceEngine

    return PidNamespaceEngine(run_id)


def _in_one_line(error: EngineError) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return lines[1] if len(lines) > 1 and lines[0].endswith(":") else lines[0]
