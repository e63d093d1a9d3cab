"""What becomes of requests while a server stops: every fate, seen by real clients on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stop_harness.conductor import open_engine, pipeline, store
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.docker.engine import DockerEngine
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.interface import RunningSubject, SubjectFailed
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Exchange,
    Outcome,
    ProblemKind,
    Request,
    RequestFate,
    Scenario,
    Subject,
    TrafficClient,
    TrafficKind,
    TrialResult,
    Vantage,
)
from stop_harness.scenario import discovery
from stop_harness.trial import traffic
from stop_harness.trial.perform import Interruption
from stop_harness.trial.traffic import Flow
from stop_harness.trial.traffic_stage import Sheet
from stop_harness.trial.traffic_wire import Closed, HttpSpeaker, Wire
from tests.free_port import free_port
from tests.silence import Silence

Serve = Callable[[socket.socket, "Server"], None]
LEAD_NS = 50 * NS_PER_MS
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ROOT = Path(__file__).parent.parent


class Server:
    """Listens on a port of this machine and gives every connection to `serve`; stands in for a subject."""

    def __init__(self, serve: Serve, *, backlog: int = 128) -> None:
        self._serve, self._running = serve, True
        self.stopping = threading.Event()
        self.connections = 0
        self.has_hooks = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self._serve(connection, self)
            # Whoever closes a connection with something unread in it resets it, which is another end.
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    def stop(self) -> None:
        """The moment of the stop signal: no new connections, and whoever waits for `stopping` goes on."""
        self._running = False
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.stopping.set()

    # What a Flow needs of a subject.

    def connect(self, port: int, timeout_s: float) -> tuple[socket.socket, Vantage]:
        """As an engine would."""
        return socket.create_connection(("127.0.0.1", port), timeout_s), Vantage.HOST_NETWORK

    def sleep(self, duration_ns: int) -> None:
        """Real time."""
        self.stopping.wait(duration_ns / NS_PER_S)

    def listens_at(self) -> tuple[str, ...]:
        """Where nobody connects from."""
        return ("127.0.0.1:9", "0.0.0.0:10")

    def hooks_first(self, ports: frozenset[int], over: Callable[[], None]) -> bool:
        """None before the stop signal, unless a test has some and calls this at their end."""
        self.hooks_over = over
        return self.has_hooks

    def is_running(self) -> bool:
        """Until it is stopped."""
        return self._running


def flow_of(server: Server, *clients: TrafficClient) -> Flow:
    """The traffic of a trial whose subject is the server."""
    subject: RunningSubject = server  # type: ignore[assignment] # a Flow needs no more of it
    return Flow(clients, subject)


def client(server: Server, kind: TrafficKind = TrafficKind.HTTP, **more: object) -> TrafficClient:
    """One client of the server, with a short lead."""
    return replace(TrafficClient(kind, server.port, lead_ns=LEAD_NS), **more)  # type: ignore[arg-type]


def begin(flow: Flow) -> None:
    """Everything before the stop."""
    flow.begin()
    flow.wait_lead()


@contextlib.contextmanager
def ending(flow: Flow) -> Iterator[None]:
    """As a trial does, whatever happens."""
    try:
        yield
    finally:
        flow.end()


def stopped(server: Server, *clients: TrafficClient) -> tuple[Request, ...]:
    """What became of the requests when the server was stopped."""
    flow = flow_of(server, *clients)
    begin(flow)
    flow.mark_stop()
    server.stop()
    flow.end()
    assert flow.requests is not None
    return flow.requests


def read_request(connection: socket.socket) -> bytes:
    """Up to the empty line; empty where the client hung up."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return b""
        data += more
    return data


