"""One stop that may turn out bad, as a change of its scenario; and what it came to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from stop_harness import units
from stop_harness.evidence import fault_words
from stop_harness.model import Fault, Outcome, Scenario, TrafficClient
from stop_harness.wording import NOT_AS_LEFT, count_of


@dataclass(frozen=True)
class Candidate:
    """How a stop differs from the undisturbed one of its scenario.

    `stop_timeout_ns`: one of the scenario's. `moment_ns`: how long after readiness the stop comes, without the
    scenario's own `ready.delay`; None: when the scenario says. `traffic`: its clients; None: the scenario's. `faults`:
    beside those of the scenario.
    """

    stop_timeout_ns: int
    moment_ns: int | None = None
    traffic: tuple[TrafficClient, ...] | None = None
    faults: tuple[Fault, ...] = ()

    @property
    def is_undisturbed(self) -> bool:
        """It is the scenario's own stop."""
        return self.moment_ns is None and self.traffic is None and not self.faults


Part = tuple[str | int | None, ...]
"""A kind of client at a port, or a fault without its values: what can be made for a container, or not."""


def part_of_client(client: TrafficClient) -> Part:
    """The kind of client that it is."""
    return ("client", client.kind, client.port)


def part_of_fault(fault: Fault) -> Part:
    """What it does, whenever and however much."""
    return ("fault", fault.kind, fault.action, fault.target, fault.port)


def parts_of(candidate: Candidate) -> frozenset[Part]:
    """Of which it is made, beside its moment."""
    return frozenset({*map(part_of_client, candidate.traffic or ()), *map(part_of_fault, candidate.faults)})


def scenario_of(candidate: Candidate, scenario: Scenario) -> Scenario:
    """The scenario whose stop it is, with what is expected of a stop at this timeout.

    How long a stop may take (`within`) is left out: under faults every stop takes longer, and that is no failure.
    """
    timeout_ns, moment_ns = candidate.stop_timeout_ns, candidate.moment_ns
    stop, readiness = replace(scenario.stop, timeouts_ns=(timeout_ns,)), scenario.readiness
    stop = replace(stop, after_ns=stop.after_ns[:1])
    if moment_ns is not None:
        stop = replace(stop, after_ns=(moment_ns,))
        if not readiness.implied:  # else its delay is all that says when it is ready
            readiness = replace(readiness, delay_ns=0)
    expectation = replace(scenario.expectation_at(timeout_ns), stop_timeout_ns=None, within_ns=None)
    return replace(
        scenario,
        readiness=readiness,
        stop=stop,
        repeat=1,
        expectations=(expectation,),
        traffic=scenario.traffic if candidate.traffic is None else candidate.traffic,
        load_balancer=scenario.load_balancer if candidate.traffic is None else None,
        faults=(*scenario.faults, *candidate.faults),
    )


def words(candidate: Candidate) -> str:
    """`120ms after readiness, with 2 http clients, under cpu 0.1 before the stop`; `undisturbed`."""
    parts = []
    if candidate.moment_ns is not None:
        after = f"{units.format_duration(candidate.moment_ns)} after" if candidate.moment_ns else "at"
        parts.append(f"{after} readiness")
    if candidate.traffic is not None:
        parts.append("with " + " and ".join(map(_client, candidate.traffic)) if candidate.traffic else "no traffic")
    if candidate.faults:
        parts.append("under " + " and ".join(map(fault_words.asked, candidate.faults)))
    return ", ".join(parts) or "undisturbed"


def _client(client: TrafficClient) -> str:
    what = count_of(client.clients, f"{client.kind.replace('_', '-')} client")
    lead = f", {units.format_duration(client.lead_ns)} before the stop" if client.kind.in_flight else ""
    return f"{what} at port {client.port}{lead}"


class Fate(StrEnum):
    """What a candidate says about the container."""

    FINE = "fine"
    """The stop was as its scenario expects."""
    BAD = "bad"
    """It was not: killed, lossy, crashed, killed for memory, or it left behind what must not be."""
    UNCLEAR = "unclear"
    """It could not be judged."""
    PASSED_BY = "passed_by"
    """It was as expected, and over before the moment of a fault had come."""


@dataclass(frozen=True)
class TriedCandidate:
    """What became of one candidate. `reason`: a sentence. `took_ns`: how long the shutdown took, None if not measured.
    `lost`: requests and processes that were lost. `absent`: clients of it that the container did not keep, and faults
    of it that were not there. `signal`: number of the stop signal, None if not known. `thorough`: with the stop timeout
    of the scenario, not with a shorter one that shows the same sooner. `left`: what of the scenario's `after_stop` does
    not hold; None: nothing."""

    candidate: Candidate
    fate: Fate
    outcome: Outcome
    reason: str
    took_ns: int | None = None
    lost: int = 0
    absent: frozenset[Part] = frozenset()
    signal: int | None = None
    thorough: bool = True
    left: str | None = None

    @property
    def said(self) -> str:
        """In a word or two. An orderly end that leaves behind what must not be is no graceful stop."""
        return NOT_AS_LEFT if self.left is not None and self.outcome is Outcome.GRACEFUL else self.outcome.value


class Over(BaseException):
    """No more candidates are to be tried: found, out of time, or interrupted. It passes through whatever catches
    errors."""


class CandidateBench(Protocol):
    """Where candidates are tried. Its methods are called from any thread."""

    side_by_side: int

    def one(self, candidate: Candidate) -> TriedCandidate:
        """Try one. Raises Over when the user wants it to end."""

    def several(self, candidates: Iterable[Candidate], *, thorough: bool = False) -> Iterator[TriedCandidate]:
        """Try several side by side, each result as it ends; fewer when the user wants it to end. `thorough`: each
        with the stop timeout of the scenario, however long that is."""


def first_bad(results: Sequence[TriedCandidate], order: Sequence[Candidate]) -> TriedCandidate | None:
    """Of those that failed the one that comes first in the order; None: none did."""
    bad = {item.candidate: item for item in results if item.fate is Fate.BAD}
    return next((bad[candidate] for candidate in order if candidate in bad), None)
