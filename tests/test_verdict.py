"""Stop sequence and verdict: every timeline that a stop can leave gets exactly one outcome, and doubt never helps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from stop_harness import signals
from stop_harness.evidence import answer_ends, stop_sequence
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Clock,
    EngineInfo,
    Event,
    EventKind,
    Expectation,
    Fault,
    FaultAction,
    FaultKind,
    FaultMoment,
    FaultRecord,
    Looks,
    MissingTraffic,
    NotApplied,
    Observation,
    Outcome,
    Problem,
    ProblemKind,
    ProcessFate,
    ProcessInfo,
    Request,
    RequestFate,
    Scenario,
    SigkillEvidence,
    SignalDisposition,
    Status,
    StopRecord,
    Subject,
    TrafficClient,
    TrafficKind,
    TrafficRecord,
    Vantage,
    Verdict,
    When,
)
from stop_harness.verdict import judge, rules, static_findings
from tests.parts import changed
from tests.strategies import (
    DOCKER,
    ENGINES,
    PODMAN,
    PROCESS,
    SIGKILL_CODE,
    STAMP_ERROR_NS,
    Behaviour,
    Jitter,
    Stop,
    behaviours,
    durations_ns,
    engine,
    jitters,
    stop,
    stop_timeouts_ns,
    stops,
)

PLAIN = Scenario("a", Subject(image="a"))
ANY_CODE = replace(PLAIN, expectations=(Expectation(exit_codes=tuple(range(256))),))
"""Accepts every exit code, 137 too: only the evidence is left to tell."""

T_NS = 10 * NS_PER_S
"""The stop timeout of the examples."""


def judged(observation: Observation, scenario: Scenario = PLAIN) -> Verdict:
    """The verdict, by the scenario's expectation."""
    return judge.judge(observation, scenario)


def outcome(observation: Observation, scenario: Scenario = PLAIN) -> Outcome:
    """The outcome alone."""
    return judged(observation, scenario).outcome


def without(observation: Observation, *kinds: EventKind, signal: int | None = None) -> Observation:
    """The same record with events of these kinds missing."""
    kept = (
        event for event in observation.record.events if event.kind not in kinds or signal not in {None, event.signal}
    )
    return changed(observation, events=tuple(kept))


def stopped(leaves_s: float | None, code: int = 0, on: EngineInfo = DOCKER, oom_s: float | None = None) -> Observation:
    """A stop at 10 s on an engine, with stamps that are not off."""
    behaviour = Behaviour(
        None if leaves_s is None else round(leaves_s * NS_PER_S),
        code,
        None if oom_s is None else round(oom_s * NS_PER_S),
    )
    return stop(behaviour, T_NS, on, Jitter()).observation


# ── Every timeline ───────────────────────────────────────────────────────────────────────────────────────────────────


@given(stops(), st.sampled_from([PLAIN, ANY_CODE]))
@settings(max_examples=300)
def test_a_container_that_sigkill_ended_is_never_graceful(seen: Stop, scenario: Scenario) -> None:
    """Not even where the scenario accepts exit code 137, and not on an engine that keeps its SIGKILL to itself."""
    assume(seen.ended_by_sigkill)
    assert outcome(seen.observation, scenario) is Outcome.KILLED


@given(
    durations_ns(0, 40_000),
    durations_ns(1, 5_000),
    st.sampled_from([0, 143, 137, 139, 3]),
    st.sampled_from(ENGINES),
    jitters,
    st.sampled_from([PLAIN, ANY_CODE]),
)
@settings(max_examples=300)
def test_a_container_that_left_in_time_is_never_called_killed(  # noqa: PLR0917
    leaves_ns: int, spare_ns: int, code: int, on: EngineInfo, jitter: Jitter, scenario: Scenario
) -> None:
    """It exited by itself before the deadline, further from it than stamps can be off, whatever its exit code."""
    timeout_ns = leaves_ns + stop_sequence.DEADLINE_TOLERANCE_NS + STAMP_ERROR_NS + spare_ns
    seen = stop(Behaviour(leaves_ns, code), timeout_ns, on, jitter).observation
    accepted = code in (0, 128 + signals.SIGTERM) or scenario is ANY_CODE
    bare = code == SIGKILL_CODE and on is not PROCESS  # somebody's SIGKILL looks the same
    assert outcome(seen, scenario) is (
        Outcome.GRACEFUL if accepted else Outcome.INCONCLUSIVE if bare else Outcome.CRASHED
    )


hungry = st.builds(
    Behaviour, leaves_after_ns=st.none() | st.just(NS_PER_S), oom_after_ns=st.integers(0, NS_PER_S - NS_PER_MS)
)


