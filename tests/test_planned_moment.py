"""A stop whose signal left late is not the one that was planned, and says nothing about it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.evidence import planned_moment
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Clock,
    EngineInfo,
    Event,
    EventKind,
    Observation,
    Outcome,
    Scenario,
    Status,
    StopPlan,
    Subject,
    Verdict,
)
from stop_harness.verdict import judge
from tests.parts import changed
from tests.process_tables import HANDLER, INIT_SLEEP, NODE, SLEEP, Table
from tests.strategies import DOCKER, PODMAN, Behaviour, Jitter, stop

PLAIN = Scenario("a", Subject(image="a"))
SWEPT = replace(PLAIN, stop=StopPlan((10 * NS_PER_S,), after_ns=(0, 200 * NS_PER_MS, NS_PER_S)))
QUEUES = replace(PODMAN, stops_at_once=7)
"""Podman as it is."""


def stopped(delay_ns: int | None, *, leaves_ns: int | None = 0, on: EngineInfo = DOCKER) -> Observation:
    """A stop whose signal left so long after its call, by the kernel; None: nobody saw it leave."""
    seen = stop(Behaviour(leaves_ns, 0), 10 * NS_PER_S, on, Jitter()).observation
    if delay_ns is None:
        return seen
    called = Event(EventKind.STOP_REQUESTED, 0, Clock.KERNEL, "stop call")
    sent = Event(EventKind.SIGNAL_SENT, delay_ns, Clock.KERNEL, "kernel: signal sent", 15)
    return changed(seen, events=(*seen.record.events, called, sent))


def judged(seen: Observation, scenario: Scenario = PLAIN) -> Verdict:
    """The verdict, by the scenario's expectation."""
    return judge.judge(seen, scenario)


def rules(found: Verdict) -> set[str]:
    """Ids of its findings."""
    return {finding.rule for finding in found.findings}


def test_a_graceful_stop_at_another_moment_is_a_doubt() -> None:
    """Podman with 35 stops at once: the signal of a stop "at once" came 28 s later, when the handler was there."""
    found = judged(stopped(28 * NS_PER_S))
    assert (found.outcome, found.status) == (Outcome.INCONCLUSIVE, Status.INCONCLUSIVE)
    assert rules(found) == {"late-signal"}
    assert found.reason.startswith("the engine sent the stop signal 28 s after it was asked to stop")


@pytest.mark.parametrize(("delay_ms", "wanted"), [(199, Outcome.GRACEFUL), (201, Outcome.INCONCLUSIVE)])
def test_between_several_moments_the_next_one_is_the_limit(delay_ms: int, wanted: Outcome) -> None:
    """0 s, 0.2 s and 1 s: a signal that is 0.2 s late belongs to another trial."""
    assert judged(stopped(delay_ms * NS_PER_MS), SWEPT).outcome is wanted
    assert judged(stopped(delay_ms * NS_PER_MS)).outcome is Outcome.GRACEFUL


@pytest.mark.parametrize("before", [HANDLER, INIT_SLEEP])
def test_lateness_is_no_doubt_where_the_signal_would_have_been_handled_in_time_too(before: Table) -> None:
    """The look before the stop call shows a handler, or an init that passes the signal on. That is said."""
    found = judged(changed(stopped(28 * NS_PER_S), before=before))
    assert found.outcome is Outcome.GRACEFUL
    assert rules(found) == {"signal-held-back"}
    said = next(item.message for item in found.findings)
    assert said.startswith("the engine sent the stop signal 28 s after it was asked to stop")


@pytest.mark.parametrize("before", [SLEEP, NODE, None])
def test_lateness_is_a_doubt_where_no_handler_was_seen(before: Table | None) -> None:
    """There was none; or it cannot be told, as with node, which catches the signal with a handler and without."""
    assert judged(changed(stopped(28 * NS_PER_S), before=before)).outcome is Outcome.INCONCLUSIVE


def test_several_planned_moments_do_not_stand_for_one_another() -> None:
    """Even where a handler is there: they are planned to find what a look does not show."""
    assert judged(changed(stopped(NS_PER_S), before=HANDLER), SWEPT).outcome is Outcome.INCONCLUSIVE


def test_who_had_to_be_killed_is_killed_however_late_the_signal_came() -> None:
    """Lateness excuses nothing: the whole stop timeout came after the signal."""
    assert judged(stopped(28 * NS_PER_S, leaves_ns=None)).outcome is Outcome.KILLED


@given(st.integers(0, 60 * NS_PER_S), st.lists(st.integers(0, 5 * NS_PER_S), min_size=1, max_size=5))
def test_lateness_never_raises_a_verdict(delay_ns: int, moments: list[int]) -> None:
    """It is graceful within the limit, and a doubt beyond it."""
    scenario = replace(PLAIN, stop=StopPlan((10 * NS_PER_S,), after_ns=tuple(moments)))
    late = delay_ns > planned_moment.latest_signal_ns(scenario)
    assert judged(stopped(delay_ns), scenario).outcome is (Outcome.INCONCLUSIVE if late else Outcome.GRACEFUL)


def test_where_nobody_saw_the_signal_leave_a_queueing_engine_may_have_held_it_back() -> None:
    """It is said, with how long that may have been; not of a quick stop, and not of an engine without a queue."""
    found = judged(stopped(None, leaves_ns=5 * NS_PER_S, on=QUEUES))
    assert found.outcome is Outcome.GRACEFUL
    assert "signal-time-unknown" in rules(found)
    assert "performs 7 stops at a time" in next(item.message for item in found.findings)
    assert "signal-time-unknown" not in rules(judged(stopped(None, leaves_ns=NS_PER_S // 2, on=QUEUES)))
    assert "signal-time-unknown" not in rules(judged(stopped(None, leaves_ns=5 * NS_PER_S, on=PODMAN)))
    assert "signal-time-unknown" not in rules(judged(stopped(NS_PER_MS, leaves_ns=5 * NS_PER_S, on=QUEUES)))
