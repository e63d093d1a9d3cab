"""GET requests to an engine over one connection that stays open, without the SDK and without http.client.

`watch` asks about every container that starts and listens to every event, on a machine that has other things to do. In
a loop on two busy CPUs an `inspect` costs 0.08 ms of CPU time so, 0.24 ms by http.client and 1.4 ms by the SDK
(measured). What an engine answers is simple: a status, headers, and a body with its length, in chunks, or to the end of
the connection (RFC 9112, 6 and 7.1).
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote, urlencode

from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.http_connection import HTTP_ERRORS, HttpConnection
from stop_harness.engines.docker.line_stream import LineStream
from stop_harness.errors import EngineError

CONTAINER_ID = re.compile(r"[0-9a-f]{64}")


class NotFound(EngineError):
    """The engine answered with 404: there is no such container or image (any more)."""


class PlainApi:
    """One connection, made when it is first needed and again after a failure. For one thread at a time.

    `timeout_s`: of one read, None for ever. Every method raises EngineError where the engine fails.
    """

    def __init__(self, host: DockerHost, *, timeout_s: float | None = 60) -> None:
        self._host, self._timeout_s = host, timeout_s
        self._connection: HttpConnection | None = None

    def get(self, path: str, **query: str) -> Any:
        """The JSON of an answer. Raises NotFound."""
        try:
            return json.loads(self.read(path, **query))
        except ValueError as error:
            raise EngineError(f"{self._host.url}: GET {path}: an answer that makes no sense ({error})") from None

    def read(self, path: str, **query: str) -> bytes:
        """The body of an answer. Raises NotFound."""
        connection = self._ask(path, query)
        try:
            return b"".join(connection.parts())
        except HTTP_ERRORS as error:
            raise self._failed(path, error) from None

    def stream(self, path: str, **query: str) -> LineStream:
        """The lines of an answer that goes on. The stream keeps the connection: the next call makes another."""
        connection = self._ask(path, query)
        self._connection = None
        return LineStream(connection.socket, connection.begun(), chunked=connection.chunked)

    def close(self) -> None:
        """Close the connection. Idempotent."""
        made, self._connection = self._connection, None
        if made is not None:
            made.close()

    def _ask(self, path: str, query: dict[str, str]) -> HttpConnection:
        """The connection on which an answer has begun, whose body is yet to be read."""
        words = f"?{urlencode(query)}" if query else ""
        fresh = self._connection is None
        try:
            if self._connection is None:
                self._connection = HttpConnection(self._host.address, self._timeout_s)
            connection = self._connection
            status, _ = connection.ask("GET", f"/v{self._host.api_version}{path}{words}")
        except HTTP_ERRORS as error:
            self.close()
            if fresh:
                raise self._failed(path, error) from None
            return self._ask(path, query)  # the engine had closed a connection that nobody used for a while
        if status == 200:
            return connection
        try:
            said = str(json.loads(b"".join(connection.parts())).get("message", ""))
        except (*HTTP_ERRORS, AttributeError):
            said = ""
        kind = NotFound if status == 404 else EngineError
        raise kind(f"{self._host.url}: GET {path}: {said or f'status {status}'}")

    def _failed(self, path: str, error: Exception) -> EngineError:
        self.close()
        return EngineError(f"{self._host.url}: GET {path}: the engine does not answer: {_reason(error)}")


def id_of(host: DockerHost, name: str) -> str | None:
    """Of a container, by its name, its id or the beginning of that; None: there is none. From any thread."""
    if CONTAINER_ID.fullmatch(name):
        return name
    api = PlainApi(host)
    try:
        return str(api.get(f"/containers/{quote(name)}/json").get("Id"))
    except (EngineError, AttributeError):
        return None
    finally:
        api.close()


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())[:300]
