"""What an engine's events tell of an end: which kind it was, when a stop began, and with which stop timeout."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stop_harness import signals
from stop_harness.evidence import watched_end
from stop_harness.evidence.watched_end import StopCall, WatchedLife
from stop_harness.model import (
    NS_PER_S,
    Clock,
    EndKind,
    Event,
    EventKind,
    Looks,
    Outcome,
    ProcessInfo,
    SigkillEvidence,
    TimeoutSource,
)
from stop_harness.report import watched
from tests.strategies import DOCKER as ENGINE

TERM, KILL, INT, HUP = signals.SIGTERM, signals.SIGKILL, signals.NUMBERS["INT"], signals.NUMBERS["HUP"]
PID_ONE = ProcessInfo(1, 0, "sleep 1000", 0, 0, 0, is_pid1=True)


def life(*sent: tuple[float, int], exit_s: float | None, code: int | None = 0, stop: bool = False) -> WatchedLife:
    """Signals at these seconds, then an exit."""
    events = tuple(Event(EventKind.SIGNAL_SENT, _ns(at_s), Clock.ENGINE, "kill event", signal) for at_s, signal in sent)
    exited = None if exit_s is None else Event(EventKind.EXITED, _ns(exit_s), Clock.ENGINE, "State.FinishedAt")
    looks = Looks((PID_ONE,), (PID_ONE,), (PID_ONE,))
    return WatchedLife(
        "c0ffee", "web", "shop/web", events=events, stop_told=stop, exited=exited, exit_code=code, looks=looks,
        lost_processes=(), oom_killed=False,
    )  # fmt: skip


def _ns(at_s: float) -> int:
    return 1_700_000_000 * NS_PER_S + round(at_s * NS_PER_S)


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        (life((0, TERM), exit_s=0.2), EndKind.STOP),
        (life((0, TERM), (10.02, KILL), exit_s=10.03, code=137, stop=True), EndKind.STOP),
        (life((0, INT), exit_s=0.2, stop=True), EndKind.STOP),
        (life((0, KILL), exit_s=0.01, code=137, stop=True), EndKind.STOP),
        (life((0, KILL), exit_s=0.01, code=137), EndKind.KILL),
        (life((0, INT), exit_s=0.2, code=130), EndKind.KILL),
        (life((0, HUP), exit_s=3600, code=1), EndKind.EXIT),
        (life((0, TERM), exit_s=3600, code=1), EndKind.EXIT),
        (life(exit_s=5, code=3), EndKind.EXIT),
        (life(exit_s=5, code=139), EndKind.CRASH),
        (life(exit_s=5, code=137), EndKind.OUTSIDE),
        (life(exit_s=5, code=143), EndKind.OUTSIDE),
        (replace(life(exit_s=5, code=137), oom_killed=True), EndKind.OOM_KILL),
        (replace(life(exit_s=None, code=None), seen=False), EndKind.UNSEEN),
        (replace(life((0, KILL), exit_s=0.1, code=137, stop=True), heard_since_ns=_ns(-8)), EndKind.UNSEEN),
        (replace(life((0, KILL), exit_s=0.1, code=137, stop=True), heard_since_ns=_ns(-80)), EndKind.STOP),
        (replace(life((0, KILL), exit_s=0.1, code=137), heard_since_ns=_ns(-8)), EndKind.KILL),
        (replace(life((0, TERM), (2, KILL), exit_s=2.1, stop=True), heard_since_ns=_ns(-8)), EndKind.STOP),
    ],
)
def test_a_stop_event_or_the_own_stop_signal_makes_it_a_stop(seen: WatchedLife, kind: EndKind) -> None:
    """Everything else is counted apart."""
    end = watched_end.end(seen, ENGINE)
    assert end.kind is kind
    assert (end.observation is not None) == (kind is EndKind.STOP)


@pytest.mark.parametrize(
    ("seen", "own_s", "timeout_s", "source"),
    [
        (life((0, TERM), (10.02, KILL), exit_s=10.1, stop=True), None, 10, TimeoutSource.SIGKILL),
        (life((0, TERM), (10.4, KILL), exit_s=10.5, stop=True), None, 10, TimeoutSource.SIGKILL),
        (life((0, TERM), (3.02, KILL), exit_s=3.1, stop=True), None, 3, TimeoutSource.SIGKILL),
        (life((0, TERM), (0.01, KILL), exit_s=0.1, stop=True), None, 0, TimeoutSource.SIGKILL),
        (life((0, TERM), (3.5, KILL), exit_s=3.6, stop=True), None, 10, TimeoutSource.ENGINE),
        (life((0, TERM), (3.02, KILL), exit_s=3.1), 25, 25, TimeoutSource.CONTAINER),
        (life((0, TERM), exit_s=0.5), None, 10, TimeoutSource.ENGINE),
        (life((0, TERM), exit_s=0.5), 25, 25, TimeoutSource.CONTAINER),
        (life((0, TERM), exit_s=14.2, stop=True), None, 15, TimeoutSource.NO_SIGKILL),
        (life((0, TERM), exit_s=14.2), None, 10, TimeoutSource.ENGINE),
    ],
)
def test_the_stop_timeout_is_read_from_the_sigkill(
    seen: WatchedLife, own_s: int | None, timeout_s: int, source: TimeoutSource
) -> None:
    """Whole seconds after the stop signal, else what is configured; where none came, it was longer than the stop."""
    found = watched_end.observation(replace(seen, stop_timeout_s=own_s), ENGINE)
    assert found.stop_timeout_ns == timeout_s * NS_PER_S
    assert found.watched is not None
    assert found.watched.timeout_source is source


TWO = StopCall(_ns(-0.05), 2)
LATE = life((0, TERM), (2.7, KILL), exit_s=2.8, code=137, stop=True)


@pytest.mark.parametrize(
    ("seen", "calls", "own_s", "timeout_s", "source"),
    [
        (LATE, (TWO,), None, 2, TimeoutSource.CALL),
        (LATE, (StopCall(_ns(-0.05), None),), 2, 2, TimeoutSource.CALL),
        (life((0, TERM), exit_s=0.5), (TWO,), 25, 2, TimeoutSource.CALL),
        (life((0, TERM), (2.02, KILL), exit_s=2.1, stop=True), (StopCall(_ns(-0.05), 8),), None, 8, TimeoutSource.CALL),
        (life((0, TERM), exit_s=14.2, stop=True), (StopCall(_ns(-0.05), -1),), None, 15, TimeoutSource.NO_SIGKILL),
        (LATE, (TWO, StopCall(_ns(0.7), 2)), None, 10, TimeoutSource.ENGINE),
        (LATE, (StopCall(_ns(-0.3), 9), TWO), None, 10, TimeoutSource.ENGINE),
        (LATE, (StopCall(_ns(0.7), 2),), None, 10, TimeoutSource.ENGINE),
        (LATE, (StopCall(_ns(-3600), 2),), None, 10, TimeoutSource.ENGINE),
    ],
    ids=[
        "late",
        "named none",
        "no sigkill",
        "early",
        "for ever",
        "a second",
        "two",
        "not the first",
        "of another stop",
    ],
)
def test_a_stop_call_that_was_heard_says_what_its_timeout_is(
    seen: WatchedLife, calls: tuple[StopCall, ...], own_s: int | None, timeout_s: int, source: TimeoutSource
) -> None:
    """However late SIGKILL comes on a busy machine. One call alone: each of several has a deadline of its own."""
    found = watched_end.observation(replace(seen, stop_timeout_s=own_s, calls=calls), ENGINE)
    assert found.stop_timeout_ns == timeout_s * NS_PER_S
    assert found.watched is not None
    assert found.watched.timeout_source is source


def test_a_late_sigkill_of_a_stop_call_that_was_heard_is_no_doubt() -> None:
    """It still ran when its time was over; a SIGKILL before that is somebody else's, whatever second it came at."""
    assert outcome(LATE) is Outcome.INCONCLUSIVE
    assert outcome(replace(LATE, calls=(TWO,))) is Outcome.KILLED
    early = replace(life((0, TERM), (2.02, KILL), exit_s=2.1, code=137, stop=True), calls=(StopCall(_ns(-0.05), 8),))
    judged = watched.judged(watched_end.end(early, replace(ENGINE, proves_lost_processes=True)))
    assert judged.result is not None
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "somebody else sent it SIGKILL during the stop, 2.0 s after it began" in judged.result.verdict.reason


