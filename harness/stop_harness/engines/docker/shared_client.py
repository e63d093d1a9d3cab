"""The SDK's client that all trials of a run share."""

from __future__ import annotations

import os
from typing import Any

from docker import DockerClient, transport

from stop_harness.engines.docker.address import socket_file
from stop_harness.engines.docker.host import DockerHost

MOST_CONNECTIONS = 512
"""Kept open between calls; one for each trial in flight at most."""

LOGINS_VARIABLE = "DOCKER_AUTH_CONFIG"
"""Logins to registries, as testcontainers and GitLab's runner take them."""


class _OnePool(transport.UnixHTTPAdapter):
    """One pool of connections for all calls. The SDK has one for each URL, that is for each container: it makes a new
    connection for nearly every call, and keeps those it has."""

    def get_connection(self, url: str | bytes, proxies: Any = None) -> Any:
        """The pool, whatever the path is."""
        return super().get_connection("http+docker://localhost", proxies)


def shared_client(host: DockerHost, timeout_s: float) -> DockerClient:
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
