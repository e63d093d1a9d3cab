"""SARIF 2.1.0, which code-scanning services read: every rule, and every finding of a stop at the line to change: of the
Dockerfile, the Compose file, the manifest or the task definition, else of its scenario.

A finding of a trial that met its expectation has the kind `pass` or `informational` and no level, so that no service
shows it as a problem; an inconclusive trial has the kind `open`. Standard: OASIS SARIF 2.1.0, sections 3.19 to 3.49.
"""

from __future__ import annotations

import json
from textwrap import indent
from typing import Any

from stop_harness.model import Finding, Report, Scenario, Severity, SourceLine, StaticFinding, Status, TrialResult, Twin
from stop_harness.renderers.sections import advice_text, pointing, remedy_text, waiver_text
from stop_harness.renderers.sections.advice_text import AdviceText
from stop_harness.verdict.rules import RULES, UNEXPECTED, Rule
from stop_harness.wording import one_line, sentence, trial_title

VERSION = "2.1.0"
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}


def render(report: Report) -> str:
    """The log file as JSON text."""
    scenarios = {scenario.name: scenario for scenario in report.stopped}
    rules, cures = (*RULES.values(), UNEXPECTED), _cures(report)
    tried = remedy_text.by_bad_stop(report)
    order = {rule.id: index for index, rule in enumerate(rules)}
    results = [
        _result(result, finding, scenarios[result.observation.scenario], order)
        | _tried(tried.get(result.observation.trial_id, ()), scenarios[result.observation.scenario].twin)
        | _suppressed(waiver_text.justification(result, report), report)
        for result in report.results
        for finding in _findings(result)
    ]
    results += [
        _static_result(item, scenarios[item.scenario], order) | _suppressed("", report)
        for item in report.static_findings
    ]
    driver = {
        "name": "stop-harness",
        "semanticVersion": report.run.harness_version,
        "rules": [_rule(rule, cures.get(rule.id, {})) for rule in rules],
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"stop-harness/{one_line(report.run.name)}/{report.run.run_id}"},
        "invocations": [
            {
                "executionSuccessful": not report.run.interrupted,
                "startTimeUtc": _utc(report.run.started_at),
                "toolExecutionNotifications": _notifications(report),
            }
        ],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    log = {"$schema": SCHEMA, "version": VERSION, "runs": [run]}
    return _json(log) + "\n"


def _notifications(report: Report) -> list[dict[str, Any]]:
    """What was not stopped, and what was over before its fault: neither is a result of a rule."""
    found = [
        ("note" if item.by_choice else "warning", f"skipped: {one_line(item.scenario)}: {one_line(item.reason)}")
        for item in report.skipped
    ]
    for cell in (cell for row in report.resilience for cell in row.faults):
        if cell.not_tried is not None:
            found.append(("note", f"not tried: {one_line(cell.scenario)}: {one_line(cell.not_tried)}"))
        if cell.too_fast:
            found.append(("note", f"over before the fault: {one_line(cell.scenario)}"))
    return [{"level": level, "message": {"text": text}} for level, text in found]


def _json(log: dict[str, Any]) -> str:
    """Every character that is not ASCII is escaped. The library's encoder takes a tenth of the time of `json`, which
    writes indented text by code of Python."""
    from pydantic_core import PydanticSerializationError, to_json

    try:
        return to_json(log, indent=2, ensure_ascii=True).decode("ascii")
    except (PydanticSerializationError, UnicodeError):  # lone surrogates, from file names; escaped they are valid JSON
        return json.dumps(log, ensure_ascii=True, indent=2)


def _findings(result: TrialResult) -> tuple[Finding, ...]:
    found = result.verdict.findings
    failed = result.verdict.status is Status.FAIL
    if failed and not any(finding.severity is Severity.ERROR for finding in found):
        return (*found, Finding(UNEXPECTED.id, Severity.ERROR, result.verdict.reason))
    return found


def _rule(rule: Rule, cures: dict[str, AdviceText]) -> dict[str, Any]:
    """A rule; its help ends with what to do about the stops of this run that broke it."""
    text = f"{rule.requirement} {rule.why} Example: {rule.example} Source: {rule.source}."
    plain = [f"- {item.text} ({item.basis})\n{indent(item.lines, '    ')}".rstrip() for item in cures.values()]
    marked = [f"- {item.text} *{item.basis}*\n\n{indent(item.lines, '      ')}".rstrip() for item in cures.values()]
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.requirement},
        "fullDescription": {"text": rule.why},
        "help": {
            "text": "\n".join([text, *(["", "What to do:", *plain] if plain else [])]),
            **({"markdown": "\n\n".join([text, "**What to do**", *marked])} if marked else {}),
        },
        "defaultConfiguration": {"level": LEVELS[rule.severity]},
    }


def _cures(report: Report) -> dict[str, dict[str, AdviceText]]:
    """Rule → what to do about the stops that broke it, each piece of advice once."""
    found: dict[str, dict[str, AdviceText]] = {}
    for result in report.results:
        cause = result.verdict.cause
        for finding in _findings(result):
            if cause and finding.severity is Severity.ERROR and result.verdict.status is Status.FAIL:
                of_rule = found.setdefault(finding.rule, {})
                of_rule.update({piece.text: piece for piece in advice_text.pieces(cause)})
    return found


