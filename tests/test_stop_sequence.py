"""Which pair of events the duration is taken from, and how far it may be off."""

from __future__ import annotations

from dataclasses import replace

from stop_harness.evidence import stop_sequence
from stop_harness.model import NS_PER_MS, NS_PER_S, Clock, Event, EventKind, StopFacts
from tests.parts import changed
from tests.reports_factory import SAMPLES, trial

SIGTERM, SIGKILL = 15, 9
EPOCH_NS = 1_800_000_000 * NS_PER_S
GRACEFUL = trial(SAMPLES[0], 30).observation
ENGINE = (
    Event(EventKind.SIGNAL_SENT, EPOCH_NS, Clock.ENGINE, "kill event", SIGTERM),
    Event(EventKind.EXITED, EPOCH_NS + 90 * NS_PER_MS, Clock.ENGINE, "State.FinishedAt"),
)
KERNEL = (
    Event(EventKind.STOP_REQUESTED, 1_000 * NS_PER_MS, Clock.KERNEL, "stop call"),
    Event(EventKind.SIGNAL_SENT, 1_010 * NS_PER_MS, Clock.KERNEL, "kernel: signal sent", SIGTERM),
    Event(EventKind.EXITED, 1_030 * NS_PER_MS, Clock.KERNEL, "kernel: exit begun"),
    Event(EventKind.EXITED, 1_070 * NS_PER_MS, Clock.KERNEL, "kernel: parent told"),
)


def facts(*events: Event, load: float = 0.1, stop_signal: int = SIGTERM) -> StopFacts:
    """Of a graceful stop with these events."""
    seen = changed(GRACEFUL, events=events, stop_signal=stop_signal, load_average=load)
    return stop_sequence.facts(seen)


def test_the_kernels_stamps_go_before_the_engines() -> None:
    """And the exit is where it began, not where the parent was told of it."""
    found = facts(*ENGINE, *KERNEL, load=20)
    assert found.shutdown_duration_ns == 20 * NS_PER_MS
    assert found.duration_source == "kernel: signal sent → kernel: exit begun (kernel clock)"
    assert found.duration_error_ns == 2 * NS_PER_MS


def test_on_a_busy_machine_the_engines_stamps_may_be_far_off() -> None:
    """The error that a report states is one that was seen at such a load."""
    assert facts(*ENGINE).duration_error_ns == 2 * NS_PER_MS
    assert facts(*ENGINE, load=10).duration_error_ns == stop_sequence.LOADED_ENGINE_ERROR_NS


def test_a_stop_signal_that_is_sigkill_and_stands_on_two_clocks_is_no_escalation() -> None:
    """One signal, two witnesses."""
    events = [replace(event, signal=SIGKILL) if event.signal else event for event in (*ENGINE, *KERNEL)]
    seen = changed(GRACEFUL, events=tuple(events), stop_signal=SIGKILL)
    assert stop_sequence.sigkill_event(seen.record) is None


def test_the_way_of_the_signal_is_taken_from_the_best_clock() -> None:
    """The engine's kill event may be late, and a late signal makes a verdict inconclusive."""
    late = Event(EventKind.STOP_REQUESTED, EPOCH_NS - NS_PER_S, Clock.ENGINE, "stop call")
    seen = changed(GRACEFUL, events=(late, *ENGINE, *KERNEL))
    assert stop_sequence.signal_delay_ns(seen.record) == 10 * NS_PER_MS
