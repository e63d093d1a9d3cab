"""JUnit XML for CI servers: one test suite a scenario, one test case a trial.

`fail` becomes a failure. `inconclusive` becomes an error, because it says nothing about the container and must not pass
silently. A skipped scenario is a suite with one skipped case. What trials that passed warn of are properties of their
suite.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET  # nosec B405 # writes only

from stop_harness import signals
from stop_harness.evidence import start_up
from stop_harness.model import NS_PER_S, Cause, Report, SkippedScenario, Status, TrialResult
from stop_harness.renderers.sections import advice_text, remedy_text, task_text
from stop_harness.renderers.sections.passing_warnings import passing_warnings
from stop_harness.verdict.traffic import lost_requests
from stop_harness.wording import (
    COMPLIANCE_WORDS,
    OUTCOME_WORDS,
    hooks_line,
    one_line,
    printable,
    requests_line,
    run_duration_ns,
    trial_title,
    why,
)


def render(report: Report) -> str:
    """The document, with an XML declaration and a final newline."""
    root = ET.Element("testsuites", name=one_line(report.run.name) or "stop-harness")
    by_scenario: dict[str, list[TrialResult]] = {}
    for result in report.results:
        by_scenario.setdefault(result.observation.scenario, []).append(result)
    for name, results in by_scenario.items():
        root.append(_suite(report, name, results))
    for skipped in report.skipped:
        root.append(_skipped_suite(report, skipped))
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    root.set("time", _seconds(run_duration_ns(report.run) or 0))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(report: Report, name: str, results: list[TrialResult]) -> ET.Element:
    statuses = [result.verdict.status for result in results]
    took = sum(result.verdict.facts.shutdown_duration_ns or 0 for result in results)
    suite = ET.Element(
        "testsuite",
        name=one_line(name),
        tests=str(len(results)),
        failures=str(statuses.count(Status.FAIL)),
        errors=str(statuses.count(Status.INCONCLUSIVE)),
        skipped="0",
        time=_seconds(took),
        timestamp=one_line(report.run.started_at),
        hostname=one_line(report.run.machine),
    )
    properties = ET.SubElement(suite, "properties")
    for row in report.compliance:
        if row.scenario == name:
            value = f"{COMPLIANCE_WORDS[row.status]}: {one_line(row.reason)}"
            ET.SubElement(properties, "property", name="amazon_ecs_30_s", value=value)
    for item in passing_warnings(report):
        if item.scenario == name:
            ET.SubElement(properties, "property", name="warning", value=f"{item.text} [{item.rule}]")
    for finding in task_text.findings(report, name):
        ET.SubElement(properties, "property", name=finding.rule, value=f"{finding.severity}: {one_line(finding.text)}")
    tried = remedy_text.by_bad_stop(report)
    suite.extend(_case(result, tried.get(result.observation.trial_id, ())) for result in results)
    return suite


def _case(result: TrialResult, tried: tuple[str, ...]) -> ET.Element:
    """`tried`: a line for each change that was tried against this stop."""
    seen, verdict = result.observation, result.verdict
    case = ET.Element(
        "testcase",
        name=trial_title(seen),
        classname=one_line(seen.scenario),
        time=_seconds(verdict.facts.shutdown_duration_ns or 0),
    )
    properties = ET.SubElement(case, "properties")
    for name, value in _properties(result):
        ET.SubElement(properties, "property", name=name, value=one_line(value))
    outcome, reason = OUTCOME_WORDS[verdict.outcome], one_line(why(verdict))
    findings = "".join(f"\n{item.severity}: {item.rule}: {one_line(item.message)}" for item in verdict.findings)
    if verdict.cause is not None:
        findings = f"\ncause: {verdict.cause.id}: {one_line(verdict.cause.evidence)}{_cures(verdict.cause)}{findings}"
    findings += "".join(f"\ntried: {line}" for line in tried)
    if verdict.status is Status.FAIL:
        ET.SubElement(case, "failure", type=outcome, message=reason).text = reason + findings
    elif verdict.status is Status.INCONCLUSIVE:
        ET.SubElement(case, "error", type="inconclusive", message=reason).text = reason + findings
    if seen.looks.logs.text:
        ET.SubElement(case, "system-out").text = printable(seen.looks.logs.text)
    return case


def _cures(cause: Cause) -> str:
    """What to do about it: a line each, the code below it."""
    lines = []
    for piece in advice_text.pieces(cause):
        lines.append(f"cure: {piece.text}" + (f" ({piece.basis})" if piece.basis else ""))
        lines += [f"    {line}" for line in piece.lines.splitlines()]
    return "".join(f"\n{line}" for line in lines)


_EXPECTATIONS = {Status.PASS: "met", Status.FAIL: "not met", Status.INCONCLUSIVE: "inconclusive"}


def _properties(result: TrialResult) -> list[tuple[str, str]]:
    """What a CI server may show beside the case; unknown values are left out."""
    seen, facts = result.observation, result.verdict.facts
    duration = facts.shutdown_duration_ns
    values = {
        "trial_id": seen.trial_id,
        "outcome": result.verdict.outcome.value,
        "expectation": _EXPECTATIONS[result.verdict.status],
        "stop_timeout_s": None if seen.own_timeouts else _seconds(seen.stop_timeout_ns),
        "stop_signal": None if seen.record.stop_signal is None else signals.name(seen.record.stop_signal),
        "shutdown_duration_s": None if duration is None else _seconds(duration),
        "sigkill_evidence": facts.sigkill_evidence.value,
        "exit_code": None if seen.record.exit_code is None else str(seen.record.exit_code),
        "requests": requests_line(seen.traffic) or None,
        "requests_lost": None if seen.traffic is None else str(len(lost_requests(seen.traffic))),
        "before_stop": hooks_line(seen.scenario, seen.record.hooks) or None,
        "vantage": seen.vantage.value if seen.vantage else None,
        "ready_basis": None if seen.ready is None else f"{seen.ready.by}: {start_up.sentence(seen.ready)}",
        "derived_from": seen.derivation.derived_from,
        "engine": f"{seen.engine.name} ({seen.engine.product} {seen.engine.version})",
    }
    return [(name, value) for name, value in values.items() if value is not None]


def _skipped_suite(report: Report, skipped: SkippedScenario) -> ET.Element:
    name = one_line(skipped.scenario)
    suite = ET.Element("testsuite", name=name, tests="1", failures="0", errors="0", skipped="1", time="0.000")
    suite.set("timestamp", one_line(report.run.started_at))
    case = ET.SubElement(suite, "testcase", name="all stop timeouts", classname=name, time="0.000")
    ET.SubElement(case, "skipped", message=one_line(skipped.reason))
    return suite


def _seconds(duration_ns: int) -> str:
    return f"{duration_ns / NS_PER_S:.3f}"
