"""Observation + expectation → Verdict. Pure: the same record gives the same verdict, today and from a stored run.

Doubt lowers a verdict, never raises it: `graceful` is what is left when nothing speaks against it.
"""

from __future__ import annotations

from dataclasses import replace

from stop_harness.evidence import planned_moment, start_up, stop_sequence
from stop_harness.evidence.lost_processes import listed
from stop_harness.model import (
    NS_PER_S,
    Cause,
    ContainerVerdict,
    EngineInfo,
    Expectation,
    Finding,
    Observation,
    Outcome,
    Scenario,
    Severity,
    SigkillEvidence,
    Status,
    StopFacts,
    Subject,
    Verdict,
)
from stop_harness.verdict import (
    causes,
    faults,
    losses,
    main_process,
    outcomes,
    properties,
    static_findings,
    tasks,
    traffic,
)
from stop_harness.verdict.rules import RULES

NOT_THE_STOP_ASKED_FOR = frozenset({"fault-not-applied", "killed-by-somebody", "dependency-gone"})
"""Rules by which something beside the stop went on, so that it shows nothing of what the scenario is about."""


def judge(observation: Observation, scenario: Scenario) -> Verdict:
    """The verdict on one observation under the scenario it was made for.

    A task is judged container by container; it is what its worst container is.
    """
    expectation = scenario.expectation_at(observation.stop_timeout_ns)
    whole, observation = observation, faults.without_network(observation)
    if tasks.parts(observation) and observation.problem is None and not observation.record.exited_before_stop:
        verdict = _judge_task(observation, expectation, scenario.subject)
    else:
        verdict = _judge(observation, scenario, expectation)
    if text := faults.lost_with_the_network(whole):
        verdict = replace(verdict, findings=(*verdict.findings, _finding("under-fault", text)))
    verdict = _without_what_was_not_applied(verdict, scenario, expectation, observation.engine)
    return properties.judged(verdict, observation, expectation)


def _without_what_was_not_applied(
    verdict: Verdict, scenario: Scenario, expectation: Expectation, engine: EngineInfo
) -> Verdict:
    """Inconclusive where the outcome may be another with what the file asks for and the stop did not have."""
    doubtful = [item for item in static_findings.left_out(scenario, engine) if verdict.outcome in item.doubts]
    if not doubtful:
        return verdict
    said = ", ".join(item.what for item in doubtful)
    reason = f"{verdict.reason}; it may be another stop with what its file asks for and was not applied: {said}"
    outcome = Outcome.INCONCLUSIVE
    kept = (item for item in verdict.findings if item.rule != "serves-while-deregistering")
    return replace(
        verdict,
        outcome=outcome,
        status=_status(outcome, verdict.facts, expectation),
        reason=reason,
        findings=(_finding("not-applied", f"{verdict.outcome} without {said}"), *kept),
        cause=None,
        containers=tuple(
            replace(item, outcome=outcome, cause=None) if any(item.outcome in one.doubts for one in doubtful) else item
            for item in verdict.containers
        ),
    )


