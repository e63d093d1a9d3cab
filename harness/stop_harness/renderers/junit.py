"""JUnit XML for CI servers: one test suite a scenario, one test case a trial.

`fail` becomes a failure, unless a waiver lets it pass: then the case is skipped, with the waiver's reason.
`inconclusive` becomes an error, because it says nothing about the container and must not pass silently.
A skipped scenario is a suite with one skipped case. What trials that passed warn of are properties of their
suite, and so is what is known of each trial, under `TRIAL_ID.outcome` and the like.

The form is that of the schema of Jenkins's xunit plugin (junit-10.xsd), the strictest that is in use: no properties of
a case, and the file of the scenario stands at its suite.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET  # nosec B405 # writes only
from collections.abc import Iterator

from stop_harness import signals
from stop_harness.evidence import start_up
from stop_harness.model import NS_PER_S, Cause, Report, SkippedScenario, Status, TrialResult
from stop_harness.records import dataclass
from stop_harness.renderers.sections import advice_text, property_text, remedy_text, task_text, waiver_text
from stop_harness.renderers.sections.passing_warnings import PassingWarning, passing_warnings
from stop_harness.renderers.sections.waiver_text import WaiverText
from stop_harness.verdict.traffic import lost_requests
from stop_harness.wording import (
    COMPLIANCE_WORDS,
    OUTCOME_WORDS,
    count_of,
    hooks_line,
    one_line,
    printable,
    requests_line,
    run_duration_ns,
    subject_name,
    trial_title,
    why,
)


def render(report: Report) -> str:
    """The document, with an XML declaration and a final newline."""
    root = ET.Element("testsuites", name=one_line(report.run.name) or "stop-harness")
    counts = dict.fromkeys(("tests", "failures", "errors"), 0)
    texts = []
    for suite in _suites(report):  # as text one by one, for as elements they take five times the memory
        for count in counts:
            counts[count] += int(suite.get(count, "0"))
        ET.indent(suite, level=1)
        texts.append(f"\n  {ET.tostring(suite, encoding='unicode')}")
    for count, value in counts.items():
        root.set(count, str(value))
    root.set("time", _seconds(run_duration_ns(report.run) or 0))
    whole = ET.tostring(root, encoding="unicode")  # `<testsuites … />`, for it is empty here
    if texts:
        whole = f"{whole.removesuffix(' />')}>{''.join(texts)}\n</{root.tag}>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{whole}\n'


def _suites(report: Report) -> Iterator[ET.Element]:
    """A suite for each scenario, in report order; then those that were skipped or not tried."""
    by_scenario: dict[str, list[TrialResult]] = {}
    for result in report.results:
        by_scenario.setdefault(result.observation.scenario, []).append(result)
    said = _Said(passing_warnings(report), waiver_text.rows(report), remedy_text.by_bad_stop(report))
    for name, results in by_scenario.items():
        yield _suite(report, name, results, said)
    for skipped in (*report.skipped, *_not_tried(report)):
        yield _skipped_suite(report, skipped)


@dataclass(frozen=True)
class _Said:
    """Of the run as a whole, put together once for all suites. `warnings`: of trials that passed. `tried`: as
    `remedy_text.by_bad_stop` gives it."""

    warnings: tuple[PassingWarning, ...]
    waivers: tuple[WaiverText, ...]
    tried: dict[str, tuple[str, ...]]


def _suite(report: Report, name: str, results: list[TrialResult], said: _Said) -> ET.Element:
    """A scenario."""
    statuses = [result.verdict.status for result in results]
    waived = sum(result.observation.trial_id in report.waived for result in results)
    took = sum(result.verdict.facts.shutdown_duration_ns or 0 for result in results)
    suite = ET.Element(
        "testsuite",
        _origin(report, name),
        name=one_line(name),
        tests=str(len(results)),
        failures=str(statuses.count(Status.FAIL) - waived),
        errors=str(statuses.count(Status.INCONCLUSIVE)),
        skipped=str(waived),
        time=_seconds(took),
    )
    properties = ET.SubElement(suite, "properties")
    for scenario in report.stopped:
        if scenario.name == name and scenario.subject.container is not None:
            ET.SubElement(properties, "property", name="subject", value=subject_name(scenario))
    for row in report.compliance:
        if row.scenario == name:
            value = f"{COMPLIANCE_WORDS[row.status]}: {one_line(row.reason)}"
            ET.SubElement(properties, "property", name="amazon_ecs_30_s", value=value)
    for key, value in _under_fault(report, name):
        ET.SubElement(properties, "property", name=key, value=value)
    for item in said.warnings:
        if item.scenario == name:
            ET.SubElement(properties, "property", name="warning", value=f"{item.text} [{item.rule}]")
    for finding in task_text.findings(report, name):
        ET.SubElement(properties, "property", name=finding.rule, value=f"{finding.severity}: {one_line(finding.text)}")
    for result in results:
        trial_id = one_line(result.observation.trial_id)
        for key, value in _properties(result):
            ET.SubElement(properties, "property", name=f"{trial_id}.{key}", value=one_line(value))
    for waiver in said.waivers:
        ET.SubElement(properties, "property", name=waiver.word.replace(" ", "_"), value=waiver.text)
    for result in results:
        why_waived = waiver_text.justification(result, report)
        suite.append(_case(result, said.tried.get(result.observation.trial_id, ()), why_waived))
    return suite


def _case(result: TrialResult, tried: tuple[str, ...], waived: str) -> ET.Element:
    """`tried`: a line for each change that was tried against this stop. `waived`: why its failure is let pass, empty
    where it is not."""
    seen, verdict = result.observation, result.verdict
    case = ET.Element(
        "testcase",
        name=trial_title(seen),
        classname=one_line(seen.scenario),
        time=_seconds(verdict.facts.shutdown_duration_ns or 0),
    )
    outcome, reason = OUTCOME_WORDS[verdict.outcome], one_line(why(verdict))
    findings = "".join(f"\n{item.severity}: {item.rule}: {one_line(item.message)}" for item in verdict.findings)
    if verdict.cause is not None:
        findings = f"\ncause: {verdict.cause.id}: {one_line(verdict.cause.evidence)}{_cures(verdict.cause)}{findings}"
    findings += "".join(f"\ntried: {line}" for line in tried)
    if waived:
        ET.SubElement(case, "skipped", message=f"{outcome}: {reason}. {waived}")
    elif verdict.status is Status.FAIL:
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
        "after_stop": property_text.summary((result,)) or None,
        "vantage": seen.vantage.value if seen.vantage else None,
        "ready_basis": None if seen.ready is None else f"{seen.ready.by}: {start_up.sentence(seen.ready)}",
        "derived_from": seen.derivation.derived_from,
        "engine": f"{seen.engine.name} ({seen.engine.product} {seen.engine.version})",
    }
    return [(name, value) for name, value in values.items() if value is not None]


def _under_fault(report: Report, name: str) -> Iterator[tuple[str, str]]:
    """Of a suite of stops under a standard fault: the fault, what it cost and broke, and how it complies; of an
    undisturbed one the worst compliance under faults. What was over before its fault complies with nothing."""
    for row in report.resilience:
        if row.scenario == name:
            yield "amazon_ecs_30_s_worst", f"{COMPLIANCE_WORDS[row.worst.status]}: {one_line(row.worst.scenario)}"
        for cell in row.faults:
            if cell.scenario == name and cell.not_tried is None:
                yield "fault", one_line(cell.fault)
                yield "undisturbed", one_line(row.scenario)
                if cell.missed:
                    yield "over_before_fault", f"{cell.missed} of {count_of(cell.stops, 'stop')}"
                if cell.cost_ns is not None:
                    yield "fault_cost_s", ("> " if cell.cut_off else "") + _seconds(cell.cost_ns)
                if cell.broke:
                    yield "fault_broke", ", ".join(cell.broke)
                if cell.compliance is not None and not cell.too_fast:
                    words = COMPLIANCE_WORDS[cell.compliance.status]
                    yield "amazon_ecs_30_s", f"{words}: {one_line(cell.compliance.reason)}"


def _not_tried(report: Report) -> Iterator[SkippedScenario]:
    for row in report.resilience:
        for cell in row.faults:
            if cell.not_tried is not None:
                yield SkippedScenario(cell.scenario, f"not tried: {cell.not_tried}")


def _skipped_suite(report: Report, skipped: SkippedScenario) -> ET.Element:
    name = one_line(skipped.scenario)
    counts = {"tests": "1", "failures": "0", "errors": "0", "skipped": "1", "time": "0.000"}
    suite = ET.Element("testsuite", _origin(report, skipped.scenario), name=name, **counts)
    case = ET.SubElement(suite, "testcase", name="all stop timeouts", classname=name, time="0.000")
    ET.SubElement(case, "skipped", message=one_line(skipped.reason))
    return suite


def _origin(report: Report, scenario: str) -> dict[str, str]:
    """When and where a suite was run, and its scenario's file."""
    source = next((item.source for item in report.stopped if item.name == scenario), None)
    host = report.run.host_name
    return {
        "timestamp": one_line(report.run.started_at),
        "hostname": host if _HOST_NAME.fullmatch(host) else UNKNOWN_HOST,
        **({"file": one_line(source)} if source else {}),
    }


_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
"""RFC 1123, 2.1."""

UNKNOWN_HOST = "localhost"
"""What Ant writes where it does not know the name (JUnitReport)."""


def _seconds(duration_ns: int) -> str:
    return f"{duration_ns / NS_PER_S:z.3f}"
