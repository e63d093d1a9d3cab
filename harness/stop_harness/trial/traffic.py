"""Requests in flight while the stop happens, and what became of each.

Every client of a trial runs on one event loop in a thread of its own: a thousand of them cost a thousand sockets, and
nothing while they wait. Nothing of an answer is kept.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any

from stop_harness.engines.interface import RunningSubject, SubjectFailed, where_it_listens
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    LoadBalancer,
    MessageCount,
    MissingTraffic,
    Problem,
    ProblemKind,
    Request,
    RoutedBy,
    TrafficClient,
    TrafficKind,
    TrafficRecord,
    Vantage,
)
from stop_harness.trial import traffic_messages
from stop_harness.trial.traffic_clients import Client
from stop_harness.trial.traffic_stage import Stage
from stop_harness.trial.traffic_wire import Wire

CONNECT_TIMEOUT_S = 5.0
CONNECTING_AT_ONCE = 16
"""Threads that connect; `RunningSubject.connect` blocks."""

REFUSED_PATIENCE_S = 3.0
"""A server may be ready by its log or by time a moment before it listens."""

SET_UP_PATIENCE_S = 30.0
"""For slow greetings, and for a thousand clients before a server with a short queue of connections."""

NOTICE_S = 1.0
"""From the end of the subject to the end of its connections: the kernel closes them when the process dies."""

POLL_S = 0.01

MOMENTS = 4
"""Of the propagation, in which every client has a request begun at least."""

LAST_LOOK_NS = 300 * NS_PER_MS
"""Before the stop call of a stop that is delayed: the time in which the log is read."""

LAST_MOMENT_NS = 150 * NS_PER_MS
"""The last of them before the end of the propagation: whoever closes the port earlier refuses it."""

SPARE_FILES = 256
"""File descriptors for everything but the traffic."""


class Flow:
    """The traffic of one trial: begin, wait for the lead, mark the stop, end; then `requests` and `vantage` are known,
    the ids of messages that were `acknowledged`, and `hooks_took_ns`, the time from the begin of the stop to the stop
    call, in which hooks ran.

    Whatever happens in between, `end` must be called.
    """

    def __init__(
        self,
        clients: tuple[TrafficClient, ...],
        subject: RunningSubject,
        balancer: LoadBalancer | None = None,
        given_up: Callable[[], bool] = lambda: False,
    ) -> None:
        """`given_up`: whether the user asked for the end of the run, so that nothing more is waited for."""
        self._specs, self._subject, self._balancer, self._given_up = clients, subject, balancer, given_up
        self._loop: _LoopThread | None = None
        self._stage: Stage | None = None
        self._clients: tuple[Client, ...] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lead_ends_ns = 0
        self.requests: tuple[Request, ...] | None = None
        self.vantage: Vantage | None = None
        self.missing: tuple[MissingTraffic, ...] = ()
        self.routed_by: RoutedBy | None = None
        self.hooks_took_ns = 0
        self.messages: MessageCount | None = None
        self.acknowledged: tuple[str, ...] = ()

    def begin(self) -> None:
        """Start every client and return when their requests begin, the lead before the stop.

        Raises SubjectFailed if one kind of traffic does not come about although the subject runs.
        """
        if not self._specs:
            return
        _allow_files(sum(spec.clients for spec in self._specs))
        self._loop = _LoopThread()
        for in_flight in (False, True):  # what has to stand, then what has to be under way
            self._loop.call(self._set_up(in_flight, self.lead_ns))
            self._raise_if_blocked()
        self._loop.call(self._raise_curtain())
        self._lead_ends_ns = time.monotonic_ns() + self.lead_ns

    @property
    def lead_ns(self) -> int:
        """How long before the stop its requests begin that are to be in flight; and messages are sent for so long."""
        leads = (spec.lead_ns for spec in self._specs if spec.asks or spec.kind is TrafficKind.MESSAGES)
        return max(leads, default=0)

    def wait_lead(self) -> None:
        """Return when every client has in flight what is to be in flight at the stop. Raises as `begin` does.

        What else has to be done before the stop is best done before this, so that the lead is as long as was asked for.
        """
        if self._loop is not None:
            self._subject.sleep(max(0, self._lead_ends_ns - time.monotonic_ns()))
            self._loop.call(self._all_asked())
            self._raise_if_blocked()

    def deregister(self) -> None:
        """Tell the load balancer that the container goes, where that comes before the stop; return shortly before the
        stop is to be called."""
        if self._loop is not None and self._balancer is not None and self._balancer.stop_delay_ns:
            self._begin_propagation(time.monotonic_ns())
            self._subject.sleep(max(0, self._balancer.stop_delay_ns - LAST_LOOK_NS))

    def wait_stop_delay(self) -> None:
        """Return when the stop is to be called: what has to be done shortly before it is done by then."""
        if self._stage is not None and self._stage.deregistered_ns is not None and self._balancer is not None:
            stops_ns = self._stage.deregistered_ns + self._balancer.stop_delay_ns
            self._subject.sleep(max(0, stops_ns - time.monotonic_ns()))

    def mark_stop(self) -> None:
        """The stop is about to begin. Where hooks come first, clients go on until they have ended: who takes their
        requests gets its stop signal then."""
        if self._loop is None or self._stage is None:
            return
        stage, now_ns = self._stage, time.monotonic_ns()
        if self._subject.hooks_first(frozenset(spec.port for spec in self._specs), self._mark_stop_call):
            stage.hooks_ns = now_ns
        else:
            self._mark_stop_call()
        if self._balancer is not None and stage.deregistered_ns is None:
            self._begin_propagation(now_ns)
        self._loop.call_soon(stage.begun.set)

    def _mark_stop_call(self) -> None:
        """Time zero of every request; from now on no client begins one."""
        if (loop := self._loop) is not None and self._stage is not None:
            self._stage.stop_ns = time.monotonic_ns()
            loop.call_soon(self._stage.stopped.set)

    def end(self) -> None:
        """The subject is gone: wait for the clients to notice and collect what they saw. Idempotent."""
        if self._loop is None:
            return
        while self._stage is not None and self._stage.still_sends and not self._given_up():
            time.sleep(POLL_S)  # to a container that may be gone
        loop, self._loop = self._loop, None
        try:
            loop.call(self._wind_up(NOTICE_S if self._stage is not None and self._stage.stop_ns is not None else 0))
        finally:
            loop.stop()
        found = [(client, tuple(client.requests())) for client in self._clients]
        self.requests = tuple(request for _, requests in found for request in requests)
        boxes = [client.outbox for client in self._clients if client.outbox is not None]
        self.messages = traffic_messages.count(boxes, self._stage.stop_ns if self._stage is not None else None)
        self.acknowledged = tuple(message for box in boxes for message, _ in box.acknowledged)
        if self._stage is not None and self._stage.stop_ns is not None:
            self.routed_by = _routed_by(self._stage)
            self.hooks_took_ns = self._stage.stop_ns - (self._stage.hooks_ns or self._stage.stop_ns)
            self.missing = tuple(_missing(spec, found) for spec in self._specs if not _was_open(spec, found))

    def record(self) -> TrafficRecord | None:
        """What is known after `end`; None where no client was started."""
        if self.requests is None:
            return None
        return TrafficRecord(
            self.requests, self.vantage, self.missing, self.routed_by, self.hooks_took_ns, self.messages
        )

    def _raise_if_blocked(self) -> None:
        """If no client of one kind gets anywhere: a stop without it would not be what was asked for."""
        for spec in self._specs:
            clients = [client for client in self._clients if client.spec is spec]
            if clients and all(client.blocked for client in clients) and self._subject.is_running():
                obstacle = next((client.obstacle for client in clients if client.obstacle), "no answer")
                where = where_it_listens(spec.port, self._subject.listens_at()) if _unreached(clients) else ""
                kind = spec.kind.replace("_", "-")
                text = f"{kind} traffic to port {spec.port} failed before the stop: {obstacle}{where}"
                raise SubjectFailed(Problem(ProblemKind.NOT_READY, text))

    # ── On the event loop ────────────────────────────────────────────────────────────────────────────────────────────

    async def _set_up(self, in_flight: bool, lead_ns: int) -> None:
        self._stage = self._stage or Stage(self._connect, lead_ns, balancer=self._balancer)
        specs = [spec for spec in self._specs if spec.asks is in_flight for _ in range(spec.clients)]
        known = len(self._clients)
        clients = tuple(Client(self._stage, spec, number) for number, spec in enumerate(specs, start=known + 1))
        self._clients += clients
        self._tasks |= {asyncio.create_task(client.perform()) for client in clients}
        began = time.monotonic()
        while waiting := [client for client in clients if not client.ready.is_set()]:
            waited_s = time.monotonic() - began
            failing = all(client.obstacle for client in waiting)
            if waited_s > (REFUSED_PATIENCE_S if failing else SET_UP_PATIENCE_S):
                return
            await asyncio.sleep(POLL_S)

    async def _raise_curtain(self) -> None:
        assert self._stage is not None
        self._stage.curtain.set()

    def _begin_propagation(self, now_ns: int) -> None:
        """From now on every request counts."""
        assert self._stage is not None
        assert self._loop is not None
        self._stage.deregistered_ns = now_ns
        self._loop.call_soon(self._send_beside)

    def _send_beside(self) -> None:
        """Requests at some moments of the propagation, whatever the clients wait for."""
        assert self._stage is not None
        assert self._stage.deregistered_ns is not None
        assert self._balancer is not None
        now_ns, balancer = self._stage.deregistered_ns, self._balancer
        last_ns = balancer.propagation_ns - LAST_MOMENT_NS
        for client in self._clients:
            for part in range(MOMENTS):
                other = Client(self._stage, client.spec, client.number)
                moment_ns = now_ns + last_ns * part // (MOMENTS - 1)
                self._clients += (other,)
                lately_ns = last_ns // MOMENTS if part < MOMENTS - 1 else 0  # at the end in any case
                self._tasks.add(asyncio.create_task(other.beside(client, moment_ns, lately_ns)))
        asyncio.get_running_loop().call_later(balancer.deregistration_delay_ns / NS_PER_S, self._cut)

    def _cut(self) -> None:
        """The deregistration delay is over: the load balancer closes what is still open."""
        if self._stage is not None and not self._stage.over.is_set():
            self._stage.cut = True
            for task in self._tasks:
                task.cancel()

    async def _all_asked(self) -> None:
        """A busy machine may be late; what is not in flight by now was stopped for nothing."""
        deadline = time.monotonic() + REFUSED_PATIENCE_S
        while any(client.pending and not client.blocked for client in self._clients) and time.monotonic() < deadline:
            await asyncio.sleep(POLL_S)

    async def _wind_up(self, patience_s: float) -> None:
        """Let the clients come to their ends, then end them. An error of theirs that is no fate is a bug and raised."""
        if self._stage is not None:
            self._stage.over.set()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=patience_s)
        for task in late:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # asyncio closes aborted connections in the next round of the loop
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _connect(self, spec: TrafficClient, wire: Wire) -> None:
        """A connection from the engine's best vantage, with TLS if asked for."""
        if self._loop is None:
            raise ConnectionRefusedError("the trial is over")
        connecting = self._loop.connectors.submit(self._subject.connect, spec.port, CONNECT_TIMEOUT_S)
        try:
            connection, vantage = await asyncio.wrap_future(connecting)
        except asyncio.CancelledError:
            connecting.add_done_callback(_close_unused)
            raise
        connection.setblocking(False)
        self.vantage = vantage
        tls: dict[str, Any] = {}
        if spec.tls:
            tls = {
                "ssl": _tls(spec.verify, _protocols(spec)),
                "server_hostname": _host(spec),
                "ssl_handshake_timeout": CONNECT_TIMEOUT_S,
            }
        try:
            await asyncio.get_running_loop().create_connection(lambda: wire, sock=connection, **tls)
        except BaseException:
            connection.close()
            raise


