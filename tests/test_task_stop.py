"""The stop of a whole task from its record: what its worst container came to, order, shares, and what to mend first."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness import signals
from stop_harness.conductor import store, stored_runs
from stop_harness.ecs import task_definition
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Clock,
    Compliance,
    ComplianceStatus,
    ContainerRecord,
    Event,
    EventKind,
    Expectation,
    LogTail,
    Looks,
    Observation,
    Outcome,
    Problem,
    ProblemKind,
    Report,
    Request,
    RequestFate,
    RoutedBy,
    RunInfo,
    Scenario,
    SigkillEvidence,
    Status,
    StopPlan,
    StopRecord,
    StoredRun,
    Subject,
    TaskRecord,
    TaskStop,
    TrafficKind,
    TrafficRecord,
    TrialResult,
    Vantage,
    Verdict,
)
from stop_harness.report import build
from stop_harness.verdict import judge, tasks
from tests import process_tables
from tests.fates import DEFAULT, fate
from tests.parts import changed
from tests.strategies import DOCKER

BEGIN_NS = 1_800_000_000 * NS_PER_S
RUN = RunInfo("r", "web", "2026-11-23T12:00:00.000+00:00", DOCKER, "0.1.0", "here", 2, ("stop-harness", "run"))


def container(
    name: str,
    at_s: float = 0,
    took_s: float | None = 1,
    code: int | None = 0,
    *,
    killed: bool = False,
    timeout_s: int = 30,
    **more: Any,
) -> ContainerRecord:
    """Told to stop at a moment of the task's stop; `took_s` None: nobody saw its end."""
    begin_ns = BEGIN_NS + round(at_s * NS_PER_S)
    events = [Event(EventKind.SIGNAL_SENT, begin_ns, Clock.ENGINE, "kill event", signals.SIGTERM)]
    if killed:
        took_s, code = timeout_s + 0.02, 137
        sent_ns = begin_ns + timeout_s * NS_PER_S + 10 * NS_PER_MS
        events.append(Event(EventKind.SIGNAL_SENT, sent_ns, Clock.ENGINE, "kill event", signals.SIGKILL))
    if took_s is not None:
        ended_ns = begin_ns + round(took_s * NS_PER_S)
        events.append(Event(EventKind.EXITED, ended_ns, Clock.ENGINE, "State.FinishedAt"))
    record = StopRecord(tuple(events), code, oom_killed=False, lost_processes=(), stop_signal=signals.SIGTERM)
    return changed(ContainerRecord(name, True, (), timeout_s * NS_PER_S, record), **more)


def ended(name: str, code: int = 0, **more: Any) -> ContainerRecord:
    """An init container: it had ended before the stop."""
    return container(name, code=code, events=(), exited_before_stop=True, **more)


def scenario_of(*records: ContainerRecord, **more: Any) -> Scenario:
    """Whose definition has these containers, waiting for one another as the records say."""
    needs = {item.name: [other.name for other in records if item.name in other.waits_for] for item in records}
    document = {
        "containerDefinitions": [
            {
                "name": item.name,
                "image": "image",
                "essential": item.essential,
                "stopTimeout": item.stop_timeout_ns // NS_PER_S,
                "dependsOn": [{"containerName": name, "condition": "START"} for name in needs[item.name]],
            }
            for item in records
        ]
    }
    task = task_definition.parse(json.dumps(document), "web.json")
    stop = StopPlan((task_definition.longest_chain(task)[1] * NS_PER_S,), own_timeouts=True)
    return Scenario("web", Subject(task_file="web.json", task=task), stop=stop, **more)


def observed(*records: ContainerRecord, **more: Any) -> Observation:
    """One stop of a task with these containers."""
    task = TaskRecord("arn", records)
    seen = Observation(
        trial_id="web@2m#1",
        scenario="web",
        engine=DOCKER,
        stop_timeout_ns=120 * NS_PER_S,
        stop_after_ns=0,
        repetition=1,
        started_at="2026-11-23T12:00:00.000+00:00",
        record=StopRecord(task.events),
        task=task,
        own_timeouts=True,
    )
    return changed(seen, **more)


