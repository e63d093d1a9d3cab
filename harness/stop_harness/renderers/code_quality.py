"""GitLab's code quality report: each failure, doubt and finding of a file at the line to change.

Source: GitLab documentation, "Code Quality report format". A path is relative to the repository; where no file says
anything (`check IMAGE`), the subject's name stands there.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from stop_harness.model import Report, Severity, SourceLine, Status
from stop_harness.renderers.sections import pointing, waiver_text
from stop_harness.wording import one_line, sentence, subject_name, trial_title, why

_OF_STATUS = {Status.FAIL: "critical", Status.INCONCLUSIVE: "minor"}
_WAIVED = "info"
_OF_FINDING = {Severity.ERROR: "major", Severity.WARNING: "minor", Severity.NOTE: "info"}


def render(report: Report) -> str:
    """A JSON list. Fingerprints stay from run to run: they are made of the trial and what it came to."""
    scenarios = {scenario.name: scenario for scenario in report.stopped}
    entries = []
    for result in report.results:
        verdict, scenario = result.verdict, scenarios[result.observation.scenario]
        if verdict.status in _OF_STATUS:
            cause = f" Cause: {sentence(verdict.cause.evidence)}" if verdict.cause else ""
            waived = waiver_text.justification(result, report)
            cause += f" {sentence(waived)}" if waived else ""
            severity = _WAIVED if waived else _OF_STATUS[verdict.status]
            text = f"{one_line(scenario.name)}, {trial_title(result.observation)}: {sentence(why(verdict))}{cause}"
            check = verdict.cause.id if verdict.cause else verdict.outcome.value
            line = pointing.line_of(result, scenario) or SourceLine(subject_name(scenario), 1, "")
            key = f"{result.observation.trial_id}/{verdict.outcome}/{check}"
            entries.append(_entry(text, check, key, severity, line))
    for item in report.static_findings:
        scenario = scenarios[item.scenario]
        line = pointing.scenario_line(scenario) or SourceLine(subject_name(scenario), 1, "")
        text = f"{one_line(item.scenario)}: {sentence(item.finding.message)}"
        key = f"{item.scenario}/{item.container}/{item.finding.rule}"
        entries.append(_entry(text, item.finding.rule, key, _OF_FINDING[item.finding.severity], line))
    return json.dumps(entries, ensure_ascii=True, indent=2) + "\n"


def _entry(text: str, check: str, key: str, severity: str, line: SourceLine) -> dict[str, Any]:
    return {
        "description": text,
        "check_name": check,
        "fingerprint": hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest(),
        "severity": severity,
        "location": {"path": one_line(line.file).removeprefix("./"), "lines": {"begin": line.line}},
    }