def _routed_by(stage: Stage) -> RoutedBy | None:
    if stage.balancer is None or stage.deregistered_ns is None or stage.stop_ns is None:
        return None
    balancer = stage.balancer
    return RoutedBy(
        propagation_ns=balancer.propagation_ns,
        deregistration_delay_ns=balancer.deregistration_delay_ns,
        stop_delay_ns=balancer.stop_delay_ns,
        deregistered_at_ns=stage.deregistered_ns - stage.stop_ns,
    )


def _unreached(clients: list[Client]) -> bool:
    """Whether none of them came as far as an answer."""
    return all(client.obstacle in {None, "connection refused", "reset by the peer"} for client in clients)


_Found = list[tuple[Client, tuple[Request, ...]]]
"""Each client and its requests around the stop."""


def _was_open(spec: TrafficClient, found: _Found) -> bool:
    """Whether one client of this traffic had open at the stop what it is there for."""
    requests = [request for client, requests in found if client.spec is spec for request in requests]
    if spec.asks:
        return any((request.connected_at_ns or 0) < 0 and not request.only_held for request in requests)
    return not spec.holds or any((request.connected_at_ns or 0) < 0 for request in requests)


def _missing(spec: TrafficClient, found: _Found) -> MissingTraffic:
    reasons = [client.why_missing for client, _ in found if client.spec is spec and client.why_missing]
    return MissingTraffic(spec.kind, spec.port, reasons[0] if reasons else "", held=spec.holds)


