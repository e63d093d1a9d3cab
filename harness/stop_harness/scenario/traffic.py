"""The sections `traffic` and `before_stop` of a scenario file, and the records they become. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from stop_harness.model import (
    DEREGISTRATION_DELAY_NS,
    MESSAGE_ID,
    NS_PER_MS,
    NS_PER_S,
    PROPAGATION_NS,
    Exchange,
    LoadBalancer,
    Preparation,
    TrafficClient,
    TrafficKind,
)
from stop_harness.scenario import plain
from stop_harness.scenario.values import (
    AnyBytes,
    Argv,
    Bytes,
    Duration,
    Pattern,
    Port,
    RawText,
    Section,
    TextBytes,
    one_or_list,
)

OWN_HEADERS = frozenset({"content-length", "transfer-encoding"})
"""Headers that follow from `body`."""

HTTP2_HEADERS = frozenset({"connection", "keep-alive", "proxy-connection", "upgrade"})
"""Headers that HTTP/2 does not allow (RFC 9113, 8.2.2)."""

WEBSOCKET_HEADERS = frozenset(
    {"connection", "upgrade", "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions"}
)
"""Headers of the opening handshake (RFC 6455, 4.1)."""

DEFAULT = TrafficClient(TrafficKind.HTTP, 0)

Target = Annotated[str, StringConstraints(pattern=plain.TARGET)]
"""As it stands in the request line: what is not printable ASCII is percent-encoded."""

HeaderName = Annotated[str, StringConstraints(pattern=plain.HEADER_NAME)]
HeaderValue = Annotated[RawText, StringConstraints(pattern=plain.HEADER_VALUE)]


# ── The sections ─────────────────────────────────────────────────────────────────────────────────────────────────────


class ClientSection(Section):
    """What every kind of traffic has."""

    port: Port = Field(description="Port of the container.")
    clients: Annotated[int, Field(ge=1, le=5000)] = Field(1, description="How many clients do this at once.")
    tls: bool = Field(False, description="Speak TLS.")
    verify: bool = Field(False, description="Check the certificate, against the Host header's name or localhost.")
    timeout: Duration = Field(60 * NS_PER_S, description="An answer that takes longer counts as timed out.")

    @model_validator(mode="after")
    def _verify_goes_with_tls(self) -> ClientSection:
        if self.verify and not self.tls:
            raise ValueError("`verify` goes with `tls: true`")
        return self


class PathSection(ClientSection):
    """What everything has that begins with the head of an HTTP request."""

    own_headers: ClassVar[frozenset[str]] = OWN_HEADERS
    path: Target = Field("/", description="Path with query, percent-encoded.")
    headers: dict[HeaderName, HeaderValue] = Field({}, description="Headers. Default: Host is localhost.")

    @field_validator("headers")
    @classmethod
    def _headers_are_not_ours(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if name.lower() in OWN_HEADERS:
                raise ValueError(f"{name} follows from `body`; leave it out")
            if name.lower() in cls.own_headers:
                raise ValueError(f"{name} belongs to the protocol; leave it out")
        return headers


class HttpClientSection(PathSection):
    """An HTTP request."""

    method: Annotated[str, StringConstraints(pattern=plain.METHOD)] = Field("GET", description="Such as POST.")
    body: TextBytes | None = Field(None, description="Body, as text (UTF-8) or {hex: …}.")


class HttpTraffic(HttpClientSection):
    """Requests one after the other, each on a fresh connection; one is in flight at the stop."""

    think: Duration = Field(DEFAULT.think_ns, description="Pause between two requests of a client.")
    lead: Duration = Field(DEFAULT.lead_ns, description="The first request is sent this long before the stop.")


class Http2Traffic(HttpTraffic):
    """Requests one after the other on one HTTP/2 connection (prior knowledge; ALPN with TLS); one is in flight at the
    stop."""

    own_headers: ClassVar[frozenset[str]] = OWN_HEADERS | HTTP2_HEADERS


class GrpcTraffic(PathSection):
    """Unary gRPC calls one after the other on one HTTP/2 connection; one is in flight at the stop."""

    own_headers: ClassVar[frozenset[str]] = OWN_HEADERS | HTTP2_HEADERS | {"content-type", "te"}
    path: Annotated[str, StringConstraints(pattern=plain.GRPC_PATH)] = Field(
        description="Service and method, such as /grpc.health.v1.Health/Check."
    )
    message: AnyBytes = Field(b"", description="The message as protocol buffers encode it. Default: an empty one.")
    think: Duration = Field(DEFAULT.think_ns, description="Pause between two calls of a client.")
    lead: Duration = Field(DEFAULT.lead_ns, description="The first call is made this long before the stop.")


class WebSocketTraffic(PathSection):
    """A WebSocket; with `send` a message whose answer is awaited at the stop, without it only held."""

    own_headers: ClassVar[frozenset[str]] = OWN_HEADERS | WEBSOCKET_HEADERS
    send: TextBytes | None = Field(None, description="Message, as text (UTF-8) or {hex: …}. Default: nothing is sent.")
    expect: TextBytes | None = Field(None, description="What the answer contains. Default: any message is the answer.")
    think: Duration = Field(DEFAULT.think_ns, description="Pause before the message is sent again.")
    lead: Duration = Field(DEFAULT.lead_ns, description="The message is first sent this long before the stop.")

    @model_validator(mode="after")
    def _an_answer_to_something(self) -> WebSocketTraffic:
        if self.expect is not None and self.send is None:
            raise ValueError("`expect` goes with `send`: it is the answer to that message")
        return self


class SseTraffic(HttpClientSection):
    """Server-Sent Events: an answer of events that never ends."""


class KeepAliveTraffic(HttpClientSection):
    """A connection with one finished request, and a second one just after the stop signal."""


class StreamTraffic(HttpClientSection):
    """An answer that never ends, such as an event stream."""


class NewConnectionsTraffic(HttpClientSection):
    """Fresh connections with one request each, from the stop until they are refused."""

    every: Duration = Field(DEFAULT.every_ns, description="Pause in between, 10ms or more.")

    @field_validator("every")
    @classmethod
    def _no_flood(cls, every: int) -> int:
        if every < 10 * NS_PER_MS:
            raise ValueError("shorter than 10ms would be a load test")
        return every


class MessagesTraffic(PathSection):
    """Messages with an id each, sent by HTTP before and during the stop until none is taken; a status from 200 to 299
    acknowledges one."""

    path: Target = Field("/", description="Path with query; `{id}` stands for the id.")
    method: Annotated[str, StringConstraints(pattern=plain.METHOD)] = Field("POST", description="Such as PUT.")
    body: TextBytes | None = Field(None, description="Body; `{id}` stands for the id. Default: {id}.")
    every: Duration = Field(20 * NS_PER_MS, description="Pause between two messages of a client.")
    lead: Duration = Field(DEFAULT.lead_ns, description="Messages are sent for at least so long before the stop.")

    @model_validator(mode="after")
    def _an_id(self) -> MessagesTraffic:
        if self.body is not None and MESSAGE_ID not in self.body and MESSAGE_ID.decode() not in self.path:
            raise ValueError("`body` or `path` has to contain {id}, by which a message is found again")
        return self


class ExchangeSection(Section):
    """One step of a conversation."""

    send: Bytes | None = Field(None, description="Bytes to send. Default: nothing is sent.")
    expect: Bytes | None = Field(None, description="Bytes that the answer contains. Default: none is awaited.")


class RawSection(ClientSection):
    """A conversation in bytes: either `exchanges`, or `send` and `expect` where there is only one."""

    send: Bytes | None = Field(None, description="Bytes to send.")
    expect: Bytes | None = Field(None, description="Bytes that the answer contains.")
    exchanges: list[ExchangeSection] = Field([], description="Several steps, one after the other.")

    @model_validator(mode="after")
    def _one_form(self) -> RawSection:
        if self.exchanges and (self.send is not None or self.expect is not None):
            raise ValueError("give either `exchanges` or `send` and `expect`")
        return self

    def steps(self) -> tuple[Exchange, ...]:
        """The conversation, whichever way it was written."""
        sections = self.exchanges or [ExchangeSection(send=self.send, expect=self.expect)]
        exchanges = (Exchange(section.send, section.expect) for section in sections)
        return tuple(exchange for exchange in exchanges if exchange != Exchange())


class TcpTraffic(RawSection):
    """A conversation whose last answer is awaited at the stop."""

    think: Duration = Field(DEFAULT.think_ns, description="Pause before the last step is repeated.")
    lead: Duration = Field(DEFAULT.lead_ns, description="The last step is first taken this long before the stop.")

    @model_validator(mode="after")
    def _an_end(self) -> TcpTraffic:
        if not self.steps() or self.steps()[-1].expect is None:
            raise ValueError("the last step needs `expect`: it says when the answer is whole")
        return self


class IdleTraffic(RawSection):
    """A connection that is opened, greeted if steps are given, and held."""


HttpList = Annotated[list[HttpTraffic], Field(min_length=1)]
TcpList = Annotated[list[TcpTraffic], Field(min_length=1)]
IdleList = Annotated[list[IdleTraffic], Field(min_length=1)]
KeepAliveList = Annotated[list[KeepAliveTraffic], Field(min_length=1)]
StreamList = Annotated[list[StreamTraffic], Field(min_length=1)]
NewConnectionsList = Annotated[list[NewConnectionsTraffic], Field(min_length=1)]
WebSocketList = Annotated[list[WebSocketTraffic], Field(min_length=1)]
SseList = Annotated[list[SseTraffic], Field(min_length=1)]
Http2List = Annotated[list[Http2Traffic], Field(min_length=1)]
MessagesList = Annotated[list[MessagesTraffic], Field(min_length=1)]
GrpcList = Annotated[list[GrpcTraffic], Field(min_length=1)]


class TrafficSection(Section):
    """What clients do while the container is stopped; each kind of client one mapping or a list of them."""

    through: Literal["load_balancer"] | None = Field(
        None, description="Send `http` as a load balancer does, which hears late that the container goes."
    )
    propagation: Duration = Field(
        PROPAGATION_NS, description="New requests are sent for so long after the deregistration."
    )
    deregistration_delay: Duration = Field(
        DEREGISTRATION_DELAY_NS, description="Requests that run longer after the deregistration are cut."
    )
    stop_delay: Duration = Field(
        0, description="From the deregistration to the stop, as a preStop hook that sleeps gives it."
    )
    http: Annotated[HttpList | None, BeforeValidator(one_or_list, json_schema_input_type=HttpList | HttpTraffic)] = None
    tcp: Annotated[TcpList | None, BeforeValidator(one_or_list, json_schema_input_type=TcpList | TcpTraffic)] = None
    idle: Annotated[IdleList | None, BeforeValidator(one_or_list, json_schema_input_type=IdleList | IdleTraffic)] = None
    keep_alive: Annotated[
        KeepAliveList | None, BeforeValidator(one_or_list, json_schema_input_type=KeepAliveList | KeepAliveTraffic)
    ] = None
    stream: Annotated[
        StreamList | None, BeforeValidator(one_or_list, json_schema_input_type=StreamList | StreamTraffic)
    ] = None
    new_connections: Annotated[
        NewConnectionsList | None,
        BeforeValidator(one_or_list, json_schema_input_type=NewConnectionsList | NewConnectionsTraffic),
    ] = None
    websocket: Annotated[
        WebSocketList | None, BeforeValidator(one_or_list, json_schema_input_type=WebSocketList | WebSocketTraffic)
    ] = None
    sse: Annotated[SseList | None, BeforeValidator(one_or_list, json_schema_input_type=SseList | SseTraffic)] = None
    http2: Annotated[
        Http2List | None, BeforeValidator(one_or_list, json_schema_input_type=Http2List | Http2Traffic)
    ] = None
    messages: Annotated[
        MessagesList | None, BeforeValidator(one_or_list, json_schema_input_type=MessagesList | MessagesTraffic)
    ] = None
    grpc: Annotated[GrpcList | None, BeforeValidator(one_or_list, json_schema_input_type=GrpcList | GrpcTraffic)] = None

    @model_validator(mode="after")
    def _routed(self) -> TrafficSection:
        if self.through is None:
            for key in sorted(_OF_BALANCERS & self.model_fields_set):
                raise ValueError(f"`{key}` goes with `through: load_balancer`")
            return self
        if self.http is None:
            raise ValueError("`through: load_balancer` needs `http`: the requests that it sends")
        for kind in TrafficKind:
            if kind is not TrafficKind.HTTP and getattr(self, kind.value):
                raise ValueError(
                    f"`through: load_balancer` sends `http` only; leave `{kind.value}` to another scenario"
                )
        if self.propagation < LEAST_PROPAGATION_NS:
            raise ValueError("`propagation` is 200ms or more: a shorter time is over before the stop signal has come")
        if self.propagation > self.deregistration_delay:
            raise ValueError(
                "`propagation` is longer than `deregistration_delay`, at whose end nothing is sent any more"
            )
        if max(self.propagation, self.stop_delay) > LONGEST_PROPAGATION_NS:
            raise ValueError("`propagation` and `stop_delay` are two minutes at most")
        return self


_OF_BALANCERS = {"propagation", "deregistration_delay", "stop_delay"}

LEAST_PROPAGATION_NS = 200 * NS_PER_MS
LONGEST_PROPAGATION_NS = 120 * NS_PER_S
"""Longer than any load balancer takes that works; the trial waits as long."""


class PreparationSection(Section):
    """One step between readiness and the stop; one of the two."""

    execute: Argv | None = Field(None, description="Command to run in the container; it has to exit with 0.")
    log: Pattern | None = Field(None, description="Regular expression to wait for in the whole output.")
    timeout: Duration | None = Field(None, description="Give up if it takes longer. Default: ready.timeout.")

    @model_validator(mode="after")
    def _one_step(self) -> PreparationSection:
        if (self.execute is None) == (self.log is None):
            raise ValueError("give exactly one of `execute` and `log`")
        return self


PreparationList = list[PreparationSection]
Preparations = Annotated[
    PreparationList, BeforeValidator(one_or_list, json_schema_input_type=PreparationList | PreparationSection)
]

SECTIONS: dict[str, type[Section]] = {
    "http": HttpTraffic,
    "tcp": TcpTraffic,
    "idle": IdleTraffic,
    "keep_alive": KeepAliveTraffic,
    "stream": StreamTraffic,
    "new_connections": NewConnectionsTraffic,
    "websocket": WebSocketTraffic,
    "sse": SseTraffic,
    "http2": Http2Traffic,
    "grpc": GrpcTraffic,
    "messages": MessagesTraffic,
}


# ── Sections → records ───────────────────────────────────────────────────────────────────────────────────────────────


def clients(section: TrafficSection) -> tuple[TrafficClient, ...]:
    """Every kind of traffic that the section names, in the order of the reference."""
    return tuple(_client(kind, given) for kind in TrafficKind for given in getattr(section, kind.value) or ())


def load_balancer(section: TrafficSection) -> LoadBalancer | None:
    """What the requests go through; None: straight to the container."""
    if section.through is None:
        return None
    return LoadBalancer(section.propagation, section.deregistration_delay, section.stop_delay)


def preparations(sections: list[PreparationSection]) -> tuple[Preparation, ...]:
    """The steps before the stop."""
    return tuple(
        Preparation(None if section.execute is None else tuple(section.execute), section.log, section.timeout)
        for section in sections
    )


def _client(kind: TrafficKind, given: ClientSection) -> TrafficClient:
    client = replace(
        DEFAULT,
        kind=kind,
        port=given.port,
        clients=given.clients,
        tls=given.tls,
        verify=given.verify,
        timeout_ns=given.timeout,
    )
    if isinstance(given, PathSection):
        client = replace(client, path=given.path, headers=tuple(given.headers.items()))
    if isinstance(given, HttpClientSection):
        client = replace(client, method=given.method, body=given.body)
    if isinstance(given, RawSection):
        client = replace(client, exchanges=given.steps())
    if isinstance(given, GrpcTraffic):
        client = replace(client, method="POST", body=given.message)
    if isinstance(given, WebSocketTraffic) and given.send is not None:
        client = replace(client, exchanges=(Exchange(given.send, given.expect),))
    if isinstance(given, HttpTraffic | TcpTraffic | GrpcTraffic | WebSocketTraffic):
        client = replace(client, think_ns=given.think, lead_ns=given.lead)
    if isinstance(given, MessagesTraffic):
        body = MESSAGE_ID if given.body is None else given.body
        client = replace(client, method=given.method, body=body, every_ns=given.every, lead_ns=given.lead)
    if isinstance(given, NewConnectionsTraffic):
        client = replace(client, every_ns=given.every)
    return client
