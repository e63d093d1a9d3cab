"""What the user asks for and what will be done: Scenario and Plan."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from stop_harness.model.fault import Fault
from stop_harness.model.group import BYTES_AS_HEX
from stop_harness.model.outcome import Outcome
from stop_harness.model.property import Property
from stop_harness.model.settings import NotApplied
from stop_harness.model.source_lines import ScenarioLines
from stop_harness.model.subject import ECS_STOP_TIMEOUT_S, Subject
from stop_harness.model.waiver import Waiver
from stop_harness.records import dataclass

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000

DEFAULT_PIDS_LIMIT = 4096
"""Processes and threads that a subject may have where its scenario says nothing: OpenShift's default for a pod, twice
Podman's for a container, an eighth of Linux's smallest `pid_max` (32,768). Docker's own default is no limit: a subject
that forks without end would take the machine, and the harness with it."""


@dataclass(frozen=True)
class Readiness:
    """When the subject counts as ready to be stopped: every condition that is given holds, then `delay_ns` passes.

    `log` is a regular expression searched in standard output and standard error. `http_path` belongs to
    `http_port`. `handler`: PID 1, or the program below an init, takes the stop signal, by the process table. Not ready
    within `timeout_ns` makes the trial inconclusive.

    `implied`: the scenario says nothing, so that what is declared about the container decides: a health check, ports,
    else `delay_ns` from its start on. What does not come within `timeout_ns` is put on record then, and keeps nobody
    from the stop.
    """

    log: str | None = None
    tcp_port: int | None = None
    http_port: int | None = None
    http_path: str = "/"
    healthcheck: bool = False
    handler: bool = False
    delay_ns: int = 0
    timeout_ns: int = 30 * NS_PER_S
    implied: bool = False

    @property
    def ports(self) -> tuple[int, ...]:
        """Container ports that must be reachable for the conditions to be checked."""
        return tuple(port for port in (self.tcp_port, self.http_port) if port is not None)


class TrafficKind(StrEnum):
    """What a traffic client does."""

    HTTP = "http"
    """Requests one after the other on fresh connections, the last of them in flight when the stop comes."""
    TCP = "tcp"
    """A conversation in raw bytes, the last answer outstanding when the stop comes."""
    IDLE = "idle"
    """A connection that is opened, optionally greeted, and then only held."""
    KEEP_ALIVE = "keep_alive"
    """A connection with one finished HTTP request, and a second one after the stop signal."""
    STREAM = "stream"
    """An HTTP answer that never ends."""
    NEW_CONNECTIONS = "new_connections"
    """A fresh connection with one HTTP request, again and again during the drain."""
    WEBSOCKET = "websocket"
    """A WebSocket, with a message whose answer is outstanding when the stop comes, or only held."""
    SSE = "sse"
    """Server-Sent Events: an HTTP answer of events that never ends."""
    HTTP2 = "http2"
    """Requests one after the other on one HTTP/2 connection, the last of them in flight when the stop comes."""
    GRPC = "grpc"
    """The same with unary gRPC calls."""
    MESSAGES = "messages"
    """HTTP requests with an id each, through the stop until none is taken any more; an answer below 300 acknowledges
    one. What is not acknowledged is sent again by whoever sent it, and no loss."""

    @property
    def in_flight(self) -> bool:
        """Its request is sent a while before the stop; what other kinds hold is set up before these begin."""
        return self in {TrafficKind.HTTP, TrafficKind.TCP} or self.says_goodbye

    @property
    def says_goodbye(self) -> bool:
        """Its protocol has a word for going away: the close frame of WebSocket, GOAWAY of HTTP/2."""
        return self in {TrafficKind.WEBSOCKET, TrafficKind.HTTP2, TrafficKind.GRPC}

    @property
    def held(self) -> bool:
        """It is there for what stands open at the stop."""
        return self in {TrafficKind.IDLE, TrafficKind.KEEP_ALIVE, TrafficKind.STREAM, TrafficKind.SSE}


@dataclass(frozen=True)
class Exchange:
    """One step of a raw conversation: bytes sent, then bytes that the answer must contain. None: nothing sent, or no
    answer awaited."""

    __pydantic_config__ = BYTES_AS_HEX

    send: bytes | None = None
    expect: bytes | None = None


MESSAGE_ID = b"{id}"
"""Stands for the id of a message in a body or a path."""


@dataclass(frozen=True)
class TrafficClient:
    """One kind of traffic against one port of the subject, by `clients` clients at once.

    `think_ns`: pause between two requests of a client. `lead_ns`: how long before the stop the request (or the last
    exchange) is sent that is to be in flight. `every_ns`: pause between new connections, or messages. `tls`: speak TLS,
    without checking the certificate unless `verify`. `timeout_ns`: an answer that takes longer counts as timed out.
    """

    __pydantic_config__ = BYTES_AS_HEX

    kind: TrafficKind
    port: int
    path: str = "/"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    exchanges: tuple[Exchange, ...] = ()
    clients: int = 1
    think_ns: int = 50 * NS_PER_MS
    lead_ns: int = 500 * NS_PER_MS
    every_ns: int = 100 * NS_PER_MS
    tls: bool = False
    verify: bool = False
    timeout_ns: int = 60 * NS_PER_S

    @property
    def asks(self) -> bool:
        """It has a request in flight at the stop; a WebSocket without a message has none."""
        return self.kind.in_flight and not (self.kind is TrafficKind.WEBSOCKET and not self.exchanges)

    @property
    def holds(self) -> bool:
        """It is there for what stands open at the stop."""
        return self.kind.held or (self.kind.in_flight and not self.asks)


DEREGISTRATION_DELAY_NS = 300 * NS_PER_S
"""Default of a target group (Elastic Load Balancing, target group attributes)."""

PROPAGATION_NS = 2 * NS_PER_S
"""How long a load balancer goes on sending where the scenario says nothing. Nobody promises a time: kube-proxy applies
changes once a second, after the API server and the endpoint controller had theirs."""


@dataclass(frozen=True)
class LoadBalancer:
    """What stands between clients and the container, and hears of the stop as they do: late.

    `propagation_ns`: new requests are still sent for that long after the deregistration. `deregistration_delay_ns`:
    requests that are in flight then are cut. `stop_delay_ns`: from the deregistration to the stop call, as a preStop
    hook that sleeps gives it; 0: both at once.
    """

    propagation_ns: int = PROPAGATION_NS
    deregistration_delay_ns: int = DEREGISTRATION_DELAY_NS
    stop_delay_ns: int = 0


@dataclass(frozen=True)
class Preparation:
    """A step between readiness and the stop: a command in the container, or a log line to wait for.

    `timeout_ns`: how long it may take; None: as long as the container may take to get ready.
    """

    execute: tuple[str, ...] | None = None
    log: str | None = None
    timeout_ns: int | None = None


class EndedBy(StrEnum):
    """Who ends a task of Amazon ECS, and how."""

    STOP_TASK = "stop-task"
    """Somebody calls StopTask."""
    SCALE_IN = "scale-in"
    """The service scheduler has one task too many: scale-in, a deployment, an instance that drains."""
    SPOT = "spot"
    """AWS takes the capacity back, with two minutes' notice."""


