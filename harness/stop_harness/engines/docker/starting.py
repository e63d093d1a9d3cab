"""How testcontainers starts the subjects: one client for a whole run, and a container for one trial."""

from __future__ import annotations

import os
import threading
from typing import Any

from docker.transport import UnixHTTPAdapter
from testcontainers.core.auth import parse_docker_auth_config
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient, get_docker_auth_config
from testcontainers.core.labels import create_labels

from stop_harness.engines.docker.address import socket_file
from stop_harness.engines.docker.host import DockerHost
from stop_harness.model import Trial

MOST_CONNECTIONS = 512
"""Kept open between calls; one for each trial in flight at most."""


NOWHERE = {"environment": {"DOCKER_HOST": "unix:///dev/null"}, "version": "1.41"}
"""For a client that nobody uses: with an address and a version it opens no connection."""

_ENVIRONMENT = threading.Lock()


class _OnePool(UnixHTTPAdapter):
    """One pool of connections for all calls. The SDK has one for each URL, that is for each container: it makes a new
    connection for nearly every call, and keeps those it has."""

    def get_connection(self, url: str | bytes, proxies: Any = None) -> Any:
        """The pool, whatever the path is."""
        return super().get_connection("http+docker://localhost", proxies)


class Client(DockerClient):
    """testcontainers' client, made once and shared by all trials, so that connections are kept alive."""

    def __init__(self, host: DockerHost, timeout_s: float) -> None:
        # Not testcontainers' own constructor: that goes by the environment alone, and knows no context's TLS files.
        self.client = host.connect(timeout_s=timeout_s, connections=MOST_CONNECTIONS)
        self._hostname = host.address.hostname()
        self._labels = create_labels("", {})
        if socket := socket_file(host.address):
            pool = _OnePool(f"http+unix://{socket}", round(timeout_s), max_pool_size=MOST_CONNECTIONS)
            self.client.api.mount("http+docker://", pool)
        if logins := parse_docker_auth_config(get_docker_auth_config() or "{}"):
            self.login(logins[0])

    def host(self) -> str:
        """Where published ports are: testcontainers' TESTCONTAINERS_HOST_OVERRIDE, else the engine's machine."""
        return testcontainers_config.tc_host_override or self._hostname or super().host()

    def create(self, image: str, *_: Any, labels: dict[str, str] | None = None, **settings: Any) -> Any:
        """As testcontainers does it, without looking first whether the image is there: `prepare` has seen to that."""
        return self.client.containers.create(image, labels={**self._labels, **(labels or {})}, **settings)


class Container(DockerContainer):
    """testcontainers' container for one trial, reached by its own address where that is possible."""

    def __init__(self, trial: Trial, image: str, labels: dict[str, str], host: DockerHost, client: Client) -> None:
        with _ENVIRONMENT:
            # It makes a client of its own, asks nothing of it, and leaves a context's address in DOCKER_HOST.
            before = os.environ.get("DOCKER_HOST")
            super().__init__(image, docker_client_kw=NOWHERE)
            if before is None:
                os.environ.pop("DOCKER_HOST", None)
        self._docker = client
        self.image = image  # an id: testcontainers' prefix for mirrors must not be put before it
        self.address: str | None = None
        subject = trial.scenario.subject
        if subject.command is not None:
            self.with_command(list(subject.command))
        self.env.update(subject.environment)
        for container_port, host_port in subject.ports:
            self.with_bind_ports(container_port, host_port)
        if not host.local:
            self.with_exposed_ports(*trial.scenario.reached_ports)
        limits = {"mem_limit": subject.memory_bytes, "memswap_limit": subject.memory_bytes}
        optional = {
            "entrypoint": list(subject.entrypoint) if subject.entrypoint is not None else None,
            "user": subject.user,
            "working_dir": subject.working_directory,
            "stop_signal": trial.scenario.stop.signal,
            "init": True if subject.init else None,
            "pids_limit": subject.pids_limit,
            # Podman's default network has another name; naming Docker's saves testcontainers two look-ups.
            "network": None if host.podman else "bridge",
            **(limits if subject.memory_bytes else {}),
        }
        self.with_kwargs(labels=labels, **{key: value for key, value in optional.items() if value is not None})

    @property
    def created(self) -> Any:
        """The SDK's container, None before it was created; also there when its start failed."""
        return self._container

    def get_container_host_ip(self) -> str:
        """The container's own address if it can be reached, else where its ports are published."""
        return self.address or super().get_container_host_ip()

    def get_exposed_port(self, port: int) -> int:
        """The port itself behind the container's own address, else the published one."""
        return port if self.address else super().get_exposed_port(port)
