"""Readiness on the docker engine: by the log here; by ports and health checks with testcontainers, in `ready_ports`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Protocol

from stop_harness.engines.docker.reached import Reached
from stop_harness.log_pattern import LogPattern
from stop_harness.model import Readiness

POLL_S = 0.01
"""Before a log is asked for again that could not be followed."""

LONGEST_LINE_BYTES = 64 * 1024
"""A line longer than this is not a ready line; only its end is looked at."""

LOG_POLL_S = 0.25
"""Podman spends 20 ms of CPU on each look; a faster poll starves the containers it looks at."""


class Wait(Protocol):
    """What of a strategy is used: testcontainers' are such."""

    def with_startup_timeout(self, timeout: int) -> object:
        """Seconds, also fractions of one, after which it gives up."""

    def wait_until_ready(self, container: Reached) -> None:
        """Return when the condition holds; TimeoutError when the time is up."""


def strategies(readiness: Readiness, *, published: bool, podman: bool) -> list[tuple[str, Wait]]:
    """(what is waited for, how) for each condition. `published`: ports are reached through docker-proxy."""
    result: list[tuple[str, Wait]] = []
    if readiness.log is not None:
        log = LogPollWait(readiness.log) if podman else LogStreamWait(readiness.log)
        result.append((f"log line matching {readiness.log!r}", log))
    if readiness.tcp_port is not None or readiness.http_port is not None or readiness.healthcheck:
        from stop_harness.engines.docker import ready_ports  # late: testcontainers is dear to import

        result += ready_ports.strategies(readiness, published=published)
    return result


class LogStreamWait:
    """Follows the log instead of reading all of it at every poll, and takes any bytes for a log.

    Used as testcontainers' strategy for logs would be, and without anything of it: a log alone needs no testcontainers.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = LogPattern(pattern)
        self._startup_timeout = 0.0

    def with_startup_timeout(self, timeout: float) -> None:
        """Seconds after which it gives up."""
        self._startup_timeout = timeout

    def wait_until_ready(self, container: Reached) -> None:
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
        return found_in(stream, self._pattern)


class LogPollWait(LogStreamWait):
    """Reads the log again and again, for Podman 4: its follow call does not return before there is output.

    All of the log, because its `tail` joins lines that were written in parts.
    """

    def wait_until_ready(self, container: Reached) -> None:
        """Return when the pattern appears; TimeoutError when the time is up."""
        deadline = time.monotonic() + self._startup_timeout
        while not self._found_in(container.get_wrapped_container().logs(stream=True, follow=False)):
            if time.monotonic() >= deadline:
                raise TimeoutError
            time.sleep(LOG_POLL_S)


def found_in(stream: Iterable[bytes], pattern: LogPattern) -> bool:
    """Whether a whole line of the stream matches: `^ready$` must not match the beginning of "ready soon"."""
    rest = b""
    for chunk in stream:
        lines, newline, tail = chunk.rpartition(b"\n")
        if newline and pattern.found_in(rest + lines):
            return True
        rest = tail if newline else (rest + tail)[-LONGEST_LINE_BYTES:]
    return False


def patience_s(strategy: Wait, remaining_s: float) -> float:
    """How long a strategy may wait before the container is looked at again.

    A log that is followed ends with its container; the others would wait for a container that has left.
    """
    return max(0.0, remaining_s if type(strategy) is LogStreamWait else min(0.5, remaining_s))
