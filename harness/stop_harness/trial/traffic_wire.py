"""One connection and what is spoken on it: bytes by asyncio, HTTP by h11. Nothing received is kept longer than needed.

What arrives is handed out before the end of the connection is, so that an answer that came whole before a reset is
whole; and the end says whether it was a FIN or a RST.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol, cast

import h11

from stop_harness.model import Exchange, TrafficClient

MAX_BUFFERED_BYTES = 256 * 1024
"""Reading pauses beyond that; a server that sends faster than it is read waits, as with any client."""

MAX_HEAD_BYTES = 64 * 1024
"""Of the headers of an answer; curl stops at 300 KiB, nginx sends at most 8 KiB by default."""


PROTOCOL = b"HTTP/"
"""Every answer begins with it (RFC 9112, 4); h11 looks only at a whole head, which another protocol never sends."""

HTTP2_SETTINGS = b"\x04\x00"
"""Type and flags of the frame with which an HTTP/2 server begins; length stands before, stream 0 behind (RFC 9113, 4.1
and 3.4)."""

TLS_BEGINNINGS = frozenset({b"\x15\x03", b"\x16\x03"})
"""Of an alert and of a handshake message (RFC 8446, 5.1)."""


class Closed(Exception):
    """The peer closed the connection (FIN) where an answer was awaited."""


class NotProcessed(Exception):
    """The peer says by its protocol that it did not begin with the request, so that it can be sent again elsewhere."""


class Wire(asyncio.Protocol):
    """One connection, with the time at which the answer to what was sent last began (monotonic, ns; None: not yet)."""

    def __init__(self) -> None:
        self.first_byte_ns: int | None = None
        self.begun = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._changed = asyncio.Event()
        self._full = False
        self._over = False
        self._reset: Exception | None = None

    @property
    def over(self) -> bool:
        """Whether the connection has ended, by whichever side."""
        return self._over

    async def send(self, data: bytes) -> None:
        """Return when all is handed to the kernel. Raises ConnectionError or Closed if the connection ends first."""
        assert self._transport is not None
        self.first_byte_ns = None
        self.begun.clear()
        self._transport.write(data)
        while self._full and not self._over:
            await self.change()
        self._raise_if_over()

    async def receive(self) -> bytes:
        """What has arrived; empty after a FIN. Raises ConnectionError after a RST."""
        assert self._transport is not None
        while not self._buffer and not self._over:
            await self.change()
        if not self._buffer:
            if self._reset is not None:
                raise ConnectionResetError(str(self._reset)) from None
            return b""
        data = bytes(self._buffer)
        self._buffer.clear()
        self._transport.resume_reading()
        return data

    def taken(self) -> bytes:
        """What has arrived by now, without waiting."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def reply(self, data: bytes) -> None:
        """Send what the protocol asks of us beside requests; lost where the connection is over."""
        if data and self._transport is not None and not self._over:
            self._transport.write(data)

    async def until_over(self) -> None:
        """Wait for the end of the connection, throwing away what arrives. Raises Closed or ConnectionError."""
        while await self.receive():
            pass
        self._raise_if_over()

    def close(self) -> None:
        """Close at once; what was not sent is dropped."""
        if self._transport is not None:
            self._transport.abort()

    def _raise_if_over(self) -> None:
        if self._over:
            raise ConnectionResetError(str(self._reset)) if self._reset else Closed()

    async def change(self) -> None:
        """Wait until something arrives, leaves or ends."""
        self._changed.clear()
        await self._changed.wait()

    # ── asyncio.Protocol ─────────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A write counts as done when nothing of it is left in our buffer."""
        self._transport = cast(asyncio.Transport, transport)
        # Not 0: with TLS, asyncio would take an empty buffer for a full one at every other write (3.11, sslproto.py).
        self._transport.set_write_buffer_limits(high=1, low=0)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self.first_byte_ns = self.first_byte_ns or time.monotonic_ns()
        self.begun.set()
        self._buffer += data
        if len(self._buffer) > MAX_BUFFERED_BYTES and self._transport is not None:
            self._transport.pause_reading()
        self._changed.set()

    def pause_writing(self) -> None:
        """Called by asyncio."""
        self._full = True

    def resume_writing(self) -> None:
        """Called by asyncio."""
        self._full = False
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio, after `eof_received` without an error. TLS that is cut without its goodbye is a FIN."""
        self._over = True
        self._reset = exc if isinstance(exc, ConnectionError) else None
        self._changed.set()


@dataclass
class AnswerSeen:
    """What is known of the answer to the latest request: its `status`; the bytes of its `body` so far, None where they
    are not counted; whether it `ends_by_close` of its connection only; whether it is `unended`: its last chunk did
    not come; whether the server `keeps` the connection; the `grpc_status` at the end of a gRPC answer."""

    status: int | None = None
    body_bytes: int | None = None
    ends_by_close: bool = False
    unended: bool = False
    keeps: bool = True
    grpc_status: int | None = None


class Speaker(Protocol):
    """What a client says and when an answer is whole; one for each connection."""

    given: AnswerSeen

    async def prepare(self, wire: Wire) -> None:
        """What comes before the request."""

    async def ask(self, wire: Wire) -> None:
        """The request."""

    async def answer(self, wire: Wire) -> str:
        """Return when the answer is whole, with a remark for people.

        Raises Closed, NotProcessed, ConnectionError or ValueError.
        """

    async def hold(self, wire: Wire) -> str:
        """Return when the peer says by its protocol that it goes away, with its words. Raises Closed where it closes
        without such a word, else as `answer` does."""

    def begun_ns(self, wire: Wire) -> int | None:
        """When the answer to the latest request began (monotonic, ns); None: it has not."""


class PlainSpeaker:
    """What protocols have in common that know no goodbye: every byte after the request is its answer."""

    async def hold(self, wire: Wire) -> str:
        """Raises Closed or ConnectionError at the end."""
        await wire.until_over()
        raise Closed

    def begun_ns(self, wire: Wire) -> int | None:
        """The first byte."""
        return wire.first_byte_ns


class HttpSpeaker(PlainSpeaker):
    """Requests of HTTP/1.1, one after the other on one connection."""

    def __init__(self, client: TrafficClient) -> None:
        self._client = client
        self._state = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._beginning = b""
        self.given = AnswerSeen()

    async def prepare(self, wire: Wire) -> None:
        """HTTP needs no greeting."""

    async def ask(self, wire: Wire) -> None:
        """A second request needs a connection that both sides keep alive; Closed where they do not."""
        if self._state.our_state is h11.MUST_CLOSE:
            raise Closed
        if self._state.our_state is h11.DONE:
            self._state.start_next_cycle()
        client, body = self._client, self._client.body
        headers = list(client.headers)
        if "host" not in {name.lower() for name, _ in headers}:
            headers.insert(0, ("Host", f"localhost:{client.port}"))
        if body is not None:
            headers.append(("Content-Length", str(len(body))))
        state, self.given, self._beginning = self._state, AnswerSeen(body_bytes=0), b""
        head = state.send(h11.Request(method=client.method, target=client.path, headers=headers)) or b""
        data = (state.send(h11.Data(data=body)) or b"") if body else b""
        await wire.send(head + data + (state.send(h11.EndOfMessage()) or b""))

    async def answer(self, wire: Wire) -> str:
        """The body is counted and dropped."""
        remark, given = "", self.given
        while True:
            try:
                event = self._state.next_event()
            except h11.RemoteProtocolError as error:
                if wire.over:
                    raise Closed(str(error) if wire.first_byte_ns else "") from None
                raise ValueError(f"the answer is not HTTP: {error}") from None
            if event is h11.NEED_DATA:
                self._state.receive_data(self._looked_at(await wire.receive()))
            elif isinstance(event, h11.Response):
                self._looked_through(event)
                if (b"connection", b"close") in [(name, value.lower()) for name, value in event.headers]:
                    remark = ", Connection: close"
            elif isinstance(event, h11.Data):
                self._take(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                given.keeps = self._state.our_state is not h11.MUST_CLOSE
                return f"{given.status}{remark}, {given.body_bytes:,} bytes"
            elif event is h11.PAUSED:  # 101: another protocol from here on
                return "switched to another protocol"
            elif isinstance(event, h11.ConnectionClosed):
                raise Closed

    def _looked_through(self, head: h11.Response) -> None:
        """The close alone ends an answer that may have a body, and says neither how long it is nor that it comes in
        chunks (RFC 9112, 6.3)."""
        self.given.status = head.status_code
        bodiless = self._client.method == "HEAD" or head.status_code in {204, 304}
        framed = {b"content-length", b"transfer-encoding"} & {name for name, _ in head.headers}
        self.given.ends_by_close = not bodiless and not framed

    def _take(self, data: bytes) -> None:
        """A piece of the body."""
        self.given.body_bytes = (self.given.body_bytes or 0) + len(data)

    def _looked_at(self, data: bytes) -> bytes:
        """The same bytes; ValueError if they begin an answer that no waiting will make HTTP."""
        if len(self._beginning) < len(PROTOCOL):
            self._beginning = (self._beginning + data)[: len(PROTOCOL)]
            if not PROTOCOL.startswith(self._beginning):
                raise ValueError(f"the answer is not HTTP: it begins with {data[:20]!r}{_other_protocol(data)}")
        return data


def _other_protocol(data: bytes) -> str:
    """What to ask for instead, where the first bytes are those of another protocol that is spoken here."""
    if data[3:5] == HTTP2_SETTINGS and data[5:9] == bytes(4):
        return "; it speaks HTTP/2: ask for `http2` or `grpc` traffic"
    if data[:2] in TLS_BEGINNINGS:
        return "; it speaks TLS: add `tls`"
    return ""


class RawSpeaker(PlainSpeaker):
    """A conversation in bytes: all exchanges but the last are the preparation, the last is the request."""

    def __init__(self, exchanges: tuple[Exchange, ...]) -> None:
        *self._greeting, self._request = exchanges or (Exchange(),)
        self.given = AnswerSeen()

    async def prepare(self, wire: Wire) -> None:
        """Every exchange but the last."""
        for exchange in self._greeting:
            await say(wire, exchange)
            await hear(wire, exchange)

    async def ask(self, wire: Wire) -> None:
        """The last exchange's bytes."""
        await say(wire, self._request)

    async def answer(self, wire: Wire) -> str:
        """Until the expected bytes have arrived."""
        await hear(wire, self._request)
        return "the expected answer"


async def say(wire: Wire, exchange: Exchange) -> None:
    """Send what the exchange sends, if anything."""
    if exchange.send is not None:
        await wire.send(exchange.send)


async def hear(wire: Wire, exchange: Exchange) -> None:
    """Wait for what the exchange expects, if anything, keeping no more than could be the beginning of it."""
    if exchange.expect is None:
        return
    tail = b""
    while exchange.expect not in tail:
        data = await wire.receive()
        if not data:
            raise Closed
        tail = tail[-len(exchange.expect) :] + data
