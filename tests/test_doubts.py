"""Doubts about a run's measurements."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stop_harness.model import NS_PER_S, Clock, EventKind, RunWarning, TrialResult
from stop_harness.report import doubts
from tests.parts import changed
from tests.reports_factory import Sample, trial


def graceful(took_s: float, *, timeout_s: float = 30, repetition: int = 1) -> TrialResult:
    """A graceful stop of the scenario `web`."""
    return trial(Sample("web", "", took_s), timeout_s, repetition)


def warned(*results: TrialResult) -> dict[str, RunWarning]:
    return {warning.rule: warning for warning in doubts.measurement_doubts(results)}


def shifted(result: TrialResult, by_s: float) -> TrialResult:
    """The same stop with the engine's clock set forward by so much between stop signal and exit."""
    events = tuple(
        replace(event, at_ns=event.at_ns + round(by_s * NS_PER_S))
        if event.clock is Clock.ENGINE and event.kind is EventKind.EXITED
        else event
        for event in result.observation.record.events
    )
    return replace(result, observation=changed(result.observation, events=events))


@pytest.mark.parametrize("by_s", [3600.0, 1.5, -6.0, -3600.0])
def test_a_clock_that_was_set_during_a_stop_is_a_warning(by_s: float) -> None:
    """The engine's wall clock and the harness's monotonic clock then disagree on how long the stop took."""
    assert "clock-step" in warned(shifted(graceful(5), by_s))


@pytest.mark.parametrize("by_s", [0.0, 0.9, -0.5, -4.0])
def test_what_a_busy_machine_does_to_stamps_is_no_clock_that_was_set(by_s: float) -> None:
    """The stop call returns late, by seconds on a crowded machine, and stamps are milliseconds apart."""
    assert warned(shifted(graceful(5), by_s)) == {}


def test_a_derived_trial_has_no_clock_of_its_own() -> None:
    """The stop that it follows from is looked at, once."""
    derived = shifted(graceful(5), 3600)
    assert warned(replace(derived, observation=changed(derived.observation, derived_from="web.t60s.r1"))) == {}


def test_durations_far_apart_are_a_warning() -> None:
    """Four times 1 s and once 9 s: the median tells nothing of the fifth."""
    four = [graceful(1, repetition=repetition) for repetition in range(1, 5)]
    assert warned(*four) == {}
    message = warned(*four, graceful(9, repetition=5))["wide-spread"].message
    assert message.startswith("The same stop took very different times: web (1.")


def test_a_spread_below_a_second_is_none() -> None:
    """0.01 s and 0.5 s differ fifty times, and neither is near any stop timeout."""
    quick = [graceful(0.01, repetition=repetition) for repetition in range(1, 6)]
    assert warned(*quick, graceful(0.5, repetition=6)) == {}


def test_stops_at_different_stop_timeouts_are_not_the_same_stop() -> None:
    """A single stop at each of five timeouts has no spread."""
    assert warned(*(graceful(limit / 4, timeout_s=limit) for limit in (2, 4, 8, 16, 32))) == {}


def test_a_close_stop_that_was_repeated_too_few_times_is_a_warning() -> None:
    """9 s of 10 s, twice: whether it fails now and then is not known."""
    close = [graceful(9, timeout_s=10, repetition=repetition) for repetition in (1, 2)]
    assert "web (9.0" in warned(*close)["few-repetitions"].message


@pytest.mark.parametrize("stops", [1, 5])
def test_a_plain_run_is_not_nagged_nor_one_that_was_repeated_enough(stops: int) -> None:
    """One repetition was all that was asked for; five say something."""
    assert warned(*(graceful(9, timeout_s=10, repetition=repetition) for repetition in range(1, stops + 1))) == {}


def test_a_stop_far_from_its_timeout_needs_no_repetitions() -> None:
    """1 s of 10 s, twice: nothing hangs on the spread."""
    assert warned(*(graceful(1, timeout_s=10, repetition=repetition) for repetition in (1, 2))) == {}
