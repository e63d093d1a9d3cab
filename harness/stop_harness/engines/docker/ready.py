"""Readiness on the docker engine: testcontainers' wait strategies, made interruptible and exact where they are not."""

from __future__ import annotations

import http.client
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from testcontainers.core.wait_strategies import (
    HealthcheckWaitStrategy,
    HttpWaitStrategy,
    LogMessageWaitStrategy,
    PortWaitStrategy,
)

from stop_harness.log_pattern import LogPattern
from stop_harness.model import Readiness

if TYPE_CHECKING:
    from testcontainers.core.waiting_utils import WaitStrategy, WaitStrategyTarget

POLL_S = 0.01
LONGEST_LINE_BYTES = 64 * 1024
"""A line longer than this is not a ready line; only its end is looked at."""

LOG_POLL_S = 0.25
"""Podman spends 20 ms of CPU on each look; a faster poll starves the containers it looks at."""
HANG_UP_S = 0.05
"""docker-proxy accepts before it knows whether anybody listens, and hangs up at once if nobody does."""

HTTP_ANSWER_S = 1.0
"""For one answer to the question whether an HTTP server is ready; then it is asked again."""

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Containers are never behind the user's HTTP proxy."""


def strategies(readiness: Readiness, *, published: bool, podman: bool) -> list[tuple[str, WaitStrategy]]:
    """(what is waited for, how) for each condition. `published`: ports are reached through docker-proxy."""
    result: list[tuple[str, WaitStrategy]] = []
    if readiness.log is not None:
        log: WaitStrategy = LogPollWait(readiness.log) if podman else LogStreamWait(readiness.log)
        result.append((f"log line matching {readiness.log!r}", log))
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


class LogStreamWait(LogMessageWaitStrategy):
    """Follows the log instead of reading all of it at every poll, and takes any bytes for a log."""

    def __init__(self, pattern: str) -> None:
        super().__init__("")  # its own pattern would be one of Python's
        self._pattern = LogPattern(pattern)

    def wait_until_ready(self, container: WaitStrategyTarget) -> None:
        """Return when the pattern appears; TimeoutError when the time is up or the container has left."""
        stream = container.get_wrapped_container().logs(stream=True, follow=True)
        timer = threading.Timer(self._startup_timeout, stream.close)
        timer.daemon = True
        timer.start()
        try:
            found = self._found_in(stream)
        finally:
            timer.cancel()
            stream.close()
        if not found:
            raise TimeoutError

    def _found_in(self, stream: Iterable[bytes]) -> bool:
        """Whether a whole line of the stream matches: `^ready$` must not match the beginning of "ready soon"."""
        rest = b""
        for chunk in stream:
            lines, newline, tail = chunk.rpartition(b"\n")
            if newline and self._pattern.found_in(rest + lines):
                return True
            rest = tail if newline else (rest + tail)[-LONGEST_LINE_BYTES:]
        return False


class LogPollWait(LogStreamWait):
    """Reads the log again and again, for Podman 4: its follow call does not return before there is output.

    All of the log, because its `tail` joins lines that were written in parts.
    """

    def wait_until_ready(self, container: WaitStrategyTarget) -> None:
        """Return when the pattern appears; TimeoutError when the time is up."""
        deadline = time.monotonic() + self._startup_timeout
        while not self._found_in(container.get_wrapped_container().logs(stream=True, follow=False)):
            if time.monotonic() >= deadline:
                raise TimeoutError
            time.sleep(LOG_POLL_S)


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


def patience_s(strategy: WaitStrategy, remaining_s: float) -> float:
    """How long a strategy may wait before the container is looked at again.

    A log that is followed ends with its container; the others would wait for a container that has left.
    """
    return max(0.0, remaining_s if type(strategy) is LogStreamWait else min(0.5, remaining_s))
