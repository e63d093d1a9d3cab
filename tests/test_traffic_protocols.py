"""WebSocket, HTTP/2, gRPC and Server-Sent Events while a server stops: every end, by clients and servers on sockets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest
import wsproto
import wsproto.events
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.model import NS_PER_S, Exchange, Outcome, Request, RequestFate, TrafficClient, TrafficKind
from stop_harness.trial.traffic_events import EventCounter
from tests.test_traffic import (
    Server,
    begin,
    certificate,  # noqa: F401 # a fixture
    client,
    flow_of,
    on_process_engine,
    refused,
    reset,
)

GOAWAY = 7


def stopped(server: Server, *clients: TrafficClient) -> tuple[Request, ...]:
    """What became of the requests; unlike a process, a server of these tests ends each conversation as it likes."""
    flow = flow_of(server, *clients)
    begin(flow)
    flow.mark_stop()
    server.stop()
    flow.end()
    assert not flow.missing
    return flow.requests or ()


# ── WebSocket ────────────────────────────────────────────────────────────────────────────────────────────────────────


class WebSocketEnd:
    """The server's end of one WebSocket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._state = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        self.send(wsproto.events.AcceptConnection(subprotocol=None) if self.hear(wsproto.events.Request) else None)

    def send(self, event: wsproto.events.Event | None) -> None:
        """Write it."""
        if event is not None:
            self._connection.sendall(self._state.send(event))

    def hear(self, kind: type[wsproto.events.Event]) -> wsproto.events.Event | None:
        """The next event of that kind; None at the end of the connection."""
        while True:
            for event in self._state.events():
                if isinstance(event, kind):
                    return event
            data = self._connection.recv(4096)
            if not data:
                return None
            self._state.receive_data(data)


def websocket(*, answers: bool, closes: int | None, hard: bool = False) -> Callable[[socket.socket, Server], None]:
    """Takes a message, and at the stop answers it or not, and sends a close frame or not."""

    def serve(connection: socket.socket, server: Server) -> None:
        end = WebSocketEnd(connection)
        end.send(wsproto.events.TextMessage("welcome"))
        if end.hear(wsproto.events.Message) is None:
            return
        server.stopping.wait()
        end.send(wsproto.events.Ping())
        if answers:
            end.send(wsproto.events.TextMessage("the ans", message_finished=False))
            end.send(wsproto.events.TextMessage("wer"))
        if closes is not None:
            end.send(wsproto.events.CloseConnection(closes))
            end.hear(wsproto.events.CloseConnection)
        if hard:
            reset(connection)

    return serve


