"""Our shutdown durations against a subject that writes down the truth. `benchmarks/accuracy.py` has narrow bounds."""

from __future__ import annotations

import statistics

import pytest

from benchmarks import accuracy
from stop_harness.linux import signal_trace
from stop_harness.model import NS_PER_MS, NS_PER_S

STOPS = 20
WIDE_MEDIAN_NS = 5 * NS_PER_MS


@pytest.mark.alone
@pytest.mark.long
@pytest.mark.parametrize(
    "engine",
    [pytest.param("docker", marks=pytest.mark.docker), pytest.param("process", marks=pytest.mark.namespaces)],
)
def test_a_duration_is_what_the_subject_measured_itself(engine: str) -> None:
    """Half of 20 stops are right to 5 ms, whether the subject leaves at once or drains; none is negative, and none is
    off by a second."""
    measured = accuracy.stops(engine, accuracy.DRAINS_ALONE_S, STOPS, jobs=1)
    errors_ns = [abs(stop.error_ns) for stop in measured]
    assert statistics.median(errors_ns) <= WIDE_MEDIAN_NS, measured
    assert max(errors_ns) < NS_PER_S
    assert min(stop.duration_ns for stop in measured) >= 0
    assert {round(stop.truth_ns / NS_PER_S, 1) > 0 for stop in measured} == {True, False}


@pytest.mark.namespaces
@pytest.mark.skipif(signal_trace.unavailable() is not None, reason=str(signal_trace.unavailable()))
def test_the_embedded_engines_exit_is_the_kernels_too() -> None:
    """It does not wait until the helper gets a CPU."""
    (measured,) = accuracy.stops("process", (0.0,), 1, jobs=1)
    assert measured.source == "kill(2) by the waiting parent → kernel: exit begun (kernel clock)"


@pytest.mark.docker
@pytest.mark.skipif(signal_trace.unavailable() is not None, reason=str(signal_trace.unavailable()))
def test_on_this_machines_docker_both_ends_are_the_kernels() -> None:
    """Its stamps are not late when the machine is busy; the engine's own stand beside them."""
    (measured,) = accuracy.stops("docker", (0.0,), 1, jobs=1)
    assert measured.source == "kernel: signal sent → kernel: exit begun (kernel clock)"
    sources = {event.source for event in measured.events}
    assert {"kernel: parent told", "kill event", "State.FinishedAt"} <= sources


def test_the_error_of_a_set_of_stops_is_its_median_and_99th_percentile() -> None:
    """Signs are kept for the extremes and dropped for the quantiles."""
    found = accuracy.Errors.of([-4, 1, 2, 3, *[0] * 96])
    assert (found.count, found.median_ns, found.p99_ns, found.least_ns, found.most_ns) == (100, 0, 3, -4, 3)