def _judge_task(observation: Observation, expectation: Expectation, subject: Subject) -> Verdict:
    """Every container that the stop had to end, by the same rules as one alone; then the whole."""
    found, grace_ns = [], observation.task.grace_ns if observation.task is not None else None
    for record, seen in tasks.parts(observation):
        facts = stop_sequence.facts(seen)
        outcome, rule, reason = outcomes.decided(seen, facts, expectation)
        if outcome is Outcome.KILLED:
            reason += tasks.what_cut_it_short(record)
        if record.not_told is not None:
            outcome, rule, reason = Outcome.INCONCLUSIVE, "hook-failed", record.not_told
        findings = ([_finding(rule, reason)] if rule else []) + _remarks(seen, facts, outcome)
        findings += [_finding(*remark) for remark in tasks.of_hooks(record, grace_ns)]
        cause = _with_advice(causes.cause(seen, facts, outcome), seen, subject)
        reason = main_process.named(reason, seen.looks)
        facts, findings, cause = main_process.named_in(seen.looks, facts, findings, cause)
        found.append(ContainerVerdict(record.name, outcome, reason, facts, tuple(findings), cause))
    worst = max(found, key=_badness)
    about = observation.task.about if observation.task is not None else None
    worst = next((item for item in found if item.name == about), worst)
    facts = replace(
        stop_sequence.facts(observation),
        sigkill_evidence=worst.facts.sigkill_evidence,
        sigkill_reason=f"{worst.name}: {worst.facts.sigkill_reason}",
        sigkill_after_ns=worst.facts.sigkill_after_ns,
        oom_during_stop=worst.facts.oom_during_stop,
    )
    outcome = worst.outcome
    cause = worst.cause and replace(worst.cause, evidence=f"{worst.name}: {worst.cause.evidence}")
    remarks = [replace(item, message=f"{worst.name}: {item.message}") for item in worst.findings]
    for other in (item for item in found if item is not worst):
        said = [item for item in other.findings if item.rule.startswith("hook-") or (about is None and _matters(item))]
        remarks += [replace(item, message=f"{other.name}: {item.message}") for item in said]
    after = "" if facts.shutdown_duration_ns is None else f" in {outcomes.seconds(facts.shutdown_duration_ns)}"
    reason = f"every container exited by itself{after}"
    if about is not None:
        reason = f"{worst.name}: {worst.reason}{_others(found, worst)}"
    elif outcome is not Outcome.GRACEFUL:
        same = sum(item.outcome is outcome for item in found)
        more = "" if same == 1 else f" (and {same - 1} more of {len(found)} containers)"
        reason = f"{worst.name}: {worst.reason}{more}"
    elif lost := losses.losses(observation):
        outcome, reason = Outcome.LOSSY, f"every container exited by itself{after}, but {' and '.join(lost)}"
        remarks = [_finding(losses.rule(observation), reason), *remarks]
        cause = _cause_of_the_loss(observation, facts, found, subject)
    elif doubt := traffic.unclear(observation.traffic):
        outcome, reason = Outcome.INCONCLUSIVE, f"{reason}, but {doubt[1]}"
        remarks = [_finding(doubt[0], reason), *remarks]
    of_whole = None if about is not None else observation.traffic
    remarks += [_finding(*remark) for remark in traffic.remarks(of_whole, graceful=outcome is Outcome.GRACEFUL)]
    status = _status(outcome, facts, expectation)
    remarks += _too_slow(outcome, status, facts, expectation)
    return Verdict(observation.trial_id, outcome, status, reason, facts, tuple(remarks), cause, tuple(found))


def _cause_of_the_loss(
    observation: Observation, facts: StopFacts, found: list[ContainerVerdict], subject: Subject
) -> Cause | None:
    """Of requests of a whole group; where only one container was stopped, they were its own."""
    seen = observation
    if len(found) == 1:
        _, seen = tasks.parts(observation)[0]
        seen, facts = replace(seen, traffic=observation.traffic), found[0].facts
    return _with_advice(causes.cause(seen, facts, Outcome.LOSSY), seen, subject)


def _with_advice(cause: Cause | None, seen: Observation, subject: Subject) -> Cause | None:
    """The cause with what to do about it. Most stops have none, and the tables of advice are not loaded for them."""
    if cause is None:
        return None
    from stop_harness.verdict import advice

    return advice.with_advice(cause, seen, subject)


def _others(found: list[ContainerVerdict], about: ContainerVerdict) -> str:
    """What is worth saying of the containers that a trial is not about."""
    others = (item for item in found if item is not about and item.outcome is not Outcome.GRACEFUL)
    bad = [f"{item.name} {item.outcome}" for item in others]
    return f"; beside it {', '.join(bad)}" if bad else ""


def _badness(item: ContainerVerdict) -> tuple[int, int, int]:
    """By what one container stands for all: of two alike, the first in the file, so that noise of the machine does not
    choose. Its time counts in whole seconds for the same reason."""
    took_s = round((item.facts.shutdown_duration_ns or 0) / NS_PER_S)
    return item.outcome.severity, sum(map(_matters, item.findings)), took_s


def _matters(finding: Finding) -> bool:
    """Notes only explain; they are said of the container that stands for all."""
    return finding.severity is not Severity.NOTE