@pytest.mark.parametrize(
    ("answers", "closes", "hard", "fates"),
    [
        (True, 1001, False, [("completed", "answered, 10 bytes"), ("completed", "close frame 1001 (going away)")]),
        (
            True,
            None,
            False,
            [("completed", "answered, 10 bytes"), ("no_answer", "closed by the peer: without a close frame")],
        ),
        (False, 1001, False, [("no_answer", "closed by the peer: close frame 1001 (going away), before an answer")]),
        (False, None, False, [("no_answer", "closed by the peer: without a close frame")]),
        (False, None, True, [("reset", "reset by the peer")]),
    ],
)
def test_a_message_in_flight_and_the_end_of_its_websocket(
    answers: bool, closes: int | None, hard: bool, fates: list[tuple[str, str]]
) -> None:
    """The message is answered or lost; then the connection is closed with a close frame or without one."""
    server = Server(websocket(answers=answers, closes=closes, hard=hard))
    message = (Exchange(b"hello", b"answer"),)
    found = stopped(server, client(server, TrafficKind.WEBSOCKET, exchanges=message, lead_ns=NS_PER_S // 4))
    assert [(item.fate.value, item.detail) for item in found] == fates
    assert [item.only_held for item in found] == [False, True][: len(found)]


@pytest.mark.parametrize(("closes", "fate"), [(1012, RequestFate.COMPLETED), (None, RequestFate.NO_ANSWER)])
def test_a_websocket_that_is_only_held(closes: int | None, fate: RequestFate) -> None:
    """Without a message there is nothing to lose but the word of going away."""

    def serve(connection: socket.socket, server: Server) -> None:
        end = WebSocketEnd(connection)
        server.stopping.wait()
        if closes is not None:
            end.send(wsproto.events.CloseConnection(closes))
            end.hear(wsproto.events.CloseConnection)

    server = Server(serve)
    (request,) = stopped(server, client(server, TrafficKind.WEBSOCKET))
    assert (request.fate, request.only_held) == (fate, True)


def test_a_server_that_does_not_speak_websocket() -> None:
    """Its answer is named, and the trial does not go on without its traffic."""

    def serve(connection: socket.socket, server: Server) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    server = Server(serve)
    message = refused(server, client(server, TrafficKind.WEBSOCKET))
    assert "the server does not switch to WebSocket: it answers 404" in message


# ── HTTP/2 and gRPC ──────────────────────────────────────────────────────────────────────────────────────────────────


class Http2End:
    """The server's end of one HTTP/2 connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.state.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Write what there is to write."""
        self.connection.sendall(self.state.data_to_send())

    def request(self) -> int:
        """The next stream that is whole; 0 at the end of the connection."""
        while data := self.connection.recv(65536):
            events = self.state.receive_data(data)
            for event in events:
                if isinstance(event, h2.events.DataReceived):  # makes room for more
                    self.state.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
            self.flush()
            if ended := [event for event in events if isinstance(event, h2.events.StreamEnded)]:
                return ended[0].stream_id or 0
        return 0

    def answer(self, stream: int, *, cut: bool = False, grpc_status: int | None = None) -> None:
        """Whole; or only its beginning."""
        self.state.send_headers(stream, [(":status", "200"), ("content-type", "text/plain")])
        self.state.send_data(stream, b"body", end_stream=not cut and grpc_status is None)
        if grpc_status is not None:
            self.state.send_headers(stream, [("grpc-status", str(grpc_status))], end_stream=True)
        self.flush()

    def goaway(self, last: int) -> None:
        """By hand: h2 lets nothing follow its own."""
        self.connection.sendall(struct.pack(">I", 8)[1:] + bytes([GOAWAY, 0]) + struct.pack(">III", 0, last, 0))


Part = Callable[[Http2End, int], None]


def http2(*parts: Part, linger: bool = False) -> Callable[[socket.socket, Server], None]:
    """Takes a request, and at the stop does these things one after the other. `linger`: until the client leaves."""

    def serve(connection: socket.socket, server: Server) -> None:
        end = Http2End(connection)
        stream = end.request()
        server.stopping.wait()
        for part in parts:
            part(end, stream)
        while linger and connection.recv(4096):
            pass

    return serve


def whole(end: Http2End, stream: int) -> None:
    """The answer."""
    end.answer(stream)


def beginning(end: Http2End, stream: int) -> None:
    """Of the answer."""
    end.answer(stream, cut=True)


def goaway(end: Http2End, stream: int) -> None:
    """With the stream as the last."""
    end.goaway(stream)


def goaway_none(end: Http2End, _: int) -> None:
    """No stream is processed."""
    end.goaway(0)


def refuse(end: Http2End, stream: int) -> None:
    """REFUSED_STREAM."""
    end.state.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
    end.flush()


def cancel(end: Http2End, stream: int) -> None:
    """CANCEL."""
    end.state.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
    end.flush()


@pytest.mark.parametrize(
    ("parts", "fates"),
    [
        ((goaway, whole), ["completed", "completed"]),
        ((whole, goaway), ["completed", "completed"]),
        ((whole,), ["completed", "no_answer"]),
        ((), ["no_answer"]),
        ((goaway,), ["no_answer"]),
        ((goaway, beginning), ["truncated"]),
        ((goaway_none,), ["refused"]),
        ((refuse,), ["refused"]),
        ((cancel,), ["reset"]),
        ((beginning, cancel), ["truncated"]),
    ],
    ids=lambda value: "-".join(getattr(item, "__name__", str(item)) for item in value) or "cut",
)
def test_a_stream_in_flight_and_the_end_of_its_http2_connection(parts: tuple[Part, ...], fates: list[str]) -> None:
    """Streams up to the one that GOAWAY names are answered or lost; those above it may be sent again elsewhere."""
    server = Server(http2(*parts))
    found = stopped(server, client(server, TrafficKind.HTTP2, method="POST", body=bytes(100_000)))
    assert [item.fate.value for item in found] == fates
    assert found[0].status == (200 if whole in parts or beginning in parts else None)
    if goaway in parts and len(found) == 2:
        assert found[1].detail == "GOAWAY (last stream 1, NO_ERROR)"


def test_a_client_leaves_after_goaway() -> None:
    """A server that waits for its clients is not held up by this one."""
    server = Server(http2(goaway, whole, linger=True))
    found = stopped(server, client(server, TrafficKind.HTTP2))
    assert [item.fate for item in found] == [RequestFate.COMPLETED] * 2


def test_requests_follow_each_other_on_one_http2_connection() -> None:
    """As any HTTP/2 client does it."""

    def serve(connection: socket.socket, server: Server) -> None:
        end = Http2End(connection)
        for _ in range(3):
            end.answer(end.request())
        stream = end.request()
        server.stopping.wait()
        end.goaway(stream)
        end.answer(stream)

    server = Server(serve)
    found = stopped(server, client(server, TrafficKind.HTTP2, think_ns=0, lead_ns=NS_PER_S // 2))
    assert [item.detail for item in found] == [
        "200, 4 bytes, GOAWAY (last stream 7, NO_ERROR)",
        "GOAWAY (last stream 7, NO_ERROR)",
    ]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("status", "fate"), [(0, RequestFate.COMPLETED), (14, RequestFate.COMPLETED), (None, RequestFate.TRUNCATED)]
)
def test_a_grpc_answer_is_whole_with_its_status(status: int | None, fate: RequestFate) -> None:
    """An end of the stream without a status is none."""

    def serve(connection: socket.socket, server: Server) -> None:
        end = Http2End(connection)
        stream = end.request()
        server.stopping.wait()
        end.goaway(stream)
        end.answer(stream, grpc_status=status)

    server = Server(serve)
    first, *_ = stopped(server, client(server, TrafficKind.GRPC, path="/a.B/C", method="POST", body=b"\x0a\x00"))
    assert (first.fate, first.grpc_status) == (fate, status)


@pytest.mark.parametrize("kind", [TrafficKind.HTTP2, TrafficKind.GRPC])
def test_a_server_that_does_not_speak_http2(kind: TrafficKind) -> None:
    """What it said instead is shown."""

    def serve(connection: socket.socket, server: Server) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = Server(serve)
    assert "the answer is not HTTP/2: it begins with b'HTTP/1.1 400" in refused(server, client(server, kind))


# ── Server-Sent Events ───────────────────────────────────────────────────────────────────────────────────────────────


def events(*last: bytes) -> Callable[[socket.socket, Server], None]:
    """Events until the stop, then these pieces and the end."""

    def serve(connection: socket.socket, server: Server) -> None:
        assert b"Accept: text/event-stream" in connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n")
        while not server.stopping.wait(0.02):
            connection.sendall(b"id: 1\ndata: hello\n\n: a comment\n")
        for piece in last:
            connection.sendall(piece)

    return serve


@pytest.mark.parametrize(
    ("last", "fate"),
    [
        ((), RequestFate.COMPLETED),  # by the close alone: whether it is known is another matter
        ((b"data: x\r\n\r\n",), RequestFate.COMPLETED),
        ((b"data: x\n",), RequestFate.TRUNCATED),
        ((b"dat",), RequestFate.TRUNCATED),
    ],
)
def test_an_event_stream_ends_between_two_events_or_within_one(last: tuple[bytes, ...], fate: RequestFate) -> None:
    """The second costs its client the event."""
    server = Server(events(*last))
    (request,) = stopped(server, client(server, TrafficKind.SSE))
    assert (request.fate, request.status, request.ends_by_close) == (fate, 200, True)


@pytest.mark.parametrize("last", [b"", b"0\r\n\r\n"])
def test_an_event_stream_in_chunks_ends_with_the_last_chunk(last: bytes) -> None:
    """Without it the answer is cut, although no event is: its client cannot tell that from a fault of the network."""

    def serve(connection: socket.socket, server: Server) -> None:
        connection.recv(4096)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head)
        while not server.stopping.wait(0.02):
            connection.sendall(b"9\r\ndata: x\n\n\r\n")
        connection.sendall(last)

    server = Server(serve)
    (request,) = stopped(server, client(server, TrafficKind.SSE))
    fate = RequestFate.COMPLETED if last else RequestFate.TRUNCATED
    assert (request.fate, request.status, request.unended) == (fate, 200, not last)


def test_an_answer_of_another_type_is_no_event_stream() -> None:
    """A page that says 200 is not what was asked for."""

    def serve(connection: socket.socket, server: Server) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
        server.stopping.wait()

    server = Server(serve)
    assert "no event stream: 200, Content-Type text/html" in refused(server, client(server, TrafficKind.SSE))


@given(st.lists(st.sampled_from([b"data: x", b": comment", b"", b"id"]), max_size=8), st.data())
def test_events_are_counted_the_same_however_the_bytes_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    """In one piece or many, with any end of line."""
    end = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    text = b"".join(line + end for line in lines)
    fields = 0
    counted = 0
    for line in lines:
        counted += not line and fields > 0
        fields = 0 if not line else fields + (not line.startswith(b":"))
    pieces = EventCounter()
    while text:
        size = data.draw(st.integers(1, len(text)))
        pieces.add(text[:size])
        text = text[size:]
    assert (pieces.whole, pieces.within_event) == (counted, fields > 0)


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "serve", "more"),
    [
        (TrafficKind.WEBSOCKET, websocket(answers=True, closes=1001), {"exchanges": (Exchange(b"hi", b"answer"),)}),
        (TrafficKind.SSE, events(), {}),
        (TrafficKind.HTTP2, http2(goaway, whole), {}),
        (TrafficKind.GRPC, http2(goaway, lambda end, stream: end.answer(stream, grpc_status=0)), {"path": "/a/b"}),
    ],
    ids=["websocket", "sse", "http2", "grpc"],
)
def test_every_protocol_is_spoken_over_tls(
    certificate: tuple[Path, Path],  # noqa: F811 # the fixture
    kind: TrafficKind,
    serve: Callable[[socket.socket, Server], None],
    more: dict[str, object],
) -> None:
    """HTTP/2 is agreed on by ALPN."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    agreed = []

    def secured(connection: socket.socket, server: Server) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped, contextlib.suppress(ssl.SSLError):
            agreed.append(wrapped.selected_alpn_protocol())
            serve(wrapped, server)

    server = Server(secured)
    found = stopped(server, client(server, kind, tls=True, lead_ns=NS_PER_S // 4, **more))
    assert {item.fate for item in found} == {RequestFate.COMPLETED}
    assert set(agreed) == {"h2" if kind in {TrafficKind.HTTP2, TrafficKind.GRPC} else "http/1.1"}


# ── On an engine ─────────────────────────────────────────────────────────────────────────────────────────────────────

HANDED_OVER = """
import signal, socket, sys, threading, time
sys.path[:0] = sys.argv[2].split(":")
import wsproto, wsproto.events as events