@given(stops((DOCKER, PODMAN), hungry))
def test_a_container_that_the_oom_killer_ended_is_called_so(seen: Stop) -> None:
    """On every engine with an OOM flag, near the deadline too, although its exit code is 137."""
    assume(seen.ended_by_oom)
    assert outcome(seen.observation) is Outcome.OOM_KILLED


@given(
    behaviours,
    st.lists(stop_timeouts_ns, min_size=2, max_size=2),
    st.sampled_from(ENGINES),
    jitters,
    st.sampled_from([PLAIN, ANY_CODE]),
)
@settings(max_examples=300)
def test_a_longer_stop_timeout_never_turns_graceful_into_killed(
    behaviour: Behaviour, timeouts_ns: list[int], on: EngineInfo, jitter: Jitter, scenario: Scenario
) -> None:
    """What exits in time with a short stop timeout exits in time with a longer one."""
    short, long = (outcome(stop(behaviour, value, on, jitter).observation, scenario) for value in sorted(timeouts_ns))
    assert not (short is Outcome.GRACEFUL and long is Outcome.KILLED)


@given(stops(), st.data(), st.booleans())
@settings(max_examples=500)
def test_a_missing_event_never_raises_a_verdict(seen: Stop, data: st.DataObject, incomplete: bool) -> None:
    """What is not graceful does not become graceful because a record of it is lost.

    Left out is the race at the deadline, in which PID 1 exits by itself after the engine sent its SIGKILL: two records
    contradict each other there (inconclusive), and one alone cannot show it.
    """
    whole = changed(seen.observation, complete=not incomplete)
    assume(outcome(whole) is not Outcome.GRACEFUL)
    escalated = stop_sequence.sigkill_event(whole.record) is not None
    assume(not escalated or seen.ended_by_sigkill)
    dropped = data.draw(st.sets(st.sampled_from(whole.record.events), min_size=1))
    kept = tuple(event for event in whole.record.events if event not in dropped)
    assert outcome(changed(whole, events=kept)) is not Outcome.GRACEFUL


@given(stops(), st.data())
@settings(max_examples=300)
def test_without_its_events_sigkill_is_never_taken_for_a_graceful_stop(seen: Stop, data: st.DataObject) -> None:
    """A broken event stream: even with 137 accepted the verdict is killed or inconclusive."""
    assume(seen.ended_by_sigkill)
    kept = data.draw(st.sets(st.sampled_from(seen.observation.record.events)))
    events = tuple(event for event in seen.observation.record.events if event in kept)
    blind = changed(seen.observation, events=events, exit_signal=None, complete=False)
    assert outcome(blind, ANY_CODE) in {Outcome.KILLED, Outcome.INCONCLUSIVE} or stop_sequence.exit_is_exact(
        blind.record
    )


events = st.builds(
    Event,
    st.sampled_from(EventKind),
    st.integers(0, 20 * NS_PER_S),
    st.sampled_from(Clock),
    st.just("somewhere"),
    st.none() | st.sampled_from([9, 15]) | st.integers(1, 64),
)
observations = st.builds(
    Observation,
    trial_id=st.just("a@10s#1"),
    scenario=st.just("a"),
    engine=st.builds(
        engine, st.just("any"), observes_sigkill=st.booleans(), reports_oom=st.booleans(), pid1_rules=st.booleans()
    ),
    stop_timeout_ns=stop_timeouts_ns,
    stop_after_ns=st.just(0),
    repetition=st.just(1),
    started_at=st.just("2026-11-23T12:00:00+00:00"),
    record=st.builds(
        StopRecord,
        stop_signal=st.none() | st.integers(1, 64),
        events=st.lists(events, max_size=8).map(tuple),
        exit_code=st.none() | st.integers(0, 255),
        exit_signal=st.none() | st.integers(1, 64),
        oom_killed=st.none() | st.booleans(),
        exited_before_stop=st.booleans(),
        complete=st.booleans(),
        lost_processes=st.none() | st.just(()) | st.just(("worker",)),
    ),
    problem=st.none() | st.none() | st.builds(Problem, st.sampled_from(ProblemKind), st.just("it broke")),
)


