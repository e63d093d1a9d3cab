"""A started container as those see it who wait until it is ready or connect to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stop_harness.engines.docker.host import DockerHost

if TYPE_CHECKING:
    import docker

    from stop_harness.engines.docker.inside import Inside
    from stop_harness.engines.docker.places import Places


class Reached:
    """A started container as testcontainers' wait strategies see one: their `WaitStrategyTarget`.

    Not testcontainers' own class, whose constructor makes a client for each container and writes an engine's address
    into this process's environment. `address`: the container's own where it can be reached, None where its ports are
    published.
    """

    def __init__(self, wrapped: Any, client: docker.DockerClient, host: DockerHost, address: str | None) -> None:
        self._wrapped, self._client, self._host, self.address = wrapped, client, host, address
        self._places: Places | None = None
        self.published_by = str(wrapped.id)
        """Of which container the ports are published: whose network namespace this one has joined, else its own."""
        self.inside: Inside | None = None
        """Where what listens on 127.0.0.1 only is reached; None where that is not on this machine."""

    def get_container_host_ip(self) -> str:
        """Where its ports are."""
        return self.address or self._published().address_of(self.published_by)

    def get_exposed_port(self, port: int) -> int:
        """The port itself behind the container's own address, else the published one."""
        return port if self.address else self._published().port_of(self.published_by, port)

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

    def _published(self) -> Places:
        if self._places is None:
            from stop_harness.engines.docker.places import Places  # late: testcontainers is dear to import

            self._places = Places(self._client, self._host)
        return self._places