@pytest.mark.parametrize(
    ("sent", "begun_s", "signal"),
    [
        ([(0, TERM), (100, TERM)], 100, TERM),
        ([(0, TERM), (5, TERM), (15, KILL)], 0, TERM),
        ([(0, HUP), (5, TERM)], 5, TERM),
        ([(0, INT), (2, KILL)], 0, INT),
        ([(0, KILL)], 0, KILL),
    ],
)
def test_a_stop_begins_with_its_stop_signal(sent: list[tuple[float, int]], begun_s: float, signal: int) -> None:
    """An earlier signal, which was sent for another reason, is none of the stop."""
    seen = life(*sent, exit_s=sent[-1][0] + 0.1, stop=True)
    assert watched_end.stop_signal_of(seen) == (signal, _ns(begun_s))


def outcome(seen: WatchedLife) -> Outcome | None:
    """What the one judge says."""
    return watched.judged(watched_end.end(seen, replace(ENGINE, proves_lost_processes=True))).outcome


def test_the_one_judge_judges_it() -> None:
    """With a cause, and with doubts where something does not fit."""
    assert outcome(life((0, TERM), exit_s=0.2)) is Outcome.GRACEFUL
    assert outcome(life((0, TERM), exit_s=0.2, code=1)) is Outcome.CRASHED
    assert outcome(replace(life((0, TERM), exit_s=0.2), lost_processes=("java (PID 7)",))) is Outcome.LOSSY
    killed = life((0, TERM), (10.02, KILL), exit_s=10.03, code=137, stop=True)
    one = watched.judged(watched_end.end(killed, ENGINE))
    assert one.result is not None
    assert one.result.verdict.facts.sigkill_evidence is SigkillEvidence.OBSERVED
    assert (one.outcome, one.result.verdict.cause and one.result.verdict.cause.id) == ("killed", "pid1-no-handler")
    assert outcome(life((0, TERM), (3.5, KILL), exit_s=3.6, code=137, stop=True)) is Outcome.INCONCLUSIVE
    assert outcome(life((0, TERM), exit_s=14.2, stop=True)) is Outcome.GRACEFUL
    assert outcome(life((0, TERM), exit_s=14.2)) is Outcome.INCONCLUSIVE