@dataclass(frozen=True)
class StopPlan:
    """How the subject is stopped. `signal` None means the image's STOPSIGNAL, else SIGTERM.

    `own_timeouts`: each container of a task keeps the stop timeout of its definition; `timeouts_ns` then holds one
    value, the longest that the whole task can take. Otherwise every container gets the trial's stop timeout.

    `ended_by`: of a whole task; a single container is stopped by its engine.
    """

    timeouts_ns: tuple[int, ...] = (ECS_STOP_TIMEOUT_S * NS_PER_S,)
    signal: str | None = None
    after_ns: tuple[int, ...] = (0,)
    own_timeouts: bool = False
    ended_by: EndedBy = EndedBy.STOP_TASK


@dataclass(frozen=True)
class Expectation:
    """What a trial must come to for its status to be `pass`.

    `stop_timeout_ns` None: applies to every stop timeout that no other expectation names. `within_ns` None: any
    duration. `exit_codes` None: 0 and 128 + stop signal are accepted. `after_stop`: what must be true then, whatever
    the outcome.
    """

    outcomes: tuple[Outcome, ...] = (Outcome.GRACEFUL,)
    stop_timeout_ns: int | None = None
    within_ns: int | None = None
    exit_codes: tuple[int, ...] | None = None
    after_stop: tuple[Property, ...] = ()


@dataclass(frozen=True)
class Positions:
    """Where the keys of a scenario file stand: the path of keys and indices from the root → (line, column), from 1.

    `file`: in which file, where that is not the scenario's, as of a service of a Compose file; None: it is.
    """

    places: Mapping[tuple[str | int, ...], tuple[int, int]] = field(default_factory=dict)
    file: str | None = None

    @classmethod
    def of_subject(cls, place: str) -> Positions:
        """Of a subject that stands at this `file:line:column`; no positions where it is none."""
        match = re.fullmatch(r"(.+):(\d+):(\d+)", place)
        return cls() if match is None else cls({("subject",): (int(match[2]), int(match[3]))}, match[1])

    def of(self, path: tuple[str | int, ...]) -> tuple[int, int]:
        """Of the key, or of the nearest one around it; a single value that stands for a list of one has no index."""
        known: tuple[str | int, ...] = ()
        for part in path:
            if (*known, part) in self.places:
                known = (*known, part)
            elif part != 0:
                break
        return self.places.get(known, (1, 1))


