"""The first sentence of `check`: how the stop went, with the mark that goes with the exit code. Pure."""

from __future__ import annotations

from stop_harness import signals
from stop_harness.model import ECS_STOP_TIMEOUT_S, NS_PER_S, Compliance, ComplianceStatus, Outcome, Status, TrialResult
from stop_harness.records import dataclass
from stop_harness.wording import (
    COMPLIANCE_WORDS,
    NOT_AS_LEFT,
    OUTCOME_WORDS,
    one_line,
    precise_seconds,
    sentence,
    timeout,
    within,
)

TOO_SLOW = "too slow"
"""An outcome that was accepted, later than `within` allows."""


@dataclass(frozen=True)
class Headline:
    """`mark` and `text` of the first line; `status` None: nothing was stopped. `ecs`: what that means for the default
    of Amazon ECS, empty where the text says it."""

    mark: str
    text: str
    status: Status | None
    ecs: str


def headline(row: Compliance, results: tuple[TrialResult, ...], subject: str) -> Headline:
    """Of all stops of one scenario. `subject` is the container's name.

    It follows the expectation, as the exit code does, and not compliance: a stop with a timeout of 1 s may fail and say
    nothing about the 30 s of Amazon ECS, and one with 60 s may pass and need more than those.
    """
    decisive = _decisive(results)
    if decisive is None:
        return Headline("?", f"inconclusive: {subject}. {one_line(row.reason)}", None, "")
    status = decisive.verdict.status
    if status is Status.INCONCLUSIVE:
        text = f"inconclusive: {subject}{_reason(decisive)}"
        return Headline("?", text, status, "" if row.status is ComplianceStatus.INCONCLUSIVE else _ecs(row))
    if status is Status.FAIL:
        return Headline("✘", _failure(decisive, subject), status, _ecs(row, decisive))
    return _success(row, results, subject)


def worst_status(results: tuple[TrialResult, ...]) -> Status | None:
    """None: no trial was run."""
    found = {result.verdict.status for result in results}
    return next((status for status in (Status.FAIL, Status.INCONCLUSIVE, Status.PASS) if status in found), None)


def stop_signal(results: tuple[TrialResult, ...]) -> str:
    """The signal that stopped the trials; `the stop signal` where it is not known or not always the same."""
    sent = {result.observation.record.stop_signal for result in results}
    number = sent.pop() if len(sent) == 1 else None
    return "the stop signal" if number is None else signals.name(number)


def _decisive(results: tuple[TrialResult, ...]) -> TrialResult | None:
    """The stop with the longest timeout among those that decide the exit code: it shows most."""
    worst = worst_status(results)
    deciding = [result for result in results if result.verdict.status is worst]
    return max(deciding, key=lambda result: result.observation.stop_timeout_ns, default=None)


def _reason(result: TrialResult) -> str:
    """As a sentence of its own; of several containers it begins with the name of one, which is written as it is."""
    if result.observation.task is not None and result.verdict.containers:
        return f": {one_line(result.verdict.reason).rstrip('.')}."
    return f". {sentence(result.verdict.reason)}"


def _failure(result: TrialResult, subject: str) -> str:
    """`killed: web was still running 30 s after SIGTERM; Docker Engine sent SIGKILL (observed).`"""
    seen, verdict = result.observation, result.verdict
    slow = [finding.message for finding in verdict.findings if finding.rule == "slow-stop"]
    if slow:
        return f"{TOO_SLOW}: {subject}. {sentence(slow[0])}"
    broken = [finding.message for finding in verdict.findings if finding.rule == "property-failed"]
    if broken and verdict.outcome is Outcome.GRACEFUL:
        return f"{NOT_AS_LEFT}: {subject}. {sentence(broken[0])}"
    cut_short = seen.derivation.cut_short is not None
    by_fault = any(finding.rule == "killed-by-fault" for finding in verdict.findings)
    explained = cut_short or by_fault or seen.task is not None or seen.record.stop_signal == signals.SIGKILL
    if verdict.outcome is not Outcome.KILLED or explained:
        return f"{OUTCOME_WORDS[verdict.outcome]}: {subject}{_reason(result)}"
    evidence = verdict.facts.sigkill_evidence.value.replace("_", " ")
    return (
        f"killed: {subject} was still running {timeout(seen.stop_timeout_ns)} after {stop_signal((result,))}; "
        f"{one_line(seen.engine.product)} sent SIGKILL ({evidence})."
    )


def _success(row: Compliance, results: tuple[TrialResult, ...], subject: str) -> Headline:
    """✔ only where the stop would also do on Amazon ECS; a stop that met its expectation otherwise is `=`."""
    found = dict.fromkeys(result.verdict.outcome for result in results)
    outcomes = " and ".join(OUTCOME_WORDS[outcome] for outcome in found)
    durations = [result.verdict.facts.shutdown_duration_ns for result in results]
    known = [duration for duration in durations if duration is not None]
    is_task = any(result.observation.task is not None for result in results)
    if row.status is ComplianceStatus.COMPLIANT and row.headroom_ns is not None and not is_task:
        took = within(row.default_timeout_ns - row.headroom_ns)
        spare = f"{precise_seconds(row.headroom_ns)} before Amazon ECS would have sent SIGKILL"
        text = f"{outcomes}: {subject} exited within {took} of {stop_signal(results)}, {spare}."
        return Headline("✔", text, Status.PASS, "")
    if row.status is ComplianceStatus.COMPLIANT:
        return Headline("✔", f"{outcomes}: {subject}. {one_line(row.reason)}", Status.PASS, "")
    text = f"{outcomes}: {subject} met its expectation."
    if known and set(found) == {Outcome.GRACEFUL}:
        text = f"{outcomes}: {subject} exited within {within(max(known))} of {stop_signal(results)}."
    return Headline("=", text, Status.PASS, _ecs(row))


def _ecs(row: Compliance, decisive: TrialResult | None = None) -> str:
    """`not compliant with the default of 30 s.`, with the reason unless the first line has it."""
    ecs_default = row.default_timeout_ns == ECS_STOP_TIMEOUT_S * NS_PER_S  # else the `stopTimeout` of a container
    default = f"with {'the default' if ecs_default else 'its stop timeout'} of {timeout(row.default_timeout_ns)}"
    if row.status is ComplianceStatus.INCONCLUSIVE:
        return f"{COMPLIANCE_WORDS[row.status]}. {one_line(row.reason)}"
    if row.status is ComplianceStatus.COMPLIANT:
        spare = "" if row.headroom_ns is None else f", {precise_seconds(row.headroom_ns)} of them to spare"
        return f"compliant {default}{spare}."
    said = decisive is not None and decisive.observation.stop_timeout_ns >= row.default_timeout_ns
    said = said or (decisive is not None and sentence(decisive.verdict.reason) == one_line(row.reason))
    return f"{COMPLIANCE_WORDS[row.status]} {default}." + ("" if said else f" {_without_cause(row.reason, decisive)}")


def _without_cause(reason: str, decisive: TrialResult | None) -> str:
    """A reason that ends with the evidence of the cause, which has a line of its own below, ends before it."""
    cause = decisive.verdict.cause if decisive is not None else None
    evidence = one_line(cause.evidence).rstrip(".") if cause is not None else ""
    told, colon, rest = one_line(reason).partition(f": {evidence}")
    return f"{told}." if evidence and colon and rest in {"", "."} else one_line(reason)