def reset(connection: socket.socket) -> None:
    """Close with a RST: socket(7), SO_LINGER with a linger time of 0."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def at_stop(*answers: bytes | None) -> Serve:
    """Reads a request, waits for the stop, then sends the answers; None is a reset."""

    def serve(connection: socket.socket, server: Server) -> None:
        read_request(connection)
        server.stopping.wait()
        for answer in answers:
            if answer is None:
                reset(connection)
            else:
                connection.sendall(answer)

    return serve


def silent(connection: socket.socket, server: Server) -> None:
    """Reads a request, and lets the client wait well beyond the stop."""
    read_request(connection)
    server.stopping.wait()
    time.sleep(5)


# ── Every fate ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answers", "fate", "status"),
    [
        ((OK,), RequestFate.COMPLETED, 200),
        ((b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",), RequestFate.COMPLETED, 503),
        ((b"HTTP/1.0 200 OK\r\n\r\nuntil the end",), RequestFate.COMPLETED, 200),
        ((b"HTTP/1.1 100 Continue\r\n\r\n", OK), RequestFate.COMPLETED, 200),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",), RequestFate.TRUNCATED, 200),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",), RequestFate.TRUNCATED, 200),
        ((b"HTTP/1.1 200 OK\r\nContent-Le",), RequestFate.TRUNCATED, None),
        ((b"HTTP/1.1 2",), RequestFate.TRUNCATED, None),
        ((), RequestFate.NO_ANSWER, None),
        ((None,), RequestFate.RESET, None),
    ],
    ids=["whole", "error", "to the end", "interim", "cut body", "cut chunks", "cut head", "cut line", "FIN", "RST"],
)
def test_the_fate_of_a_request_in_flight(
    answers: tuple[bytes | None, ...], fate: RequestFate, status: int | None
) -> None:
    """A request is whole, cut, closed or reset by what its client saw."""
    server = Server(at_stop(*answers))
    (request,) = stopped(server, client(server))
    assert (request.fate, request.status) == (fate, status)
    assert request.connected_at_ns is not None
    assert request.sent_at_ns is not None
    assert request.ended_at_ns is not None
    assert request.connected_at_ns <= request.sent_at_ns < 0 <= request.ended_at_ns
    assert (request.first_byte_at_ns is not None) == (fate in {RequestFate.COMPLETED, RequestFate.TRUNCATED})


def test_a_whole_answer_before_a_reset_is_whole() -> None:
    """A server that closes with something unread resets the connection although it has answered."""

    def serve(connection: socket.socket, server: Server) -> None:
        read_request(connection)
        server.stopping.wait()
        connection.sendall(OK)
        reset(connection)

    server = Server(serve)
    requests = stopped(server, client(server, clients=20))
    assert {request.fate for request in requests} == {RequestFate.COMPLETED}
    assert len(requests) == 20


def test_a_request_that_was_not_taken_whole_has_no_sent_time() -> None:
    """The server stopped reading: what it never had whole it cannot have lost."""

    def serve(connection: socket.socket, server: Server) -> None:
        connection.recv(100)
        server.stopping.wait()
        reset(connection)

    server = Server(serve)
    flow = flow_of(server, client(server, method="POST", body=bytes(64 * 1024 * 1024)))
    threading.Timer(0.5, server.stop).start()  # the request never gets sent, so `begin` waits for it in vain
    begin(flow)
    flow.mark_stop()
    server.stop()
    flow.end()
    assert flow.requests is not None
    assert all(request.sent_at_ns is None for request in flow.requests)


def test_an_answer_that_takes_too_long_times_out() -> None:
    """The client's own patience is no loss of the server's."""
    server = Server(silent)
    flow = flow_of(server, client(server, timeout_ns=2 * NS_PER_S))
    begin(flow)
    flow.mark_stop()
    flow.end()
    server.stop()
    assert flow.requests is not None
    assert [request.fate for request in flow.requests] == [RequestFate.TIMED_OUT]


def test_what_is_still_open_at_the_end_is_said_to_be() -> None:
    """A peer that vanished without a word: nobody will ever answer."""
    server = Server(silent)
    (request,) = stopped(server, client(server))
    assert (request.fate, request.detail) == (RequestFate.TIMED_OUT, "still open when the trial ended")


# ── Kinds of traffic ─────────────────────────────────────────────────────────────────────────────────────────────────


def answering(connection: socket.socket, server: Server) -> None:
    """Answers every request of a connection at once."""
    while read_request(connection):
        connection.sendall(OK)


def test_the_request_in_flight_was_sent_its_lead_before_the_stop() -> None:
    """However long it takes to connect everybody."""
    server = Server(at_stop(OK))
    requests = stopped(server, client(server, clients=3, lead_ns=300 * NS_PER_MS), client(server, lead_ns=0))
    assert len(requests) == 4
    early, late = requests[:3], requests[3]
    assert all(-30 * NS_PER_S < (request.sent_at_ns or 0) <= -200 * NS_PER_MS for request in early)
    assert (late.sent_at_ns or 0) > max(request.sent_at_ns or 0 for request in early)


OVER_BEFORE_THE_STOP: dict[str, Any] = {"lead_ns": NS_PER_S, "think_ns": 60 * NS_PER_S}
"""One request, answered at once, and a busy machine has a second for that."""


def test_requests_that_are_over_before_the_stop_are_not_reported() -> None:
    """Traffic without anything in flight is an empty record, which is not the same as no traffic."""
    server = Server(answering)
    assert stopped(server, client(server, **OVER_BEFORE_THE_STOP)) == ()
    assert server.connections >= 1
    assert flow_of(server).requests is None


def test_no_request_begins_after_the_stop() -> None:
    """Clients in the middle of their loop end it."""
    server = Server(answering)
    flow = flow_of(server, client(server, think_ns=NS_PER_MS))
    begin(flow)
    flow.mark_stop()
    before = server.connections
    time.sleep(0.2)
    server.stop()
    flow.end()
    assert server.connections <= before + 2  # one on its way, one accepted late


def test_clients_go_on_while_hooks_run_before_the_stop() -> None:
    """What is served then is of no account; what is cut counts, and so does what is in flight at the stop call.
    All times are relative to that call."""

    cut, slow, hangs = threading.Event(), threading.Event(), threading.Event()

    def serve(connection: socket.socket, server: Server) -> None:
        read_request(connection)
        if cut.is_set() and not slow.is_set():
            slow.set()  # this one is left without an answer
        elif slow.is_set():
            hangs.set()
            server.stopping.wait(30)
        else:
            connection.sendall(OK)

    server = Server(serve)
    server.has_hooks = True
    flow = flow_of(server, client(server, think_ns=NS_PER_MS))
    begin(flow)
    flow.mark_stop()
    served = server.connections + 5
    deadline = time.monotonic() + 30
    while server.connections < served and time.monotonic() < deadline:
        time.sleep(0.01)
    cut.set()
    assert hangs.wait(30)
    server.hooks_over()
    server.stop()
    flow.end()
    assert flow.requests is not None
    early, in_flight = flow.requests
    assert early.fate is in_flight.fate is RequestFate.NO_ANSWER
    assert -flow.hooks_took_ns < (early.ended_at_ns or 0) < (in_flight.connected_at_ns or 0) < 0
    assert (in_flight.ended_at_ns or 0) > 0


def test_a_held_connection_is_reported_with_its_end() -> None:
    """Greeted, held, closed by the server."""

    def serve(connection: socket.socket, server: Server) -> None:
        assert connection.recv(5) == b"hello"
        connection.sendall(b"\x00welcome\xff")
        server.stopping.wait()

    server = Server(serve)
    greeting = (Exchange(b"hello", b"welcome\xff"),)
    (request,) = stopped(server, client(server, TrafficKind.IDLE, exchanges=greeting))
    assert (request.kind, request.fate, request.sent_at_ns) == (TrafficKind.IDLE, RequestFate.NO_ANSWER, None)


def test_a_second_request_on_a_connection_that_is_kept_alive() -> None:
    """It comes after the stop call, on the connection of the first."""
    server = Server(answering)
    flow = flow_of(server, client(server, TrafficKind.KEEP_ALIVE))
    begin(flow)
    flow.mark_stop()
    time.sleep(0.4)
    server.stop()
    flow.end()
    assert flow.requests is not None
    (request,) = flow.requests
    assert (request.fate, request.status_before, server.connections) == (RequestFate.COMPLETED, 200, 1)
    assert (request.connected_at_ns or 0) < 0 < (request.sent_at_ns or 0)


def test_a_kept_connection_that_the_server_closes_was_asked_nothing() -> None:
    """An idle connection may be closed at any time."""

    def serve(connection: socket.socket, server: Server) -> None:
        read_request(connection)
        connection.sendall(OK)
        server.stopping.wait()

    server = Server(serve)
    (request,) = stopped(server, client(server, TrafficKind.KEEP_ALIVE))
    assert (request.fate, request.sent_at_ns) == (RequestFate.NO_ANSWER, None)


def test_a_stream_is_cut() -> None:
    """It had begun before the stop, however long ago, and goes on after it."""

    def serve(connection: socket.socket, server: Server) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not server.stopping.wait(0.01):
            connection.sendall(b"2\r\nhi\r\n")

    server = Server(serve)
    (request,) = stopped(server, client(server, TrafficKind.STREAM, timeout_ns=30 * NS_PER_MS))
    assert (request.fate, request.status) == (RequestFate.TRUNCATED, 200)


@pytest.mark.parametrize("kind", [TrafficKind.STREAM, TrafficKind.KEEP_ALIVE])
def test_what_holds_nothing_is_no_traffic_of_its_kind(kind: TrafficKind) -> None:
    """An answer that is over at once is no stream, and a server that closes after each answer keeps nothing alive."""

    def serve(connection: socket.socket, server: Server) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    server = Server(serve)
    message = refused(server, client(server, kind))
    why = "it is no stream" if kind is TrafficKind.STREAM else "the server closes the connection after each answer"
    assert why in message
    assert "200, Connection: close, 2 bytes" in message


def test_a_kept_connection_that_is_closed_at_once_is_not_held() -> None:
    """A server need not say that it closes."""

    def serve(connection: socket.socket, server: Server) -> None:
        read_request(connection)
        connection.sendall(OK)

    server = Server(serve)
    assert "the connection was closed after an answer" in refused(server, client(server, TrafficKind.KEEP_ALIVE))


def test_a_kept_connection_whose_time_is_up_before_the_stop_is_made_anew() -> None:
    """A server's keep-alive timeout may be shorter than the lead of other traffic."""
    served = []

    def serve(connection: socket.socket, server: Server) -> None:
        served.append(connection)
        connection.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            answering(connection, server)

    server, slow = Server(serve), Server(at_stop(OK))
    flow = flow_of(server, client(server, TrafficKind.KEEP_ALIVE), client(slow, lead_ns=2 * NS_PER_S))
    begin(flow)
    flow.mark_stop()
    slow.stop()
    server.stop()
    flow.end()
    assert len(served) > 2
    kept = [request for request in flow.requests or () if request.kind is TrafficKind.KEEP_ALIVE]
    assert [item.kind for item in flow.missing] == ([] if kept else [TrafficKind.KEEP_ALIVE])


