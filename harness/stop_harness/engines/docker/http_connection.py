"""One HTTP connection to an engine that stays open, without http.client: a status, headers, and a body with its length,
in chunks, or to the end of the connection (RFC 9112, 6 and 7.1). What an engine answers is no more than that.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from stop_harness.engines.docker.address import CONNECT_TIMEOUT_S, Address, Tls, socket_file

if TYPE_CHECKING:
    import ssl

PLAIN_PORT, TLS_PORT = 2375, 2376
PIECE_BYTES = 1 << 16
WITHOUT_BODY = frozenset({204, 304})
HTTP_ERRORS = (OSError, ValueError, IndexError)
"""How a request fails where nobody answers, or with something that is no answer."""


class HttpConnection:
    """For one thread at a time. `timeout_s`: of one read, None for ever. Everything raises HTTP_ERRORS."""

    def __init__(self, address: Address, timeout_s: float | None) -> None:
        self.socket = connected(address, timeout_s)
        self._file: Any = self.socket.makefile("rb")
        self._version, self._status, self._headers = b"", 0, dict[bytes, bytes]()

    def ask(self, method: str, target: str, body: bytes | None = None) -> tuple[int, str]:
        """Status and reason; the body is yet to be read. `body`: JSON."""
        sent = b"" if body is None else b"Content-Type: application/json\r\n"
        if body is not None or method == "POST":
            sent += b"Content-Length: %d\r\n" % len(body or b"")
        self.socket.sendall(f"{method} {target} HTTP/1.1\r\nHost: docker\r\n".encode() + sent + b"\r\n" + (body or b""))
        self._version, status, *reason = self._line().split(b" ", 2)
        self._status, self._headers = int(status), {}
        while (line := self._line()).strip():
            name, _, value = line.partition(b":")
            self._headers[name.strip().lower()] = value.strip()
        return self._status, b"".join(reason).decode("latin-1").strip()

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return self._headers.get(b"transfer-encoding") == b"chunked"

    def parts(self) -> Iterator[bytes]:
        """The body as it comes."""
        if self._status in WITHOUT_BODY:
            return
        if self.chunked:
            while length := int(self._line().partition(b";")[0], 16):
                while length:  # not the whole chunk at once: of an answer that goes on, what is there is wanted
                    yield (piece := self._some(length))
                    length -= len(piece)
                self._line()
            while self._line().strip():  # trailers
                pass
        elif b"content-length" in self._headers:
            yield self._bytes(int(self._headers[b"content-length"]))
        else:
            yield from iter(lambda: self._file.read1(PIECE_BYTES), b"")

    @property
    def reusable(self) -> bool:
        """Whether another request can be sent once the body was read: nothing more comes, not even its end."""
        if self._version != b"HTTP/1.1" or self._headers.get(b"connection", b"").lower() == b"close":
            return False
        if not (self._status in WITHOUT_BODY or self.chunked or b"content-length" in self._headers):
            return False
        waiting = select.poll()  # no select(2), which knows no more than 1024 files
        waiting.register(self.socket, select.POLLIN)
        return not waiting.poll(0)

    def begun(self) -> bytes:
        """What came of the body with the headers, for whoever reads the socket himself from now on."""
        self.socket.setblocking(False)
        try:
            return bytes(self._file.peek(1))
        except HTTP_ERRORS:  # of TLS: there is nothing yet
            return b""

    def close(self) -> None:
        """Idempotent. Whoever reads in another thread comes back with an error."""
        with contextlib.suppress(OSError):  # it was closed, or the other side has gone
            self.socket.shutdown(socket.SHUT_RDWR)
        self._file.close()
        self.socket.close()

    def _line(self) -> bytes:
        line: bytes = self._file.readline(PIECE_BYTES)
        if not line:
            raise ConnectionError("the connection ended")
        return line

    def _some(self, most: int) -> bytes:
        read: bytes = self._file.read1(min(most, PIECE_BYTES))
        if not read:
            raise ConnectionError("the connection ended")
        return read

    def _bytes(self, count: int) -> bytes:
        read: bytes = self._file.read(count)
        if len(read) != count:
            raise ConnectionError("the connection ended")
        return read


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
    import ssl  # late: most engines are reached by a socket file

    context = ssl.create_default_context(cafile=tls.authority if tls else None)
    if tls is not None and not tls.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if tls is not None and tls.certificate and tls.key:
        context.load_cert_chain(tls.certificate, tls.key)
    return context
