"""How a trial's container is created, by the one client that all trials of a run share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from docker.transport import UnixHTTPAdapter

from stop_harness.engines.docker import settings
from stop_harness.engines.docker.address import socket_file
from stop_harness.engines.docker.host import DockerHost
from stop_harness.model import Trial

if TYPE_CHECKING:
    import docker

MOST_CONNECTIONS = 512
"""Kept open between calls; one for each trial in flight at most."""

LOGINS_VARIABLE = "DOCKER_AUTH_CONFIG"
"""Logins to registries, as testcontainers and GitLab's runner take them."""


class _OnePool(UnixHTTPAdapter):
    """One pool of connections for all calls. The SDK has one for each URL, that is for each container: it makes a new
    connection for nearly every call, and keeps those it has."""

    def get_connection(self, url: str | bytes, proxies: Any = None) -> Any:
        """The pool, whatever the path is."""
        return super().get_connection("http+docker://localhost", proxies)


def shared_client(host: DockerHost, timeout_s: float) -> docker.DockerClient:
    """A client for all trials of a run, so that connections are kept alive; logged in where the environment says so."""
    client = host.connect(timeout_s=timeout_s, connections=MOST_CONNECTIONS)
    if socket := socket_file(host.address):
        pool = _OnePool(f"http+unix://{socket}", round(timeout_s), max_pool_size=MOST_CONNECTIONS)
        client.api.mount("http+docker://", pool)
    if given := os.environ.get(LOGINS_VARIABLE):
        from testcontainers.core.auth import parse_docker_auth_config

        if logins := parse_docker_auth_config(given):
            client.login(**logins[0]._asdict())
    return client


def creation(trial: Trial, labels: dict[str, str], host: DockerHost) -> dict[str, Any]:
    """A trial's subject as arguments of the SDK's create call. Ports that are reached through the engine's machine are
    published, where the scenario does not say at which port, at any."""
    subject = trial.scenario.subject
    ports: dict[str, int | None] = {str(inside): outside for inside, outside in subject.ports}
    if not host.local:
        ports = {**{str(port): None for port in trial.scenario.reached_ports}, **ports}
    limits = {"mem_limit": subject.memory_bytes, "memswap_limit": subject.memory_bytes}
    optional = {
        "command": list(subject.command) if subject.command is not None else None,
        "entrypoint": list(subject.entrypoint) if subject.entrypoint is not None else None,
        "user": subject.user,
        "working_dir": subject.working_directory,
        "stop_signal": trial.scenario.stop.signal,
        "init": True if subject.init else None,
        "pids_limit": subject.pids_limit,
        **(limits if subject.memory_bytes else {}),
        **settings.arguments(subject.settings, trial, labels, host),
    }
    if trial.scenario.readiness.implied and not host.local:
        optional["publish_all_ports"] = True  # EXPOSE tells when it is ready, and nobody else reaches it from here
    given = {key: value for key, value in optional.items() if value is not None}
    labels = {**dict(subject.settings.labels), **labels}
    return {"environment": dict(subject.environment), "ports": ports, "labels": labels, **given}
