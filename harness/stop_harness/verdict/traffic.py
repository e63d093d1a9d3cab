"""What became of the requests → what was lost, what cannot be told, and what is worth a remark. Pure."""

from __future__ import annotations

from stop_harness.model import (
    NS_PER_S,
    MissingTraffic,
    Request,
    RequestFate,
    RoutedBy,
    TrafficKind,
    TrafficRecord,
    Vantage,
)
from stop_harness.wording import count_of

CUT = frozenset({RequestFate.TRUNCATED, RequestFate.RESET, RequestFate.NO_ANSWER})
"""Accepted, then cut. A refused connection was never accepted, and a time-out may be the client's impatience."""

ACCOUNTABLE = frozenset(
    {kind for kind in TrafficKind if kind.in_flight} | {TrafficKind.NEW_CONNECTIONS, TrafficKind.SSE}
)
"""Kinds of traffic whose requests a server owes an answer to, once it has accepted them."""


NOUNS = {
    TrafficKind.WEBSOCKET: "WebSocket messages",
    TrafficKind.HTTP2: "HTTP/2 requests",
    TrafficKind.GRPC: "gRPC calls",
    TrafficKind.SSE: "event streams",
}

SERVER_ERRORS = 500
"""The least status by which a server says that it has failed."""

GRPC_FAILURES = frozenset({1, 2, 4, 13, 14})
"""CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE: what a call gets from a server that stops under it."""


def lost_requests(traffic: TrafficRecord | None) -> tuple[Request, ...]:
    """Requests that were accepted, sent whole, and then cut.

    Not counted: held connections and endless streams, which somebody has to close; event streams have an end of their
    own, and are counted; the second request on a kept-alive
    connection, which HTTP lets the server close at any time (RFC 9112, 9.3.1); connections that the engine's proxy
    accepted after the stop call, which it also does on behalf of a container that is gone. Streams that GOAWAY excludes
    were not accepted (RFC 9113, 6.8).

    None of that holds at a load balancer: whoever sent it a request has no other container to turn to, so that what it
    still sends and nobody takes is lost, wherever it was refused. It passes an answer of 502, 503 or 504 on, so that
    such an answer is a refusal, too, where the same client had better ones before the stop.
    """
    if traffic is None:
        return ()
    if traffic.routed_by is not None:
        unserved, served_before = CUT | {RequestFate.REFUSED}, _served_before(traffic)
        return tuple(
            item
            for item in traffic.requests
            if item.fate in unserved or (item.turned_away and item.client in served_before)
        )
    return tuple(
        request
        for request in traffic.requests
        if request.kind in ACCOUNTABLE
        and request.fate in CUT
        and request.sent_at_ns is not None
        and not (traffic.vantage is Vantage.PUBLISHED_PORT and (request.connected_at_ns or 0) > 0)
    )


def _served_before(traffic: TrafficRecord) -> frozenset[int]:
    """Clients, each of which always asks the same, that had answers before the stop and none of them an error. An
    answer to what was in flight then is one, too, unless it is an error: that may come of the stop itself."""
    known: dict[int, set[int]] = {}
    for item in traffic.requests:
        seen = known.setdefault(item.client, set())
        if item.status_before is not None:
            seen.add(item.status_before)
        in_flight = item.sent_at_ns is not None and item.sent_at_ns <= 0
        over = item.ended_at_ns is not None and item.ended_at_ns <= 0
        if item.status is not None and in_flight and (over or not _failed(item)):
            seen.add(item.status)
    return frozenset(client for client, seen in known.items() if seen and max(seen) < SERVER_ERRORS)


def losses(traffic: TrafficRecord | None) -> str | None:
    """`2 of 3 requests were lost (reset)`; None where none is known to be."""
    lost = lost_requests(traffic)
    if traffic is None or not lost:
        return None
    fates = sorted(
        {f"answered with {item.status}" if item.turned_away else item.fate.replace("_", " ") for item in lost}
    )
    kinds = {request.kind for request in lost}
    of = sum(request.kind in kinds and not request.only_held for request in traffic.requests)
    if traffic.routed_by is not None:
        sent = f"which still sends for {_time(traffic.routed_by.propagation_ns)}"
        return f"{len(lost)} of {of} requests of the load balancer, {sent}, were lost ({', '.join(fates)})"
    # Of these protocols the client heard more than that the connection is gone: what the server said, or did not.
    says_more = all(kind.says_goodbye or kind is TrafficKind.SSE for kind in kinds)
    heard = sorted({request.detail for request in lost}) if says_more else []
    noun = NOUNS.get(lost[0].kind, "requests") if len(kinds) == 1 else "requests"
    return f"{len(lost)} of {of} {noun} were lost ({', '.join([*fates, *(heard if len(heard) == 1 else ())])})"


def unclear(traffic: TrafficRecord | None) -> tuple[str, str] | None:
    """(rule, part of a sentence) where the clients could not tell what became of their traffic; None where they could.

    It makes a stop inconclusive that would be graceful otherwise.
    """
    if traffic is None:
        return None
    asked = [request for request in traffic.requests if request.kind in ACCOUNTABLE]
    if unknown := [request for request in asked if request.fate is RequestFate.UNKNOWN]:
        received = unknown[0].body_bytes
        size = "" if received is None else f" ({received:,} bytes arrived)"
        text = f"{len(unknown)} of {count_of(len(asked), 'answer')} ended when the process did{size}"
        return "answer-end-unknown", f"{text}: nothing but the close marks an end, so whole or cut is not known"
    if absent := [item for item in traffic.missing if item.held]:
        return "nothing-held", f"it was stopped without its {_words(absent[0])}"
    if traffic.routed_by is not None and (away := [item for item in traffic.requests if item.turned_away]):
        text = f"{count_of(len(away), 'request')} of the load balancer got {_statuses(away)} after the stop"
        return "errors-before-stop", f"{text}, and before it no answers without error: what the stop changed is unknown"
    return None


