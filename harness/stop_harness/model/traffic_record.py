"""What became of the requests around a stop, without any judgement."""

from __future__ import annotations

from enum import StrEnum

from stop_harness.model.scenario import TrafficKind
from stop_harness.records import dataclass


class RequestFate(StrEnum):
    """What became of one request or connection."""

    COMPLETED = "completed"
    """The whole answer arrived."""
    TRUNCATED = "truncated"
    """The answer began and was cut."""
    RESET = "reset"
    """Accepted, then reset by the peer before any answer."""
    NO_ANSWER = "no_answer"
    """Accepted, then closed by the peer without an answer."""
    REFUSED = "refused"
    """The connection was never accepted; or the server says by HTTP/2 that it did not begin with the request."""
    TIMED_OUT = "timed_out"
    """No end within the client's own timeout, or still open when the trial ended."""
    UNKNOWN = "unknown"
    """Whole or cut: the answer's end is the close of its connection, and the server's process ended with it."""


NOT_SERVED = frozenset({502, 503, 504})
"""Bad Gateway, Service Unavailable, Gateway Timeout (RFC 9110, 15.6.3 to 15.6.5)."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request (or held connection) and its fate.

    Times are nanoseconds relative to the stop call, on the harness's monotonic clock; None: it did not come to that.
    `connected_at_ns`: the connection was accepted. `sent_at_ns`: the request was written whole. `status`: HTTP status;
    `status_before`: that of the same client's last answer before this request, None without one. `detail`: what the
    client saw, for people.

    `ends_by_close`: nothing but the close of the connection marks the end of the answer (RFC 9112, 6.3). `unended`: an
    event stream whose last chunk did not come, although its last event was whole (RFC 9112, 8). Older records have such
    a stream as completed. `body_bytes`:
    how much of the answer's body arrived; None where that was not counted. `body_bytes_before`: of the last whole
    answer to the same request before the stop, None without one. `grpc_status`, `grpc_status_before`: of gRPC likewise.
    """

    kind: TrafficKind
    client: int
    fate: RequestFate
    connected_at_ns: int | None = None
    sent_at_ns: int | None = None
    first_byte_at_ns: int | None = None
    ended_at_ns: int | None = None
    status: int | None = None
    status_before: int | None = None
    detail: str = ""
    ends_by_close: bool = False
    unended: bool = False
    body_bytes: int | None = None
    body_bytes_before: int | None = None
    grpc_status: int | None = None
    grpc_status_before: int | None = None

    @property
    def only_held(self) -> bool:
        """It is a connection on which nothing was asked, of a protocol with a word for going away: `completed` if that
        word came."""
        return self.kind.says_goodbye and self.sent_at_ns is None

    @property
    def turned_away(self) -> bool:
        """It was sent after the stop call and answered with a status by which a server says that it does not serve."""
        return self.status in NOT_SERVED and self.sent_at_ns is not None and self.sent_at_ns > 0


class Vantage(StrEnum):
    """Where the traffic came from; it decides which fates can be blamed on the container."""

    CONTAINER_ADDRESS = "container_address"
    """Straight to the container's own address: what its kernel refuses is refused."""
    NETWORK_NAMESPACE = "network_namespace"
    """From inside the subject's network namespace."""
    PUBLISHED_PORT = "published_port"
    """Through the engine's proxy, which accepts new connections for a container that no longer does."""
    HOST_NETWORK = "host_network"
    """The subject shares the network of this machine."""


@dataclass(frozen=True, slots=True)
class MissingTraffic:
    """Traffic that was asked for and of which nothing was open when the stop was called.

    `reason`: why, for people. `held`: it was to hold a connection, not to have a request in flight.
    """

    kind: TrafficKind
    port: int
    reason: str = ""
    held: bool = False


@dataclass(frozen=True, slots=True)
class RoutedBy:
    """The load balancer that sent the requests: the scenario's times, and when it was told that the container goes, in
    ns relative to the stop call, so 0 or less."""

    propagation_ns: int
    deregistration_delay_ns: int
    stop_delay_ns: int
    deregistered_at_ns: int


@dataclass(frozen=True, slots=True)
class MessageCount:
    """Messages that were sent before and during a stop. `acknowledged`: how many of them were; `late`: how many of
    these after the stop call."""

    sent: int
    acknowledged: int
    late: int = 0


@dataclass(frozen=True, slots=True)
class TrafficRecord:
    """The requests that were in flight around the stop, and where they came from.

    `requests` is empty where every request was over before the stop signal came. `vantage` None: no client was ever
    connected. `missing`: the traffic of the scenario that is not among the requests because none of it was open at the
    stop; empty in records of versions that did not look.

    `routed_by`: the load balancer that they came through, which sent new ones from its deregistration on; None: they
    came straight to the container. `hooks_took_ns`: so long before the stop call the stop began, with hooks; what was
    served in that time is not among the requests, unless a load balancer sent it.
    """

    requests: tuple[Request, ...]
    vantage: Vantage | None = None
    missing: tuple[MissingTraffic, ...] = ()
    routed_by: RoutedBy | None = None
    hooks_took_ns: int = 0
    messages: MessageCount | None = None