@given(observations, st.sampled_from(Outcome))
@settings(max_examples=500)
def test_any_record_at_all_gets_one_verdict(seen: Observation, expected: Outcome) -> None:
    """Contradictory, incomplete, out of order: one outcome with a reason, and `pass` only for what was expected."""
    scenario = replace(PLAIN, expectations=(Expectation((expected,)),))
    found = judged(seen, scenario)
    assert found.outcome in Outcome
    assert found.reason
    another = any(finding.rule in judge.NOT_THE_STOP_ASKED_FOR for finding in found.findings)
    performed = found.outcome is not Outcome.INCONCLUSIVE or (seen.problem is None and not another)
    assert (found.status is Status.PASS) is (found.outcome is expected and performed)
    assert all(finding.rule in rules.RULES for finding in found.findings)
    assert judged(seen, scenario) == found
    if found.outcome is Outcome.GRACEFUL:
        assert seen.record.exit_code is not None
        assert found.facts.sigkill_evidence is SigkillEvidence.NOT_SENT
        assert found.facts.shutdown_duration_ns is not None
        assert not found.facts.oom_during_stop
        assert not seen.record.lost_processes
    elif found.outcome is not Outcome.INCONCLUSIVE:
        assert any(rules.RULES[finding.rule].severity == "error" for finding in found.findings)


@given(stops())
def test_the_measured_duration_is_off_by_no_more_than_the_stamps(seen: Stop) -> None:
    """Both ends come from one clock, so that the duration is right to within the error of two stamps."""
    facts = stop_sequence.facts(seen.observation)
    assert facts.shutdown_duration_ns is not None
    assert abs(facts.shutdown_duration_ns - seen.really_took_ns) <= 2 * STAMP_ERROR_NS
    assert facts.shutdown_duration_ns >= 0


# ── Known stops ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (stopped(0.1), Outcome.GRACEFUL),
        (stopped(9.9, 143), Outcome.GRACEFUL),
        (stopped(0.1, 3), Outcome.CRASHED),
        (stopped(0.1, 139), Outcome.CRASHED),
        (stopped(0.1, 130), Outcome.CRASHED),
        (stopped(0.1, 137), Outcome.INCONCLUSIVE),
        (stopped(0.1, 137, PODMAN), Outcome.INCONCLUSIVE),
        (stopped(0.1, 137, PROCESS), Outcome.CRASHED),
        (stopped(None), Outcome.KILLED),
        (stopped(None, on=PODMAN), Outcome.KILLED),
        (stopped(None, on=PROCESS), Outcome.KILLED),
        (stopped(40), Outcome.KILLED),
        (stopped(None, oom_s=0.2), Outcome.OOM_KILLED),
        (stopped(None, on=PODMAN, oom_s=0.2), Outcome.OOM_KILLED),
        (changed(stopped(0.1), lost_processes=("worker",)), Outcome.LOSSY),
        (changed(stopped(0.1), lost_processes=()), Outcome.GRACEFUL),
        (changed(stopped(0.1), exited_before_stop=True), Outcome.NOT_RUNNING),
        (changed(stopped(0.1), exit_code=None), Outcome.INCONCLUSIVE),
        (changed(stopped(None), exit_code=None), Outcome.INCONCLUSIVE),
        (changed(stopped(0.1), oom_killed=True), Outcome.OOM_KILLED),
    ],
)
def test_known_stops_have_their_known_outcome(seen: Observation, wanted: Outcome) -> None:
    """At once, late, never, by fault, by the OOM killer, leaving work behind, already gone, without an exit."""
    assert outcome(seen) is wanted


@pytest.mark.parametrize(
    ("seen", "evidence"),
    [
        (stopped(0.1), SigkillEvidence.NOT_SENT),
        (stopped(None), SigkillEvidence.OBSERVED),
        (stopped(None, on=PODMAN), SigkillEvidence.INFERRED),
        (stopped(0.1, 137, PODMAN), SigkillEvidence.NOT_SENT),
        (stopped(None, on=PROCESS), SigkillEvidence.OBSERVED),
        (stopped(9.98, 137), SigkillEvidence.NOT_SENT),
        (stopped(9.98, 137, PODMAN), SigkillEvidence.INFERRED),
        (
            changed(without(stopped(None), EventKind.SIGNAL_SENT, signal=9), complete=False),
            SigkillEvidence.INFERRED,
        ),
        (changed(stopped(0.1, 137), complete=False), SigkillEvidence.UNKNOWN),
        (without(stopped(None, on=PODMAN), EventKind.EXITED, EventKind.STOP_RETURNED), SigkillEvidence.UNKNOWN),
        (changed(stopped(None), exit_code=0), SigkillEvidence.UNKNOWN),
    ],
)
def test_how_sigkill_is_known_is_on_record(seen: Observation, evidence: SigkillEvidence) -> None:
    """Observed from the engine's record, inferred from 137 at the deadline, not sent, or unknown."""
    found = stop_sequence.facts(seen)
    assert found.sigkill_evidence is evidence
    assert found.sigkill_reason


