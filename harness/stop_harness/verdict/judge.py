"""Observation + expectation → Verdict. Pure: the same record gives the same verdict, today and from a stored run.

Doubt lowers a verdict, never raises it: `graceful` is what is left when nothing speaks against it.
"""

from __future__ import annotations

from dataclasses import replace

from stop_harness import signals
from stop_harness.evidence import (
    left_behind,
    log_hints,
    planned_moment,
    somebody_else,
    start_up,
    stop_sequence,
)
from stop_harness.evidence.left_behind import LeftBehindFate
from stop_harness.evidence.lost_processes import listed
from stop_harness.model import (
    ASSUMED,
    NS_PER_S,
    Cause,
    ContainerVerdict,
    Derivation,
    EngineInfo,
    Expectation,
    Finding,
    Observation,
    Outcome,
    ProblemKind,
    Scenario,
    Severity,
    SigkillEvidence,
    Status,
    StopFacts,
    StopRecord,
    Subject,
    Verdict,
)
from stop_harness.verdict import (
    causes,
    faults,
    losses,
    main_process,
    properties,
    runtime_ending,
    static_findings,
    tasks,
    traffic,
)
from stop_harness.verdict.rules import RULES

_PROBLEM_RULES = {
    ProblemKind.COMMAND_NOT_FOUND: (Outcome.NOT_RUNNING, "command-not-found"),
    ProblemKind.NOT_READY: (Outcome.INCONCLUSIVE, "not-ready"),
    ProblemKind.START_FAILED: (Outcome.INCONCLUSIVE, "not-measured"),
    ProblemKind.ENGINE_FAILED: (Outcome.INCONCLUSIVE, "not-measured"),
    ProblemKind.INTERRUPTED: (Outcome.INCONCLUSIVE, "not-measured"),
    ProblemKind.HARNESS_FAILED: (Outcome.INCONCLUSIVE, "not-measured"),
    ProblemKind.HOOK_FAILED: (Outcome.INCONCLUSIVE, "hook-failed"),
    ProblemKind.NOT_DERIVABLE: (Outcome.INCONCLUSIVE, "not-derivable"),
}


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
        outcome, rule, reason = _outcome(seen, facts, expectation)
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
    after = "" if facts.shutdown_duration_ns is None else f" in {_seconds(facts.shutdown_duration_ns)}"
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
    if status is Status.FAIL and outcome in expectation.outcomes and expectation.within_ns is not None:
        text = f"took {_seconds(facts.shutdown_duration_ns)}, expected within {_seconds(expectation.within_ns)}"
        remarks.append(_finding("slow-stop", text))
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
    outcome, rule, reason = _outcome(observation, facts, expectation)
    if outcome is Outcome.GRACEFUL and (late := planned_moment.missed(observation, scenario)):
        outcome, rule, reason = Outcome.INCONCLUSIVE, *late
    findings = [_finding(rule, reason)] if rule else []
    if text := planned_moment.late_but_met(observation, scenario, outcome):
        findings.append(_finding("signal-held-back", text))
    findings += _remarks(observation, facts, outcome)
    status = _status(outcome, facts, expectation)
    if status is Status.FAIL and outcome in expectation.outcomes and expectation.within_ns is not None:
        text = f"took {_seconds(facts.shutdown_duration_ns)}, expected within {_seconds(expectation.within_ns)}"
        findings.append(_finding("slow-stop", text))
    cause = _with_advice(causes.cause(observation, facts, outcome), observation, scenario.subject)
    reason = main_process.named(reason, observation.looks)
    facts, findings, cause = main_process.named_in(observation.looks, facts, findings, cause)
    return Verdict(observation.trial_id, outcome, status, reason, facts, tuple(findings), cause)


def accepted_exit_codes(expectation: Expectation, stop_signal: int | None) -> frozenset[int]:
    """Exit codes that count as an orderly end. `stop_signal` None: nobody told; SIGTERM unless an image says other."""
    if expectation.exit_codes is not None:
        return frozenset(expectation.exit_codes)
    return frozenset({0, 128 + (signals.SIGTERM if stop_signal is None else stop_signal)})


UNTOLD_STOP_SIGNALS = frozenset(128 + signals.NUMBERS[name] for name in ("HUP", "INT", "QUIT", "USR1", "USR2"))
"""Exit codes that are orderly where the image's STOPSIGNAL says so, which not every engine can tell."""


