"""grpc.health.v1.Health/Check on a connection, as a kubelet asks it: HTTP/2 with prior knowledge, without TLS.

Source: kubernetes/pkg/probe/grpc/grpc.go. Only the status SERVING is a success; one budget is for all of it.
"""

from __future__ import annotations

import socket
import struct
import time

PATH = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"
"""A HealthCheckResponse: its one field, `status`, is 1 (grpc/health/v1/health.proto)."""

PREFIX = struct.Struct(">BI")
"""Compressed flag and length of a message (gRPC over HTTP2, "Length-Prefixed-Message")."""

MOST_BYTES = 64 * 1024


def is_serving(connection: socket.socket, service: str, authority: str, timeout_s: float) -> bool:
    """Whether the server calls `service` SERVING; an empty name is the server as a whole.

    False for every other answer and for what is no gRPC. Raises OSError: no whole answer within `timeout_s`.
    """
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
    from h2.exceptions import H2Error

    deadline = time.monotonic() + timeout_s
    state = H2Connection(H2Configuration(client_side=True, header_encoding=False))
    told, body = dict[bytes, bytes](), b""
    try:
        state.initiate_connection()
        state.send_headers(1, _headers(authority))
        state.send_data(1, _framed(_request(service)), end_stream=True)
        while True:
            connection.sendall(state.data_to_send())
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            data = connection.recv(MOST_BYTES)
            if not data or time.monotonic() > deadline:
                return False
            for event in state.receive_data(data):
                if isinstance(event, ResponseReceived | TrailersReceived):
                    told.update(event.headers)
                elif isinstance(event, DataReceived):
                    body += event.data
                elif isinstance(event, StreamEnded):
                    return told.get(b"grpc-status") == b"0" and body == _framed(SERVING)
                elif isinstance(event, StreamReset):
                    return False
    except H2Error:
        return False


def _headers(authority: str) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", authority),
        (":path", PATH),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "kube-probe/stop-harness"),
    ]


def _request(service: str) -> bytes:
    """A HealthCheckRequest: field 1, `service`; nothing for an empty name."""
    name = service.encode()
    if not name:
        return b""
    length, size = bytearray(), len(name)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return b"\x0a" + bytes([*length, size]) + name


def _framed(message: bytes) -> bytes:
    return PREFIX.pack(0, len(message)) + message