def test_traffic_of_which_nothing_was_open_at_the_stop_is_named() -> None:
    """Requests that are over in time show nothing; other traffic beside them does not hide that."""
    server = Server(answering)
    flow = flow_of(server, client(server, **OVER_BEFORE_THE_STOP), client(server, TrafficKind.IDLE))
    begin(flow)
    flow.mark_stop()
    server.stop()
    flow.end()
    (missing,) = flow.missing
    assert (missing.kind, missing.port, missing.reason) == (TrafficKind.HTTP, server.port, "200, 2 bytes")


def test_an_answer_that_only_the_close_ends_is_marked() -> None:
    """With its length, and that of the answer before it."""

    def serve(connection: socket.socket, server: Server) -> None:
        read_request(connection)
        if server.connections > 1:
            server.stopping.wait()
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + b"row" * server.connections)

    server = Server(serve)
    (request,) = stopped(server, client(server, think_ns=0, lead_ns=NS_PER_S))
    assert (request.fate, request.ends_by_close) == (RequestFate.COMPLETED, True)
    assert (request.body_bytes, request.body_bytes_before) == (6, 3)


def test_new_connections_until_they_are_refused() -> None:
    """The first refusal ends it."""
    server = Server(answering)
    flow = flow_of(server, client(server, TrafficKind.NEW_CONNECTIONS, every_ns=20 * NS_PER_MS))
    begin(flow)
    flow.mark_stop()
    time.sleep(0.5)  # 25 connections, of which a busy machine may make one
    server.stop()
    time.sleep(1)  # and be refused one
    flow.end()
    assert flow.requests is not None
    *others, last = [request.fate for request in flow.requests]
    assert last is RequestFate.REFUSED
    assert RequestFate.COMPLETED in others
    assert all((request.connected_at_ns or 0) >= 0 for request in flow.requests)


