"""`watch --prometheus`: the judged stops as metrics that a Prometheus server scrapes. Needs the extra [watch]."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stop_harness.errors import UsageError, require_extra
from stop_harness.model import NS_PER_S

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from stop_harness.report.watched import JudgedEnd

BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0)
"""Upper ends of the histogram, with the usual stop timeouts among them: 10 s of Docker, 30 s of ECS and Kubernetes."""

EVERYWHERE = "0.0.0.0"  # nosec B104 # a Prometheus server is on another machine; who is to be kept out says HOST:PORT


class StopMetrics:
    """Served over HTTP from `serve` to `close`. `address`: `:PORT` or `HOST:PORT`.

    Raises UsageError for an address that is none, MissingExtra without prometheus-client.
    """

    def __init__(self, address: str) -> None:
        self._address, (self._host, self._port) = address, _parsed(address)
        require_extra("watch", "--prometheus")
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self._registry = registry = CollectorRegistry()
        self._server: WSGIServer | None = None
        self._stops = Counter(
            "container_stop", "Stops of containers, by what they came to.", ("outcome", "image"), registry=registry
        )
        self._durations = Histogram(
            "container_stop_duration_seconds",
            "From the stop signal to the exit of PID 1.",
            ("image",),
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._ends = Counter(
            "container_end",
            "Ends of containers, stops among them, by their kind.",
            ("end",),
            registry=registry,
        )

    def serve(self) -> str:
        """Answer from now on; gives the URL. For who may count on it that what happens is heard: an answer tells a
        probe that the watch is ready. Raises UsageError for an address that cannot be listened at."""
        from prometheus_client import start_http_server

        try:
            self._server, _ = start_http_server(self._port, self._host or EVERYWHERE, registry=self._registry)
        except OSError as error:
            raise UsageError(f"--prometheus {self._address}: cannot listen there: {error.strerror}") from None
        return f"http://{self._host or 'localhost'}:{self._server.server_port}/metrics"

    def add(self, one: JudgedEnd) -> None:
        """One more end."""
        self._ends.labels(one.end.kind.value).inc()
        if one.outcome is None:
            return
        self._stops.labels(one.outcome.value, one.end.image).inc()
        if one.duration_ns is not None:
            self._durations.labels(one.end.image).observe(one.duration_ns / NS_PER_S)

    def close(self) -> None:
        """Serve no longer."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def _parsed(address: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.*):([0-9]{1,5})", address)
    if match is None or int(match[2]) > 65535:
        raise UsageError(f"--prometheus {address!r}: :PORT or HOST:PORT is needed, such as :9101; a port is 0 to 65535")
    return match[1].strip("[]"), int(match[2])
