"""A container that runs already: which one is meant, whether it may be stopped, and what is said before that."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from stop_harness.conductor.open_engine import find_docker
from stop_harness.conductor.request import Listener
from stop_harness.errors import UsageError
from stop_harness.model import ExistingContainer, Scenario
from stop_harness.scenario import existing_options

if TYPE_CHECKING:
    from stop_harness.engines.docker.host import DockerHost
    from stop_harness.engines.docker.running import RunningContainer

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
"""Of a container, and its ids. Source: `RestrictedNameChars` of moby."""


def scenario_of(given: Mapping[str, Any], command: tuple[str, ...], find: Callable[[], DockerHost]) -> Scenario:
    """The stop of the container that the options name, as the engine describes it.

    Raises UsageError where it is none, runs no longer, is paused or must not be stopped, and EngineError where no
    engine answers.
    """
    existing_options.refuse(given, command)
    name = str(given["container"]).removeprefix("/")
    if not NAME.fullmatch(name):
        raise UsageError(
            f"--container {name!r} is no name or id of a container; an image is stopped by stop-harness check IMAGE"
        )
    host = find()
    from stop_harness.engines.docker import running
    from stop_harness.engines.docker.calls import Calls, time_limit_s

    calls = Calls(host.url, time_limit_s())
    client = host.connect()
    try:
        found = running.look(client.api, calls, name, same_kernel=host.same_kernel)
        _refuse(found, "podman" if host.podman else "docker")
        environment = running.given_beside_image(found, client.api, calls)
    except running.NoSuchContainer as error:
        raise UsageError(str(error)) from None
    finally:
        client.close()
    restart = bool(given["restart"])
    if restart and found.auto_remove:
        raise UsageError(
            f"the engine removes container {found.name} as soon as it ends (AutoRemove): --restart comes too late"
        )
    container = ExistingContainer(found.id, found.name, found.started_at, found.auto_remove, found.managed_by, restart)
    return existing_options.scenario(given, container, found.image, environment, found.stop_timeout_s)


def _refuse(found: RunningContainer, client: str) -> None:
    """Raises UsageError for a container that cannot or must not be stopped."""
    from stop_harness.engines.docker.reaper import OWNER_LABEL, RUN_LABEL
    from stop_harness.linux import proc

    labels = dict(found.labels)
    if OWNER_LABEL in labels:
        run = f"run {labels[RUN_LABEL]} of " if RUN_LABEL in labels else ""
        raise UsageError(f"container {found.name} belongs to {run}stop-harness, which stops and removes it itself")
    if found.paused:
        raise UsageError(f"container {found.name} is paused and takes no signal: `{client} unpause {found.name}` first")
    if found.restarting:
        raise UsageError(
            f"container {found.name} does not stay up: it ended with exit code {found.state.exit_code}, and its "
            f"restart policy starts it again and again; `{client} logs {found.name}` may say why"
        )
    if not found.state.running:
        raise UsageError(
            f"container {found.name} does not run: it ended with exit code {found.state.exit_code}; "
            f"`{client} start {found.name}` starts it"
            if found.state.exited
            else f"container {found.name} does not run: it was never started; `{client} start {found.name}` starts it"
        )
    if proc.is_own_container(found.id):
        raise UsageError(f"container {found.name} is the one that stop-harness runs in, and would stop it, too")


def name_of(container: object) -> str | None:
    """The name or id of what Python code calls a container. Raises UsageError for what is none."""
    if container is None or isinstance(container, str):
        return container
    found = getattr(_inner(container), "id", None)
    if not isinstance(found, str) or not found:
        raise UsageError(
            f"container={_shown(container)}: it is a name, an id, or a container of testcontainers or the docker SDK"
        )
    return found


def engine_of(container: object) -> Callable[[], DockerHost]:
    """Finds the engine that a container of the docker SDK or of testcontainers is on; without one the usual engine.
    It is asked once."""

    api = getattr(getattr(_inner(container), "client", None), "api", None)

    @cache
    def find() -> DockerHost:
        from stop_harness.engines.docker import address, host

        where = None if api is None else address.of_client(api)
        return find_docker() if where is None else host.probe(where)

    return find


def _inner(container: object) -> object:
    """The docker SDK's container in one of testcontainers; any other is itself. Raises UsageError for one without."""
    wrapped = getattr(container, "get_wrapped_container", None)
    if not callable(wrapped):
        return container
    try:
        inner: object = wrapped()
    except Exception:  # noqa: BLE001 - testcontainers' own, which is not imported here
        inner = None
    if inner is None:
        raise UsageError("the container was not started: stop-harness stops one that runs, so call its start() before")
    return inner


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


MOST_SHOWN = 60
"""Characters of what is no container, in a message."""


def say(scenarios: tuple[Scenario, ...], listener: Listener) -> None:
    """Before anything happens: which containers of somebody else are stopped, and what becomes of them."""
    for item in scenarios:
        container = item.subject.container
        if container is None:
            continue
        after = "it stays stopped, and is not removed"
        if container.auto_remove:
            after = "the engine removes it then (--rm)"
        elif container.restart:
            after = "it is started again after each stop"
        listener.note(f"stops container {container.name} ({item.subject.image}); {after}")
        if container.managed_by:
            listener.note(f"container {container.name}: {container.managed_by} may start another one in its place")
