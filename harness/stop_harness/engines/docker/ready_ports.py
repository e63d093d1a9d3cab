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
        port = PublishedPortWait(readiness.tcp_port) if published else PortWaitStrategy(readiness.tcp_port)
        result.append((f"TCP port {readiness.tcp_port}", port))
    if readiness.http_port is not None:
        http_wait = HttpWait(readiness.http_port, readiness.http_path)
        result.append((f"HTTP {readiness.http_path} on port {readiness.http_port}", http_wait))
    if readiness.healthcheck:
        result.append(("the image's health check", HealthcheckWaitStrategy()))
    for _, strategy in result:
        strategy.with_poll_interval(POLL_S)
    return result


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

    def _try_http_request(self, url: str, headers: dict[str, str], ssl_context: Any) -> bool:
        try:
            with _DIRECT.open(urllib.request.Request(url, headers=headers), timeout=HTTP_ANSWER_S):
                return True
        except urllib.error.HTTPError as error:  # also what is neither a success nor a redirection that can be followed
            return error.code < 400
        except (OSError, http.client.HTTPException):
            return False