def test_a_raw_connection_is_kept_and_asked_again_as_by_a_pool() -> None:
    """The greeting once, the last step again and again until the stop; then the connection is held."""
    asked = []

    def serve(connection: socket.socket, server: Server) -> None:
        assert connection.recv(2) == b"hi"
        connection.sendall(b"who?")
        while data := connection.recv(100):
            asked.append(data)
            if len(asked) == 3:
                server.stopping.wait()
            connection.sendall(b"half")
            time.sleep(0.01)
            connection.sendall(b"\xffdone")

    server = Server(serve)
    steps = (Exchange(b"hi", b"who?"), Exchange(b"\x00ask", b"half\xffdone"))
    (request,) = stopped(server, client(server, TrafficKind.TCP, exchanges=steps, think_ns=0, lead_ns=NS_PER_S))
    assert (request.fate, asked, server.connections) == (RequestFate.COMPLETED, [b"\x00ask"] * 3, 1)


def test_a_raw_answer_without_its_end_is_truncated() -> None:
    """PostgreSQL says why before it closes: that is not the answer."""

    def serve(connection: socket.socket, server: Server) -> None:
        connection.recv(9)
        server.stopping.wait()
        connection.sendall(b"no")

    server = Server(serve)
    steps = (Exchange(b"ask", b"answer"),)
    (request,) = stopped(server, client(server, TrafficKind.TCP, exchanges=steps))
    assert request.fate is RequestFate.TRUNCATED


