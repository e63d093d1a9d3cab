"""What the engine's events tell of others: a second signal or a pause during a stop is not the container's failure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from stop_harness import signals
from stop_harness.evidence import inference, somebody_else
from stop_harness.model import (
    NS_PER_S,
    Clock,
    Event,
    EventKind,
    Observation,
    Outcome,
    ProblemKind,
    Scenario,
    Subject,
    TimeoutSource,
    Watched,
)
from stop_harness.verdict import judge
from tests.parts import changed
from tests.strategies import DOCKER, Behaviour, Jitter, Stop, engine, stop, stops

PLAIN = Scenario("a", Subject(image="a"))


def stopped(leaves_s: float | None = 8.0) -> Observation:
    """A stop with a timeout of 10 s on Docker."""
    behaviour = Behaviour(None if leaves_s is None else round(leaves_s * NS_PER_S), 0, None)
    return stop(behaviour, 10 * NS_PER_S, DOCKER, Jitter()).observation


def with_event(
    seen: Observation, after_s: float, signal: int | None = None, kind: EventKind = EventKind.SIGNAL_SENT
) -> Observation:
    """The same stop, and the engine's record of something more, so long after the stop signal."""
    begun = next(
        item for item in seen.record.events if item.kind is EventKind.SIGNAL_SENT and item.signal == signals.SIGTERM
    )
    more = Event(kind, begun.at_ns + round(after_s * NS_PER_S), Clock.ENGINE, "an event", signal)
    return changed(seen, events=(*seen.record.events, more))


@pytest.mark.parametrize("leaves_s", [8.0, None], ids=["exited in time", "killed at the stop timeout"])
@pytest.mark.parametrize(
    ("signal", "kind", "said"),
    [
        (signals.SIGTERM, EventKind.SIGNAL_SENT, "somebody else sent it a second SIGTERM during the stop, 3.0 s"),
        (signals.NUMBERS["HUP"], EventKind.SIGNAL_SENT, "somebody else sent it SIGHUP during the stop, 3.0 s"),
        (signals.SIGKILL, EventKind.SIGNAL_SENT, "somebody else sent it SIGKILL during the stop, 3.0 s"),
        (None, EventKind.PAUSED, "somebody paused it during the stop, 3.0 s"),
    ],
    ids=["the stop signal again", "another signal", "SIGKILL", "pause"],
)
def test_what_others_do_during_a_stop_is_said(
    leaves_s: float | None, signal: int | None, kind: EventKind, said: str
) -> None:
    """Inconclusive by its own rule, however the container left; nothing is derived from such a stop."""
    seen = with_event(stopped(leaves_s), 3.0, signal, kind)
    found = judge.judge(seen, PLAIN)
    assert (found.outcome, found.findings[0].rule) == (Outcome.INCONCLUSIVE, "killed-by-somebody")
    assert found.reason.startswith(said)
    derived = inference.derive(seen, 2 * NS_PER_S, "a@2s#1")
    assert derived.problem is not None
    assert derived.problem.kind is ProblemKind.NOT_DERIVABLE


def test_several_signals_are_one_deed() -> None:
    """`docker stop -t 0` sends two; the time is that of the first."""
    seen = with_event(with_event(stopped(3.1), 3.0, signals.SIGTERM), 3.01, signals.SIGKILL)
    said = "somebody else sent it a second SIGTERM and SIGKILL during the stop, 3.0 s after it began"
    assert somebody_else.deed(seen) == said


def test_a_kill_that_the_engine_stamps_late_is_told() -> None:
    """Under load its event came more than 10 ms after the exit that it caused, in 1 of some hundreds; an ended
    container takes no signal, so that a second one is not part of the stop."""
    killed = changed(with_event(stopped(3.0), 3.4, signals.SIGKILL), exit_code=137)
    assert "SIGKILL during the stop, 3.4 s" in str(somebody_else.deed(killed))
    left = changed(killed, exit_code=0)
    assert somebody_else.deed(left) is None


@given(stops())
def test_a_stop_that_nobody_disturbed_names_nobody(seen: Stop) -> None:
    """On every engine, with every error of its stamps."""
    assert somebody_else.deed(seen.observation) is None


def test_of_a_watched_stop_nobody_knows_whose_sigkill_it_was() -> None:
    """The engine's events do not name its stop timeout, and a busy engine sends SIGKILL late."""
    seen = with_event(stopped(3.8), 3.7, signals.SIGKILL)
    watched = Watched("web", "shop/web", TimeoutSource.ENGINE, 0, removed=False)
    deed = str(somebody_else.deed(replace(seen, watched=watched)))
    assert deed.startswith("SIGKILL came 3.7 s after it began; a stop call")
    assert deed.endswith("it was late, or somebody else sent it")


def test_the_harness_is_not_somebody_else() -> None:
    """`--fast` sends SIGKILL itself; a SIGKILL as the stop signal may come twice; an agent repeats a failed stop."""
    cut = changed(with_event(stopped(3.01), 3.0, signals.SIGKILL), exit_code=137, cut_short="cut short")
    twice = changed(with_event(stopped(3.1), 3.0, signals.SIGKILL), stop_signal=signals.SIGKILL)
    agent = replace(with_event(stopped(), 3.0, signals.SIGTERM), engine=engine("ecs"))
    for seen in (cut, twice, agent):
        assert somebody_else.deed(seen) is None
    both = with_event(cut, 2.0, signals.SIGTERM)
    assert "a second SIGTERM" in str(somebody_else.deed(both))


def test_only_what_falls_into_the_stop_counts() -> None:
    """A signal before the stop call or after the exit, and a pause that was over, had no part in it."""
    before = with_event(stopped(), -2.0, signals.SIGTERM)
    after = with_event(stopped(), 8.5, signals.SIGTERM)
    over = with_event(with_event(stopped(), -3.0, kind=EventKind.PAUSED), -2.0, kind=EventKind.UNPAUSED)
    for seen in (before, after, over):
        assert somebody_else.deed(seen) is None
    lasting = with_event(with_event(stopped(), -3.0, kind=EventKind.PAUSED), 2.0, kind=EventKind.UNPAUSED)
    assert somebody_else.deed(lasting) == "somebody paused it during the stop"