def judged(*records: ContainerRecord, scenario: Scenario | None = None, **more: Any) -> Verdict:
    """The verdict on such a stop."""
    return judge.judge(observed(*records, **more), scenario or scenario_of(*records))


def analysed(*records: ContainerRecord) -> TaskStop:
    """What the report says of such a stop."""
    seen, scenario = observed(*records), scenario_of(*records)
    found = tasks.analyse(TrialResult(seen, judge.judge(seen, scenario)), scenario)
    assert found is not None
    return found


def reported(scenario: Scenario, *seen: Observation) -> Report:
    """A report of these stops."""
    stored = StoredRun(RUN, (scenario,), seen, len(seen))
    return build.build(stored, stored_runs.judge(stored))


# ── The verdict ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("logs", "expected"),
    [
        (LogTail("listening\n"), Outcome.GRACEFUL),
        (LogTail("app.rb:3: RuntimeError\n"), Outcome.CRASHED),
        (LogTail("listening\n", truncated=True), Outcome.CRASHED),
        (LogTail(), Outcome.CRASHED),
    ],
    ids=["no error in it", "an error in it", "its end only", "nothing is known of it"],
)
def test_a_runtime_s_own_ending_in_a_task_counts_where_its_log_is_known(logs: LogTail, expected: Outcome) -> None:
    """What a container of a task wrote after the signal cannot be told from what it wrote before, so all of it counts;
    an empty log may be one that nobody could read."""
    ruby = container("app", 0, 0.1, 1, looks=Looks(before=process_tables.RUBY, logs=logs))
    assert judged(ruby).outcome is expected


GOOD = container("good")
BAD = {
    Outcome.OOM_KILLED: container("bad", code=137, oom_killed=True),
    Outcome.CRASHED: container("bad", code=1),
    Outcome.KILLED: container("bad", killed=True, timeout_s=5),
    Outcome.LOSSY: container("bad", lost_processes=("worker",)),
    Outcome.INCONCLUSIVE: container("bad", took_s=None, code=None),
    Outcome.GRACEFUL: container("bad"),
}


@pytest.mark.parametrize("outcome", BAD)
def test_a_task_is_what_its_worst_container_is(outcome: Outcome) -> None:
    """One container decides, wherever it stands; the others keep their own verdicts."""
    for records in ((GOOD, BAD[outcome]), (BAD[outcome], GOOD)):
        found = judged(*records)
        assert found.outcome is outcome, found.reason
        assert {item.name: item.outcome for item in found.containers} == {"good": Outcome.GRACEFUL, "bad": outcome}
        assert found.status is (
            Status.PASS
            if outcome is Outcome.GRACEFUL
            else Status.INCONCLUSIVE
            if outcome is Outcome.INCONCLUSIVE
            else Status.FAIL
        )


@given(st.lists(st.sampled_from(list(BAD)), min_size=1, max_size=4))
def test_nothing_is_graceful_beside_a_container_that_is_not(outcomes: list[Outcome]) -> None:
    """Proof outweighs doubt, doubt outweighs graceful stops."""
    records = [replace(BAD[outcome], name=f"c{at}") for at, outcome in enumerate(outcomes)]
    found = judged(*records)
    assert found.outcome is max(outcomes, key=lambda outcome: outcome.severity)
    assert len(found.containers) == len(records)


def test_the_worst_container_is_named_with_its_reason_cause_and_evidence() -> None:
    """And how many others came to the same."""
    found = judged(GOOD, container("a", killed=True, timeout_s=2), container("b", 2, killed=True, timeout_s=5))
    assert found.reason.startswith("b: still running 5 s after SIGTERM; ended by SIGKILL (observed:")
    assert found.reason.endswith("(and 1 more of 3 containers)")
    assert found.facts.sigkill_evidence is SigkillEvidence.OBSERVED
    assert found.facts.sigkill_reason.startswith("b: ")
    assert found.cause is not None
    assert "sigkill-needed" in {item.rule for item in found.findings}


