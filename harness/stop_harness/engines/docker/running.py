"""A container that was running before the harness came: what can be learnt of it without touching it.

`watch` looks at every container of an engine with it, and whoever stops a container that he did not start takes it from
here, too:

    api = host.connect().api
    found = running.look(api, calls, "shop-web-1", same_kernel=host.same_kernel)  # a name or id; or EngineError
    found.state.running, found.state.pid             # it may have ended already
    table = running.processes(found, host, api)      # with signal masks, so that a cause can be named; None: unknown

It is stopped with the same evidence as a container of ours, by `existing.ExistingSubject`. The event stream that
follows it must not be limited to the labels of a run, for the container has none of ours.

What is lost beside a container of ours: nobody saw it start, so that its age and readiness are known by `started_at`
only, and its log may be of any length.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

from stop_harness.engines.docker import listed_processes, reading, sdk
from stop_harness.engines.docker.calls import CallFailed, Calls
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.host_processes import PidOne
from stop_harness.engines.docker.reading import State
from stop_harness.errors import EngineError
from stop_harness.model.settings import NO_CHECK
from stop_harness.records import dataclass


class NoSuchContainer(EngineError):
    """The engine knows no container of that name or id, or several whose ids begin with it."""


MANAGERS = {
    "com.amazonaws.ecs.task-arn": "Amazon ECS",
    "com.docker.swarm.task.id": "Docker Swarm",
    "com.hashicorp.nomad.alloc_id": "Nomad",
    "io.kubernetes.pod.name": "Kubernetes",
    "PODMAN_SYSTEMD_UNIT": "systemd",
}
"""Who starts another container in the place of one that ends, by a label that they put on it."""

_TCP = re.compile(r"[0-9]{1,5}/tcp")

MOST_NEAR = 3
"""Names that a message suggests."""


@dataclass(frozen=True)
class RunningContainer:
    """A container as `inspect` describes it.

    `name` without the slash. `image`: as it was asked for (Config.Image). `command`: entrypoint and command of PID 1.
    `stop_timeout_s`: Config.StopTimeout, None where none is set and the engine's default of 10 s applies.
    `auto_remove`: the engine removes it as soon as it ends (`--rm`). `restart_policy`: `no`, `always`, … `started_at`:
    State.StartedAt, as the engine writes it. `restarting`: it has ended, and its restart policy is about to start it
    again. `environment`, `labels`: those of the image among them. `pid_one`: its first process on this machine; None
    where it has ended or this machine's /proc is not the one that it is in. `stop_signal`: Config.StopSignal,
    None where none is set. `has_health_check`: it has one that checks anything. `ports`: those of TCP that it exposes.
    """

    id: str
    name: str
    image: str
    command: tuple[str, ...]
    state: State
    stop_timeout_s: int | None = None
    auto_remove: bool = False
    restart_policy: str = "no"
    started_at: str = ""
    paused: bool = False
    restarting: bool = False
    environment: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    pid_one: PidOne | None = None
    stop_signal: str | None = None
    has_health_check: bool = False
    ports: tuple[int, ...] = ()

    @property
    def managed_by(self) -> str:
        """Who starts another one in its place; empty where nobody is known."""
        return next((who for label, who in MANAGERS.items() if label in dict(self.labels)), "")


def described(answer: dict[str, Any], *, same_kernel: bool) -> RunningContainer:
    """An answer of `inspect`. `same_kernel`: its processes are in our /proc. Raises EngineError for nonsense."""
    state = reading.state_of(answer)
    config, host_config = answer.get("Config") or {}, answer.get("HostConfig") or {}
    timeout, exposed = config.get("StopTimeout"), config.get("ExposedPorts") or {}
    container_id = str(answer.get("Id") or "")
    return RunningContainer(
        id=container_id,
        name=str(answer.get("Name") or "").lstrip("/") or container_id[:12],
        image=str(config.get("Image") or ""),
        command=tuple(map(str, (*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())))),
        state=state,
        stop_timeout_s=timeout if isinstance(timeout, int) and timeout >= 0 else None,
        auto_remove=bool(host_config.get("AutoRemove")),
        restart_policy=str((host_config.get("RestartPolicy") or {}).get("Name") or "no"),
        started_at=str((answer.get("State") or {}).get("StartedAt") or ""),
        paused=bool((answer.get("State") or {}).get("Paused")),
        restarting=bool((answer.get("State") or {}).get("Restarting")),
        environment=_pairs(config.get("Env")),
        labels=tuple(sorted((str(key), str(value)) for key, value in (config.get("Labels") or {}).items())),
        pid_one=PidOne.of(state.pid, container_id) if same_kernel and state.running else None,
        stop_signal=str(config.get("StopSignal") or "") or None,
        has_health_check=((config.get("Healthcheck") or {}).get("Test") or [NO_CHECK])[0] != NO_CHECK,
        ports=tuple(sorted(int(port.removesuffix("/tcp")) for port in exposed if _TCP.fullmatch(port))),
    )


def look(api: Any, calls: Calls, name: str, *, same_kernel: bool) -> RunningContainer:
    """Ask the engine for a container by its name or id. Raises NoSuchContainer, or EngineError where it fails."""
    try:
        answer = calls.run("inspect", api.inspect_container, name)
    except sdk.errors.NotFound:
        raise NoSuchContainer(f"{calls.url}: there is no container {name!r}{_near(api, calls, name)}") from None
    except sdk.ENGINE_ERRORS as error:
        failed = CallFailed(calls.url, "inspect", error)
        if "multiple ids found" in str(failed).lower() or "more than one" in str(failed):  # Docker's, and Podman's
            raise NoSuchContainer(f"{calls.url}: several containers have an id that begins with {name!r}") from None
        raise failed from None
    return described(answer, same_kernel=same_kernel)


def given_beside_image(found: RunningContainer, api: Any, calls: Calls) -> tuple[tuple[str, str], ...]:
    """Variables of its environment that are not its image's own; all of them where the image cannot be looked at."""
    try:
        answer = calls.run("inspect", api.inspect_image, found.state.image_id)
        own = _pairs((answer.get("Config") or {}).get("Env"))
    except (EngineError, *sdk.READING_ERRORS):
        own = ()
    return tuple(pair for pair in found.environment if pair not in own)


def _pairs(words: Any) -> tuple[tuple[str, str], ...]:
    """Of `["NAME=value", …]`."""
    split = (str(word).partition("=") for word in words or ())
    return tuple((name, value) for name, _, value in split)


def _near(api: Any, calls: Calls, name: str) -> str:
    """`; did you mean 'shop-web-1'?`, of the containers that run; else which those are."""
    try:
        listed = calls.run("the list of containers", api.containers)
        names = [str(path).lstrip("/") for item in listed for path in (item.get("Names") or ())[:1]]
    except (EngineError, *sdk.READING_ERRORS):
        return ""
    near = get_close_matches(name, names, MOST_NEAR) or [known for known in sorted(names) if name in known][:MOST_NEAR]
    if near:
        return f"; did you mean {' or '.join(map(repr, near))}?"
    return f"; {len(names)} run there, see `docker ps`" if names else "; none runs there"


def processes(found: RunningContainer, host: DockerHost, api: Any) -> listed_processes.Table | None:
    """Its processes with their signal masks, PID 1 first: from /proc, else by the engine's `top`. None where neither
    can be read, or it has ended."""
    table = found.pid_one.table() if found.pid_one is not None else None
    if table is not None or not found.state.running or (found.pid_one is not None and not found.pid_one.lives()):
        return table
    first = found.state.pid if found.state.shares_pids else None
    return reading.processes(api, found.id, host, shared_with_first=first)
