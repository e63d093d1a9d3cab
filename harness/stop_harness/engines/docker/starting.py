"""How a trial's container is created and reached: testcontainers' client, made once for a whole run."""

from __future__ import annotations

from typing import Any

from docker.transport import UnixHTTPAdapter
from testcontainers.core.auth import parse_docker_auth_config
from testcontainers.core.config import ConnectionMode, testcontainers_config
from testcontainers.core.docker_client import DockerClient, get_docker_auth_config
from testcontainers.core.labels import create_labels

from stop_harness.engines.docker.address import socket_file
from stop_harness.engines.docker.host import DockerHost
from stop_harness.model import Trial

MOST_CONNECTIONS = 512
"""Kept open between calls; one for each trial in flight at most."""


class _OnePool(UnixHTTPAdapter):
    """One pool of connections for all calls. The SDK has one for each URL, that is for each container: it makes a new
    connection for nearly every call, and keeps those it has."""

    def get_connection(self, url: str | bytes, proxies: Any = None) -> Any:
        """The pool, whatever the path is."""
        return super().get_connection("http+docker://localhost", proxies)


class SharedDockerClient(DockerClient):
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
        # Podman's default network has another name; naming Docker's saves a look-up.
        "network": None if host.podman else "bridge",
        **(limits if subject.memory_bytes else {}),
    }
    given = {key: value for key, value in optional.items() if value is not None}
    return {"environment": dict(subject.environment), "ports": ports, "labels": labels, **given}


class Reached:
    """A started container as testcontainers' wait strategies see one: their `WaitStrategyTarget`.

    Not testcontainers' own class, whose constructor makes a client for each container and writes an engine's address
    into this process's environment. `address`: the container's own where it can be reached, None where its ports are
    published.
    """

    def __init__(self, wrapped: Any, client: SharedDockerClient, address: str | None) -> None:
        self._wrapped, self._client, self.address = wrapped, client, address

    def get_container_host_ip(self) -> str:
        """Where its ports are. The last ways are for a harness that itself runs in a container."""
        if self.address:
            return self.address
        mode = self._client.get_connection_mode()
        if mode is ConnectionMode.docker_host:
            return self._client.host()
        find = self._client.bridge_ip if mode is ConnectionMode.bridge_ip else self._client.gateway_ip
        return find(str(self._wrapped.id))

    def get_exposed_port(self, port: int) -> int:
        """The port itself behind the container's own address, else the published one."""
        if self.address or not self._client.get_connection_mode().use_mapped_port:
            return port
        return int(self._client.port(str(self._wrapped.id), port))

    def get_wrapped_container(self) -> Any:
        """The SDK's container."""
        return self._wrapped

    def get_logs(self) -> tuple[bytes, bytes]:
        """Standard output and standard error, all of both."""
        return self._wrapped.logs(stderr=False), self._wrapped.logs(stdout=False)

    def reload(self) -> None:
        """Ask the engine again."""
        self._wrapped.reload()

    @property
    def status(self) -> str:
        """As the engine said last."""
        return str(self._wrapped.status)