@given(stops((DOCKER,)))
def test_a_kill_whose_event_was_lost_is_still_a_kill(seen: Stop) -> None:
    """Signal 9 at the stop timeout without the event of it is the engine's SIGKILL, inferred."""
    assume(seen.ended_by_sigkill)
    for lost in (
        without(seen.observation, EventKind.SIGNAL_SENT, signal=9),
        without(seen.observation, EventKind.SIGNAL_SENT),
    ):
        found = judged(lost)
        assert (found.outcome, found.facts.sigkill_evidence) == (Outcome.KILLED, SigkillEvidence.INFERRED)


def test_death_by_signal_9_before_the_deadline_is_somebody_elses_doing() -> None:
    """PID 1 cannot be SIGKILLed from within, so this says nothing about the container, and never names an exit code."""
    proved = changed(stopped(0.1, 137, PROCESS), exit_signal=signals.SIGKILL)
    for seen in (proved, stopped(0.1, 137)):
        found = judged(seen)
        assert (found.outcome, found.status) == (Outcome.INCONCLUSIVE, Status.INCONCLUSIVE)
        assert [item.rule for item in found.findings] == ["killed-by-somebody"]
        assert "SIGKILL" in found.reason
    assert "exit code" not in judged(proved).reason


def test_137_well_before_the_deadline_is_a_doubt_on_an_engine_without_an_oom_flag() -> None:
    """It may have been the OOM killer."""
    blind = replace(stopped(0.1, 137, PODMAN), engine=engine("podman", observes_sigkill=False, reports_oom=False))
    assert outcome(blind) is Outcome.INCONCLUSIVE


def test_an_oom_kill_before_the_stop_is_not_held_against_it() -> None:
    """A worker that was killed an hour ago leaves the flag on the container for ever."""
    seen = stopped(0.1)
    early = Event(EventKind.OOM, 1, Clock.ENGINE, "oom event")
    assert outcome(changed(seen, oom_killed=True, events=(early, *seen.record.events))) is Outcome.GRACEFUL
    late = replace(early, at_ns=1_000 * NS_PER_S + 50 * NS_PER_MS)
    assert outcome(changed(seen, oom_killed=True, events=(early, *seen.record.events, late))) is Outcome.OOM_KILLED
    lost = changed(seen, oom_killed=True, events=(early, *seen.record.events), complete=False)
    assert outcome(lost) is Outcome.OOM_KILLED


def test_leaving_long_after_the_deadline_without_sigkill_is_a_doubt() -> None:
    """The stop sequence does not allow it: the engine did not do what it says."""
    seen = without(stopped(10.005), EventKind.EXITED)
    late = Event(EventKind.EXITED, 1_000 * NS_PER_S + T_NS + NS_PER_S, Clock.ENGINE, "State.FinishedAt")
    assert outcome(changed(seen, events=(*seen.record.events, late))) is Outcome.INCONCLUSIVE


def test_an_exit_whose_time_nobody_knows_is_a_doubt() -> None:
    """Exit code 0, no SIGKILL, and no clock that saw both ends: it may have been late."""
    seen = without(stopped(0.1), EventKind.EXITED, EventKind.STOP_RETURNED)
    assert outcome(seen) is Outcome.INCONCLUSIVE
    assert outcome(changed(seen, exit_code=139)) is Outcome.CRASHED


def test_a_lost_stop_signal_does_not_make_the_shutdown_look_short() -> None:
    """The engine's SIGKILL is not the start of the shutdown."""
    seen = without(stopped(None), EventKind.SIGNAL_SENT, signal=15)
    found = stop_sequence.facts(seen)
    assert found.shutdown_duration_ns is not None
    assert found.shutdown_duration_ns >= T_NS
    assert outcome(seen) is Outcome.KILLED


def test_a_stop_signal_of_sigkill_is_never_graceful() -> None:
    """Nothing can handle it; no grace period was given."""
    seen = changed(stopped(None), stop_signal=signals.SIGKILL)
    sent = Event(EventKind.SIGNAL_SENT, 1_000 * NS_PER_S, Clock.ENGINE, "kill event", signals.SIGKILL)
    seen = changed(seen, events=(sent, *without(seen, EventKind.SIGNAL_SENT).record.events))
    assert outcome(seen) is Outcome.KILLED
    assert "SIGKILL, which nothing can handle" in judged(seen).reason