# ── Traffic that does not come about ─────────────────────────────────────────────────────────────────────────────────


def refused(server: Server, *clients: TrafficClient) -> str:
    """What is said of traffic that cannot be had, sooner than in a run: that waits for a server that may still come."""
    flow = flow_of(server, *clients)
    with pytest.MonkeyPatch.context() as patch, ending(flow):
        patch.setattr(traffic, "REFUSED_PATIENCE_S", 0.3)
        with pytest.raises(SubjectFailed) as failure:
            begin(flow)
    problem = failure.value.problem
    assert problem is not None
    assert problem.kind is ProblemKind.NOT_READY
    return problem.message


@pytest.mark.parametrize("kind", TrafficKind)
def test_nobody_listens(kind: TrafficKind) -> None:
    """The trial is not silently without traffic: the port and the error are named."""
    server, port = Server(answering), free_port()
    message = refused(server, TrafficClient(kind, port, exchanges=(Exchange(b"a", b"b"),)))
    why = f"traffic to port {port} failed before the stop: connection refused; nobody listens at that port, but at "
    assert f"{why}127.0.0.1:9, 0.0.0.0:10" in message


def test_a_subject_that_has_left_is_left_to_the_record() -> None:
    """That it was not running is for the engine to say."""
    server = Server(answering)
    server.stop()
    flow = flow_of(server, TrafficClient(TrafficKind.HTTP, free_port()))
    begin(flow)
    flow.mark_stop()
    flow.end()
    assert all(request.fate is RequestFate.REFUSED for request in flow.requests or ())


def test_a_proxy_without_a_server_behind_it() -> None:
    """docker-proxy accepts, and hangs up."""
    server = Server(lambda connection, _: reset(connection))
    assert "failed before the stop: reset by the peer" in refused(server, client(server, lead_ns=300 * NS_PER_MS))


def test_a_server_that_does_not_speak_http() -> None:
    """What it said is no answer."""

    def serve(connection: socket.socket, server: Server) -> None:
        connection.sendall(b"220 smtp ready\r\n")
        silent(connection, server)

    server = Server(serve)
    assert "the answer is not HTTP" in refused(server, client(server, lead_ns=300 * NS_PER_MS))


