"""WebSocket as a client speaks it: the opening handshake, messages, and the close frame, by wsproto (RFC 6455)."""

from __future__ import annotations

import time

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from stop_harness.model import Exchange, TrafficClient
from stop_harness.trial.traffic_wire import AnswerSeen, Closed, Wire

PROTOCOLS_HEADER = "sec-websocket-protocol"

CLOSE_CODES = {
    1000: "normal closure",
    1001: "going away",
    1006: "no close frame",
    1011: "server error",
    1012: "service restart",
    1013: "try again later",
}
"""Of RFC 6455, 7.4.1, and of the registry of WebSocket close codes at IANA."""


class WebSocketSpeaker:
    """One message after the other on one connection; each waits for its answer."""

    def __init__(self, client: TrafficClient) -> None:
        self._client = client
        self._exchange = client.exchanges[0] if client.exchanges else Exchange()
        self._state = WSConnection(ConnectionType.CLIENT)
        self._events: list[Event] = []
        self._begun_ns: int | None = None
        self.given = AnswerSeen()

    async def prepare(self, wire: Wire) -> None:
        """The opening handshake. Raises ValueError where the server refuses it."""
        headers = {name.lower(): value for name, value in self._client.headers}
        host = headers.pop("host", f"localhost:{self._client.port}")
        protocols = [word.strip() for word in headers.pop(PROTOCOLS_HEADER, "").split(",") if word.strip()]
        extra = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await wire.send(self._state.send(Request(host, self._client.path, subprotocols=protocols, extra_headers=extra)))
        while True:
            event = await self._next(wire)
            if isinstance(event, AcceptConnection):
                return
            if isinstance(event, RejectConnection):
                raise ValueError(f"the server does not switch to WebSocket: it answers {event.status_code}")

    async def ask(self, wire: Wire) -> None:
        """The message, if there is one: as text where it is UTF-8. What came before it is no answer to it."""
        self.given, self._begun_ns = AnswerSeen(), None
        if self._exchange.send is None:
            return
        self._take(wire.taken())
        self._events = [event for event in self._events if isinstance(event, CloseConnection)]
        message: TextMessage | BytesMessage
        try:
            message = TextMessage(self._exchange.send.decode())
        except UnicodeDecodeError:
            message = BytesMessage(self._exchange.send)
        try:
            await wire.send(self._state.send(message))
        except LocalProtocolError as error:
            raise Closed(str(error)) from None

    async def answer(self, wire: Wire) -> str:
        """A whole message that contains what is expected; any message, where nothing is."""
        if self._exchange.send is None:
            return "connected"
        wanted, tail, received = self._exchange.expect or b"", b"", 0
        found = False
        while True:
            event = await self._next(wire)
            if isinstance(event, CloseConnection):
                raise Closed(f"{self._parting(event)}, before an answer")
            if not isinstance(event, Message):
                continue
            data = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
            self._begun_ns = self._begun_ns or time.monotonic_ns()
            received += len(data)
            tail = tail[-len(wanted) :] + data if wanted else b""
            found = found or wanted in tail
            if event.message_finished and found:
                self.given.body_bytes = received
                return f"answered, {received:,} bytes"
            if event.message_finished:
                tail, received, self._begun_ns = b"", 0, None

    async def hold(self, wire: Wire) -> str:
        """Until the close frame, which is answered; Closed without one."""
        while True:
            event = await self._next(wire)
            if isinstance(event, CloseConnection):
                return self._parting(event)

    def begun_ns(self, wire: Wire) -> int | None:
        """When the first piece of an answer came; a ping is none."""
        return self._begun_ns

    def _parting(self, event: CloseConnection) -> str:
        meaning = CLOSE_CODES.get(event.code, "")
        return f"close frame {event.code:d}" + (f" ({meaning})" if meaning else "")

    async def _next(self, wire: Wire) -> Event:
        while not self._events:
            data = await wire.receive()
            if not data:
                raise Closed("without a close frame")
            self._take(data)
        event = self._events.pop(0)
        if isinstance(event, Ping | CloseConnection):
            wire.reply(self._answer_to(event))
        return event

    def _take(self, data: bytes) -> None:
        if not data:
            return
        try:
            self._state.receive_data(data)
            self._events += self._state.events()
        except RemoteProtocolError as error:
            raise ValueError(f"the answer is not WebSocket: {error}") from None

    def _answer_to(self, event: Ping | CloseConnection) -> bytes:
        try:
            data: bytes = self._state.send(event.response())
        except LocalProtocolError:  # both sides have closed
            return b""
        return data