answered, stopping = threading.Event(), threading.Event()

def serve(connection):
    state = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    while data := connection.recv(4096):
        state.receive_data(data)
        for event in state.events():
            if isinstance(event, events.Request):
                connection.sendall(state.send(events.AcceptConnection()))
            if isinstance(event, events.Message):
                stopping.wait(60)
                time.sleep(0.5)
                connection.sendall(state.send(events.TextMessage("done")))
                answered.set()
                if stopping.is_set() and sys.argv[1] == "closes":
                    connection.sendall(state.send(events.CloseConnection(1001)))

signal.signal(signal.SIGTERM, lambda *_: stopping.set())
listener = socket.create_server(("127.0.0.1", 8000))

def accept():
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

threading.Thread(target=accept, daemon=True).start()
stopping.wait()
if sys.argv[1] != "cuts":
    answered.wait(60)
    time.sleep(0.2)
"""
"""In the manner of servers whose shutdown knows nothing of connections that were handed over."""


@pytest.mark.namespaces
@pytest.mark.parametrize(
    ("leaves", "outcome", "rules"),
    [
        ("cuts", Outcome.LOSSY, ["lost-request"]),
        ("answers", Outcome.GRACEFUL, ["no-goodbye"]),
        ("closes", Outcome.GRACEFUL, []),
    ],
)
def test_websockets_of_a_stopped_server(tmp_path: Path, leaves: str, outcome: Outcome, rules: list[str]) -> None:
    """Exit code 0 in every case."""
    traffic = "{websocket: {port: 8000, send: hello}}"
    result = on_process_engine(tmp_path, HANDED_OVER, leaves, ":".join(sys.path[1:]), traffic=traffic)
    assert result.verdict.outcome is outcome, result.verdict.reason
    assert [finding.rule for finding in result.verdict.findings] == rules


STREAMS = """
import signal, socket, struct, sys, threading, time
sys.path[:0] = sys.argv[2].split(":")
import h2.config, h2.connection, h2.events