def test_death_by_default_outside_a_pid_namespace_proves_nothing() -> None:
    """PID 1 of a container would have ignored the signal."""
    group = engine("process", pid1_rules=False)
    seen = replace(stopped(0.1, 143, PROCESS), engine=group)
    assert outcome(changed(seen, exit_signal=signals.SIGTERM)) is Outcome.INCONCLUSIVE
    handled = judged(changed(seen, exit_code=0))
    assert handled.outcome is Outcome.GRACEFUL
    assert "pid1-rules-not-reproduced" in {finding.rule for finding in handled.findings}


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (kind, Outcome.NOT_RUNNING if kind is ProblemKind.COMMAND_NOT_FOUND else Outcome.INCONCLUSIVE)
        for kind in ProblemKind
    ],
)
@pytest.mark.parametrize("code", [None, 0, 137])
def test_what_kept_a_trial_from_being_measured_decides(kind: ProblemKind, wanted: Outcome, code: int | None) -> None:
    """Whatever else is on record; the message is the reason."""
    seen = changed(stopped(0.1), exit_code=code, problem=Problem(kind, "it broke"))
    assert outcome(seen) is wanted
    assert judged(seen).reason == "it broke"


# ── Expectations ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("expectation", "status"),
    [
        (Expectation(), Status.PASS),
        (Expectation((Outcome.KILLED,)), Status.FAIL),
        (Expectation((Outcome.KILLED, Outcome.GRACEFUL)), Status.PASS),
        (Expectation(within_ns=5 * NS_PER_S), Status.PASS),
        (Expectation(within_ns=5 * NS_PER_S - 1), Status.FAIL),
        (Expectation(exit_codes=(0,)), Status.PASS),
        (Expectation(exit_codes=(3,)), Status.FAIL),
        (Expectation(exit_codes=()), Status.FAIL),
    ],
)
def test_the_status_is_the_outcome_against_the_expectation(expectation: Expectation, status: Status) -> None:
    """A stop that took 5 s and ended with exit code 0."""
    assert judged(stopped(5), replace(PLAIN, expectations=(expectation,))).status is status


def test_too_slow_is_said_with_both_numbers() -> None:
    """The finding names what it took and what was expected."""
    found = judged(stopped(5), replace(PLAIN, expectations=(Expectation(within_ns=1_500 * NS_PER_MS),)))
    assert [(item.rule, item.message) for item in found.findings] == [("slow-stop", "took 5 s, expected within 1.5 s")]


def test_inconclusive_is_neither_pass_nor_fail_unless_it_was_expected() -> None:
    """A trial that proves nothing is no failure of the container."""
    seen = changed(stopped(0.1), exit_code=None)
    assert judged(seen).status is Status.INCONCLUSIVE
    assert judged(seen, replace(PLAIN, expectations=(Expectation((Outcome.INCONCLUSIVE,)),))).status is Status.PASS


@pytest.mark.parametrize("kind", [kind for kind in ProblemKind if kind is not ProblemKind.COMMAND_NOT_FOUND])
def test_a_stop_that_never_was_is_no_pass_where_missing_evidence_is_accepted(kind: ProblemKind) -> None:
    """`outcome: [lossy, inconclusive]` is for a stop that happened; one that an engine's failure or an interruption
    left out did not."""
    accepts = replace(PLAIN, expectations=(Expectation((Outcome.LOSSY, Outcome.INCONCLUSIVE)),))
    seen = replace(stopped(0.1), problem=Problem(kind, "the run was interrupted"))
    found = judged(seen, accepts)
    assert (found.outcome, found.status) == (Outcome.INCONCLUSIVE, Status.INCONCLUSIVE)


def test_a_stop_without_its_fault_is_no_pass_where_missing_evidence_is_accepted() -> None:
    """It was not the stop that the scenario is about."""
    accepts = replace(PLAIN, expectations=(Expectation((Outcome.INCONCLUSIVE,)),))
    pause = Fault(FaultKind.PAUSE, FaultAction.PAUSE, FaultMoment(When.AFTER))
    seen = replace(stopped(0.1), faults=(FaultRecord(pause, problem="the engine refused"),))
    assert judged(seen, accepts).status is Status.INCONCLUSIVE


def test_an_expectation_for_one_stop_timeout_applies_to_it_alone() -> None:
    """The general one applies to the others."""
    scenario = replace(PLAIN, expectations=(Expectation(), Expectation((Outcome.KILLED,), stop_timeout_ns=T_NS)))
    assert judged(stopped(None), scenario).status is Status.PASS
    assert judged(stopped(0.1), scenario).status is Status.FAIL
    other = stop(Behaviour(0), 2 * NS_PER_S, DOCKER, Jitter()).observation
    assert judged(other, scenario).status is Status.PASS


@given(stops())
@example(stop(Behaviour(T_NS + 12 * NS_PER_MS), T_NS, DOCKER, Jitter()))
def test_sigkill_code_with_a_kill_event_is_observed_never_inferred(seen: Stop) -> None:
    """`inferred` is for a kill without its event."""
    evidence = stop_sequence.facts(seen.observation).sigkill_evidence
    if stop_sequence.sigkill_event(seen.observation.record) is not None:
        assert evidence is not SigkillEvidence.INFERRED
    else:
        assert evidence is not SigkillEvidence.OBSERVED
    if seen.observation.record.exit_code != SIGKILL_CODE:
        assert evidence in {SigkillEvidence.NOT_SENT, SigkillEvidence.UNKNOWN}


# ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_requests(*requests: Request, vantage: Vantage = Vantage.CONTAINER_ADDRESS) -> Observation:
    """A stop that is graceful but for what became of its requests."""
    made = stop(Behaviour(NS_PER_S), T_NS, DOCKER, Jitter())
    return replace(made.observation, traffic=TrafficRecord(requests, vantage))


IN_FLIGHT = Request(TrafficKind.HTTP, 1, RequestFate.COMPLETED, -600, -500, 10, 20, 200)
CUT_FATES = (RequestFate.TRUNCATED, RequestFate.RESET, RequestFate.NO_ANSWER)


@pytest.mark.parametrize("kind", [TrafficKind.WEBSOCKET, TrafficKind.HTTP2, TrafficKind.GRPC])
def test_a_connection_that_ends_without_the_word_of_its_protocol_is_a_warning(kind: TrafficKind) -> None:
    """Everything was answered. A request that was lost beside it is a loss, counted without the connections."""
    answered, cut = replace(IN_FLIGHT, kind=kind), Request(kind, 1, RequestFate.NO_ANSWER, -600, ended_at_ns=30)
    verdict = judged(with_requests(answered, cut))
    assert (verdict.outcome, [item.rule for item in verdict.findings]) == (Outcome.GRACEFUL, ["no-goodbye"])
    assert not judged(with_requests(answered, replace(cut, fate=RequestFate.COMPLETED))).findings
    lost = replace(answered, fate=RequestFate.NO_ANSWER, detail="closed by the peer: without a word")
    verdict = judged(with_requests(lost, cut))
    assert verdict.outcome is Outcome.LOSSY
    assert "1 of 1 " in verdict.reason
    assert "(no answer, closed by the peer: without a word)" in verdict.reason


@pytest.mark.parametrize("unended", [False, True])
def test_an_event_stream_that_was_cut_is_a_loss(unended: bool) -> None:
    """Within an event, which its client drops, or between two: the answer has an end of its own, which did not come."""
    cut = replace(IN_FLIGHT, kind=TrafficKind.SSE, fate=RequestFate.TRUNCATED, unended=unended, detail="closed: so")
    verdict = judged(with_requests(cut))
    assert verdict.outcome is Outcome.LOSSY
    assert "1 of 1 event streams were lost (truncated, closed: so)" in verdict.reason
    assert [item.rule for item in verdict.findings] == ["lost-request", "stream-unended" if unended else "event-cut"]
    assert verdict.cause is not None
    assert verdict.cause.id == "fast-drop"


def test_an_event_stream_without_its_last_chunk_is_a_warning_in_older_records() -> None:
    """They have it as completed."""
    verdict = judged(with_requests(replace(IN_FLIGHT, kind=TrafficKind.SSE, unended=True)))
    assert verdict.outcome is Outcome.GRACEFUL
    assert [(item.rule, item.message) for item in verdict.findings] == [
        ("stream-unended", "1 event stream ended without the last chunk")
    ]


def test_a_grpc_failure_during_the_stop_is_a_warning() -> None:
    """UNAVAILABLE is an answer; one that always fails says nothing about the stop, nor does NOT_FOUND."""
    call = replace(IN_FLIGHT, kind=TrafficKind.GRPC, grpc_status=14, grpc_status_before=0)
    assert [item.rule for item in judged(with_requests(call)).findings] == ["error-answer"]
    assert not judged(with_requests(replace(call, grpc_status_before=14))).findings
    assert not judged(with_requests(replace(call, grpc_status=5))).findings


