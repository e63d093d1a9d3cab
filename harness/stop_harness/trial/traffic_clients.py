"""What each kind of client does before, at and after the stop; everything here runs on one event loop.

Before the stop a client that fails tries again; what it sees then is an obstacle for people, not a fate. Fates are kept
of what was open at the stop or begun after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from stop_harness.model import NS_PER_S, Request, RequestFate, TrafficClient, TrafficKind
from stop_harness.trial.traffic_messages import Outbox
from stop_harness.trial.traffic_stage import OWN_SHORTAGES, Sheet, Stage
from stop_harness.trial.traffic_wire import AnswerSeen, Closed, HttpSpeaker, NotProcessed, RawSpeaker, Speaker, Wire

RETRY_S = 0.1
"""Pause before a client that failed before the stop tries again."""

SECOND_REQUEST_S = 0.1
"""From the stop call to the second request of a keep-alive client: the signal has arrived by then (the call takes 10 to
30 ms to send it), and a server that drains is not yet gone."""

MAX_NEW_CONNECTIONS = 1000
"""Of one client; a server that still accepts after that many is not known better by more."""

FAILURES = (Closed, NotProcessed, OSError, ValueError)
"""What a conversation can end with. TimeoutError and ssl.SSLError are OSErrors."""

SERVER_ERRORS = 500
"""The least status by which a server says that it has failed."""

STANDS_S = 0.2
"""What lasts that long before the stop is held: an answer that goes on, a connection that is kept after an answer."""


@dataclass
class Line:
    """An open connection and what is spoken on it."""

    wire: Wire
    speaker: Speaker
    connected_ns: int


class Client:
    """One client: its set-up, its requests, and what is known of them."""

    def __init__(self, stage: Stage, spec: TrafficClient, number: int) -> None:
        self.stage, self.spec, self.number = stage, spec, number
        self.ready = asyncio.Event()
        """Set up as far as it can be before the curtain."""
        self.obstacle: str | None = None
        """Why its latest attempt before the stop failed; None: none did, or another succeeded since."""
        self.pending = spec.asks
        """Its first request is still to be sent."""
        self._sheets: list[Sheet] = []
        self._line: Line | None = None
        self._before = AnswerSeen()
        self._latest = ""
        """What became of its latest request before the stop, for people."""
        self._stood = False
        self._out_of_step = False
        self.outbox = Outbox(spec, stage.series, number) if spec.kind is TrafficKind.MESSAGES else None
        self._asks = spec
        """What it asks for next; each message is another."""
        self.began_ns = 0
        """When its latest request began, from the connection on (monotonic, ns)."""

    @property
    def blocked(self) -> bool:
        """Whether it got nowhere before the stop."""
        return self.obstacle is not None or not self.ready.is_set()

    async def perform(self) -> None:
        """The whole life of the client; cancelled when the trial has ended and it did not notice."""
        try:
            await (self._routed() if self.stage.balancer is not None else ACTS[self.spec.kind](self))
        finally:
            self._hang_up()

    def requests(self) -> Iterator[Request]:
        """What was open at the stop, or at the deregistration, or begun after it; relative to the stop. Of messages
        nothing: they are counted."""
        stop_ns, since_ns = self.stage.stop_ns, self.stage.since_ns
        for sheet in self._sheets if self.outbox is None else ():
            if sheet.fate is None or sheet.ended_ns is None or stop_ns is None or since_ns is None:
                continue
            if sheet.ended_ns < since_ns or (sheet.ended_ns < stop_ns and self._is_of_no_account(sheet)):
                continue
            times = (sheet.connected_ns, sheet.sent_ns, sheet.first_byte_ns, sheet.ended_ns)
            connected, sent, first_byte, ended = (None if at is None else at - stop_ns for at in times)
            yield Request(
                kind=self.spec.kind,
                client=self.number,
                fate=sheet.fate,
                connected_at_ns=connected,
                sent_at_ns=sent,
                first_byte_at_ns=first_byte,
                ended_at_ns=ended,
                status=sheet.answer.status,
                status_before=sheet.before.status,
                detail=sheet.detail,
                ends_by_close=sheet.answer.ends_by_close,
                unended=sheet.answer.unended,
                body_bytes=sheet.answer.body_bytes,
                body_bytes_before=sheet.before.body_bytes,
                grpc_status=sheet.answer.grpc_status,
                grpc_status_before=sheet.before.grpc_status,
            )

    @property
    def why_missing(self) -> str:
        """Why nothing of it may have been open at the stop, for people."""
        return self.obstacle or self._latest

    # ── Acts ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _request(self) -> None:
        """HTTP and TCP: one request after the other until the stop. A raw connection is kept, as by a pool."""
        while not self.stage.stopped.is_set():
            with self._sheet() as sheet:
                await self._open(sheet)
                await self._wait_for_curtain()
                if self.stage.stopped.is_set():
                    return
                await self._ask(sheet)
                await self._answer(sheet)
            if self.spec.kind is TrafficKind.HTTP:
                self._hang_up()
            pause_s = RETRY_S if self.obstacle else self.spec.think_ns / NS_PER_S
            await _within(self.stage.stopped, pause_s + self._step_s())
        if self.spec.kind.says_goodbye and self._line is not None:
            with self._sheet(self._line) as sheet:
                sheet.end(None, await self._line.speaker.hold(self._line.wire))
        else:
            await self._hold(self.stage.over)

    def _step_s(self) -> float:
        """Once, while hooks run before the stop call: a part of the time of an answer, another one for each client.
        Clients that go on in step would all be between two requests at that call."""
        if self._out_of_step or not self.stage.in_hooks:
            return 0.0
        self._out_of_step = True
        took_s = (time.monotonic_ns() - self.began_ns) / NS_PER_S
        return took_s * (self.number % self.spec.clients) / self.spec.clients

    async def _routed(self) -> None:
        """What a load balancer sends: one request after the other, each on a fresh connection, until it has heard that
        the container goes."""
        while not (self.stage.withdrawn or self.stage.over.is_set() or len(self._sheets) >= MAX_NEW_CONNECTIONS):
            with self._sheet() as sheet:
                await self._open(sheet)
                await self._wait_for_curtain()
                if self.stage.withdrawn:
                    return
                await self._ask(sheet)
                await self._answer(sheet)
            self._hang_up()
            pause_s = self.spec.think_ns / NS_PER_S
            await _within(self.stage.over, max(RETRY_S, pause_s) if self.obstacle else pause_s)

    async def beside(self, other: Client, moment_ns: int, lately_ns: int) -> None:
        """A request at one moment of the propagation, unless another client of the load balancer began one lately: one
        that waits for a long answer would not see when the port is closed."""
        try:
            await _within(self.stage.over, (moment_ns - time.monotonic_ns()) / NS_PER_S)
            if time.monotonic_ns() - other.began_ns > lately_ns and not self.stage.withdrawn:
                await self._whole_request()
        finally:
            self._hang_up()

    async def _websocket(self) -> None:
        """With a message to send it is like a request, without one a held connection."""
        await (self._request() if self.spec.asks else self._idle())

    async def _idle(self) -> None:
        """A held connection."""
        while not self.stage.stopped.is_set():
            with self._sheet() as sheet:
                line = await self._open(sheet)
                async with self._patience():
                    await line.speaker.ask(line.wire)
                    await line.speaker.answer(line.wire)
                self._set_up()
                sheet.end(None, await line.speaker.hold(line.wire))
                self._latest = sheet.detail
            self._hang_up()
            await _within(self.stage.stopped, RETRY_S)

    async def _keep_alive(self) -> None:
        """A finished request, and a second one on the same connection after the stop; then it is held."""
        while not self.stage.stopped.is_set():
            await self._whole_request()
            if (line := self._line) is not None and not line.speaker.given.keeps:
                self.obstacle = f"the server closes the connection after each answer ({self._latest})"
            elif line is not None:
                with self._stands():
                    await self._hold(self.stage.stopped)
                if self.stage.stopped.is_set() and (self._stood or not line.wire.over):
                    break  # also where the server closed it at the very moment of the stop
                self.obstacle = self.obstacle or self._too_short("the connection was closed after an answer")
            self._hang_up()
            await _within(self.stage.stopped, RETRY_S)
        if self._line is not None:
            with self._sheet(self._line) as sheet:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SECOND_REQUEST_S):
                        await self._line.wire.until_over()
                await self._ask(sheet)
                await self._answer(sheet)
        await self._hold(self.stage.over)

    async def _stream(self) -> None:
        """An answer that has begun and goes on, for as long as it likes."""
        while not self.stage.stopped.is_set():
            with self._sheet() as sheet:
                line = await self._open(sheet)
                await self._ask(sheet)
                async with self._patience():
                    while not (line.wire.begun.is_set() or line.wire.over):
                        await line.wire.change()
                with self._stands():
                    await self._answer(sheet, patient=False)
                self.obstacle = self._too_short("the answer was over at once, it is no stream")
            self._hang_up()
            await _within(self.stage.stopped, RETRY_S)

    async def _arrive(self) -> None:
        """One request to see that it can be done; from the stop on fresh connections until none is accepted."""
        while not self.ready.is_set() and not self.stage.stopped.is_set():
            await self._whole_request()
            self._hang_up()
            if self.obstacle is None:
                self._set_up()
            else:
                await _within(self.stage.stopped, RETRY_S)
        await self.stage.begun.wait()
        while not self.stage.over.is_set() and len(self._sheets) < MAX_NEW_CONNECTIONS:
            await self._whole_request()
            self._hang_up()
            if self._sheets[-1].fate is RequestFate.REFUSED:
                return
            await _within(self.stage.over, self.spec.every_ns / NS_PER_S)

    async def _publish(self) -> None:
        """Messages, each on a fresh connection: before the stop and after it, until none is taken."""
        box = self.outbox
        assert box is not None
        while not (self.stage.over.is_set() or box.full):
            self._asks = box.next()
            await self._whole_request()
            self._hang_up()
            *_, sheet = self._sheets
            self._sheets.clear()  # the rest of a message's fate is nobody's business
            if sheet.fate is RequestFate.COMPLETED and box.answered(sheet.answer.status):
                self._set_up()
            elif sheet.fate is RequestFate.COMPLETED:
                self.obstacle = f"a message was answered with {sheet.answer.status}, which acknowledges none"
            elif sheet.fate is RequestFate.REFUSED and self.stage.stopped.is_set():
                return
            await _within(self.stage.over, RETRY_S if self.obstacle else self.spec.every_ns / NS_PER_S)

    # ── Steps that the acts are made of ──────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def _sheet(self, line: Line | None = None) -> Iterator[Sheet]:
        """A request from its beginning to its end, on a connection that is there or on one to come."""
        sheet = Sheet(connected_ns=line.connected_ns if line else None, before=self._before)
        if self.stage.since_ns is None:
            self._sheets.clear()
        elif self.stage.in_hooks:
            kept = [item for item in self._sheets if not self._is_of_no_account(item)]
            self._sheets[:] = kept[-MAX_NEW_CONNECTIONS:]
        self._sheets.append(sheet)
        self.began_ns = time.monotonic_ns()
        try:
            yield sheet
        except FAILURES as error:
            sheet.end(error)
            if isinstance(error, OSError) and error.errno in OWN_SHORTAGES:
                sheet.fate = None
            self.obstacle = sheet.detail
            self._hang_up()
        except asyncio.CancelledError as error:
            sheet.end(error)
            if self.stage.cut:
                sheet.detail = "cut by the load balancer at the end of its deregistration delay"
            raise

    def _is_of_no_account(self, sheet: Sheet) -> bool:
        """Whether it was served while hooks ran before the stop call. A load balancer's requests all count."""
        served = sheet.fate is RequestFate.COMPLETED and (sheet.answer.status or 0) < SERVER_ERRORS
        return served and self.stage.balancer is None

    async def _whole_request(self) -> None:
        """On a fresh connection."""
        with self._sheet() as sheet:
            await self._open(sheet)
            await self._ask(sheet)
            await self._answer(sheet)

    async def _open(self, sheet: Sheet) -> Line:
        """The connection that is still there, or a fresh one with its preparation done."""
        if self._line is not None and not self._line.wire.over:
            sheet.connected_ns = self._line.connected_ns
            return self._line
        self._hang_up()
        wire = Wire()
        await self.stage.connect(self.spec, wire)
        sheet.connected_ns = time.monotonic_ns()
        speaker = _speaker(self._asks)
        self._line = Line(wire, speaker, sheet.connected_ns)
        async with self._patience():
            await speaker.prepare(wire)
        return self._line

    async def _ask(self, sheet: Sheet) -> None:
        assert self._line is not None
        async with self._patience():
            await self._line.speaker.ask(self._line.wire)
        sheet.sent_ns, self.pending = time.monotonic_ns(), False

    async def _answer(self, sheet: Sheet, *, patient: bool = True) -> None:
        """The rest of the request."""
        assert self._line is not None
        wire, speaker = self._line.wire, self._line.speaker
        try:
            async with self._patience() if patient else contextlib.nullcontext():
                detail = await speaker.answer(wire)
        finally:
            sheet.first_byte_ns, sheet.answer = speaker.begun_ns(wire), speaker.given
        sheet.end(None, detail)
        self.obstacle = None
        if self.stage.stop_ns is None:
            self._before, self._latest = sheet.answer, detail

    async def _wait_for_curtain(self) -> None:
        """The first request of each client is sent its lead before the stop."""
        if not self.ready.is_set():
            self.ready.set()
            await self.stage.curtain.wait()
            await _within(self.stage.stopped, (self.stage.longest_lead_ns - self.spec.lead_ns) / NS_PER_S)

    async def _hold(self, until: asyncio.Event) -> None:
        """Keep the connection, if there is one, until the peer closes it or the event comes."""
        if self._line is None:
            return
        ended = asyncio.ensure_future(self._line.wire.until_over())
        come = asyncio.ensure_future(until.wait())
        try:
            await asyncio.wait((ended, come), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            come.cancel()
            await asyncio.gather(ended, come, return_exceptions=True)

    @contextlib.contextmanager
    def _stands(self) -> Iterator[None]:
        """It is set up once the block has lasted `STANDS_S`."""
        self._stood = False
        timer = asyncio.get_running_loop().call_later(STANDS_S, self._stand)
        try:
            yield
        finally:
            timer.cancel()

    def _stand(self) -> None:
        self._stood = True
        self._set_up()

    def _too_short(self, what: str) -> str | None:
        """The obstacle where the latest attempt before the stop did not stand; None where it did."""
        return None if self._stood else f"{what} ({self._latest})"

    def _patience(self) -> asyncio.Timeout:
        return asyncio.timeout(self.spec.timeout_ns / NS_PER_S)

    def _set_up(self) -> None:
        self.obstacle = None
        self.ready.set()

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.wire.close()
            self._line = None


ACTS: dict[TrafficKind, Callable[[Client], Awaitable[None]]] = {
    TrafficKind.HTTP: Client._request,
    TrafficKind.TCP: Client._request,
    TrafficKind.IDLE: Client._idle,
    TrafficKind.KEEP_ALIVE: Client._keep_alive,
    TrafficKind.STREAM: Client._stream,
    TrafficKind.NEW_CONNECTIONS: Client._arrive,
    TrafficKind.WEBSOCKET: Client._websocket,
    TrafficKind.SSE: Client._stream,
    TrafficKind.HTTP2: Client._request,
    TrafficKind.GRPC: Client._request,
    TrafficKind.MESSAGES: Client._publish,
}


def _speaker(spec: TrafficClient) -> Speaker:
    """Protocols that few scenarios speak are imported where one does."""
    match spec.kind:
        case TrafficKind.TCP | TrafficKind.IDLE:
            return RawSpeaker(spec.exchanges)
        case TrafficKind.WEBSOCKET:
            from stop_harness.trial.traffic_websocket import WebSocketSpeaker

            return WebSocketSpeaker(spec)
        case TrafficKind.SSE:
            from stop_harness.trial.traffic_events import EventStreamSpeaker

            return EventStreamSpeaker(spec)
        case TrafficKind.HTTP2:
            from stop_harness.trial.traffic_http2 import Http2Speaker

            return Http2Speaker(spec)
        case TrafficKind.GRPC:
            from stop_harness.trial.traffic_http2 import GrpcSpeaker

            return GrpcSpeaker(spec)
    return HttpSpeaker(spec)


async def _within(event: asyncio.Event, seconds: float) -> None:
    """Sleep, less if the event comes."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