@pytest.mark.parametrize(
    ("beginning", "advice"),
    [
        (bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]), "it speaks HTTP/2: ask for `http2` or `grpc` traffic"),
        (bytes([0x15, 3, 3, 0, 2, 2, 70]), "it speaks TLS: add `tls`"),
    ],
)
def test_a_protocol_that_has_a_kind_of_its_own_is_named(beginning: bytes, advice: str) -> None:
    """By its first bytes."""

    def serve(connection: socket.socket, _server: Server) -> None:
        connection.sendall(beginning)
        connection.recv(4096)

    server = Server(serve)
    assert advice in refused(server, client(server, lead_ns=300 * NS_PER_MS))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(certificate, key) that nobody has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "certificate.pem", folder / "key.pem"
    options = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost".split()
    subprocess.run(["openssl", *options, "-keyout", str(key), "-out", str(made)], check=True, capture_output=True)
    return made, key


@pytest.fixture
def tls_server(certificate: tuple[Path, Path]) -> Iterator[Server]:
    """Speaks TLS, and answers at the stop."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def serve(connection: socket.socket, server: Server) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            at_stop(OK)(secured, server)

    server = Server(serve)
    yield server
    server.stop()


def test_an_unknown_certificate_is_taken_unless_it_is_to_be_verified(tls_server: Server) -> None:
    """Containers have certificates that only their platform knows."""
    message = refused(tls_server, client(tls_server, tls=True, verify=True))
    assert "TLS: the certificate is not accepted: self" in message
    assert "`verify: false` takes any" in message
    (request,) = stopped(tls_server, client(tls_server, tls=True))
    assert (request.fate, request.status) == (RequestFate.COMPLETED, 200)


def test_plain_text_where_tls_is_expected() -> None:
    """A wrong `tls: true` says so."""

    def serve(connection: socket.socket, server: Server) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 400 Bad\r\n\r\n")

    server = Server(serve)
    assert "TLS: " in refused(server, client(server, tls=True))


# ── Size ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_answer_is_never_kept() -> None:
    """64 MiB pass through without being held."""
    block = bytes(1024 * 1024)

    def serve(connection: socket.socket, server: Server) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * len(block)))
        server.stopping.wait()
        for _ in range(64):
            connection.sendall(block)

    server = Server(serve)
    flow = flow_of(server, client(server))
    begin(flow)
    flow.mark_stop()
    tracemalloc.start()
    server.stop()
    time.sleep(1)
    flow.end()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * 1024 * 1024


@pytest.mark.alone
def test_a_thousand_clients() -> None:
    """They share one thread; each has its request in flight, and its fate."""
    held: list[socket.socket] = []

    class Holding(Server):
        def _handle(self, connection: socket.socket) -> None:
            held.append(connection)

        def stop(self) -> None:
            super().stop()
            for connection in held:
                connection.close()

    server = Holding(answering, backlog=1000)
    threads = threading.active_count()
    flow = flow_of(server, client(server, clients=1000))
    begin(flow)
    assert threading.active_count() < threads + 1000  # the server's own, one a connection, are done by now
    flow.mark_stop()
    server.stop()
    flow.end()
    fates = [request.fate for request in flow.requests or ()]
    assert len(fates) == 1000
    assert set(fates) <= {RequestFate.NO_ANSWER, RequestFate.RESET}


# ── Without sockets ──────────────────────────────────────────────────────────────────────────────────────────────────


class _Deaf(asyncio.Transport):
    """Takes everything, sends nothing."""

    def write(self, data: object) -> None:
        """Nowhere."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """No buffer."""

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self) -> None:
        """Nothing is read."""


WHOLE = (
    OK,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 204 No\r\n\r\n",
)


@settings(deadline=None)
@given(st.sampled_from(WHOLE), st.data(), st.booleans(), st.lists(st.integers(1, 20), max_size=20))
def test_an_answer_is_completed_if_and_only_if_all_of_it_arrived(
    answer: bytes, data: st.DataObject, hard: bool, sizes: list[int]
) -> None:
    """Wherever it is cut, in whatever pieces it comes, by FIN or RST."""
    arrived = answer[: data.draw(st.integers(0, len(answer)))]
    error = ConnectionResetError() if hard else None
    fate = asyncio.run(_fate(arrived, sizes, error))
    if arrived == answer:
        assert fate is RequestFate.COMPLETED
    elif arrived:
        assert fate is RequestFate.TRUNCATED
    else:
        assert fate is (RequestFate.RESET if hard else RequestFate.NO_ANSWER)


async def _fate(arrived: bytes, sizes: list[int], error: Exception | None) -> RequestFate:
    wire, speaker = Wire(), HttpSpeaker(TrafficClient(TrafficKind.HTTP, 80))
    wire.connection_made(_Deaf())
    sheet = Sheet(connected_ns=1)
    await speaker.ask(wire)
    for size in sizes:
        if arrived:
            wire.data_received(arrived[:size])
        arrived = arrived[size:]
    if arrived:
        wire.data_received(arrived)
    wire.connection_lost(error)
    failure: Exception | None = None
    try:
        await speaker.answer(wire)
    except (Closed, ConnectionError) as caught:
        failure = caught
    sheet.first_byte_ns = wire.first_byte_ns
    sheet.end(failure)
    assert sheet.fate is not None
    return sheet.fate


def test_a_stored_run_keeps_bytes_that_are_no_text(tmp_path: Path) -> None:
    """Exchanges and bodies of any bytes survive the journal."""
    steps = (Exchange(b"\xff\x00", None), Exchange(None, b"\x80"))
    traffic = (TrafficClient(TrafficKind.TCP, 1, exchanges=steps), TrafficClient(TrafficKind.HTTP, 1, body=b"\xfe"))
    wanted = Scenario("a", Subject(image="a"), traffic=traffic)
    assert store._load(Scenario, store._dump(Scenario, wanted)) == wanted


# ── On the engines ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "engine", [pytest.param("docker", marks=pytest.mark.docker), pytest.param("process", marks=pytest.mark.namespaces)]
)
@pytest.mark.parametrize(
    ("name", "outcome", "fate"),
    [
        ("web-server", Outcome.GRACEFUL, RequestFate.COMPLETED),
        ("web-server-drops-requests", Outcome.LOSSY, RequestFate.NO_ANSWER),
    ],
)
def test_requests_on_a_real_engine(engine: str, name: str, outcome: Outcome, fate: RequestFate) -> None:
    """The lessons on web servers come out the same on every engine."""
    shipped = {scenario.name: scenario for scenario in discovery.load((ROOT / "scenarios",))}
    request = RunRequest((shipped[name],), "traffic", None, engine=engine)
    (result,) = pipeline.run(request, Silence(), Interruption()).report.results
    seen = result.observation
    assert result.verdict.outcome is outcome, result.verdict.reason
    assert {item.fate for item in seen.requests if item.kind is TrafficKind.HTTP} == {fate}
    assert seen.vantage in {Vantage.CONTAINER_ADDRESS, Vantage.NETWORK_NAMESPACE, Vantage.PUBLISHED_PORT}


@pytest.mark.docker
def test_through_a_published_port_only_requests_from_before_the_stop_are_held_against_the_container(
    docker_engine_host: DockerHost,
) -> None:
    """A remote engine is reached through its proxy: traffic finds its port without the scenario publishing it."""
    shipped = {scenario.name: scenario for scenario in discovery.load((ROOT / "scenarios",))}
    newcomers = TrafficClient(TrafficKind.NEW_CONNECTIONS, 18471)
    wanted = replace(shipped["web-server"], traffic=(*shipped["web-server"].traffic, newcomers))

    def remote(_name: str, run_id: str) -> open_engine.Chosen:
        return open_engine.Chosen(DockerEngine(run_id, host=replace(docker_engine_host, local=False)), None)

    request = RunRequest((wanted,), "traffic", None, engine="docker")
    (result,) = pipeline.run(request, Silence(), Interruption(), open_engine=remote).report.results
    seen = result.observation
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
    assert seen.vantage is Vantage.PUBLISHED_PORT
    assert {item.kind for item in seen.requests} == {item.kind for item in wanted.traffic}


ROWS = """
import http.server, os, signal, sys, threading, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        for row in range(20):
            self.wfile.write(b"row of 20\\n")
            time.sleep(0 if self.path == "/at-once" else 0.1)
    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler)
