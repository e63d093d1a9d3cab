"""results.sarif against the requirements of the standard that concern it. No schema is fetched."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from stop_harness.model import Advice, Cause, Finding, Outcome, Report, Severity, StaticFinding, Status, TrialResult
from stop_harness.renderers import sarif
from stop_harness.verdict.rules import RULES, UNEXPECTED
from tests.reports_factory import realistic_report

LEVELS = {"none", "note", "warning", "error"}
KINDS = {"notApplicable", "pass", "fail", "review", "open", "informational"}


def log(report: Report) -> dict[str, Any]:
    """The document, read back."""
    found = json.loads(sarif.render(report))
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def run() -> dict[str, Any]:
    """The one run of a report with every kind of container."""
    document = log(realistic_report())
    assert document["version"] == "2.1.0"
    assert document["$schema"].endswith("sarif-schema-2.1.0.json")
    (found,) = document["runs"]
    assert isinstance(found, dict)
    return found


def test_the_tool_and_its_rules_are_described(run: dict[str, Any]) -> None:
    """3.18.2, 3.19.2, 3.49.3: a driver with a name, rules with unique stable ids; a level each, texts that end."""
    driver = run["tool"]["driver"]
    assert driver["name"] == "stop-harness"
    ids = [rule["id"] for rule in driver["rules"]]
    assert ids == [*RULES, UNEXPECTED.id]
    for rule in driver["rules"]:
        assert rule["defaultConfiguration"]["level"] in LEVELS
        assert rule["shortDescription"]["text"].endswith(".")
        assert rule["help"]["text"]


def test_every_result_is_well_formed(run: dict[str, Any]) -> None:
    """3.27: a message; a kind and, unless it is `fail`, the level `none`; a rule index that points to the rule."""
    rules = run["tool"]["driver"]["rules"]
    assert run["results"]
    for result in run["results"]:
        assert result["message"]["text"]
        assert result["kind"] in KINDS
        assert result["level"] in LEVELS
        assert (result["level"] == "none") == (result["kind"] != "fail")
        if "ruleIndex" in result:
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["partialFingerprints"]


def test_locations_are_uris(run: dict[str, Any]) -> None:
    """3.4.3: a relative reference or an absolute URI, never a bare absolute path; lines count from 1."""
    for result in run["results"]:
        (location,) = result["locations"]
        assert location["logicalLocations"][0]["name"]
        if "physicalLocation" in location:
            uri = location["physicalLocation"]["artifactLocation"]["uri"]
            assert re.fullmatch(r"(?:file:///)?[^/ \\][^ \\]*", uri)
            assert location["physicalLocation"]["region"]["startLine"] >= 1


def test_times_are_utc(run: dict[str, Any]) -> None:
    """3.9: with a Z."""
    assert run["invocations"][0]["startTimeUtc"].endswith("Z")


def failing(status: Status, outcome: Outcome, cause: Cause | None = None, source: str | None = None) -> Report:
    """A report of one trial with the finding that fits."""
    report = realistic_report()
    result = next(item for item in report.results if item.verdict.outcome is Outcome.CRASHED)
    findings = (Finding("crash-on-stop", Severity.ERROR, "crashed with SIGSEGV"),)
    changed = replace(result.verdict, status=status, outcome=outcome, cause=cause, findings=findings)
    scenario = next(item for item in report.scenarios if item.name == result.observation.scenario)
    return replace(
        report,
        scenarios=(replace(scenario, source=source),),
        results=(TrialResult(result.observation, changed),),
    )


def test_the_message_has_reason_cause_and_cure() -> None:
    """So that whoever sees it in a code review needs nothing else."""
    advice = (Advice("Mend what it wrote.", "nginx", "daemon off;", "nginx.org"),)
    cause = Cause("crash-on-stop", "it wrote a traceback", advice)
    report = failing(Status.FAIL, Outcome.CRASHED, cause, "a b/c.yaml")
    (result, *_) = log(report)["runs"][0]["results"]
    assert "Cause (crash-on-stop): It wrote a traceback." in result["message"]["text"]
    assert "For nginx: Mend what it wrote." in result["message"]["text"]
    (rule,) = (item for item in log(report)["runs"][0]["tool"]["driver"]["rules"] if item["id"] == result["ruleId"])
    assert "daemon off;" in rule["help"]["text"]
    assert "daemon off;" in rule["help"]["markdown"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%20b/c.yaml"
    assert (result["kind"], result["level"]) == ("fail", "error")


def test_what_was_expected_is_no_problem() -> None:
    """A scenario that teaches a crash does not make a repository's scan red."""
    report = failing(Status.PASS, Outcome.CRASHED)
    assert {result["kind"] for result in log(report)["runs"][0]["results"]} <= {"pass", "informational"}


def test_what_is_not_known_is_open() -> None:
    """Neither a pass nor a failure."""
    report = failing(Status.INCONCLUSIVE, Outcome.INCONCLUSIVE)
    assert {result["kind"] for result in log(report)["runs"][0]["results"]} == {"open"}


def test_a_failure_without_a_broken_rule_is_still_a_result() -> None:
    """Graceful where `killed` was expected."""
    report = failing(Status.FAIL, Outcome.GRACEFUL)
    bare = replace(
        report, results=(replace(report.results[0], verdict=replace(report.results[0].verdict, findings=())),)
    )
    (result,) = log(bare)["runs"][0]["results"]
    assert result["ruleId"] == UNEXPECTED.id


def test_what_a_task_definition_shows_stands_at_its_own_file() -> None:
    """Also where every trial passed: it was found in the file, not in a stop."""
    report = realistic_report()
    named = replace(report.scenarios[0], subject=replace(report.scenarios[0].subject, task_file="tasks/web task.json"))
    found = StaticFinding(named.name, Finding("essential-sidecar", Severity.WARNING, "it serves app"), "proxy")
    changed = replace(report, scenarios=(named, *report.scenarios[1:]), static_findings=(found,))
    (result,) = [item for item in log(changed)["runs"][0]["results"] if item["ruleId"] == "essential-sidecar"]
    assert result["level"] == "warning"
    assert result["message"]["text"] == f"{named.name}, container proxy: It serves app."
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "tasks/web%20task.json"
