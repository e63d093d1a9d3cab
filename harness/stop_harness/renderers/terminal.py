"""What the command line prints: plain text with optional ANSI colour, in no markup language that names could inject."""

from __future__ import annotations

from itertools import groupby

from stop_harness.model import (
    ClaimStatus,
    Comparison,
    Compliance,
    ComplianceStatus,
    Outcome,
    Report,
    Status,
    TrialResult,
)
from stop_harness.renderers import terminal_remedies
from stop_harness.renderers.sections import (
    advice_text,
    check_lines,
    claims_text,
    fates_text,
    matrix_lines,
    matrix_text,
    property_text,
    remedy_text,
    statistics_text,
    stop_lines,
    task_lines,
    task_text,
    trend_text,
    waiver_text,
)
from stop_harness.renderers.sections.check_headline import Headline, headline, worst_status
from stop_harness.renderers.sections.columns import (
    DIM,
    GREEN,
    RED,
    YELLOW,
    Paint,
    ascii_only,
    columns_of,
    flow,
    hanging,
    painter,
    wrapped,
)
from stop_harness.renderers.sections.passing_warnings import passing_warnings
from stop_harness.wording import (
    COMPLIANCE_MARKS,
    COMPLIANCE_WORDS,
    STATUS_MARKS,
    count_of,
    expectation_headline,
    is_pod,
    one_line,
    only_pods,
    precise_seconds,
    run_duration_ns,
    seconds,
    subject_name,
    timeout,
    trial_title,
    why,
)
from stop_harness.wording import headline as headline_of

MAX_PROBLEMS = 20
"""Failed and inconclusive trials that the summary explains; a terminal is no place for more."""
LEGEND = "Marks: = as expected, ≠ not; ✔ ✘ against the 30 s of Amazon ECS; ? inconclusive."
_NAME_WIDTH = 24
"""Columns for the names of scenarios; a longer name has a line of its own."""
_MIN_WIDTH = 40

_STATUS_COLOURS = {Status.PASS: GREEN, Status.FAIL: RED, Status.INCONCLUSIVE: YELLOW}
_COMPLIANCE_COLOURS = {
    ComplianceStatus.COMPLIANT: GREEN,
    ComplianceStatus.NON_COMPLIANT: RED,
    ComplianceStatus.INCONCLUSIVE: YELLOW,
}
_CLAIM_COLOURS = {ClaimStatus.SHOWN: GREEN, ClaimStatus.NOT_SHOWN: YELLOW, ClaimStatus.REFUTED: RED}
_TONE_COLOURS = {trend_text.Tone.GOOD: GREEN, trend_text.Tone.BAD: RED, trend_text.Tone.OPEN: YELLOW}


def summary(report: Report, *, width: int = 80, colour: bool = False, unicode: bool = True) -> str:
    """The end of a run: every scenario, the counts, and every trial that did not pass with its reason."""
    width, paint = max(width, _MIN_WIDTH), painter(colour)
    warnings = [f"{item.message} {item.advice}" for item in report.warnings]
    blocks = [
        _scenario_lines(report, width, paint),
        [line for item in report.skipped for line in hanging("skipped", f"{item.scenario}: {item.reason}", width)],
        [line for text in warnings for line in hanging("warning", text, width, paint, YELLOW)],
        _problem_lines(report, width, paint),
        matrix_lines.summary(report, width, paint),
        _property_lines(report, width),
        [*_waiver_lines(report, width, paint), *_unused_waivers(report, width, paint)],
        _passing_lines(report, width, paint),
        [line for section in task_text.sections(report) for line in task_lines.summary(section, width, paint)],
        task_lines.definition(task_text.findings(report), width, paint),
        [line for section in remedy_text.sections(report) for line in terminal_remedies.summary(section, width, paint)],
        _claim_lines(report, width, paint) if report.run.until_sure else [],
        _comparison_lines(report.comparison, width, paint) if report.comparison else [],
        [
            *wrapped(headline_of(report), width),
            *wrapped(matrix_text.headline(report), width),
            *wrapped(expectation_headline(report) + _run_time(report), width),
            *wrapped(LEGEND, width),
        ],
    ]
    text = "\n\n".join("\n".join(block) for block in blocks if block) + "\n"
    return text if unicode else ascii_only(text)


def _property_lines(report: Report, width: int) -> list[str]:
    """How much of what must be true after the stops holds, scenario by scenario."""
    told = {item.name: property_text.summary(report.of_scenario(item.name)) for item in report.scenarios}
    return [line for name, text in told.items() if text for line in hanging("after the stop", f"{name}: {text}", width)]


def short_summary(report: Report, *, width: int = 80, colour: bool = False, unicode: bool = True) -> str:
    """What did not pass, with its reason, and how many trials met their expectation."""
    width, paint = max(width, _MIN_WIDTH), painter(colour)
    lines = [line for item in report.skipped for line in hanging("skipped", f"{item.scenario}: {item.reason}", width)]
    lines += _problem_lines(report, width, paint)
    lines += [*_waiver_lines(report, width, paint), *_unused_waivers(report, width, paint)]
    text = "\n".join([*lines, *wrapped(expectation_headline(report), width)]) + "\n"
    return text if unicode else ascii_only(text)