server.daemon_threads = False
def leave(*_):
    if sys.argv[1] == "at once":
        os._exit(0)
    threading.Thread(target=server.shutdown).start()
signal.signal(signal.SIGTERM, leave)
server.serve_forever()
server.server_close()
if sys.argv[1] == "later":
    time.sleep(0.5)
"""
"""HTTP/1.0 without a length: nothing but the close marks the end of an answer."""


def on_process_engine(tmp_path: Path, program: str, *words: str, traffic: str, ready: str = "tcp: 8000") -> TrialResult:
    """A stop of a Python program with this traffic."""
    (tmp_path / "program.py").write_text(program)
    command = json.dumps([sys.executable, "-u", str(tmp_path / "program.py"), *words])
    (tmp_path / "Dockerfile").write_text(f"FROM scratch\nCMD {command}\n")
    scenario = f"version: 1\nname: it\nsubject: {{build: .}}\nready: {{{ready}}}\ntraffic: {traffic}\n"
    (tmp_path / "it.yaml").write_text(scenario + "stop: {timeouts: 10s}\n")
    request = RunRequest(discovery.load((tmp_path / "it.yaml",)), "traffic", None, engine="process")
    (result,) = pipeline.run(request, Silence(), Interruption()).report.results
    return result


@pytest.mark.namespaces
@pytest.mark.parametrize(
    ("leaves", "outcome", "fate"),
    [
        ("at once", Outcome.INCONCLUSIVE, RequestFate.UNKNOWN),
        ("later", Outcome.GRACEFUL, RequestFate.COMPLETED),
    ],
)
def test_an_answer_whose_end_is_the_close_is_whole_if_the_process_outlived_it(
    tmp_path: Path, leaves: str, outcome: Outcome, fate: RequestFate
) -> None:
    """Six of twenty rows and the end of the process look like a short answer."""
    result = on_process_engine(tmp_path, ROWS, leaves, traffic="{http: {port: 8000, path: /report}}")
    assert result.verdict.outcome is outcome, result.verdict.reason
    assert {request.fate for request in result.observation.requests} == {fate}
    if outcome is Outcome.INCONCLUSIVE:
        assert [finding.rule for finding in result.verdict.findings] == ["answer-end-unknown"]


@pytest.mark.namespaces
def test_a_stop_without_the_stream_that_was_asked_for_is_inconclusive(tmp_path: Path) -> None:
    """It would show nothing about streams."""
    result = on_process_engine(tmp_path, ROWS, "later", traffic="{stream: {port: 8000, path: /at-once}}")
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert "it is no stream" in result.verdict.reason


# ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def message_client(server: Server, **more: object) -> TrafficClient:
    """One publisher whose messages are their ids."""
    return client(server, TrafficKind.MESSAGES, method="POST", body=b"{id}", every_ns=5 * NS_PER_MS, **more)


def queue(status: int, taken: list[str]) -> Serve:
    """Answers every message with a status, and keeps its id."""

    def serve(connection: socket.socket, _: Server) -> None:
        data = read_request(connection)
        while data and len(data.partition(b"\r\n\r\n")[2]) < 21:
            data += connection.recv(65536)
        taken.append(data.partition(b"\r\n\r\n")[2].decode())
        connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)

    return serve


def wait_until(holds: Callable[[], bool]) -> None:
    """With a generous deadline."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_messages_go_on_through_the_stop_until_none_is_taken() -> None:
    """Each has an id of its own; those that are taken after the stop call are counted apart, and none is a request."""
    taken: list[str] = []
    server = Server(queue(202, taken))
    flow = flow_of(server, message_client(server), message_client(server, clients=2))
    with ending(flow):
        begin(flow)
        flow.mark_stop()
        before = len(taken)
        wait_until(lambda: len(taken) > before + 6)
        server.stop()
    record = flow.record()
    assert record is not None
    assert record.messages is not None
    assert flow.requests == ()
    assert len(set(taken)) == len(taken)
    assert set(flow.acknowledged) <= set(taken)
    assert record.messages.acknowledged == len(flow.acknowledged)
    assert record.messages.sent >= record.messages.acknowledged >= record.messages.late > 0
    assert record.messages.acknowledged > record.messages.late


def test_a_message_that_nobody_acknowledges_is_no_traffic() -> None:
    """It was answered, but with a status that promises nothing: the trial says so and is not performed without."""
    server = Server(queue(404, []))
    assert "a message was answered with 404, which acknowledges none" in refused(server, message_client(server))
