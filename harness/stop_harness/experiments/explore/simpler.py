"""Which candidates are smaller than one that failed: without a part of it, weaker, with fewer clients. Pure.

hypothesis shrinks one candidate after the other, and takes it that each always comes out the same. A stop costs
seconds and may fail only sometimes; so all the smaller ones are tried at once, and what is left is repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from stop_harness.experiments.explore.candidate import Candidate, part_of_fault
from stop_harness.experiments.explore.space import CPUS, Space
from stop_harness.model import NS_PER_MS, Fault, FaultKind, TrafficClient

ROUND_NS = (500 * NS_PER_MS, 100 * NS_PER_MS, 50 * NS_PER_MS)


def than(candidate: Candidate, space: Space) -> tuple[Candidate, ...]:
    """One step smaller each, what takes away most first. None of them twice, and not the undisturbed stop."""
    found = dict.fromkeys(map(space.sound, _steps(candidate, space)))
    return tuple(item for item in found if item != candidate and not item.is_undisturbed and space.allows(item))


def _alone(candidate: Candidate) -> Iterator[Candidate]:
    """One of the things that are different, without the others."""
    plain = replace(candidate, moment_ns=None, traffic=None, faults=())
    if candidate.moment_ns is not None:
        yield replace(plain, moment_ns=candidate.moment_ns)
    if candidate.traffic is not None:
        yield replace(plain, traffic=candidate.traffic)
    yield from (replace(plain, faults=(fault,)) for fault in candidate.faults)


def _steps(candidate: Candidate, space: Space) -> Iterator[Candidate]:
    yield from _alone(candidate)
    for fault in candidate.faults:
        yield replace(candidate, faults=tuple(item for item in candidate.faults if item is not fault))
    if candidate.traffic is not None:
        yield replace(candidate, traffic=None)
    if candidate.moment_ns is not None:
        yield replace(candidate, moment_ns=None)
    if candidate.stop_timeout_ns != space.timeouts_ns[0]:
        yield replace(candidate, stop_timeout_ns=space.timeouts_ns[0])
    for number, client in enumerate(candidate.traffic or ()):
        assert candidate.traffic is not None
        before, after = candidate.traffic[:number], candidate.traffic[number + 1 :]
        if before or after:
            yield replace(candidate, traffic=(*before, *after))
        yield from (replace(candidate, traffic=(*before, one, *after)) for one in _smaller_client(client, space))
    for number, fault in enumerate(candidate.faults):
        before_it, after_it = candidate.faults[:number], candidate.faults[number + 1 :]
        yield from (replace(candidate, faults=(*before_it, one, *after_it)) for one in _weaker(fault, space))
    if candidate.moment_ns is not None:
        rounded = (candidate.moment_ns // step_ns * step_ns for step_ns in ROUND_NS)
        yield from (replace(candidate, moment_ns=at_ns) for at_ns in rounded if at_ns < candidate.moment_ns)


def _smaller_client(client: TrafficClient, space: Space) -> Iterator[TrafficClient]:
    """Fewer of them, and with the usual times."""
    usual = next((item for item in space.clients if (item.kind, item.port) == (client.kind, client.port)), client)
    if client.clients > 1:
        yield replace(client, clients=1)
    if client.clients > 3:
        yield replace(client, clients=client.clients // 2)
    if client.lead_ns != usual.lead_ns:
        yield replace(client, lead_ns=usual.lead_ns)


def _weaker(fault: Fault, space: Space) -> Iterator[Fault]:
    """At its usual moment, and with each value that is weaker, the weakest first."""
    usual = space.moments_of(fault)
    if fault.moment != usual[0]:
        yield replace(fault, moment=usual[0])
    same = next((several for several in space.faults if part_of_fault(several[0]) == part_of_fault(fault)), ())
    for other in same:
        if other.amount is not None and fault.amount is not None and is_weaker(other.amount, fault.amount, same):
            yield replace(fault, amount=other.amount)
        if fault.for_ns is not None and other.for_ns is not None and other.for_ns < fault.for_ns:
            yield replace(fault, for_ns=other.for_ns)
    if fault.kind is FaultKind.CPU and fault.amount is not None and fault.amount < CPUS[0] / 1.5:
        yield replace(fault, amount=round(fault.amount * 1.5, 2))


def is_weaker(amount: float, than_it: float, same: tuple[Fault, ...]) -> bool:
    """Of some things less is worse, as of cores; of others more, as of latency. `same`: weakest first."""
    less_is_worse = (same[0].amount or 0) > (same[-1].amount or 0)
    return amount > than_it if less_is_worse else amount < than_it