stopping = threading.Event()
open_streams = []

def serve(connection):
    state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    state.initiate_connection()
    connection.sendall(state.data_to_send())
    while data := connection.recv(4096):
        for event in state.receive_data(data):
            if isinstance(event, h2.events.StreamEnded):
                open_streams.append(event.stream_id)
                stopping.wait(60)
                if sys.argv[1] == "finishes":
                    frame = struct.pack(">I", 8)[1:] + bytes([7, 0]) + struct.pack(">III", 0, event.stream_id, 0)
                    connection.sendall(frame)
                time.sleep(0.3)
                state.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
                state.send_data(event.stream_id, bytes(5))
                state.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)
                connection.sendall(state.data_to_send())
                open_streams.remove(event.stream_id)
        connection.sendall(state.data_to_send())

signal.signal(signal.SIGTERM, lambda *_: stopping.set())
listener = socket.create_server(("127.0.0.1", 8000))

def accept():
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

threading.Thread(target=accept, daemon=True).start()
stopping.wait()
while sys.argv[1] == "finishes" and open_streams:
    time.sleep(0.01)
time.sleep(0.1)
"""


@pytest.mark.namespaces
@pytest.mark.parametrize("traffic", ["http2: {port: 8000}", "grpc: {port: 8000, path: /a.B/C}"])
@pytest.mark.parametrize(("leaves", "outcome"), [("cuts", Outcome.LOSSY), ("finishes", Outcome.GRACEFUL)])
def test_streams_of_a_stopped_server(tmp_path: Path, traffic: str, leaves: str, outcome: Outcome) -> None:
    """It speaks nothing but HTTP/2, as gRPC servers do."""
    words = (leaves, ":".join(sys.path[1:]))
    result = on_process_engine(tmp_path, STREAMS, *words, traffic=f"{{{traffic}}}")
    assert result.verdict.outcome is outcome, result.verdict.reason
    assert bool(result.verdict.findings) is (outcome is Outcome.LOSSY)


EVENTS = """
import signal, socket, sys, threading, time