def closed(**more: Any) -> Observation:
    """A stop 100 ms after which an answer ended by the close of its connection; PID 1, alone, exited after 1 s."""
    request = replace(IN_FLIGHT, ends_by_close=True, ended_at_ns=NS_PER_S // 10, body_bytes=60, **more)
    return replace(with_requests(request), looks=Looks(before=(ProcessInfo(1, 0, "server", 0, 0, 0),)))


def unsure(observation: Observation) -> bool:
    """Whether the fate of its one request is not known."""
    traffic = answer_ends.with_known_ends(observation)
    assert traffic is not None
    return traffic.requests[0].fate is RequestFate.UNKNOWN


def test_an_answer_that_ends_with_the_process_may_be_cut() -> None:
    """It is whole if PID 1, alone, lived on, or if it is as long as the one before; nothing else is a proof."""
    seen = closed()
    company = replace(seen, looks=replace(seen.looks, before=(*(seen.looks.before or ()), *(seen.looks.before or ()))))
    late = closed()
    late = replace(late, traffic=TrafficRecord((replace(late.requests[0], ended_at_ns=NS_PER_S),)))
    assert not unsure(seen)
    assert unsure(late)
    assert unsure(company), "another process may have ended"
    assert unsure(replace(seen, looks=replace(seen.looks, before=None)))
    assert unsure(without(seen, EventKind.EXITED))
    assert not unsure(replace(company, traffic=closed(body_bytes_before=60).traffic))
    assert unsure(replace(company, traffic=closed(body_bytes_before=200).traffic))
    for left_ns, doubt in ((NS_PER_S * 9 // 10, True), (NS_PER_S // 2, False)):  # before PID 1, which left at 1 s
        fates = (ProcessFate("init", end_ns=0), ProcessFate("server", end_ns=left_ns))
        assert unsure(changed(company, fates=fates)) is doubt
    assert not unsure(with_requests(IN_FLIGHT))


def test_an_answer_that_was_open_when_the_stop_signal_ended_its_server_was_cut() -> None:
    """A server without a handler, below an init: it did nothing any more."""
    seen = replace(closed(), looks=Looks())
    seen = replace(seen, traffic=TrafficRecord((replace(seen.requests[0], ended_at_ns=NS_PER_S // 2),)))
    init = ProcessFate("tini", command="tini -- php", pid=1, end_ns=0, handling=SignalDisposition.DEFAULT)
    server = ProcessFate(
        "php", command="php -S 0:80", pid=7, parent_pid=1, end_ns=NS_PER_S // 2, exit_signal=signals.SIGTERM,
        handling=SignalDisposition.DEFAULT,
    )  # fmt: skip

    def fate(*fates: ProcessFate, **more: Any) -> RequestFate:
        traffic = answer_ends.with_known_ends(changed(seen, fates=fates, stop_signal=signals.SIGTERM, **more))
        assert traffic is not None
        return traffic.requests[0].fate

    begun = replace(seen.requests[0], first_byte_at_ns=-1, ended_at_ns=NS_PER_S // 2)
    assert fate(init, server, traffic=TrafficRecord((begun,))) is RequestFate.TRUNCATED
    assert fate(init, server, traffic=TrafficRecord((replace(begun, first_byte_at_ns=None),))) is RequestFate.NO_ANSWER
    earlier = TrafficRecord((replace(begun, ended_at_ns=485 * NS_PER_S // 1000),))
    assert fate(init, server, traffic=earlier) is RequestFate.UNKNOWN
    handles = replace(server, handling=SignalDisposition.CAUGHT)
    assert fate(init, handles, traffic=TrafficRecord((begun,))) is RequestFate.UNKNOWN
    assert fate(init, server, handles, traffic=TrafficRecord((begun,))) is RequestFate.UNKNOWN
    assert fate(replace(init, command="app"), server, traffic=TrafficRecord((begun,))) is RequestFate.UNKNOWN


def missing(kind: TrafficKind, reason: str) -> Observation:
    """A stop that is graceful, with traffic of which nothing was open."""
    return replace(
        with_requests(),
        traffic=TrafficRecord((IN_FLIGHT,), missing=(MissingTraffic(kind, 80, reason, held=kind.held),)),
    )


def test_a_stop_without_what_was_to_be_held_is_inconclusive_and_without_a_request_in_flight_it_is_said() -> None:
    """A connection that is not there cannot show what it does to a stop."""
    for kind in (TrafficKind.STREAM, TrafficKind.KEEP_ALIVE, TrafficKind.IDLE):
        verdict = judged(missing(kind, "over at once"))
        assert (verdict.outcome, verdict.findings[0].rule) == (Outcome.INCONCLUSIVE, "nothing-held")
        assert verdict.reason.endswith("traffic to port 80: over at once")
    verdict = judged(missing(TrafficKind.HTTP, "200"))
    assert (verdict.outcome, [item.rule for item in verdict.findings]) == (Outcome.GRACEFUL, ["no-request-in-flight"])


@pytest.mark.parametrize("kind", TrafficKind)
@pytest.mark.parametrize("fate", RequestFate)
def test_only_what_was_accepted_and_cut_is_lost(kind: TrafficKind, fate: RequestFate) -> None:
    """A refusal, a time-out, a held connection and an endless stream are no loss, and a message that is not
    acknowledged is sent again; of an unknown end nobody can tell."""
    owed = (not kind.held or kind is TrafficKind.SSE) and kind is not TrafficKind.MESSAGES
    result = judged(with_requests(replace(IN_FLIGHT, kind=kind, fate=fate)))
    unclear = Outcome.INCONCLUSIVE if owed and fate is RequestFate.UNKNOWN else Outcome.GRACEFUL
    assert result.outcome is (Outcome.LOSSY if owed and fate in CUT_FATES else unclear)


@pytest.mark.parametrize(
    ("answered_ms", "expected"), [(100, Outcome.INCONCLUSIVE), (590, Outcome.INCONCLUSIVE), (700, Outcome.GRACEFUL)]
)
def test_requests_answered_before_a_late_stop_signal_prove_nothing(answered_ms: int, expected: Outcome) -> None:
    """The engine took 600 ms to send the signal: what was to be in flight then must still have been."""
    seen = with_requests(replace(IN_FLIGHT, sent_at_ns=-500 * NS_PER_MS, ended_at_ns=answered_ms * NS_PER_MS))
    signal = next(event for event in seen.record.events if event.kind is EventKind.SIGNAL_SENT)
    called = Event(EventKind.STOP_REQUESTED, signal.at_ns - 600 * NS_PER_MS, signal.clock, "stop call")
    events = (called, *(event for event in seen.record.events if event.kind is not EventKind.STOP_REQUESTED))
    scenario = replace(PLAIN, traffic=(TrafficClient(TrafficKind.HTTP, 8000, lead_ns=500 * NS_PER_MS),))
    assert judged(changed(seen, events=events), scenario).outcome is expected


@pytest.mark.parametrize("fate", CUT_FATES)
def test_what_was_not_sent_whole_is_not_lost(fate: RequestFate) -> None:
    """The server never had the request."""
    assert judged(with_requests(replace(IN_FLIGHT, fate=fate, sent_at_ns=None))).outcome is Outcome.GRACEFUL


@pytest.mark.parametrize("kind", [TrafficKind.HTTP, TrafficKind.NEW_CONNECTIONS])
@pytest.mark.parametrize("vantage", Vantage)
def test_what_a_proxy_accepts_after_the_stop_is_not_held_against_the_container(
    kind: TrafficKind, vantage: Vantage
) -> None:
    """docker-proxy accepts for a container that is gone; what it accepted before counts from everywhere."""
    late = replace(IN_FLIGHT, kind=kind, fate=RequestFate.RESET, connected_at_ns=5, sent_at_ns=6)
    lost = vantage is not Vantage.PUBLISHED_PORT
    assert judged(with_requests(late, vantage=vantage)).outcome is (Outcome.LOSSY if lost else Outcome.GRACEFUL)
    early = replace(late, connected_at_ns=-5)
    assert judged(with_requests(early, vantage=vantage)).outcome is Outcome.LOSSY


def test_the_reason_counts_the_requests() -> None:
    """How many of how many, and how they ended."""
    reset = replace(IN_FLIGHT, fate=RequestFate.RESET)
    result = judged(with_requests(IN_FLIGHT, reset, replace(IN_FLIGHT, kind=TrafficKind.IDLE)))
    assert "1 of 2 requests were lost (reset)" in result.reason


@pytest.mark.parametrize(
    ("requests", "rule"),
    [
        ((), "no-request-in-flight"),
        ((replace(IN_FLIGHT, status=503),), "error-answer"),
        ((replace(IN_FLIGHT, fate=RequestFate.TIMED_OUT),), "unanswered-request"),
    ],
)
def test_doubts_about_requests_are_warnings(requests: tuple[Request, ...], rule: str) -> None:
    """They deserve a look and decide nothing."""
    result = judged(with_requests(*requests))
    assert (result.outcome, [item.rule for item in result.findings]) == (Outcome.GRACEFUL, [rule])


def test_a_server_that_answered_with_errors_before_the_stop_is_not_remarked_upon() -> None:
    """The stop did not make it worse."""
    assert judged(with_requests(replace(IN_FLIGHT, status=500, status_before=500))).findings == ()


def test_an_outcome_that_may_be_another_is_inconclusive() -> None:
    """Only such a one: a stop that was killed is killed with less CPU, too."""
    for doubts, outcome in (((Outcome.GRACEFUL,), Outcome.INCONCLUSIVE), ((Outcome.KILLED,), Outcome.GRACEFUL)):
        scenario = Scenario("web", Subject(image="a"), not_applied=(NotApplied("web.cpuset", "how fast", doubts),))
        verdict = judge.judge(stopped(1.0), scenario)
        assert verdict.outcome is outcome, verdict.reason
        assert ("not-applied" in {finding.rule for finding in verdict.findings}) is (outcome is Outcome.INCONCLUSIVE)
        (said,) = static_findings.of_scenarios((scenario,))
        assert said.finding.message == "not applied: web.cpuset: how fast"