def _outcome(observation: Observation, facts: StopFacts, expectation: Expectation) -> tuple[Outcome, str | None, str]:
    """(outcome, id of the rule that decided it, reason). The first case that holds decides."""
    problem = observation.problem
    if problem is not None:
        outcome, rule = _PROBLEM_RULES[problem.kind]
        return outcome, rule, problem.message
    record, derivation = observation.record, observation.derivation
    code, evidence, took = record.exit_code, facts.sigkill_evidence, facts.shutdown_duration_ns
    signal = _stop_began(record)
    if record.exited_before_stop:
        return faults.gone_before_the_stop(observation)
    if disturbed := _disturbed(observation, took):
        return disturbed
    if evidence is SigkillEvidence.UNKNOWN or code is None:
        return Outcome.INCONCLUSIVE, "evidence-missing", facts.sigkill_reason
    after = "" if took is None else f", {_seconds(took)} after {signal}"
    if facts.oom_during_stop:
        return Outcome.OOM_KILLED, "oom-during-stop", f"the OOM killer struck during the stop; exit code {code}{after}"
    if evidence in {SigkillEvidence.OBSERVED, SigkillEvidence.INFERRED}:
        if record.stop_signal == signals.SIGKILL:
            return Outcome.KILLED, "sigkill-needed", "the stop signal is SIGKILL, which nothing can handle"
        if early := start_up.too_early(observation):
            return Outcome.INCONCLUSIVE, "stopped-too-early", early
        waited = _seconds(observation.stop_timeout_ns)
        if derivation.cut_short is not None:
            why = derivation.cut_short if derivation.derived_from is None else _why_derived(derivation)
            return Outcome.KILLED, "sigkill-needed", f"would have been SIGKILLed at {waited}; {why}"
        text = f"still running {waited} after {signal}; ended by SIGKILL ({evidence}: {facts.sigkill_reason})"
        return Outcome.KILLED, "sigkill-needed", text
    if not record.left_untold and stop_sequence.left_late(observation, took):
        text = f"exited {after.removeprefix(', ')}, later than the stop timeout, yet without SIGKILL"
        return Outcome.INCONCLUSIVE, "evidence-missing", text
    asked_for = record.exit_signal is None and code in (expectation.exit_codes or ())
    if code == stop_sequence.EXIT_CODE_SIGKILL and not asked_for and stop_sequence.may_have_died_of_sigkill(record):
        return Outcome.INCONCLUSIVE, "killed-by-somebody", _killed_by_somebody(observation, after)
    if not observation.engine.pid1_rules and record.exit_signal == record.stop_signal:
        text = f"{signal} ended it by default, which the kernel does not do to PID 1 of a container"
        return Outcome.INCONCLUSIVE, "pid1-rules-not-reproduced", text
    return _by_exit(observation, facts, expectation, after)


def _stop_began(record: StopRecord) -> str:
    """What a container's time is counted from, in words."""
    if record.left_untold:
        return "the stop of its group began and before it was told to"
    return "the stop signal" if record.stop_signal is None else signals.name(record.stop_signal)


def _disturbed(observation: Observation, took_ns: int | None) -> tuple[Outcome, str, str] | None:
    """(outcome, rule, reason) where something beside the stop went on that decides, or leaves it open."""
    if missing := faults.not_applied(observation, took_ns):
        return Outcome.INCONCLUSIVE, "fault-not-applied", missing
    if others := somebody_else.deed(observation):
        return Outcome.INCONCLUSIVE, "killed-by-somebody", others
    if gone := observation.record.gone_beside:
        return Outcome.INCONCLUSIVE, "dependency-gone", f"not all that it needs ran on: {' and '.join(gone)}"
    if text := faults.killed(observation):
        return Outcome.KILLED, "killed-by-fault", text
    return None


def _killed_by_somebody(observation: Observation, after: str) -> str:
    """Not from within: the kernel drops a SIGKILL for PID 1 that comes from its own PID namespace."""
    oom = "" if observation.engine.reports_oom else " (this engine does not tell the OOM killer from others)"
    if observation.record.exit_signal is None:
        return f"exit code 137{after}, as after a SIGKILL that neither the engine nor the OOM killer sent{oom}"
    return f"somebody's SIGKILL ended it{after}: the engine sent none, and no OOM kill is on record{oom}"


def _why_derived(derivation: Derivation) -> str:
    """In the same words for every repetition; the evidence names the stop and its time."""
    return "it was still there" if derivation.would_exit_after_ns is None else "it exited by itself only later"