@pytest.mark.parametrize(("left_s", "said"), [(20, "left 20 s"), (0, "left 0 s")])
def test_a_container_is_judged_by_what_a_spot_notice_left_it(left_s: int, said: str) -> None:
    """Killed before its own stop timeout, and the reason says why; who left in that time is graceful without a word."""
    cut: dict[str, Any] = {
        "timeout_s": left_s, "stop_timeout_ns": 50 * NS_PER_S, "cut_to_ns": left_s * NS_PER_S,
    }  # fmt: skip
    verdict = judged(container("router", killed=True, **cut))
    assert verdict.outcome is Outcome.KILLED
    assert f"of its stop timeout of 50 s the two minutes of the Spot notice had {said}" in verdict.reason
    if left_s:
        assert "Spot" not in judged(container("router", took_s=left_s - 1, **cut)).reason


def test_a_good_stop_lasts_from_the_first_signal_to_the_last_exit() -> None:
    """On one clock."""
    found = judged(container("a", 0, 2), container("b", 2.5, 1.5, 143))
    assert found.outcome is Outcome.GRACEFUL
    assert found.facts.shutdown_duration_ns == 4 * NS_PER_S
    assert found.reason == "every container exited by itself in 4 s"


def test_a_container_that_no_clock_timed_is_a_doubt() -> None:
    """It left with 0, but maybe late."""
    found = judged(GOOD, container("doubt", took_s=None))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reason.startswith("doubt: exited with code 0, but no clock saw both")


def test_a_record_with_a_gap_is_a_doubt() -> None:
    """Exit code 137 before the stop timeout, and the engine's event stream broke."""
    found = judged(GOOD, container("gap", code=137, complete=False))
    assert found.outcome is Outcome.INCONCLUSIVE


def test_containers_that_had_ended_or_never_ran_are_left_out() -> None:
    """Whatever their exit code."""
    found = judged(ended("migrate", 1), container("never", code=143, ran=False, events=()), GOOD)
    assert found.outcome is Outcome.GRACEFUL
    assert [item.name for item in found.containers] == ["good"]


def test_accepted_exit_codes_are_those_of_every_container() -> None:
    """The scenario's expectation."""
    records = (container("a", code=3), container("b", code=0))
    accepts = scenario_of(*records, expectations=(Expectation(exit_codes=(0, 3)),))
    assert judged(*records).outcome is Outcome.CRASHED
    assert judged(*records, scenario=accepts).outcome is Outcome.GRACEFUL


def test_within_is_about_the_whole_task() -> None:
    """Each container is fast enough, all together are not."""
    records = (container("a", 0, 2), container("b", 2, 2))
    quick = scenario_of(*records, expectations=(Expectation(within_ns=3 * NS_PER_S),))
    found = judged(*records, scenario=quick)
    assert (found.outcome, found.status) == (Outcome.GRACEFUL, Status.FAIL)
    assert [item.message for item in found.findings if item.rule == "slow-stop"] == ["took 4 s, expected within 3 s"]


def request(fate: RequestFate) -> Request:
    """In flight when the stop came."""
    return Request(TrafficKind.HTTP, 1, fate, -600 * NS_PER_MS, -500 * NS_PER_MS, None, NS_PER_S)


