"""SARIF 2.1.0, which code-scanning services read: every rule, and every finding of a stop at its scenario's file.

A finding of a trial that met its expectation has the kind `pass` or `informational` and no level, so that no service
shows it as a problem; an inconclusive trial has the kind `open`. Standard: OASIS SARIF 2.1.0, sections 3.19 to 3.49.
"""

from __future__ import annotations

import json
from textwrap import indent
from typing import Any

from stop_harness.model import Finding, Report, Scenario, Severity, StaticFinding, Status, TrialResult
from stop_harness.renderers.sections import advice_text, remedy_text
from stop_harness.renderers.sections.advice_text import AdviceText
from stop_harness.verdict.rules import RULES, Rule
from stop_harness.wording import one_line, sentence, trial_title

VERSION = "2.1.0"
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}

UNEXPECTED = Rule(
    "unexpected-outcome",
    Severity.ERROR,
    "The outcome is one that the scenario expects.",
    "A container that is no longer killed where its scenario says so has changed, for better or worse.",
    "the scenario's `expect`",
    "`expect: {outcome: killed}`, and it exited gracefully.",
)
"""For a trial that failed without breaking any other rule."""


def render(report: Report) -> str:
    """The log file as JSON text."""
    scenarios = {scenario.name: scenario for scenario in report.scenarios}
    rules, cures = (*RULES.values(), UNEXPECTED), _cures(report)
    tried = remedy_text.by_bad_stop(report)
    order = {rule.id: index for index, rule in enumerate(rules)}
    results = [
        _result(result, finding, scenarios[result.observation.scenario], order)
        | _tried(tried.get(result.observation.trial_id, ()))
        for result in report.results
        for finding in _findings(result)
    ]
    results += [_static_result(item, scenarios[item.scenario], order) for item in report.static_findings]
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
                "toolExecutionNotifications": [
                    {
                        "level": "note" if item.by_choice else "warning",
                        "message": {"text": f"skipped: {one_line(item.scenario)}: {one_line(item.reason)}"},
                    }
                    for item in report.skipped
                ],
            }
        ],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    log = {"$schema": SCHEMA, "version": VERSION, "runs": [run]}
    return json.dumps(log, ensure_ascii=True, indent=2) + "\n"


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
        "locations": [_location(scenario)],
        "partialFingerprints": {"stopHarnessTrial/v1": f"{one_line(seen.trial_id)}/{finding.rule}"},
    }


def _tried(lines: tuple[str, ...]) -> dict[str, Any]:
    """What was tried against the stop, as a property of its results."""
    return {"properties": {"tried": list(lines)}} if lines else {}


def _static_result(item: StaticFinding, scenario: Scenario, order: dict[str, int]) -> dict[str, Any]:
    """What a task definition shows before it runs, at its own file."""
    finding, where = item.finding, f"container {one_line(item.container)}: " if item.container else ""
    return {
        "ruleId": finding.rule,
        "ruleIndex": order[finding.rule],
        "kind": "fail",
        "level": LEVELS[finding.severity],
        "message": {"text": f"{one_line(item.scenario)}, {where}{sentence(finding.message)}"},
        "locations": [_location(scenario, scenario.subject.task_file)],
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


def _location(scenario: Scenario, file: str | None = None) -> dict[str, Any]:
    """`file`, or the scenario's own; by its name at least where there is none (`check IMAGE`)."""
    logical = [{"name": one_line(scenario.name), "kind": "module"}]
    source = file or scenario.source
    if source is None:
        return {"logicalLocations": logical}
    uri = source.replace("\\", "/").removeprefix("./")
    absolute = f"file://{_quoted(uri)}" if uri.startswith("/") else _quoted(uri)
    return {
        "physicalLocation": {"artifactLocation": {"uri": absolute}, "region": {"startLine": 1}},
        "logicalLocations": logical,
    }


def _quoted(path: str) -> str:
    """Percent-encoded, RFC 3986: everything but unreserved characters and the slash."""
    plain = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/")
    return "".join(chr(byte) if byte in plain else f"%{byte:02X}" for byte in path.encode("utf-8", "surrogateescape"))


def _utc(time: str) -> str:
    """SARIF wants `Z`."""
    return time.replace("+00:00", "Z")