class _LoopThread:
    """An event loop in a thread of its own, and a few threads for what would block it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self.connectors = concurrent.futures.ThreadPoolExecutor(CONNECTING_AT_ONCE, thread_name_prefix="connect")
        threading.Thread(target=self._run, name="traffic", daemon=True).start()

    def call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run it there and wait for it."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Run it there soon, without waiting."""
        self._loop.call_soon_threadsafe(callback)

    def stop(self) -> None:
        """Nothing runs there any more."""
        self.connectors.shutdown(wait=False, cancel_futures=True)
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()


def _close_unused(connecting: concurrent.futures.Future[tuple[socket.socket, Vantage]]) -> None:
    """A connection that came too late for the client that wanted it."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result()[0].close()


def _protocols(spec: TrafficClient) -> tuple[str, ...]:
    """What is offered by ALPN (RFC 7301)."""
    return ("h2",) if spec.kind in {TrafficKind.HTTP2, TrafficKind.GRPC} else ("http/1.1",)


@cache
def _tls(verify: bool, protocols: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context() if verify else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(protocols)
    return context


def _host(spec: TrafficClient) -> str:
    """The name that the certificate is checked against: that of the Host header."""
    named = [value for name, value in spec.headers if name.lower() == "host"]
    return named[0].rpartition(":")[0] or named[0] if named else "localhost"


def _allow_files(clients: int) -> None:
    """Many clients need more file descriptors than the usual soft limit of 1024; the hard limit is ours to use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = min(clients + SPARE_FILES, hard) if hard != resource.RLIM_INFINITY else clients + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