def test_a_lost_request_of_the_task_is_a_loss() -> None:
    """Whichever container cut it; worse outcomes go before."""
    lost = (request(RequestFate.RESET), request(RequestFate.COMPLETED))
    found = judged(GOOD, traffic=TrafficRecord(lost, Vantage.PUBLISHED_PORT))
    assert found.outcome is Outcome.LOSSY
    assert found.reason == "every container exited by itself in 1 s, but 1 of 2 requests were lost (reset)"
    assert "lost-request" in {item.rule for item in found.findings}
    assert judged(GOOD, traffic=TrafficRecord(lost[1:], Vantage.PUBLISHED_PORT)).outcome is Outcome.GRACEFUL
    by = RoutedBy(2 * NS_PER_S, 10 * NS_PER_S, 0, 0)
    late = Request(TrafficKind.HTTP, 1, RequestFate.REFUSED, ended_at_ns=NS_PER_S, detail="connection refused")
    refused = judged(GOOD, traffic=TrafficRecord((lost[1], late), Vantage.CONTAINER_ADDRESS, routed_by=by))
    assert (refused.outcome, refused.findings[0].rule) == (Outcome.LOSSY, "refused-while-deregistering")
    assert judged(BAD[Outcome.KILLED], traffic=TrafficRecord(lost)).outcome is Outcome.KILLED


def test_requests_are_those_of_the_container_that_the_trial_is_about() -> None:
    """A stop that loses one is never graceful, and is judged as that container's; each is told once."""
    lost = TrafficRecord((request(RequestFate.RESET), request(RequestFate.COMPLETED)), Vantage.CONTAINER_ADDRESS)
    seen = observed(GOOD, container("beside"), traffic=lost)
    assert seen.task is not None
    about = replace(seen, task=replace(seen.task, about="good"))
    verdict = judge.judge(about, scenario_of(GOOD, container("beside")))
    assert (verdict.outcome, [item.outcome.value for item in verdict.containers]) == (
        Outcome.LOSSY,
        ["lossy", "graceful"],
    )
    assert verdict.reason == "good: exited with code 0, 1 s after SIGTERM, but 1 of 2 requests were lost (reset)"
    assert [item.rule for item in verdict.findings] == ["lost-request"]


def test_a_trial_that_came_to_nothing_has_no_containers_to_judge() -> None:
    """Interrupted, or gone before the stop."""
    problem = Problem(ProblemKind.INTERRUPTED, "the run was interrupted")
    assert judged(GOOD, problem=problem).outcome is Outcome.INCONCLUSIVE
    gone = judged(GOOD, exited_before_stop=True)
    assert (gone.outcome, gone.containers) == (Outcome.NOT_RUNNING, ())


HINTED = (
    fate(1, 0, "sh -c 'a & wait'", end_ns=0),
    fate(7, 1, "sh -c 'while :; do sleep 1; done'", handling=DEFAULT, exit_code=None, exit_signal=9, by_teardown=True),
    fate(8, 7, "sleep 1", handling=DEFAULT, exit_code=None, exit_signal=9, by_teardown=True),
)
"""A helper that slept between two rounds of its loop, which is a warning."""


def hinted(name: str, took_s: float = 1) -> ContainerRecord:
    return container(name, took_s=took_s, fates=HINTED, lost_processes=("sh", "sleep"))


@pytest.mark.parametrize("names", [("a", "b", "c"), ("c", "a", "b")])
@pytest.mark.parametrize("slow", [0, 1, 2])
def test_the_warnings_of_every_container_are_said_in_one_order(names: tuple[str, str, str], slow: int) -> None:
    """Each with its container's name; which of them took some milliseconds longer changes nothing."""
    took = [0.05 if at == slow else 0.01 for at in range(3)]
    plain, *loops = names
    seen = judged(container(plain, took_s=took[0]), *(hinted(it, took[at + 1]) for at, it in enumerate(loops)))
    assert seen.outcome is Outcome.GRACEFUL, seen.reason
    warnings = [item.message for item in seen.findings if item.rule == "ended-by-default"]
    assert [message.split(":")[0] for message in warnings] == loops
    assert loops[0] in seen.facts.sigkill_reason


def test_of_two_containers_that_failed_alike_both_are_said() -> None:
    """What the first took longer by, in milliseconds, does not choose which one is named first."""
    for took_s in ((1.01, 1.02), (1.02, 1.01)):
        records = [container(name, code=3, took_s=took_s[at]) for at, name in enumerate("ab")]
        seen = judged(*records)
        assert seen.reason.startswith("a: "), seen.reason
        errors = [item.message[:2] for item in seen.findings if item.rule == "exit-code-not-accepted"]
        assert errors == ["a:", "b:"]
    assert judged(container("a", code=3), container("b", code=3, took_s=9)).reason.startswith("b: ")