def remarks(traffic: TrafficRecord | None, *, graceful: bool) -> list[tuple[str, str]]:
    """(rule, message) of what the traffic shows beside losses. `graceful`: the outcome is; only then is it praised."""
    if traffic is None:
        return []
    requests, found = traffic.requests, []
    over = [_words(item) for item in traffic.missing if not item.held and traffic.routed_by is None]
    if over or (not requests and traffic.messages is None):
        detail = f" ({'; '.join(over)})" if over else ""
        found.append(("no-request-in-flight", f"every request was over before the stop signal came{detail}"))
    lost = set(lost_requests(traffic))
    errors = [item for item in requests if _failed(item) and (item.status_before or 0) < SERVER_ERRORS]
    if errors := [item for item in errors if item not in lost]:
        text = f"{len(errors)} requests were answered with {_statuses(errors)} during the stop"
        found.append(("error-answer", text))
    calls = [item for item in requests if item.grpc_status in GRPC_FAILURES and not item.grpc_status_before]
    if calls:
        codes = ", ".join(sorted({str(item.grpc_status) for item in calls}))
        found.append(("error-answer", f"{len(calls)} gRPC calls were answered with status {codes} during the stop"))
    found += _goodbyes(requests)
    found += _routed(traffic, graceful=graceful)
    waiting = [
        item
        for item in requests
        if item.kind in ACCOUNTABLE and not item.kind.held and not item.only_held and item.fate is RequestFate.TIMED_OUT
        if not _cut_by_balancer(item, traffic.routed_by)
    ]
    if waiting:
        found.append(("unanswered-request", f"{len(waiting)} requests had no answer when the client gave up"))
    return found


def refused_late(traffic: TrafficRecord | None) -> tuple[Request, ...]:
    """Requests that were lost although they were begun only after a load balancer had been told of the stop."""
    return tuple(item for item in lost_requests(traffic) if item.turned_away or _begun_late(item, traffic))


def _begun_late(request: Request, traffic: TrafficRecord | None) -> bool:
    if traffic is None or traffic.routed_by is None:
        return False
    since_ns = traffic.routed_by.deregistered_at_ns
    return request.connected_at_ns is None or request.connected_at_ns > since_ns


def _failed(request: Request) -> bool:
    return (request.status or 0) >= SERVER_ERRORS


def _statuses(requests: list[Request]) -> str:
    return ", ".join(sorted({str(item.status) for item in requests}))


def _routed(traffic: TrafficRecord, *, graceful: bool) -> list[tuple[str, str]]:
    """What a load balancer showed that sent to the container while it was stopped."""
    by = traffic.routed_by
    if by is None:
        return []
    found = []
    if cut := sum(_cut_by_balancer(item, by) for item in traffic.requests):
        delay = _time(by.deregistration_delay_ns)
        text = f"{count_of(cut, 'request')} ran longer than the deregistration delay of {delay}"
        found.append(("deregistration-delay-short", f"{text}, and the load balancer cut them"))
    late = [item for item in traffic.requests if _begun_late(item, traffic)]
    served = all(item.fate is RequestFate.COMPLETED and not _failed(item) for item in late)
    if graceful and late and served:
        text = (
            f"{count_of(len(late), 'request')} of the load balancer, sent in the {_time(by.propagation_ns)} after the"
        )
        needs = "it serves on for long enough, and needs no delay before it closes its port"
        if by.stop_delay_ns:
            needs = f"a delay of {_time(by.stop_delay_ns)} before the stop signal is enough"
        elif traffic.hooks_took_ns:
            needs = f"the {traffic.hooks_took_ns / NS_PER_S:.1f} s of its hook before the stop signal are enough"
        found.append(("serves-while-deregistering", f"{text} deregistration, were answered: {needs}"))
    return found


def _cut_by_balancer(request: Request, by: RoutedBy | None) -> bool:
    """Whether the load balancer ended it, whose patience was over."""
    if by is None or request.fate is not RequestFate.TIMED_OUT or request.ended_at_ns is None:
        return False
    return request.ended_at_ns >= by.deregistered_at_ns + by.deregistration_delay_ns


def _time(value_ns: int) -> str:
    return f"{value_ns / NS_PER_S:g} s"


def _goodbyes(requests: tuple[Request, ...]) -> list[tuple[str, str]]:
    """How connections ended on which nothing was outstanding."""
    found = []
    for kind, what, word in (
        (TrafficKind.WEBSOCKET, "WebSocket", "a close frame"),
        (TrafficKind.HTTP2, "HTTP/2 connection", "GOAWAY"),
        (TrafficKind.GRPC, "gRPC connection", "GOAWAY"),
    ):
        cut = sum(item.kind is kind and item.only_held and item.fate in CUT for item in requests)
        if cut:
            were = "was" if cut == 1 else "were"
            found.append(("no-goodbye", f"{count_of(cut, what)} {were} closed without {word}"))
    within = sum(item.kind is TrafficKind.SSE and item.fate in CUT and not item.unended for item in requests)
    if within:
        found.append(("event-cut", f"{count_of(within, 'event stream')} ended in the middle of an event"))
    unended = sum(item.unended for item in requests)
    if unended:
        found.append(("stream-unended", f"{count_of(unended, 'event stream')} ended without the last chunk"))
    return found


def _words(missing: MissingTraffic) -> str:
    """`stream traffic to port 8000: the answer was over at once`."""
    why = f": {missing.reason}" if missing.reason else ""
    return f"{missing.kind.value.replace('_', '-')} traffic to port {missing.port}{why}"