BEFORE_FAULT = "+"
"""Between the names of a scenario and a fault. No name in a file has it, so that no copy takes another's name."""


@dataclass(frozen=True)
class Twin:
    """Of what a scenario is a copy: of the one named `of`, under the standard fault named `fault` (docs/faults.md)."""

    of: str
    fault: str

    @property
    def name(self) -> str:
        """Of the copy: `web+cpu-starved`."""
        return f"{self.of}{BEFORE_FAULT}{self.fault}"


@dataclass(frozen=True)
class Scenario:
    """One scenario file. `source` is the path it came from, None where there was no file (`check IMAGE`).

    `load_balancer`: what the traffic goes through; None: straight to the container.

    `twin`: the undisturbed scenario, and the standard fault that it has beside that one; None: it is no copy.

    `not_applied`: what its subject's file asks for (a Compose file, a task definition) and stops are measured without.

    `positions` are for messages: two scenarios that differ in them alone are equal, and they are not stored. They are
    empty for a scenario without a file and for one that was read from a stored run.

    `lines`: the lines that a report points to, looked up when a run begins; they are stored, and count for nothing
    else.

    `waivers` are for the run, which keeps them (`RunInfo.waivers`); they say nothing of the stop, and are not stored
    here.
    """

    name: str
    subject: Subject
    description: str = ""
    readiness: Readiness = Readiness()
    stop: StopPlan = StopPlan()
    repeat: int = 1
    expectations: tuple[Expectation, ...] = (Expectation(),)
    traffic: tuple[TrafficClient, ...] = ()
    before_stop: tuple[Preparation, ...] = ()
    load_balancer: LoadBalancer | None = None
    faults: tuple[Fault, ...] = ()
    twin: Twin | None = None
    source: str | None = None
    not_applied: tuple[NotApplied, ...] = ()
    lines: ScenarioLines = field(default=ScenarioLines(), compare=False, repr=False)
    waivers: tuple[Waiver, ...] = field(default=(), compare=False, repr=False, metadata={"exclude": True})
    # `exclude` is read by pydantic, which writes the run's files from these records.
    positions: Positions = field(default=Positions(), compare=False, repr=False, metadata={"exclude": True})

    def location(self, *path: str | int) -> str:
        """`file:line:column` of a key, for mistakes that only the disk or the engine can tell; `scenario NAME` where
        the positions are not known."""
        file = self.positions.file or self.source
        if file is None or not self.positions.places:
            return f"scenario {self.name}"
        line, column = self.positions.of(path)
        return f"{file}:{line}:{column}"

    @property
    def reached_ports(self) -> tuple[int, ...]:
        """Container ports that readiness and traffic connect to."""
        return tuple(sorted({*self.readiness.ports, *(client.port for client in self.traffic)}))

    @property
    def properties(self) -> tuple[Property, ...]:
        """What must be true after a stop, at any stop timeout."""
        return tuple(item for expectation in self.expectations for item in expectation.after_stop)

    def expectation_at(self, stop_timeout_ns: int) -> Expectation:
        """The expectation for one stop timeout: the one that names it, else the one that names none."""
        general = Expectation()
        for expectation in self.expectations:
            if expectation.stop_timeout_ns == stop_timeout_ns:
                return expectation
            if expectation.stop_timeout_ns is None:
                general = expectation
        return general


@dataclass(frozen=True)
class Trial:
    """One stop of one fresh container. `trial_id` is stable: the same scenario gives the same ids on every machine.

    `shorter_timeouts_ns`: stop timeouts whose trials are not performed but derived from this one (`--infer`).
    """

    trial_id: str
    scenario: Scenario
    stop_timeout_ns: int
    stop_after_ns: int
    repetition: int
    shorter_timeouts_ns: tuple[int, ...] = ()


@dataclass(frozen=True)
class SkippedScenario:
    """A scenario that the chosen engine cannot run, or a file that looks like one and is none (`scenario` is then its
    path), with the reason for people.

    `by_choice`: the user named the embedded engine, which runs no images, so that leaving it out was asked for; or the
    file is empty. Any other scenario that did not run keeps the run from passing.

    `twin`: which scenario was not tried under which standard fault; None: it is no such copy.
    """

    scenario: str
    reason: str
    by_choice: bool = False
    twin: Twin | None = None


@dataclass(frozen=True)
class Plan:
    """What a run will do, longest stop timeouts first within each scenario's trials."""

    trials: tuple[Trial, ...]
    skipped: tuple[SkippedScenario, ...] = ()

    @property
    def count(self) -> int:
        """Trials in all, those that are derived included."""
        return sum(1 + len(trial.shorter_timeouts_ns) for trial in self.trials)