# ── Order, shares, chains ────────────────────────────────────────────────────────────────────────────────────────────


def test_containers_stand_in_the_order_in_which_they_were_told_to_stop() -> None:
    """Those that had ended before first."""
    stop = analysed(container("router", 3, 1), container("app", 0, 3), ended("migrate"), container("agent", 0.5, 1))
    assert [share.name for share in stop.containers] == ["migrate", "app", "agent", "router"]
    assert [share.signalled_after_ns for share in stop.containers] == [None, 0, NS_PER_S // 2, 3 * NS_PER_S]
    assert stop.containers[0].reason == "it had ended with exit code 0 before the stop"


def test_shares_are_of_the_whole_stop() -> None:
    """Those of a chain add up to all of it."""
    stop = analysed(container("app", 0, 3), container("proxy", 3, 1, waits_for=("app",)))
    assert stop.total_ns == 4 * NS_PER_S
    assert [share.share for share in stop.containers] == [0.75, 0.25]
    assert [share.on_longest_chain for share in stop.containers] == [True, True]


def test_the_chain_that_was_taken_follows_who_ended_last() -> None:
    """Of two containers that the router waited for, the slower one; the one beside is not on it."""
    stop = analysed(
        container("a", 0, 1),
        container("b", 0, 3),
        container("beside", 0, 2),
        container("router", 3, 1, waits_for=("a", "b")),
    )
    assert {share.name for share in stop.containers if share.on_longest_chain} == {"b", "router"}


def test_the_longest_that_the_task_may_take_is_of_the_containers_that_ran() -> None:
    """An init container has ended long ago, and one that never ran adds nothing."""
    stop = analysed(
        ended("migrate", timeout_s=100, waits_for=("app",)),
        container("app", timeout_s=60),
        container("proxy", 1, timeout_s=20, waits_for=("app",)),
        container("never", ran=False, events=(), timeout_s=120),
    )
    assert (stop.chain, stop.worst_case_ns) == (("app", "proxy"), 80 * NS_PER_S)
    assert stop.limit_ns == 120 * NS_PER_S


def test_what_to_mend_first_is_the_bad_container_that_cost_most() -> None:
    """On the longest chain before beside it; nothing where all are graceful."""
    chain = (container("app", 0, 3), container("proxy", 3, killed=True, timeout_s=2, waits_for=("app",)))
    stop = analysed(*chain, container("beside", 0, killed=True, timeout_s=4))
    assert stop.fix_first == "proxy"
    assert stop.advice == "40% of the whole stop (2.0 s)"
    assert analysed(GOOD).fix_first is None
    assert analysed(GOOD, BAD[Outcome.INCONCLUSIVE]).fix_first is None


def test_a_task_that_nobody_timed_has_no_shares() -> None:
    """And says what is known all the same."""
    stop = analysed(container("app", took_s=None), container("bad", took_s=None, code=1))
    assert stop.total_ns is None
    assert {share.share for share in stop.containers} == {None}
    assert (stop.fix_first, stop.advice) == ("bad", "it was not stopped gracefully")


# ── Compliance ───────────────────────────────────────────────────────────────────────────────────────────────────────


def compliance(scenario: Scenario, *seen: Observation) -> Compliance:
    """The row of the report."""
    (row,) = reported(scenario, *seen).compliance
    return row


def test_each_container_is_measured_by_its_own_stop_timeout() -> None:
    """40 s of a container with 60 s of its own are in time, though ECS's default is 30 s."""
    records = (container("app", 0, 40, timeout_s=60), container("proxy", 40, 1, timeout_s=30))
    row = compliance(scenario_of(*records), observed(*records))
    assert row.status is ComplianceStatus.COMPLIANT
    assert row.headroom_ns == 20 * NS_PER_S
    assert row.reason.startswith("app: It exited by itself")


def test_without_timeouts_of_their_own_the_default_counts_for_each() -> None:
    """The chain's sum does not: 20 s and 20 s are two stops of 20 s."""
    records = (container("app", 0, 20, timeout_s=60), container("proxy", 20, 20, timeout_s=60, waits_for=("app",)))
    scenario = scenario_of(*records)
    scenario = replace(scenario, stop=replace(scenario.stop, own_timeouts=False, timeouts_ns=(60 * NS_PER_S,)))
    row = compliance(scenario, observed(*records))
    assert (row.status, row.headroom_ns) == (ComplianceStatus.COMPLIANT, 10 * NS_PER_S)
    slow = (container("app", 0, 40, timeout_s=60),)
    scenario = replace(scenario_of(*slow), stop=scenario.stop)
    row = compliance(scenario, observed(*slow))
    assert row.status is ComplianceStatus.NON_COMPLIANT
    assert row.reason.startswith("app: It needed 40")


def test_the_worst_container_decides_compliance_and_is_named() -> None:
    """A killed one is proof against the task."""
    row = compliance(scenario_of(GOOD, BAD[Outcome.KILLED]), observed(GOOD, BAD[Outcome.KILLED]))
    assert row.status is ComplianceStatus.NON_COMPLIANT
    assert row.reason.startswith("bad: It was still running 5 s after the stop signal and was killed.")


def test_stops_that_came_to_nothing_are_a_doubt() -> None:
    """Good ones beside them do not make up for it."""
    problem = Problem(ProblemKind.ENGINE_FAILED, "the service is gone")
    lost = observed(trial_id="web@2m#2", repetition=2, task=None, events=(), problem=problem)
    scenario = scenario_of(GOOD)
    assert compliance(scenario, observed(GOOD), lost).status is ComplianceStatus.INCONCLUSIVE
    assert compliance(scenario, lost).status is ComplianceStatus.INCONCLUSIVE
    bad = scenario_of(BAD[Outcome.KILLED])
    assert compliance(bad, observed(BAD[Outcome.KILLED]), lost).status is ComplianceStatus.NON_COMPLIANT


# ── Stored runs ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stored_task_is_judged_the_same(tmp_path: Path) -> None:
    """The whole record is in the run directory: scenario, definition, containers."""
    records = (
        ended("migrate"),
        container("app", 0, 3),
        container("proxy", 3, killed=True, timeout_s=2, waits_for=("app",), lost_processes=()),
    )
    scenario, seen = scenario_of(*records), observed(*records, traffic=TrafficRecord((request(RequestFate.RESET),)))
    first = reported(scenario, seen)
    directory = store.RunDirectory.create(tmp_path, "web")
    directory.write_run(store.RunFile(store.FORMAT_VERSION, RUN, (scenario,), 1, ()))
    directory.append(first.results[0])
    stored, verdicts = store.read(directory.path)
    assert stored.observations == (seen,)
    assert stored.scenarios == (scenario,)
    assert verdicts == (first.results[0].verdict,)
    again = stored_runs.report_of(stored)
    assert again.results == first.results
    assert (again.tasks, again.compliance, again.static_findings) == (
        first.tasks,
        first.compliance,
        first.static_findings,
    )


def test_the_sum_of_a_chain_is_no_stop_timeout_to_recommend() -> None:
    """Twenty prompt stops of a chain of 20 s and 20 s: neither container needs 40 s."""
    records = (container("app", 0, 20, timeout_s=60), container("proxy", 20, 20, timeout_s=60, waits_for=("app",)))
    stops = [observed(*records, trial_id=f"web@2m#{number}", repetition=number) for number in range(1, 21)]
    made = reported(scenario_of(*records), *stops)
    assert {result.verdict.outcome for result in made.results} == {Outcome.GRACEFUL}
    (advice,) = made.advice
    assert advice.recommended_ns is None
    assert "of its own" in advice.basis
