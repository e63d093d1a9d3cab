"""A started container as those see it who wait until it is ready or connect to it."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

from stop_harness.engines.docker import sdk
from stop_harness.engines.docker.calls import Calls, in_one_line
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.starting import LOOPBACK
from stop_harness.errors import EngineError
from stop_harness.model import Vantage

if TYPE_CHECKING:
    from stop_harness.engines.docker.engine_api import EngineApi
    from stop_harness.engines.docker.inside import Inside
    from stop_harness.engines.docker.places import Places


class OfSdk:
    """The SDK's container, which it is asked for where somebody wants more than its id and its log."""

    def __init__(self, api: EngineApi, container_id: str) -> None:
        self._api, self.id = api, container_id
        self._found: Any = None

    def logs(self, **given: Any) -> Any:
        """As the SDK's."""
        return self._api.logs(self.id, **given)

    def __getattr__(self, name: str) -> Any:
        if self._found is None:
            self._found = self._api.client.containers.get(self.id)
        return getattr(self._found, name)


class Unreachable(OSError):
    """There is no way to a port of the container; says why, as a sentence."""


class Reached:
    """A started container as testcontainers' wait strategies see one: their `WaitStrategyTarget`.

    Not testcontainers' own class, whose constructor makes a client for each container and writes an engine's address
    into this process's environment. `address`: the container's own where it can be reached; None where its ports are
    published, or it is in no network. `inside`: where what listens on 127.0.0.1 only is reached; None where that is not
    on this machine.
    """

    def __init__(self, wrapped: Any, api: EngineApi, host: DockerHost, address: str | None) -> None:
        self._wrapped, self._api, self._host, self.address = wrapped, api, host, address
        self._places: Places | None = None
        self._places_of_ports: dict[int, tuple[str, int]] = {}
        self.published_by = str(wrapped.id)
        """Of which container the ports are published: whose network namespace this one has joined, else its own."""
        self.inside: Inside | None = None

    @property
    def only_inside(self) -> bool:
        """Whether nobody reaches it from outside of its network namespace: here it would have an address, and where a
        container has none its ports are published nowhere. Raises Unreachable where nobody gets in there either."""
        if self.address or not self._host.local:
            return False
        if self.inside is None:
            raise Unreachable("the container is in no network, so that nobody reaches its ports from here")
        return True

    def get_container_host_ip(self) -> str:
        """Where its ports are: with `only_inside` at the loopback of its own network namespace."""
        if self.only_inside:
            return LOOPBACK
        address = self.address
        if not address:
            with contextlib.suppress(LookupError):  # it is looked for among its networks, by the name in its HostConfig
                address = self._published().address_of(self.published_by)
        if not address:  # with an empty one everybody would reach this machine
            raise Unreachable("the container is in no network, so that its ports are published nowhere")
        return address

    def get_exposed_port(self, port: int) -> int:
        """The port itself behind the container's own address, else the published one."""
        if self.address or self.only_inside:
            return port
        try:
            return self._published().port_of(self.published_by, port)
        except ConnectionError:
            raise Unreachable(f"port {port} of the container is not published") from None

    def connect(self, port: int, timeout_s: float, calls: Calls) -> tuple[socket.socket, Vantage]:
        """To its own address, else to the published port; to what listens on 127.0.0.1 only from within. Raises
        OSError."""
        if self.only_inside:
            assert self.inside is not None
            return self.inside.connect(port, timeout_s), Vantage.NETWORK_NAMESPACE
        if port not in self._places_of_ports:  # a stopped container has no published ports to ask for any more
            try:
                self._places_of_ports[port] = calls.run("the published port", self._place_of, port)
            except (sdk.errors.DockerException, EngineError) as error:
                raise OSError(f"where port {port} is published cannot be told: {in_one_line(error)}") from None
        vantage = Vantage.CONTAINER_ADDRESS if self.address else Vantage.PUBLISHED_PORT
        try:
            return socket.create_connection(self._places_of_ports[port], timeout=timeout_s), vantage
        except ConnectionRefusedError:  # what listens on 127.0.0.1 only, refuses everybody from outside
            if self.inside is None:
                raise
            return self.inside.connect(port, timeout_s), Vantage.NETWORK_NAMESPACE

    def _place_of(self, port: int) -> tuple[str, int]:
        return self.get_container_host_ip(), self.get_exposed_port(port)

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

            self._places = Places(self._api.client, self._host)
        return self._places
