"""Readiness by ports and health checks: testcontainers' wait strategies, made exact where they are not."""

from __future__ import annotations

import http.client
import socket
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from testcontainers.core.wait_strategies import HealthcheckWaitStrategy, HttpWaitStrategy, PortWaitStrategy

from stop_harness.model import Readiness

if TYPE_CHECKING:
    from testcontainers.core.waiting_utils import WaitStrategy, WaitStrategyTarget

    from stop_harness.engines.docker.inside import Inside

POLL_S = 0.01
"""Between two looks."""

HANG_UP_S = 0.05
"""docker-proxy accepts before it knows whether anybody listens, and hangs up at once if nobody does."""

HTTP_ANSWER_S = 1.0
"""For one answer to the question whether an HTTP server is ready; then it is asked again."""

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Containers are never behind the user's HTTP proxy."""


def strategies(readiness: Readiness, *, published: bool) -> list[tuple[str, WaitStrategy]]:
    """(what is waited for, how) for each condition but that of the log; see `ready.strategies`."""
    result: list[tuple[str, WaitStrategy]] = []
    if readiness.tcp_port is not None:
        port = PublishedPortWait(readiness.tcp_port) if published else LocalPortWait(readiness.tcp_port)
        result.append((f"TCP port {readiness.tcp_port}", port))
    if readiness.http_port is not None:
        http_wait = HttpWait(readiness.http_port, readiness.http_path)
        result.append((f"HTTP {readiness.http_path} on port {readiness.http_port}", http_wait))
    if readiness.healthcheck:
        result.append(("the image's health check", HealthcheckWaitStrategy()))
    for _, strategy in result:
        strategy.with_poll_interval(POLL_S)
    return result


class LocalPortWait(PortWaitStrategy):
    """A port of a container on this machine: at its address, else at the 127.0.0.1 of its network namespace."""

    def wait_until_ready(self, container: WaitStrategyTarget) -> None:
        """Return when somebody accepts; TimeoutError when the time is up."""
        deadline = time.monotonic() + self._startup_timeout
        address = (container.get_container_host_ip(), int(container.get_exposed_port(self._port)))
        inside: Inside | None = getattr(container, "inside", None)
        only_inside = getattr(container, "only_inside", False)
        while time.monotonic() < deadline:
            if only_inside:
                if _accepts(inside, self._port):
                    return
            elif self._is_open(address, inside):
                return
            time.sleep(self._poll_interval)
        raise TimeoutError

    def _is_open(self, address: tuple[str, int], inside: Inside | None) -> bool:
        try:
            socket.create_connection(address, timeout=1).close()
        except ConnectionRefusedError:
            return _accepts(inside, self._port)
        except OSError:  # the container has no address any more
            return False
        return True


def _accepts(inside: Inside | None, port: int) -> bool:
    try:
        if inside is not None:
            inside.connect(port, 1).close()
    except OSError:
        return False
    return inside is not None


class PublishedPortWait(PortWaitStrategy):
    """A port behind docker-proxy: open only if the connection is not hung up on."""

    def wait_until_ready(self, container: WaitStrategyTarget) -> None:
        """Return when a connection stays open or is greeted; TimeoutError when the time is up."""
        address = (container.get_container_host_ip(), int(container.get_exposed_port(self._port)))
        deadline = time.monotonic() + self._startup_timeout
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(address, timeout=1) as connection:
                    connection.settimeout(HANG_UP_S)
                    if connection.recv(1):
                        return
            except TimeoutError:
                return
            except OSError:
                pass  # nobody listens yet
            time.sleep(self._poll_interval)
        raise TimeoutError


class HttpWait(HttpWaitStrategy):
    """Any status below 400 counts; a server that talks nonsense while it starts is not ready yet."""

    def __init__(self, port: int, path: str) -> None:
        super().__init__(port, path)
        self.for_status_code_matching(lambda status: status < 400)
        self._inside: Inside | None = None
        self._only_inside = False

    def wait_until_ready(self, container: WaitStrategyTarget) -> None:
        """Return when the answer is one; TimeoutError when the time is up."""
        self._inside = getattr(container, "inside", None)
        self._only_inside = getattr(container, "only_inside", False)
        super().wait_until_ready(container)

    def _try_http_request(self, url: str, headers: dict[str, str], ssl_context: Any) -> bool:
        if self._only_inside:
            return self._inside is not None and self._answers(self._inside)
        try:
            with _DIRECT.open(urllib.request.Request(url, headers=headers), timeout=HTTP_ANSWER_S):
                return True
        except urllib.error.HTTPError as error:  # also what is neither a success nor a redirection that can be followed
            return error.code < 400
        except (OSError, http.client.HTTPException) as error:
            refused = isinstance(getattr(error, "reason", error), ConnectionRefusedError)
            return refused and self._inside is not None and self._answers(self._inside)

    def _answers(self, inside: Inside) -> bool:
        """The same from inside; a redirection is an answer."""
        connection = http.client.HTTPConnection("localhost", self._port, timeout=HTTP_ANSWER_S)
        try:
            connection.sock = inside.connect(self._port, HTTP_ANSWER_S)
            connection.request("GET", self._path)
            return connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