def _result(result: TrialResult, finding: Finding, scenario: Scenario, order: dict[str, int]) -> dict[str, Any]:
    seen, status = result.observation, result.verdict.status
    kind = _kind(status, finding)
    return {
        "ruleId": finding.rule,
        **({"ruleIndex": order[finding.rule]} if finding.rule in order else {}),
        "kind": kind,
        "level": LEVELS[finding.severity] if kind == "fail" else "none",
        "message": {"text": _message(result, finding)},
        **_locations(scenario, pointing.line_of(result, scenario)),
        "partialFingerprints": {"stopHarnessTrial/v1": f"{one_line(seen.trial_id)}/{finding.rule}"},
    }


def _tried(lines: tuple[str, ...], twin: Twin | None) -> dict[str, Any]:
    """What was tried against the stop, and under which standard fault it was, as properties of its results."""
    known: dict[str, Any] = {"tried": list(lines)} if lines else {}
    if twin is not None:
        known |= {"fault": one_line(twin.fault), "undisturbed": one_line(twin.of)}
    return {"properties": known} if known else {}


def _suppressed(justification: str, report: Report) -> dict[str, Any]:
    """A failure that a waiver lets pass. Either no result of a run has this key or every one, with an empty list where
    nothing is suppressed (3.27.23)."""
    if not report.waived:
        return {}
    if not justification:
        return {"suppressions": []}
    return {"suppressions": [{"kind": "external", "status": "accepted", "justification": justification}]}


def _static_result(item: StaticFinding, scenario: Scenario, order: dict[str, int]) -> dict[str, Any]:
    """What a task definition shows before it runs, at its own file."""
    finding, where = item.finding, f"container {one_line(item.container)}: " if item.container else ""
    return {
        "ruleId": finding.rule,
        "ruleIndex": order[finding.rule],
        "kind": "fail",
        "level": LEVELS[finding.severity],
        "message": {"text": f"{one_line(item.scenario)}, {where}{sentence(finding.message)}"},
        **_locations(scenario, _static_place(item, scenario)),
        "partialFingerprints": {"stopHarnessTask/v1": f"{one_line(item.scenario)}/{item.container}/{finding.rule}"},
    }


def _kind(status: Status, finding: Finding) -> str:
    if status is Status.INCONCLUSIVE:
        return "open"
    if status is Status.FAIL:
        return "fail"
    return "pass" if finding.severity is Severity.ERROR else "informational"


def _message(result: TrialResult, finding: Finding) -> str:
    """What happened, and why and what to do where the finding decided the outcome."""
    cause = result.verdict.cause
    text = f"{one_line(result.observation.scenario)}, {trial_title(result.observation)}: {sentence(finding.message)}"
    if cause is None or cause.id == "unknown" or finding.severity is not Severity.ERROR:
        return text
    cures = "".join(f" {piece.text}" for piece in advice_text.pieces(cause))
    return f"{text} Cause ({cause.id}): {sentence(cause.evidence)}{cures}"


def _static_place(item: StaticFinding, scenario: Scenario) -> SourceLine | None:
    """The container in its own file, else the first line of that file."""
    places = scenario.lines.containers
    found = next((place.program for place in places if place.container == item.container and place.program), None)
    file = scenario.subject.task_file
    if found is None and file is None and scenario.subject.origin is not None:
        file = scenario.subject.origin.files[0]
    return found or (None if file is None or file == "-" else SourceLine(file, 1, item.scenario))


def _locations(scenario: Scenario, place: SourceLine | None) -> dict[str, Any]:
    """The line to change, and beside it the scenario's own; by the scenario's name at least where there is no file
    (`check IMAGE`)."""
    logical = [{"name": one_line(scenario.name), "kind": "module"}]
    own = scenario.lines.expectation
    if own is None and scenario.source is not None:  # a record from before lines were looked up
        own = SourceLine(scenario.source, 1, "scenario")
    place = place or own
    if place is None:
        return {"locations": [{"logicalLocations": logical}]}
    beside = [{"physicalLocation": _physical(own), "message": {"text": own.what}}] if own and own != place else []
    return {
        "locations": [{"physicalLocation": _physical(place), "logicalLocations": logical}],
        **({"relatedLocations": beside} if beside else {}),
    }


def _physical(place: SourceLine) -> dict[str, Any]:
    uri = place.file.replace("\\", "/").removeprefix("./")
    absolute = f"file://{_quoted(uri)}" if uri.startswith("/") else _quoted(uri)
    return {"artifactLocation": {"uri": absolute}, "region": {"startLine": place.line}}


def _quoted(path: str) -> str:
    """Percent-encoded, RFC 3986: everything but unreserved characters and the slash."""
    plain = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/")
    try:
        encoded = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # no file name that a disk gave
        encoded = path.encode("utf-8", "surrogatepass")
    return "".join(chr(byte) if byte in plain else f"%{byte:02X}" for byte in encoded)


def _utc(time: str) -> str:
    """SARIF wants `Z`."""
    return time.replace("+00:00", "Z")
