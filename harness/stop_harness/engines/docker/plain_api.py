"""GET requests to an engine over one connection that stays open, without the SDK and without http.client.

`watch` asks about every container that starts and listens to every event, on a machine that has other things to do. In
a loop on two busy CPUs an `inspect` costs 0.08 ms of CPU time so, 0.24 ms by http.client and 1.4 ms by the SDK
(measured). What an engine answers is simple: a status, headers, and a body with its length, in chunks, or to the end of
the connection (RFC 9112, 6 and 7.1).
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

from stop_harness.engines.docker.address import Address, Tls, socket_file
from stop_harness.engines.docker.host import CONNECT_TIMEOUT_S, DockerHost
from stop_harness.engines.docker.line_stream import LineStream
from stop_harness.errors import EngineError

PLAIN_PORT, TLS_PORT = 2375, 2376
CALL_ERRORS = (OSError, ValueError, IndexError)
"""How a request fails where nobody answers, or with something that is no answer."""


class NotFound(EngineError):
    """The engine answered with 404: there is no such container or image (any more)."""


class PlainApi:
    """One connection, made when it is first needed and again after a failure. For one thread at a time.

    `timeout_s`: of one read, None for ever. Every method raises EngineError where the engine fails.
    """

    def __init__(self, host: DockerHost, *, timeout_s: float | None = 60) -> None:
        self._host, self._timeout_s = host, timeout_s
        self._socket: socket.socket | None = None
        self._file: Any = None

    def get(self, path: str, **query: str) -> Any:
        """The JSON of an answer. Raises NotFound."""
        try:
            return json.loads(self.read(path, **query))
        except ValueError as error:
            raise EngineError(f"{self._host.url}: GET {path}: an answer that makes no sense ({error})") from None

    def read(self, path: str, **query: str) -> bytes:
        """The body of an answer. Raises NotFound."""
        headers = self._ask(path, query)
        try:
            return b"".join(self._parts(headers))
        except CALL_ERRORS as error:
            raise self._failed(path, error) from None

    def stream(self, path: str, **query: str) -> LineStream:
        """The lines of an answer that goes on. The stream keeps the connection: the next call makes another."""
        headers = self._ask(path, query)
        connection, file = self._socket, self._file
        assert connection is not None
        self._socket = self._file = None
        connection.setblocking(False)
        try:
            begun = file.peek(1)  # what came with the headers
        except CALL_ERRORS:  # of TLS: there is nothing yet
            begun = b""
        return LineStream(connection, begun, chunked=headers.get(b"transfer-encoding") == b"chunked")

    def close(self) -> None:
        """Close the connection. Idempotent."""
        made, self._socket = self._socket, None
        if made is not None:
            self._file.close()
            made.close()

    def _ask(self, path: str, query: dict[str, str]) -> dict[bytes, bytes]:
        """The headers of an answer whose body is yet to be read."""
        fresh = self._socket is None
        try:
            status, headers = self._send(path, query)
        except CALL_ERRORS as error:
            self.close()
            if fresh:
                raise self._failed(path, error) from None
            return self._ask(path, query)  # the engine had closed a connection that nobody used for a while
        if status == 200:
            return headers
        try:
            said = str(json.loads(b"".join(self._parts(headers))).get("message", ""))
        except (*CALL_ERRORS, AttributeError):
            said = ""
        kind = NotFound if status == 404 else EngineError
        raise kind(f"{self._host.url}: GET {path}: {said or f'status {status}'}")

    def _send(self, path: str, query: dict[str, str]) -> tuple[int, dict[bytes, bytes]]:
        if self._socket is None:
            self._socket = connected(self._host.address, self._timeout_s)
            self._file = self._socket.makefile("rb")
        words = f"?{urlencode(query)}" if query else ""
        self._socket.sendall(f"GET /v{self._host.api_version}{path}{words} HTTP/1.1\r\nHost: docker\r\n\r\n".encode())
        status = int(self._line().split(b" ", 2)[1])
        headers = {}
        while (line := self._line()).strip():
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        return status, headers

    def _parts(self, headers: dict[bytes, bytes]) -> Iterator[bytes]:
        """The body as it comes."""
        if headers.get(b"transfer-encoding") == b"chunked":
            while length := int(self._line().partition(b";")[0], 16):
                yield self._bytes(length)
                self._line()
            while self._line().strip():  # trailers
                pass
        elif b"content-length" in headers:
            yield self._bytes(int(headers[b"content-length"]))
        else:
            yield from iter(lambda: self._file.read1(1 << 16), b"")

    def _line(self) -> bytes:
        line: bytes = self._file.readline(1 << 16)
        if not line:
            raise ConnectionError("the connection ended")
        return line

    def _bytes(self, count: int) -> bytes:
        read: bytes = self._file.read(count)
        if len(read) != count:
            raise ConnectionError("the connection ended")
        return read

    def _failed(self, path: str, error: Exception) -> EngineError:
        self.close()
        return EngineError(f"{self._host.url}: GET {path}: the engine does not answer: {_reason(error)}")


def connected(address: Address, timeout_s: float | None) -> socket.socket:
    """A connection to an engine. `timeout_s`: of one read, None for ever. Raises OSError, also where a certificate
    cannot be read, and ValueError for an address that is none."""
    made, name = _reached(address)
    try:
        if name is not None:
            made = _context(address.tls).wrap_socket(made, server_hostname=name)
        made.settimeout(timeout_s)
    except BaseException:
        made.close()
        raise
    return made


def _reached(address: Address) -> tuple[socket.socket, str | None]:
    """The connection itself, and the name that its certificate must have; None: without TLS."""
    file = socket_file(address)
    if file is not None:
        made = socket.socket(socket.AF_UNIX)
        try:
            made.settimeout(CONNECT_TIMEOUT_S)
            made.connect(file)
        except BaseException:
            made.close()
            raise
        return made, None
    where = urlsplit(address.url)
    if where.hostname is None:
        raise ValueError(f"{address} is no address that can be spoken to")
    encrypted = address.tls is not None or where.scheme == "https"
    port = where.port or (TLS_PORT if encrypted else PLAIN_PORT)
    reached = socket.create_connection((where.hostname, port), timeout=CONNECT_TIMEOUT_S)
    return reached, where.hostname if encrypted else None


def _context(tls: Tls | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.authority if tls else None)
    if tls is not None and not tls.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if tls is not None and tls.certificate and tls.key:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())[:300]