def trial_line(result: TrialResult) -> str:
    """One line of progress: `pass          drains-5s, stop timeout 10 s: graceful after 5.0 s`."""
    seen, verdict = result.observation, result.verdict
    line = f"{verdict.status:<12}  {one_line(seen.scenario)}, {_trial_name(result)}: {stop_lines.outcome_text(result)}"
    return line if verdict.status is Status.PASS else f"{line}: {one_line(why(verdict))}"


def check_answer(report: Report, *, width: int = 80, colour: bool = False, unicode: bool = True) -> str:
    """The answer to `check IMAGE` alone: the first sentence about each subject."""
    width, paint = max(width, _MIN_WIDTH), painter(colour)
    text = ""
    for row, scenario in zip(report.compliance, report.scenarios, strict=True):
        first = headline(row, report.of_scenario(row.scenario), subject_name(scenario))
        text += "\n".join(_answer_lines(first, width, paint)) + "\n"
    return text if unicode else ascii_only(text)


def check_verdict(report: Report, *, width: int = 80, colour: bool = False, unicode: bool = True) -> str:
    """The answer to `check IMAGE`: the verdict, one line per stop timeout, how we know, and what to look at."""
    width, paint = max(width, _MIN_WIDTH), painter(colour)
    lines: list[str] = []
    by_name = {row.scenario: (row,) for row in matrix_text.rows(report)}
    for row, scenario in zip(report.compliance, report.scenarios, strict=True):
        results = report.of_scenario(row.scenario)
        first = headline(row, results, subject_name(scenario))
        lines += _answer_lines(first, width, paint)
        lines += ["", *stop_lines.lines(results, width, paint, own=scenario.stop.own_timeouts)]
        for task in task_text.sections(report):
            lines += task_lines.task(task, width, paint) if task.scenario == one_line(scenario.name) else []
        ecs = "" if is_pod(scenario) else first.ecs
        lines += ["", *(hanging("Amazon ECS", ecs, width) if ecs else [])] if results else []
        lines += [*check_lines.ready(results, width), *check_lines.evidence(results, width)] if results else []
        lines += check_lines.causes(results, width, paint)
        lines += check_lines.findings(results, width, paint)
        if text := property_text.summary(results):
            lines += hanging("after the stop", f"{text}.", width)
        lines += [line for row in by_name.get(scenario.name, ()) for line in matrix_lines.table(row, width, paint)]
        lines += task_lines.definition(task_text.findings(report, scenario.name), width, paint)
        worth_a_line = (item for item in report.statistics if item.scenario == row.scenario)
        worth_a_line = (item for item in worth_a_line if statistics_text.is_worth_a_row(item))
        lines += [line for item in worth_a_line for line in hanging("stops", statistics_text.sentence(item), width)]
        lines += _claim_lines(report, width, paint, scenario.name)
        if any(result.verdict.outcome is Outcome.GRACEFUL for result in results):
            advice = (item for item in report.advice if item.scenario == row.scenario)
            lines += [line for item in advice for line in check_lines.recommended(item, width)]
        lines += fates_text.lines(results, width, paint)
        lines += check_lines.log(results, width, paint)
    lines += _waiver_lines(report, width, paint)
    for section in remedy_text.sections(report):
        lines += ["", *terminal_remedies.lines(section, width, paint)]
    text = "\n".join(lines) + "\n"
    return text if unicode else ascii_only(text)


# ── summary ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _scenario_lines(report: Report, width: int, paint: Paint) -> list[str]:
    """Per scenario: its status, its name, what each stop timeout came to, its compliance; wrapped under the name."""
    compliance = {row.scenario: row for row in report.compliance}
    skipped = {item.scenario for item in report.skipped}
    names = [scenario.name for scenario in report.scenarios if scenario.name not in skipped]
    column = min(max((columns_of(one_line(name)) for name in names), default=0), _NAME_WIDTH)
    own = {scenario.name for scenario in report.scenarios if scenario.stop.own_timeouts}
    lines = []
    disturbed = {item.name for item in report.scenarios if item.faults}
    for name in names:
        results = report.of_scenario(name)
        parts = [(part, "") for part in stop_lines.parts(results, own=name in own)]
        if not only_pods(report):
            text = _compliance_text(compliance[name], disturbed=name in disturbed)
            parts.append((text, _COMPLIANCE_COLOURS[compliance[name].status]))
        status = worst_status(results)
        mark, colour = (STATUS_MARKS[status], _STATUS_COLOURS[status]) if status else ("-", YELLOW)
        lines += flow(paint(mark, colour), one_line(name), parts, column=column, width=width, paint=paint)
    return lines


def _compliance_text(row: Compliance, *, disturbed: bool) -> str:
    """With a mark of its own: a lesson that expects `killed` meets its expectation and is not compliant. `disturbed`:
    it was never stopped without the faults of its file."""
    word = COMPLIANCE_WORDS[row.status] + (" under its faults" if disturbed else "")
    of = timeout(row.default_timeout_ns)
    spare = f", {seconds(row.headroom_ns)} of {of} to spare" if row.headroom_ns is not None else ""
    return f"{COMPLIANCE_MARKS[row.status]} {word}{spare}"


