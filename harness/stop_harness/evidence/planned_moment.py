"""Whether the stop signal came at the moment that was planned, or so late that another stop was measured. Pure.

An engine may hold a stop back: Podman performs a handful at a time, and a busy machine is late with everything. What
the stop was to meet may be over then: requests are answered, and a program that was to be stopped while it starts has
its handler. A stop that went well at another moment says nothing about the planned one.
"""

from __future__ import annotations

from itertools import pairwise

from stop_harness.evidence import forecast, stop_sequence
from stop_harness.model import NS_PER_S, Observation, Outcome, Scenario

LATEST_SIGNAL_NS = NS_PER_S
"""From the stop call to its signal. Measured on two CPUs: Docker 28.5 with 35 trials at once and load 19, 46 ms in the
median and 0.2 s at most; Podman 5.8 with more stops than it performs at a time, up to 34 s."""


LATEST_PART = 4
"""A signal that comes within this part of a load balancer's propagation changes little about it."""


def missed(observation: Observation, scenario: Scenario) -> tuple[str, str] | None:
    """(rule, reason) where a graceful stop came too late to be the one that was planned; None where it did not, or
    where nobody saw when the signal left."""
    delay_ns = stop_sequence.signal_delay_ns(observation.record)
    if delay_ns is None:
        return None
    if _requests_were_over(observation, scenario, delay_ns):
        return "no-request-in-flight", (
            "the requests that were to be in flight were answered before the engine sent the stop signal: it was late"
        )
    if by_then := _load_balancer_had_heard(observation, delay_ns):
        return "late-signal", by_then
    if delay_ns > latest_signal_ns(scenario) and not _met_what_was_planned(observation, scenario):
        return "late-signal", (
            f"the engine sent the stop signal {delay_ns / NS_PER_S:.2g} s after it was asked to stop: "
            "this was not the planned moment"
        )
    return None


def latest_signal_ns(scenario: Scenario) -> int:
    """How late the signal may be: no later than the next of several planned moments."""
    moments = sorted(set(scenario.stop.after_ns))
    return min([LATEST_SIGNAL_NS, *(later - earlier for earlier, later in pairwise(moments))])


def late_but_met(observation: Observation, scenario: Scenario, outcome: Outcome) -> str | None:
    """What to say of a graceful stop whose signal left late, and met what it would have met in time."""
    delay_ns = stop_sequence.signal_delay_ns(observation.record)
    if outcome is not Outcome.GRACEFUL or delay_ns is None or delay_ns <= latest_signal_ns(scenario):
        return None
    return (
        f"the engine sent the stop signal {delay_ns / NS_PER_S:.2g} s after it was asked to stop; "
        "the signal would have been handled before that, too"
    )


def _met_what_was_planned(observation: Observation, scenario: Scenario) -> bool:
    """Whether the look before the stop call shows somebody who handles the signal already, so that lateness changed
    nothing. Several planned moments are there to tell one from another: of them none stands for the next."""
    one_moment = len(set(scenario.stop.after_ns)) < 2
    met = forecast.forecast(observation.looks.before, observation.record.stop_signal).expected
    return one_moment and met is forecast.Expected.STOPS


def unknown(observation: Observation, outcome: Outcome, duration_ns: int | None) -> str | None:
    """What to say of a graceful stop whose signal nobody saw leave, on an engine that may have held it back."""
    at_once = observation.engine.stops_at_once
    if at_once is None or outcome is not Outcome.GRACEFUL:
        return None
    if stop_sequence.signal_delay_ns(observation.record) is not None:
        return None
    if duration_ns is None or duration_ns <= LATEST_SIGNAL_NS:
        return None
    return (
        f"this engine performs {at_once} stops at a time and does not say when it sent the signal: that may have been "
        f"at any time in the {duration_ns / NS_PER_S:.3g} s between the stop call and the exit"
    )


def _load_balancer_had_heard(observation: Observation, delay_ns: int) -> str | None:
    """Where a signal that left late gave the container some of the time for which it has to serve on."""
    by = observation.traffic.routed_by if observation.traffic is not None else None
    if by is None or by.stop_delay_ns >= by.propagation_ns:
        return None
    if delay_ns <= min(by.propagation_ns // LATEST_PART, LATEST_SIGNAL_NS):
        return None
    return (
        f"the engine sent the stop signal {delay_ns / NS_PER_S:.2g} s after it was asked to stop, and the load "
        f"balancer sends for {by.propagation_ns / NS_PER_S:g} s only: this was not the planned moment"
    )


def _requests_were_over(observation: Observation, scenario: Scenario, delay_ns: int) -> bool:
    """Whether requests long enough to be in flight as planned had all ended before the signal left the engine."""
    if observation.traffic is not None and observation.traffic.routed_by is not None:
        return False  # a load balancer sends on, so that there is always another
    leads = [client.lead_ns for client in scenario.traffic if client.asks]
    spans = [
        (request.sent_at_ns, request.ended_at_ns)
        for request in observation.requests
        if request.kind.in_flight and request.sent_at_ns is not None and request.ended_at_ns is not None
    ]
    if not leads or not spans or any(ended_ns > delay_ns for _, ended_ns in spans):
        return False
    return any(ended_ns - sent_ns > min(leads) for sent_ns, ended_ns in spans)
