"""What is read from a Docker Engine API in the same way by all who use one: times, the end of a log, process tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stop_harness import signals
from stop_harness.engines.docker import engine_api, listed_processes, sdk
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.host_processes import with_progress
from stop_harness.engines.docker.log_times import StampedTail
from stop_harness.engines.docker.timestamps import timestamp_ns
from stop_harness.errors import EngineError
from stop_harness.model import LogTail
from stop_harness.records import dataclass

NEVER = "0001-01-01"
"""Begins the time of what has not happened."""


@dataclass(frozen=True)
class PublishedPort:
    """A port of the container, and where it is published: NetworkSettings.Ports."""

    container_port: int
    host_port: int
    protocol: str
    host_ip: str


@dataclass(frozen=True)
class State:
    """What `inspect` says of a container, as far as it is used.

    `exit_code` is State.ExitCode, which is 0 while it runs. `finished_at_ns`: State.FinishedAt, None if that never
    happened. `checks_health`: it has a health check; `healthy`: what that said last, None before it said anything.
    `stop_signal`: Config.StopSignal, None for the default. `address`: of the first network that has one. `error`:
    State.Error, why it could not be started. `image_id`: what it was made from.
    `shares_pids`: HostConfig.PidMode names a PID namespace that is not its own. `in_host_network`:
    HostConfig.NetworkMode is that of the engine's machine. `end_source`: what told `finished_at_ns`.
    """

    running: bool
    pid: int
    exit_code: int
    oom_killed: bool
    finished_at_ns: int | None
    checks_health: bool
    stop_signal: int | None
    address: str | None
    healthy: bool | None = None
    error: str | None = None
    image_id: str = ""
    published: tuple[PublishedPort, ...] = ()
    shares_pids: bool = False
    in_host_network: bool = False
    end_source: str = "State.FinishedAt"

    @property
    def exited(self) -> bool:
        """Whether it ran and has ended; one that was only created has not."""
        return not self.running and self.finished_at_ns is not None


def command_of(answer: Any) -> tuple[str, ...] | None:
    """What a container runs, by an answer of `inspect`; None where that names nothing. Raises what nonsense raises."""
    config = answer["Config"]
    return (*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())) or None


def state_of(answer: Any) -> State:
    """An answer of `inspect`, checked. Raises EngineError for one that makes no sense."""
    try:
        state, own = answer["State"], answer["Config"].get("StopSignal")
        finished = str(state.get("FinishedAt") or NEVER)
        running, exit_code = state["Running"], state["ExitCode"]
        if not isinstance(running, bool) or not isinstance(exit_code, int):
            raise TypeError(f"Running {running!r}, ExitCode {exit_code!r}")
        network, host_config = answer.get("NetworkSettings") or {}, answer.get("HostConfig") or {}
        networks, health = network.get("Networks") or {}, state.get("Health") or {}
        return State(
            running=running,
            pid=int(state.get("Pid") or 0),
            exit_code=exit_code,
            oom_killed=bool(state.get("OOMKilled")),
            finished_at_ns=None if finished.startswith(NEVER) else timestamp_ns(finished),
            checks_health=bool(health),
            stop_signal=signals.number(str(own)) if own else None,
            address=next((str(net["IPAddress"]) for net in networks.values() if net.get("IPAddress")), None),
            healthy={"healthy": True, "unhealthy": False}.get(str(health.get("Status"))),
            error=str(state.get("Error") or "") or None,
            image_id=str(answer.get("Image") or ""),
            published=_published(network.get("Ports") or {}),
            shares_pids=host_config.get("PidMode", "") not in {"", "private"},
            in_host_network=host_config.get("NetworkMode") == "host",
        )
    except (*sdk.NONSENSE_ERRORS, OverflowError) as error:
        what = f"{type(error).__name__}: {error}"
        raise EngineError(f"the engine described the container in a way that makes no sense ({what})") from None


def _published(ports: dict[str, Any]) -> tuple[PublishedPort, ...]:
    """Of `{"80/tcp": [{"HostIp": …, "HostPort": "8080"}], "81/tcp": null}`."""
    return tuple(
        PublishedPort(int(number), int(where["HostPort"]), protocol, str(where.get("HostIp") or ""))
        for port, places in ports.items()
        for number, _, protocol in [port.partition("/")]
        for where in places or ()
        if str(where.get("HostPort") or "").isdecimal()
    )


def stop(api: Any, container_id: str, stop_timeout_s: int, timeout_s: float | None) -> bool:
    """See `EngineApi.stop_within`. `api`: the SDK's will do."""
    if isinstance(api, engine_api.EngineApi):
        return api.stop_within(container_id, stop_timeout_s, timeout_s)
    return engine_api.stop_by_sdk(api, container_id, stop_timeout_s, timeout_s)


def log_tail(
    api: Any, container_id: str, *, lines: int, keep_bytes: int, read_bytes: int, from_begin: bool = False
) -> LogTail:
    """The last `lines` with their times, at most `keep_bytes` of them, reading at most `read_bytes`.

    `from_begin`: for Podman, whose `tail` joins lines that were written in parts (4.3). A log that is longer than
    `read_bytes` is read by its tail all the same. Raises what `sdk.READING_ERRORS` names.
    """
    kept, read = StampedTail(keep_bytes, stamped=not from_begin), 0
    amount = "all" if from_begin else lines
    stream = api.logs(container_id, stream=True, follow=False, tail=amount, timestamps=not from_begin)
    for chunk in stream:
        read += len(chunk)
        kept.add(chunk)
        if read > read_bytes:
            stream.close()
            if from_begin:
                return log_tail(api, container_id, lines=lines, keep_bytes=keep_bytes, read_bytes=read_bytes)
            break
    tail = kept.tail()
    text = tail.text
    if from_begin and text.count("\n") > lines:
        return LogTail("".join(text.splitlines(keepends=True)[-lines:]), truncated=True)
    return replace(tail, truncated=tail.truncated or text.count("\n") >= lines)


def processes(
    api: Any, container_id: str, host: DockerHost, *, shared_with_first: int | None = None
) -> listed_processes.Table | None:
    """`GET /containers/ID/top` with signal masks; None where the engine's `ps` cannot do it or nothing runs.

    `shared_with_first`: the container's first process, where the container shares the PID namespace of others; there it
    is not PID 1, and need not be the oldest whose parent is outside the container.
    """
    try:
        answer = api.top(container_id, ps_args=PS_ARGUMENTS)
    except sdk.READING_ERRORS:
        return None
    return table_of(answer, host, shared_with_first=shared_with_first)


PS_ARGUMENTS = f"-eo {listed_processes.PS_COLUMNS}"
"""For `GET /containers/ID/top`."""


def table_of(
    answer: dict[str, Any], host: DockerHost, *, shared_with_first: int | None = None
) -> listed_processes.Table | None:
    """An answer to `GET /containers/ID/top`, and what /proc knows beside, where it is the engine's. See `processes`."""
    table = listed_processes.table(answer)
    if table is not None and host.same_kernel and not host.podman:
        table = with_progress(table)
    if table is not None and shared_with_first is not None:
        table = listed_processes.with_first(table, shared_with_first)
    return table
