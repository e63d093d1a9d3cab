"""Where published ports are reached: as testcontainers finds out, also from within a container."""

from __future__ import annotations

from testcontainers.core.config import ConnectionMode, testcontainers_config
from testcontainers.core.docker_client import DockerClient

from stop_harness.engines.docker import sdk
from stop_harness.engines.docker.host import DockerHost


class Places(DockerClient):
    """testcontainers' client around ours."""

    def __init__(self, client: sdk.DockerClient, host: DockerHost) -> None:
        # Not testcontainers' own constructor: that goes by the environment alone, and knows no context's TLS files.
        self.client = client
        self._hostname = host.address.hostname()

    def host(self) -> str:
        """Where published ports are: testcontainers' TESTCONTAINERS_HOST_OVERRIDE, else the engine's machine."""
        return testcontainers_config.tc_host_override or self._hostname or super().host()

    def address_of(self, container_id: str) -> str:
        """Where a container's ports are. The last ways are for a harness that itself runs in a container."""
        mode = self.get_connection_mode()
        if mode is ConnectionMode.docker_host:
            return self.host()
        find = self.bridge_ip if mode is ConnectionMode.bridge_ip else self.gateway_ip
        return find(container_id)

    def port_of(self, container_id: str, port: int) -> int:
        """The published port of one of a container's, or that itself where the container is reached directly."""
        return int(self.port(container_id, port)) if self.get_connection_mode().use_mapped_port else port
