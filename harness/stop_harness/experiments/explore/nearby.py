"""Which candidates are near one that almost failed: a little earlier or later, and a little harder. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from stop_harness.experiments.explore import simpler
from stop_harness.experiments.explore.candidate import Candidate, part_of_fault
from stop_harness.experiments.explore.space import CLIENTS, CPUS, LATEST_NS, LEADS_NS, Space
from stop_harness.model import NS_PER_MS, Fault, FaultKind, TrafficClient, When

SHIFTS_NS = tuple(ms * NS_PER_MS for ms in (20, -20, 50, -50, 100, -100))
"""The first are about what an engine needs for a call, so that a narrow window is met in its middle."""

HARDER = 0.7
"""Of the cores."""


def to(candidate: Candidate, space: Space) -> tuple[Candidate, ...]:
    """One change each, the smallest first; none of them twice, nor the candidate itself."""
    found = dict.fromkeys(map(space.sound, (*_at_other_times(candidate, space), *_harder(candidate, space))))
    return tuple(item for item in found if item != candidate and not item.is_undisturbed and space.allows(item))


def _at_other_times(candidate: Candidate, space: Space) -> Iterator[Candidate]:
    for shift_ns in SHIFTS_NS:
        if candidate.moment_ns is not None and 0 <= candidate.moment_ns + shift_ns <= LATEST_NS:
            yield replace(candidate, moment_ns=candidate.moment_ns + shift_ns)
        for number, fault in enumerate(candidate.faults):
            if fault.moment.when is When.AFTER and 0 <= fault.moment.offset_ns + shift_ns < space.reach_ns:
                moment = replace(fault.moment, offset_ns=fault.moment.offset_ns + shift_ns)
                yield _with_fault(candidate, number, replace(fault, moment=moment))
        for number, client in enumerate(candidate.traffic or ()):
            if client.kind.in_flight and min(LEADS_NS) <= client.lead_ns + shift_ns <= max(LEADS_NS):
                yield _with_client(candidate, number, replace(client, lead_ns=client.lead_ns + shift_ns))


def _harder(candidate: Candidate, space: Space) -> Iterator[Candidate]:
    for number, fault in enumerate(candidate.faults):
        yield from (_with_fault(candidate, number, harder) for harder in _stronger(fault, space))
    for number, client in enumerate(candidate.traffic or ()):
        more = (clients for clients in CLIENTS if clients > client.clients)
        yield from (_with_client(candidate, number, replace(client, clients=clients)) for clients in more)


def _stronger(fault: Fault, space: Space) -> Iterator[Fault]:
    """Never more than is searched at all."""
    if fault.kind is FaultKind.CPU and fault.amount is not None and fault.amount > CPUS[-1]:
        yield replace(fault, amount=max(CPUS[-1], round(fault.amount * HARDER, 2)))
        return
    same = next((several for several in space.faults if part_of_fault(several[0]) == part_of_fault(fault)), ())
    for other in same:
        both = fault.amount is not None and other.amount is not None
        if both and simpler.is_weaker(fault.amount or 0, other.amount or 0, same):
            yield replace(fault, amount=other.amount)
        if other.for_ns is not None and fault.for_ns is not None and other.for_ns > fault.for_ns:
            yield replace(fault, for_ns=other.for_ns)


def _with_fault(candidate: Candidate, number: int, fault: Fault) -> Candidate:
    return replace(candidate, faults=(*candidate.faults[:number], fault, *candidate.faults[number + 1 :]))


def _with_client(candidate: Candidate, number: int, client: TrafficClient) -> Candidate:
    traffic = candidate.traffic or ()
    return replace(candidate, traffic=(*traffic[:number], client, *traffic[number + 1 :]))