def _by_exit(
    observation: Observation, facts: StopFacts, expectation: Expectation, after: str
) -> tuple[Outcome, str | None, str]:
    """PID 1 exited by itself: with an accepted code, by a fault, or leaving work behind."""
    record = observation.record
    code, lost = record.exit_code, losses.losses(observation)
    accepted = code in accepted_exit_codes(expectation, record.stop_signal)
    accepted = accepted or (expectation.exit_codes is None and code in faults.exit_codes(observation))
    by_runtime = (
        not accepted and expectation.exit_codes is None and runtime_ending.ended_by_the_signal(observation, facts)
    )
    if not accepted and not by_runtime:
        if code in UNTOLD_STOP_SIGNALS and expectation.exit_codes is None and not _knows_stop_signal(record):
            name = signals.name(code - 128)
            text = f"ended by {name}{after}; orderly only if that is its image's STOPSIGNAL, which nobody told"
            return Outcome.INCONCLUSIVE, "evidence-missing", text
        unaccepted = _unaccepted_exit(record, after)
        # A proved loss says more than a code that is merely unusual; a fault says more than a loss.
        explains = expectation.exit_codes is not None or log_hints.fault(observation.looks.log_after_signal)
        if not lost or explains or unaccepted[1] != "exit-code-not-accepted" or code == 137:
            return unaccepted
    if lost:
        return Outcome.LOSSY, losses.rule(observation), f"exited with code {code}{after}, but {' and '.join(lost)}"
    if not after:
        text = f"exited with code {code}, but no clock saw both the stop and the exit: it may have been late"
        return Outcome.INCONCLUSIVE, "evidence-missing", text
    left = f"exited with code {code}{after}"
    if by_runtime and (early := start_up.before_its_handler(observation)):
        return Outcome.INCONCLUSIVE, "stopped-too-early", f"{left}, but {early}"
    if unproved := _without_proof(observation, facts, left):
        return unproved
    if work := losses.in_doubt(observation):
        return Outcome.INCONCLUSIVE, "work-in-doubt", f"{left}, but {work}"
    if doubt := traffic.unclear(observation.traffic):
        return Outcome.INCONCLUSIVE, doubt[0], f"{left}, but {doubt[1]}"
    return Outcome.GRACEFUL, None, left


def _knows_stop_signal(record: StopRecord) -> bool:
    return record.stop_signal is not None and record.stop_signal_source != ASSUMED


def _without_proof(observation: Observation, facts: StopFacts, left: str) -> tuple[Outcome, str, str] | None:
    """The outcome where nobody proved what became of the other processes; None where nobody can have been lost."""
    engine, behind = observation.engine, left_behind.left_behind(observation, facts.shutdown_duration_ns)
    if observation.record.lost_processes is not None or behind.fate is LeftBehindFate.NOBODY_THERE:
        return None
    if engine.proves_lost_processes:
        text = f"{left}, but the kernel's record of its other processes has a gap"
        return Outcome.INCONCLUSIVE, "evidence-missing", text
    if behind.fate is LeftBehindFate.NO_LOOK and (engine.remote or not engine.pid1_rules):
        # A cluster shows its processes to nobody, and says so among its caveats; outside a PID namespace nobody is
        # SIGKILLed when the first process leaves, and a finding says that a container is another matter.
        return None
    count, them = len(behind.processes), left_behind.names(behind.processes)
    if behind.fate is LeftBehindFate.SURELY_LOST and engine.pid1_rules:
        text = f"the process table leaves no other reading than that SIGKILL ended {them} (suspected, not proved)"
        return Outcome.LOSSY, "lost-process", f"{left}, but {text}"
    verb = "process was" if count == 1 else "processes were"
    text = f"{count} other {verb} there ({them}), and whether SIGKILL ended "
    text += f"{'it' if count == 1 else 'them'} was not seen"
    if behind.fate is LeftBehindFate.NO_LOOK:
        text = "nobody could see whether it had other processes, which SIGKILL ends when PID 1 exits"
    ways = WAYS_TO_SEE if engine.runs_images else WAYS_TO_SEE_WITHOUT_IMAGES
    ways = WAYS_TO_SEE_WATCHED if observation.watched is not None else ways
    return Outcome.INCONCLUSIVE, "not-witnessed", f"{left}, but {text}; to see it: {ways}"


WAYS_TO_SEE = "run stop-harness on the engine's machine, as root or with Linux 6.6 or newer, or use --witness"
"""Each of them gives the kernel's record of exits."""
WAYS_TO_SEE_WATCHED = "run stop-harness on the engine's machine, as root"
"""The same of a stop that was only watched."""
WAYS_TO_SEE_WITHOUT_IMAGES = "use Linux 6.15 or newer with PID namespaces, or a container engine"
"""The same without a container engine."""


def _unaccepted_exit(record: StopRecord, after: str) -> tuple[Outcome, str, str]:
    """PID 1 exited with a code that nobody accepts."""
    code = record.exit_code
    fault = record.exit_signal or (code - 128 if code and code > 128 else 0)
    if fault in signals.FAULTS:
        text = f"crashed with {signals.name(fault)}, exit code {code}{after}"
        return Outcome.CRASHED, "crash-on-stop", text
    return Outcome.CRASHED, "exit-code-not-accepted", f"exited with code {code}{after}, which is not accepted"


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


def _finding(rule: str, message: str) -> Finding:
    return Finding(rule, RULES[rule].severity, message)


def _seconds(duration_ns: int | None) -> str:
    """`0.012 s`, `5.03 s`, `10 s`: three digits are enough to read and to compare."""
    if duration_ns is None:
        return "an unknown time"
    seconds = duration_ns / NS_PER_S
    if seconds < 0.001:
        return "less than 0.001 s"
    if seconds < 1:
        return f"{seconds:.3f} s"
    return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
