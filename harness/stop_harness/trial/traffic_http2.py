"""HTTP/2 and gRPC as a client speaks them, with prior knowledge or by ALPN: frames by h2 (RFC 9113).

GOAWAY is read here: h2 takes it for the end of the connection (4.4), while the streams up to the one that it names go
on, which is what a graceful stop is about.
"""

from __future__ import annotations

import struct
import time

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from stop_harness.model import TrafficClient
from stop_harness.trial.traffic_wire import AnswerSeen, Closed, NotProcessed, Wire

GOAWAY = 7
FRAME_HEAD_BYTES = 9
MOST_FRAME_BYTES = 16 * 1024
"""SETTINGS_MAX_FRAME_SIZE where nobody asked for more (RFC 9113, 6.5.2), as we do not."""

GRPC_PREFIX = struct.Struct(">BI")
"""Compressed flag and length of a message: gRPC over HTTP2, "Length-Prefixed-Message"."""


class Http2Speaker:
    """One request after the other, each a stream of its own on one connection."""

    def __init__(self, client: TrafficClient) -> None:
        self._client = client
        self._state = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._received = bytearray()
        self._events: list[Event] = []
        self._stream = 0
        self._begun_ns: int | None = None
        self._goaway: tuple[int, str] | None = None
        """(last stream, error code) of the latest GOAWAY; None before one."""
        self.given = AnswerSeen()

    async def prepare(self, wire: Wire) -> None:
        """Both sides' SETTINGS. Raises ValueError where the server says something else."""
        self._state.initiate_connection()
        await wire.send(self._state.data_to_send())
        while not isinstance(await self._next(wire), RemoteSettingsChanged):
            pass

    async def ask(self, wire: Wire) -> None:
        """The request as a new stream; Closed where the server has said that it takes none any more."""
        if self._goaway is not None:
            raise Closed(self._parting())
        self.given, self._begun_ns, self._events = AnswerSeen(body_bytes=0), None, []
        body, early = self._body(), list[Event]()
        try:
            self._stream = self._state.get_next_available_stream_id()
            self._state.send_headers(self._stream, self._headers(), end_stream=not body)
            await wire.send(self._state.data_to_send())
            while body:
                room = min(
                    self._state.local_flow_control_window(self._stream), self._state.max_outbound_frame_size, len(body)
                )
                if room <= 0:  # the server has to make room first
                    early.append(await self._next(wire))
                    continue
                self._state.send_data(self._stream, body[:room], end_stream=room == len(body))
                body = body[room:]
                await wire.send(self._state.data_to_send())
        except ProtocolError as error:
            raise Closed(f"HTTP/2: {error}") from None
        self._events = early + self._events

    async def answer(self, wire: Wire) -> str:
        """Until the stream ends."""
        while True:
            event = await self._next(wire)
            if getattr(event, "stream_id", None) != self._stream:
                continue
            if isinstance(event, ResponseReceived | TrailersReceived):
                self._begun_ns = self._begun_ns or time.monotonic_ns()
                self._heard({str(name): str(value) for name, value in event.headers or ()})
            elif isinstance(event, DataReceived):
                self.given.body_bytes = (self.given.body_bytes or 0) + len(event.data or b"")
            elif isinstance(event, StreamReset):
                if event.error_code == ErrorCodes.REFUSED_STREAM:
                    raise NotProcessed("the stream was reset with REFUSED_STREAM: not processed")
                raise ConnectionAbortedError(f"the stream was reset with {_error_name(event.error_code)}")
            elif isinstance(event, StreamEnded):
                return self._whole()

    async def hold(self, wire: Wire) -> str:
        """Until GOAWAY, after which a client without open streams leaves; Closed without one."""
        while self._goaway is None:
            await self._next(wire)
        return self._parting()

    def begun_ns(self, wire: Wire) -> int | None:
        """When the head of the answer came; frames about the connection are none."""
        return self._begun_ns

    # ── What gRPC does otherwise ─────────────────────────────────────────────────────────────────────────────────────

    def _headers(self) -> list[tuple[str, str]]:
        headers = [(name.lower(), value) for name, value in self._client.headers]
        authority = next((value for name, value in headers if name == "host"), f"localhost:{self._client.port}")
        scheme = "https" if self._client.tls else "http"
        first = [
            (":method", self._client.method),
            (":scheme", scheme),
            (":authority", authority),
            (":path", self._client.path),
        ]
        length = [("content-length", str(len(self._client.body)))] if self._client.body is not None else []
        return [*first, *(pair for pair in headers if pair[0] != "host"), *length]

    def _body(self) -> bytes:
        return self._client.body or b""

    def _heard(self, headers: dict[str, str]) -> None:
        if ":status" in headers:
            self.given.status = int(headers[":status"])

    def _whole(self) -> str:
        return f"{self.given.status}, {self.given.body_bytes:,} bytes" + (
            f", {self._parting()}" if self._goaway else ""
        )

    # ── Frames ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _next(self, wire: Wire) -> Event:
        """The next event but GOAWAY. Raises NotProcessed where GOAWAY excludes the stream that is under way."""
        while not self._events:
            if self._goaway is not None and self._goaway[0] < self._stream:
                raise NotProcessed(f"{self._parting()}: not processed")
            data = await wire.receive()
            if not data:
                raise Closed(f"after {self._parting()}" if self._goaway else "without GOAWAY")
            self._take(data)
            wire.reply(self._state.data_to_send())
            if self._goaway is not None and not self._events:
                self._events.append(Event())  # so that who waits for GOAWAY alone looks again
        return self._events.pop(0)

    def _take(self, data: bytes) -> None:
        """Frame by frame."""
        self._received += data
        if self._received.startswith(b"HTTP/"):
            raise ValueError(f"the answer is not HTTP/2: it begins with {bytes(self._received[:20])!r}")
        while len(self._received) >= FRAME_HEAD_BYTES:
            length = int.from_bytes(self._received[:3], "big")
            if length > MOST_FRAME_BYTES:
                raise ValueError(f"the answer is not HTTP/2: it begins with {bytes(self._received[:20])!r}")
            if len(self._received) < FRAME_HEAD_BYTES + length:
                return
            frame = bytes(self._received[: FRAME_HEAD_BYTES + length])
            del self._received[: FRAME_HEAD_BYTES + length]
            self._take_frame(frame)

    def _take_frame(self, frame: bytes) -> None:
        if frame[3] == GOAWAY and len(frame) >= FRAME_HEAD_BYTES + 8:
            last, code = struct.unpack_from(">II", frame, FRAME_HEAD_BYTES)
            self._goaway = last & 0x7FFFFFFF, _error_name(code)
            return
        try:
            events = self._state.receive_data(frame)
            for event in events:
                if isinstance(event, DataReceived) and event.flow_controlled_length and event.stream_id:
                    self._state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        except ProtocolError as error:
            raise ValueError(f"the answer is not HTTP/2: {error}") from None
        self._events += events

    def _parting(self) -> str:
        """`GOAWAY (last stream 5, NO_ERROR)`."""
        assert self._goaway is not None
        return f"GOAWAY (last stream {self._goaway[0]}, {self._goaway[1]})"


class GrpcSpeaker(Http2Speaker):
    """Unary calls: one message there; an answer is whole with its grpc-status."""

    def _headers(self) -> list[tuple[str, str]]:
        given = super()._headers()
        own = {"content-type": "application/grpc", "te": "trailers", "user-agent": "grpc-stop-harness"}
        names = {name for name, _ in given}
        return [
            *(pair for pair in given if pair[0] != "content-length"),
            *((name, value) for name, value in own.items() if name not in names),
        ]

    def _body(self) -> bytes:
        message = self._client.body or b""
        return GRPC_PREFIX.pack(0, len(message)) + message

    def _heard(self, headers: dict[str, str]) -> None:
        super()._heard(headers)
        if headers.get("grpc-status", "").isdecimal():
            self.given.grpc_status = int(headers["grpc-status"])

    def _whole(self) -> str:
        if self.given.grpc_status is None and self.given.status == 200:
            raise Closed("the stream ended without a grpc-status")
        told = super()._whole()
        return told if self.given.grpc_status is None else f"grpc-status {self.given.grpc_status}, HTTP {told}"


def _error_name(code: int | None) -> str:
    try:
        return str(ErrorCodes(code or 0).name)
    except ValueError:
        return f"error code {code}"