def test_without_the_kernels_record_a_table_from_before_is_no_proof() -> None:
    """Who came since the last look, and was gone with PID 1, nobody saw."""
    seen = replace(life((0, TERM), exit_s=0.2), lost_processes=None)
    engine = replace(ENGINE, proves_lost_processes=False)
    assert watched.judged(watched_end.end(seen, engine)).outcome is Outcome.GRACEFUL
    stale = replace(seen, looks=replace(seen.looks, after_signal=None, late=None))
    assert watched.judged(watched_end.end(stale, engine)).outcome is Outcome.INCONCLUSIVE


def test_values_that_the_container_was_given_are_not_told() -> None:
    """Neither in a command line nor in what it wrote."""
    row = replace(PID_ONE, command="serve --password hunter2hunter2")
    seen = life((0, TERM), (10.02, KILL), exit_s=10.03, code=137, stop=True)
    seen = replace(
        seen, environment=(("PASSWORD", "hunter2hunter2"),), looks=Looks((row,), (row,), (row,), "hunter2hunter2")
    )
    one = watched.judged(watched_end.end(seen, ENGINE))
    assert "serve --password …" in repr(one)
    assert "hunter2" not in repr(one)


def test_what_was_counted_decides_in_the_order_of_severity() -> None:
    """Failures before doubts, and an end that nobody saw is a doubt."""
    tally = watched.WatchTally()
    assert tally.status == "pass"
    for seen, status in (
        (life((0, TERM), exit_s=0.2), "pass"),
        (life(exit_s=1, code=1), "pass"),
        (replace(life(exit_s=None), seen=False), "inconclusive"),
        (life((0, TERM), exit_s=0.2, code=1), "fail"),
    ):
        tally.add(watched.judged(watched_end.end(seen, replace(ENGINE, proves_lost_processes=True))))
        assert tally.status == status
    assert (tally.stops, tally.kinds.total()) == (2, 4)