def _judge(observation: Observation, scenario: Scenario, expectation: Expectation) -> Verdict:
    facts = faults.with_sigkill(observation, stop_sequence.facts(observation))
    outcome, rule, reason = outcomes.decided(observation, facts, expectation)
    if outcome is Outcome.GRACEFUL and (late := planned_moment.missed(observation, scenario)):
        outcome, rule, reason = Outcome.INCONCLUSIVE, *late
    findings = [_finding(rule, reason)] if rule else []
    if text := planned_moment.late_but_met(observation, scenario, outcome):
        findings.append(_finding("signal-held-back", text))
    findings += _remarks(observation, facts, outcome)
    status = _status(outcome, facts, expectation)
    if outcome is Outcome.INCONCLUSIVE and (observation.problem is not None or rule in NOT_THE_STOP_ASKED_FOR):
        status = Status.INCONCLUSIVE  # `expect` may accept missing evidence of a stop, and not a missing stop
    findings += _too_slow(outcome, status, facts, expectation)
    cause = _with_advice(causes.cause(observation, facts, outcome), observation, scenario.subject)
    reason = main_process.named(reason, observation.looks)
    facts, findings, cause = main_process.named_in(observation.looks, facts, findings, cause)
    return Verdict(observation.trial_id, outcome, status, reason, facts, tuple(findings), cause)


def _remarks(observation: Observation, facts: StopFacts, outcome: Outcome) -> list[Finding]:
    """Findings that explain a verdict without deciding it."""
    remarks = []
    record, derivation = observation.record, observation.derivation
    if text := faults.remark(observation):
        remarks.append(_finding("under-fault", text))
    if derivation.derived_from is not None:
        remarks.append(_finding("derived", f"not performed: it follows from {derivation.derived_from}"))
    elif facts.sigkill_reason == derivation.cut_short:
        remarks.append(_finding("cut-short", "`--fast` did not wait for the stop timeout; the outcome is inferred"))
    elif facts.sigkill_evidence is SigkillEvidence.INFERRED:
        remarks.append(_finding("sigkill-inferred", facts.sigkill_reason))
    if outcome is Outcome.GRACEFUL and record.exit_code:
        remarks.append(_finding("non-zero-exit", f"exit code {record.exit_code}"))
    if record.suspected_processes and outcome is Outcome.INCONCLUSIVE:
        names = listed(record.suspected_processes)
        remarks.append(_finding("suspected-process", f"{names}: seen alive just before PID 1 exited"))
    if outcome is not Outcome.INCONCLUSIVE:
        remarks += [_finding("ended-by-default", hint) for hint in losses.hints(observation)]
    if text := start_up.doubt(observation, outcome):
        remarks.append(_finding("ready-unknown", text))
    if text := planned_moment.unknown(observation, outcome, facts.shutdown_duration_ns):
        remarks.append(_finding("signal-time-unknown", text))
    if outcome is not Outcome.INCONCLUSIVE:
        graceful = outcome is Outcome.GRACEFUL
        remarks += [_finding(*remark) for remark in traffic.remarks(observation.traffic, graceful=graceful)]
    if not observation.engine.pid1_rules and outcome is not Outcome.INCONCLUSIVE:
        text = "it ran in a plain process group; as PID 1 of a container it may behave differently"
        remarks.append(_finding("pid1-rules-not-reproduced", text))
    return remarks


def _status(outcome: Outcome, facts: StopFacts, expectation: Expectation) -> Status:
    if outcome not in expectation.outcomes:
        return Status.INCONCLUSIVE if outcome is Outcome.INCONCLUSIVE else Status.FAIL
    if expectation.within_ns is None or outcome is Outcome.INCONCLUSIVE:
        return Status.PASS
    if facts.shutdown_duration_ns is None:
        return Status.INCONCLUSIVE
    return Status.PASS if facts.shutdown_duration_ns <= expectation.within_ns else Status.FAIL


def _too_slow(outcome: Outcome, status: Status, facts: StopFacts, expectation: Expectation) -> list[Finding]:
    """What is said of a stop that failed by its time alone."""
    if status is not Status.FAIL or outcome not in expectation.outcomes or expectation.within_ns is None:
        return []
    took, limit = outcomes.seconds(facts.shutdown_duration_ns), outcomes.seconds(expectation.within_ns)
    return [_finding("slow-stop", f"took {took}, expected within {limit}")]


def _finding(rule: str, message: str) -> Finding:
    return Finding(rule, RULES[rule].severity, message)
