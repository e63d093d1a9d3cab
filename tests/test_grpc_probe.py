"""Health/Check of gRPC, against servers on sockets: what counts as SERVING, and what a server is asked."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

import h2.config
import h2.connection
import h2.events
import pytest

from stop_harness.engines.docker import grpc_probe

Answer = Callable[[h2.connection.H2Connection, int], None]


def answering(body: bytes, *, grpc_status: str = "0") -> Answer:
    """One message, then the status."""

    def answer(state: h2.connection.H2Connection, stream: int) -> None:
        state.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        state.send_data(stream, body)
        state.send_headers(stream, [("grpc-status", grpc_status)], end_stream=True)

    return answer


def only_trailers(state: h2.connection.H2Connection, stream: int) -> None:
    """As servers answer that do not know the service: NOT_FOUND."""
    state.send_headers(stream, [(":status", "200"), ("grpc-status", "5")], end_stream=True)


def refused(state: h2.connection.H2Connection, stream: int) -> None:
    """The stream is reset."""
    state.reset_stream(stream)


def asked(service: str, answer: Answer) -> tuple[bool, dict[bytes, bytes], bytes]:
    """(what the probe says, headers and body that the server saw)."""
    here, there = socket.socketpair()
    headers, body = dict[bytes, bytes](), bytearray()

    def serve() -> None:
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=False))
        state.initiate_connection()
        with there, contextlib.suppress(OSError):  # the probe leaves when it knows
            there.sendall(state.data_to_send())
            while data := there.recv(65536):
                for event in state.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        headers.update((bytes(name), bytes(value)) for name, value in event.headers)
                    elif isinstance(event, h2.events.DataReceived):
                        body.extend(event.data or b"")
                    elif isinstance(event, h2.events.StreamEnded):
                        answer(state, event.stream_id or 0)
                there.sendall(state.data_to_send())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with here:
        said = grpc_probe.is_serving(here, service, "10.0.0.1:9000", 30)
    thread.join(30)
    return said, headers, bytes(body)


@pytest.mark.parametrize(
    ("answer", "serving"),
    [
        (answering(b"\0\0\0\0\2\x08\x01"), True),
        (answering(b"\0\0\0\0\2\x08\x02"), False),  # NOT_SERVING
        (answering(b"\0\0\0\0\0"), False),  # UNKNOWN, which protobuf leaves out
        (answering(b"\0\0\0\0\2\x08\x01", grpc_status="14"), False),
        (only_trailers, False),
        (refused, False),
    ],
    ids=["serving", "not-serving", "unknown", "unavailable", "not-found", "reset"],
)
def test_only_serving_is_a_success(answer: Answer, serving: bool) -> None:
    """Any other status, of the service or of the call, is a failure."""
    assert asked("shop", answer)[0] is serving


@pytest.mark.parametrize(
    ("service", "message"),
    [("", b""), ("shop", b"\x0a\x04shop"), ("s" * 200, b"\x0a\xc8\x01" + b"s" * 200)],
    ids=["the-server", "a-service", "a-long-name"],
)
def test_the_server_is_asked_as_a_kubelet_asks(service: str, message: bytes) -> None:
    """The method's path, and a HealthCheckRequest with the name of the service."""
    _, headers, body = asked(service, answering(b"\0\0\0\0\2\x08\x01"))
    assert (headers[b":method"], headers[b":path"]) == (b"POST", b"/grpc.health.v1.Health/Check")
    assert (headers[b":authority"], headers[b"content-type"]) == (b"10.0.0.1:9000", b"application/grpc")
    assert body == bytes([0, *len(message).to_bytes(4, "big")]) + message


def test_a_server_of_http_1_is_not_serving() -> None:
    """It answers with a line of text, and that is all."""
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        there.shutdown(socket.SHUT_WR)
        assert not grpc_probe.is_serving(here, "", "localhost:9000", 30)


def test_a_server_that_says_nothing_is_waited_for_as_long_as_the_probe_says() -> None:
    """It accepts, and is silent."""
    here, there = socket.socketpair()
    with here, there, pytest.raises(TimeoutError):
        grpc_probe.is_serving(here, "", "localhost:9000", 0.1)
