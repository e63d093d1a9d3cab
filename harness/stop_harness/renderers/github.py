"""Workflow commands of GitHub Actions: an annotation at the line to change for each failure, doubt and warning.

Source: GitHub documentation, "Workflow commands for GitHub Actions".
"""

from __future__ import annotations

from stop_harness.model import Report, SourceLine, Status, TrialResult
from stop_harness.renderers.sections import advice_text, pointing, waiver_text
from stop_harness.renderers.sections.passing_warnings import passing_warnings
from stop_harness.wording import OUTCOME_WORDS, one_line, sentence, trial_title, why

_KINDS = {Status.FAIL: "error", Status.INCONCLUSIVE: "warning"}


def render(report: Report) -> str:
    """A command a line, the gravest first, for GitHub shows the first ten of a kind; trials of one scenario with the
    same reason are told once. Empty where all is well."""
    scenarios = {scenario.name: scenario for scenario in report.stopped}
    commands: dict[str, None] = {}
    for status, kind in _KINDS.items():
        told: set[tuple[str, str, str]] = set()
        for result in (item for item in report.results if item.verdict.status is status):
            key = (result.observation.scenario, why(result.verdict), waiver_text.justification(result, report))
            if key not in told:
                told.add(key)
                scenario = scenarios[result.observation.scenario]
                title = f"{scenario.name}: {OUTCOME_WORDS[result.verdict.outcome]}"
                waived = waiver_text.justification(result, report)
                said = f"{_message(result)}\n{sentence(waived)}" if waived else _message(result)
                shown = "notice" if waived else kind
                commands[_command(shown, title, said, pointing.line_of(result, scenario))] = None
    for row in waiver_text.news(report):
        if row.status is not Status.PASS:
            commands[_command("warning", row.word, row.text, None)] = None
    for skipped in report.skipped:
        if not skipped.by_choice:
            commands[_command("warning", f"{skipped.scenario}: skipped", skipped.reason, None)] = None
    for item in passing_warnings(report):
        line = pointing.scenario_line(scenarios[item.scenario])
        commands[_command("warning", f"{item.scenario}: {item.rule}", item.text, line)] = None
    return "".join(f"{command}\n" for command in commands)


def _message(result: TrialResult) -> str:
    """What happened; why and what to do, each on a line of its own."""
    lines = [f"{trial_title(result.observation)}: {sentence(why(result.verdict))}"]
    cause = result.verdict.cause
    if cause is not None:
        lines.append(f"Cause: {sentence(cause.evidence)} [{cause.id}]")
        lines += [f"Cure: {one_line(piece.text)}" for piece in advice_text.pieces(cause)]
    return "\n".join(lines)


def _command(kind: str, title: str, message: str, line: SourceLine | None) -> str:
    place = f"file={_property(line.file.removeprefix('./'))},line={line.line}," if line else ""
    text = "\n".join(one_line(part) for part in message.split("\n"))
    return f"::{kind} {place}title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(one_line(text)).replace(":", "%3A").replace(",", "%2C")
