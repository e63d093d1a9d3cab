"""What `check` says below its answer: how it is known, why, what to do about it, and the log. Pure."""

from __future__ import annotations

from stop_harness.evidence import start_up
from stop_harness.model import (
    EventKind,
    Observation,
    Outcome,
    ReadyBy,
    Severity,
    SigkillEvidence,
    TimeoutAdvice,
    TrialResult,
)
from stop_harness.renderers.sections import advice_text
from stop_harness.renderers.sections.columns import DIM, RED, YELLOW, Paint, fit, hanging
from stop_harness.wording import hooks_line, of_pod, precise_seconds, printable, sentence, stop_limit, timeout

LOG_LINES = 5


def evidence(results: tuple[TrialResult, ...], width: int) -> list[str]:
    """How we know: the sources of the trial with the longest stop timeout. Nothing of one that was never stopped."""
    facts, seen = results[-1].verdict.facts, results[-1].observation
    if seen.problem is not None and not any(event.kind is EventKind.SIGNAL_SENT for event in seen.record.events):
        return []
    sigkill = {
        SigkillEvidence.OBSERVED: "SIGKILL was observed",
        SigkillEvidence.INFERRED: "SIGKILL is inferred",
        SigkillEvidence.NOT_SENT: "no SIGKILL was sent",
        SigkillEvidence.UNKNOWN: "whether the stop's SIGKILL ended it is not known",
    }[facts.sigkill_evidence]
    text = sigkill + (f": {facts.sigkill_reason.rstrip('.')}" if facts.sigkill_reason else "")
    if facts.duration_source:
        error = "" if facts.duration_error_ns is None else f", ± {precise_seconds(facts.duration_error_ns)}"
        text += f"; time: {facts.duration_source}{error}"
    if results[-1].verdict.outcome is Outcome.GRACEFUL and _ends_unseen(seen):
        text += "; how other processes ended, if there were any, was not seen"
    hooks = hooks_line(seen.scenario, seen.record.hooks)
    return hanging("evidence", f"{text}.{hooks and ' '}{hooks}", width)


def ready(results: tuple[TrialResult, ...], width: int) -> list[str]:
    """By what the image told that it was ready, of the trial with the longest stop timeout. A scenario that says so
    needs no line, and where nothing told a finding says so."""
    basis, findings = results[-1].observation.ready, results[-1].verdict.findings
    if basis is None or basis.by is ReadyBy.CONDITIONS or any(item.rule == "ready-unknown" for item in findings):
        return []
    text = sentence(start_up.sentence(basis)).removeprefix("Ready ")
    if of_pod(results[-1].observation):
        text = text.replace("its health check", "its readiness probe")
    return hanging("ready", text, width)


def _ends_unseen(seen: Observation) -> bool:
    """Whether nobody saw how other processes of the container, or of a container of the task, ended."""
    stopped = () if seen.task is None else tuple(item for item in seen.task.containers if item.had_to_be_stopped)
    records = (seen.record,) if seen.task is None else tuple(item.record for item in stopped)
    return any(record.lost_processes is None for record in records)


def causes(results: tuple[TrialResult, ...], width: int, paint: Paint) -> list[str]:
    """Each cause once, in the words of the trial with the longest stop timeout, and what to do about it."""
    causes = {result.verdict.cause.id: result.verdict.cause for result in results if result.verdict.cause}
    lines = []
    for item in causes.values():
        lines += hanging("cause", f"{item.evidence.rstrip('.')}. [{item.id}]", width)
        for piece in advice_text.pieces(item):
            lines += hanging("cure", f"{piece.text} ({piece.basis})" if piece.basis else piece.text, width)
            lines += [paint(f"            {line}".rstrip(), DIM) for line in piece.lines.splitlines()]
    return lines


def findings(results: tuple[TrialResult, ...], width: int, paint: Paint) -> list[str]:
    """Every rule once, in the words of the trial with the longest stop timeout, gravest first; but for the one that
    only says again what the answer said."""
    findings = {
        finding.rule: finding
        for result in results
        for finding in result.verdict.findings
        if finding.severity is not Severity.ERROR or finding.message != result.verdict.reason
    }
    order = list(Severity)
    colours = {Severity.ERROR: RED, Severity.WARNING: YELLOW, Severity.NOTE: DIM}
    return [
        line
        for finding in sorted(findings.values(), key=lambda finding: order.index(finding.severity))
        for line in hanging(
            finding.severity, f"{finding.message} [{finding.rule}]", width, paint, colours[finding.severity]
        )
    ]


def log(results: tuple[TrialResult, ...], width: int, paint: Paint) -> list[str]:
    """The end of the log of the longest bad stop; a graceful one needs no log."""
    bad = [result for result in results if result.verdict.outcome is not Outcome.GRACEFUL]
    logs = printable(bad[-1].observation.looks.logs.text).rstrip("\n") if bad else ""
    if not logs:
        return []
    last = [fit(line.expandtabs(), width - 4).rstrip() for line in logs.split("\n")[-LOG_LINES:]]
    title = f"last lines of the log at {stop_limit(bad[-1].observation)}:"
    return ["", f"  {title}", *(paint(f"    {line}".rstrip(), DIM) for line in last)]


def recommended(advice: TimeoutAdvice, width: int) -> list[str]:
    """The recommended stop timeout with its basis, or what it lacks."""
    value = "" if advice.recommended_ns is None else f"{timeout(advice.recommended_ns)}. "
    return hanging("recommended stop timeout", f"{value or 'none. '}{advice.basis}", width)