def _problem_lines(report: Report, width: int, paint: Paint) -> list[str]:
    """Trials that failed and are not let pass, then trials that say nothing, with their reasons; those with the same
    reason together."""
    lines: list[str] = []
    left, told_already = MAX_PROBLEMS, matrix_text.as_undisturbed(report)
    for status in (Status.FAIL, Status.INCONCLUSIVE):
        problems = [result for result in report.results if result.verdict.status is status]
        problems = [result for result in problems if result.observation.trial_id not in report.waived]
        problems = [result for result in problems if result.observation.scenario not in told_already]
        for (scenario, reason, cause, cures), group in groupby(problems, key=_scenario_and_reason):
            if not left:
                return [*lines, "  … and more; the report lists them all"]
            left -= 1
            names = _listed([_trial_name(result) for result in group])
            text = f"{scenario}, {names}: {reason}{cause}"
            lines += hanging(f"{STATUS_MARKS[status]} {status}", text, width, paint, _STATUS_COLOURS[status])
            lines += [line for cure in cures for line in hanging("  cure", cure, width)]
    return lines


def _waiver_lines(report: Report, width: int, paint: Paint) -> list[str]:
    """Known failures that are let pass, and waivers that no longer do what they were written for."""
    return [
        line
        for row in waiver_text.news(report)
        for line in hanging(
            row.word, row.text, width, paint, DIM if row.word == "waived" else _STATUS_COLOURS[row.status]
        )
    ]


def _unused_waivers(report: Report, width: int, paint: Paint) -> list[str]:
    text = waiver_text.elsewhere(report)
    return hanging("unused waiver", text, width, paint, _STATUS_COLOURS[Status.INCONCLUSIVE]) if text else []


def _passing_lines(report: Report, width: int, paint: Paint) -> list[str]:
    """What trials that passed warn of."""
    texts = [f"{item.text} [{item.rule}]" for item in passing_warnings(report)]
    more = ["  … and more; the report lists them all"] if len(texts) > MAX_PROBLEMS else []
    return [line for text in texts[:MAX_PROBLEMS] for line in hanging("warning", text, width, paint, YELLOW)] + more


def _scenario_and_reason(result: TrialResult) -> tuple[str, str, str, tuple[str, ...]]:
    """What trials that are told in one line share; last the sentences of what to do, without the lines to copy."""
    cause = result.verdict.cause
    cause_text = f". Cause: {cause.evidence.rstrip('.')} [{cause.id}]" if cause else ""
    cures = tuple(piece.text for piece in advice_text.pieces(cause)) if cause else ()
    return result.observation.scenario, why(result.verdict), cause_text, cures


def _listed(names: list[str]) -> str:
    """The first of the names, and how many more there are."""
    first = ", ".join(
        names[:1] + [name.removeprefix("stop timeout ").removeprefix("grace period ") for name in names[1:4]]
    )
    return first if len(names) <= 4 else f"{first} and {count_of(len(names) - 4, 'more trial')}"


def _comparison_lines(found: Comparison, width: int, paint: Paint) -> list[str]:
    """What changed since the baseline, the worst first."""
    lines = wrapped(trend_text.headline(found), width)
    for warning in found.warnings:
        lines += hanging("warning", f"{warning.message} {warning.advice}", width, paint, YELLOW)
    news = trend_text.news(found)
    for item in news[:MAX_PROBLEMS]:
        lines += hanging(item.word, f"{item.stop}: {item.basis}", width, paint, _TONE_COLOURS[item.tone])
    lines += ["  … and more; the report lists them all"] if len(news) > MAX_PROBLEMS else []
    return lines + [line for text in [trend_text.too_few(found)] if text for line in hanging("note", text, width)]


def _run_time(report: Report) -> str:
    took = run_duration_ns(report.run)
    return "" if took is None else f" The run took {precise_seconds(took)}."


# ── check ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _answer_lines(first: Headline, width: int, paint: Paint) -> list[str]:
    colour = DIM if first.mark == "=" else _STATUS_COLOURS[first.status or Status.INCONCLUSIVE]
    return [paint(line, colour) for line in wrapped(f"{first.mark} {first.text}", width, indent="  ")]


def _claim_lines(report: Report, width: int, paint: Paint, scenario: str | None = None) -> list[str]:
    """What the stops show about all stops. `scenario` None: of every one, each with its name."""
    lines = []
    for row in claims_text.rows(report, scenario):
        name = f"{row.scenario}, " if scenario is None else ""
        text = f"{name}stop timeout {row.place}: {row.statement}"
        lines += hanging(f"{row.mark} {row.word}", text, width, paint, _CLAIM_COLOURS[row.status])
    return lines


# ── Text ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _trial_name(result: TrialResult) -> str:
    """Its title, without "repetition 1": most runs have no other."""
    return trial_title(result.observation).removesuffix(", repetition 1")