stopping = threading.Event()
serving = []

def serve(connection):
    connection.recv(4096)
    chunks = b"Transfer-Encoding: chunked\\r\\n" if "chunks" in sys.argv[1] else b""
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n" + chunks + b"\\r\\n")
    while not stopping.wait(0.05):
        connection.sendall(b"9\\r\\ndata: x\\n\\n\\r\\n" if chunks else b"data: x\\n\\n")
    if "ends" in sys.argv[1]:
        connection.sendall(b"0\\r\\n\\r\\n" if chunks else b"")
        connection.close()
    else:
        time.sleep(60)

signal.signal(signal.SIGTERM, lambda *_: stopping.set())
listener = socket.create_server(("127.0.0.1", 8000))

def accept():
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

threading.Thread(target=accept, daemon=True).start()
stopping.wait()
time.sleep(0.8)
"""


@pytest.mark.namespaces
@pytest.mark.parametrize(
    ("leaves", "outcome", "rules"),
    [
        ("ends chunks", Outcome.GRACEFUL, []),
        ("cuts chunks", Outcome.LOSSY, ["lost-request", "stream-unended"]),
        ("ends", Outcome.GRACEFUL, []),
        ("cuts", Outcome.INCONCLUSIVE, ["answer-end-unknown"]),
    ],
)
def test_event_streams_of_a_stopped_server(tmp_path: Path, leaves: str, outcome: Outcome, rules: list[str]) -> None:
    """In chunks the end is told; without them only its time says whether the server ended them or its own end did."""
    result = on_process_engine(tmp_path, EVENTS, leaves, traffic="{sse: {port: 8000}}")
    assert result.verdict.outcome is outcome, result.verdict.reason
    assert [finding.rule for finding in result.verdict.findings] == rules
