"""What the command line prints: plain text with optional ANSI colour, in no markup language that names could inject."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from stop_harness import signals
from stop_harness.evidence import start_up
from stop_harness.model import (
    ClaimStatus,
    Comparison,
    Compliance,
    ComplianceStatus,
    Observation,
    Outcome,
    ReadyBy,
    Report,
    Severity,
    SigkillEvidence,
    Status,
    TimeoutAdvice,
    TrialResult,
)
from stop_harness.renderers import terminal_remedies
from stop_harness.renderers.sections import (
    advice_text,
    claims_text,
    fates_text,
    remedy_text,
    statistics_text,
    task_lines,
    task_text,
    trend_text,
)
from stop_harness.renderers.sections.check_headline import headline, worst_status
from stop_harness.renderers.sections.columns import (
    DIM,
    GREEN,
    RED,
    YELLOW,
    Paint,
    ascii_only,
    columns_of,
    fit,
    flow,
    hanging,
    painter,
    wrapped,
)
from stop_harness.renderers.sections.passing_warnings import passing_warnings
from stop_harness.wording import (
    COMPLIANCE_MARKS,
    COMPLIANCE_WORDS,
    OWN_TIMEOUTS,
    STATUS_MARKS,
    count_of,
    expectation_headline,
    hooks_line,
    is_pod,
    limit_word,
    of_pod,
    one_line,
    only_pods,
    outcome_words,
    precise_seconds,
    printable,
    requests_line,
    run_duration_ns,
    seconds,
    sentence,
    stop_limit,
    subject_name,
    timeout,
    trial_title,
    why,
)
from stop_harness.wording import headline as headline_of

MAX_PROBLEMS = 20
"""Failed and inconclusive trials that the summary explains; a terminal is no place for more."""
MAX_STOPS = 30
"""Trials of one scenario that `check` gives a line each; of more it says how many came to what."""
LOG_LINES = 5
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
        _passing_lines(report, width, paint),
        [line for section in task_text.sections(report) for line in task_lines.summary(section, width, paint)],
        task_lines.definition(task_text.findings(report), width, paint),
        [line for section in remedy_text.sections(report) for line in terminal_remedies.summary(section, width, paint)],
        _claim_lines(report, width, paint) if report.run.until_sure else [],
        _comparison_lines(report.comparison, width, paint) if report.comparison else [],
        [
            *wrapped(headline_of(report), width),
            *wrapped(expectation_headline(report) + _run_time(report), width),
            *wrapped(LEGEND, width),
        ],
    ]
    text = "\n\n".join("\n".join(block) for block in blocks if block) + "\n"
    return text if unicode else ascii_only(text)


def trial_line(result: TrialResult) -> str:
    """One line of progress: `pass          drains-5s, stop timeout 10 s: graceful after 5.0 s`."""
    seen, verdict = result.observation, result.verdict
    line = f"{verdict.status:<12}  {one_line(seen.scenario)}, {_trial_name(result)}: {_outcome_text(result)}"
    return line if verdict.status is Status.PASS else f"{line}: {one_line(why(verdict))}"


def check_verdict(report: Report, *, width: int = 80, colour: bool = False, unicode: bool = True) -> str:
    """The answer to `check IMAGE`: the verdict, one line per stop timeout, how we know, and what to look at."""
    width, paint = max(width, _MIN_WIDTH), painter(colour)
    lines: list[str] = []
    for row, scenario in zip(report.compliance, report.scenarios, strict=True):
        results = report.of_scenario(row.scenario)
        first = headline(row, results, subject_name(scenario))
        colour_of = {"=": DIM}.get(first.mark) or _STATUS_COLOURS[first.status or Status.INCONCLUSIVE]
        lines += [paint(line, colour_of) for line in wrapped(f"{first.mark} {first.text}", width, indent="  ")]
        lines += ["", *_timeout_lines(results, width, paint, own=scenario.stop.own_timeouts)]
        for task in task_text.sections(report):
            lines += task_lines.task(task, width, paint) if task.scenario == one_line(scenario.name) else []
        ecs = "" if is_pod(scenario) else first.ecs
        lines += ["", *(hanging("Amazon ECS", ecs, width) if ecs else [])] if results else []
        lines += [*_ready_lines(results, width), *_evidence_lines(results, width)] if results else []
        lines += _cause_lines(results, width, paint)
        lines += _finding_lines(results, width, paint)
        lines += task_lines.definition(task_text.findings(report, scenario.name), width, paint)
        worth_a_line = (item for item in report.statistics if item.scenario == row.scenario)
        worth_a_line = (item for item in worth_a_line if statistics_text.is_worth_a_row(item))
        lines += [line for item in worth_a_line for line in hanging("stops", statistics_text.sentence(item), width)]
        lines += _claim_lines(report, width, paint, scenario.name)
        if any(result.verdict.outcome is Outcome.GRACEFUL for result in results):
            advice = (item for item in report.advice if item.scenario == row.scenario)
            lines += [line for item in advice for line in _advice_lines(item, width)]
        lines += fates_text.lines(results, width, paint)
        lines += _log_lines(results, width, paint)
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
    for name in names:
        results = report.of_scenario(name)
        parts = [(part, "") for part in _timeout_parts(results, own=name in own)]
        if not only_pods(report):
            parts.append((_compliance_text(compliance[name]), _COMPLIANCE_COLOURS[compliance[name].status]))
        status = worst_status(results)
        mark, colour = (STATUS_MARKS[status], _STATUS_COLOURS[status]) if status else ("-", YELLOW)
        lines += flow(paint(mark, colour), one_line(name), parts, column=column, width=width, paint=paint)
    return lines


def _timeout_parts(results: tuple[TrialResult, ...], *, own: bool) -> list[str]:
    """`2 s killed`, `10 s, 30 s graceful (5.0 s)`: neighbouring stop timeouts with the same outcomes together. With
    repetitions `30 s graceful ×3 (5.0 to 5.2 s)` or `30 s graceful ×2, killed ×1`. `own`: each container of a task had
    its own, so that the trial's, which is the longest that the task can take, is nobody's."""
    parts = []
    by_timeout = [
        (limit, list(group)) for limit, group in groupby(results, key=lambda result: result.observation.stop_timeout_ns)
    ]
    for outcomes, group in groupby(by_timeout, key=lambda item: _outcomes(item[1])):
        same = list(group)
        limits = OWN_TIMEOUTS if own else ", ".join(timeout(limit) for limit, _ in same)
        text = f"{limits} {outcomes}{_range([trial for _, trials in same for trial in trials])}"
        parts.append(text.replace(") (", ", "))
    return parts


def _outcomes(trials: list[TrialResult]) -> str:
    """`graceful`; of several trials `graceful ×2, killed ×1`."""
    counts = Counter(outcome_words(trial) for trial in trials)
    if len(trials) == 1:
        return next(iter(counts))
    return ", ".join(f"{outcome} ×{number}" for outcome, number in counts.most_common())


def _range(trials: list[TrialResult]) -> str:
    """` (5.0 s)` or ` (5.0 to 5.2 s)`; nothing where no duration is known, the outcomes differ, or SIGKILL set it."""
    outcomes = {trial.verdict.outcome for trial in trials}
    durations = [duration for trial in trials if (duration := trial.verdict.facts.shutdown_duration_ns) is not None]
    if not durations or len(outcomes) > 1 or Outcome.KILLED in outcomes:
        return ""
    low, high = seconds(min(durations)), seconds(max(durations))
    return f" ({high})" if low == high else f" ({low.removesuffix(' s')} to {high})"


def _compliance_text(row: Compliance) -> str:
    """With a mark of its own: a lesson that expects `killed` meets its expectation and is not compliant."""
    word = COMPLIANCE_WORDS[row.status]
    of = timeout(row.default_timeout_ns)
    spare = f", {seconds(row.headroom_ns)} of {of} to spare" if row.headroom_ns is not None else ""
    return f"{COMPLIANCE_MARKS[row.status]} {word}{spare}"


def _problem_lines(report: Report, width: int, paint: Paint) -> list[str]:
    """Trials that failed, then trials that say nothing, with their reasons; those with the same reason together."""
    lines: list[str] = []
    left = MAX_PROBLEMS
    for status in (Status.FAIL, Status.INCONCLUSIVE):
        problems = [result for result in report.results if result.verdict.status is status]
        for (scenario, reason, cause, cures), group in groupby(problems, key=_scenario_and_reason):
            if not left:
                return [*lines, "  … and more; the report lists them all"]
            left -= 1
            names = _listed([_trial_name(result) for result in group])
            text = f"{scenario}, {names}: {reason}{cause}"
            lines += hanging(f"{STATUS_MARKS[status]} {status}", text, width, paint, _STATUS_COLOURS[status])
            lines += [line for cure in cures for line in hanging("  cure", cure, width)]
    return lines


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


def _timeout_lines(results: tuple[TrialResult, ...], width: int, paint: Paint, *, own: bool) -> list[str]:
    """How each trial ended and, on lines of their own, what became of its requests. `own`: see `OWN_TIMEOUTS`."""
    limits = [timeout(result.observation.stop_timeout_ns) for result in results]
    column = max(map(len, limits), default=0)
    word = limit_word(results[0].observation) if results else ""
    titles = [OWN_TIMEOUTS if own else f"{word} {limit:>{column}}" for limit in limits]
    if len(results) > MAX_STOPS:
        title = "" if own else f"{word} "
        parts = _timeout_parts(results, own=own)
        return [line for part in parts for line in wrapped(f"  {title}{part}", width, "    ")]
    lines = []
    for title, result in zip(titles, results, strict=True):
        outcome = paint(_outcome_text(result), _outcome_colour(result))
        lines.append(f"  {title}: {outcome}{_exit_text(result)}")
        indent = " " * (len(title) + 4)
        lines += [indent + line for line in wrapped(requests_line(result.observation.traffic), width - len(indent))]
    return lines


def _outcome_text(result: TrialResult) -> str:
    """`graceful after 5.0 s`, `killed after 10.0 s`, `not running`."""
    duration = result.verdict.facts.shutdown_duration_ns
    return outcome_words(result) + ("" if duration is None else f" after {seconds(duration)}")


def _outcome_colour(result: TrialResult) -> str:
    if result.verdict.outcome is Outcome.INCONCLUSIVE:
        return YELLOW
    return GREEN if result.verdict.outcome is Outcome.GRACEFUL else RED


def _exit_text(result: TrialResult) -> str:
    seen = result.observation
    moment = f", stopped {timeout(seen.stop_after_ns)} after ready" if seen.stop_after_ns else ""
    unseen = seen.record.exit_code is None or (
        seen.derivation.derived_from is not None and seen.derivation.cut_short is not None
    )
    ended = "" if unseen else f", exit code {seen.record.exit_code}"
    if seen.record.exit_signal is not None:
        ended = f", ended by {signals.name(seen.record.exit_signal)}"
    return ended + moment


def _evidence_lines(results: tuple[TrialResult, ...], width: int) -> list[str]:
    """How we know: the sources of the trial with the longest stop timeout."""
    facts = results[-1].verdict.facts
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
    if results[-1].verdict.outcome is Outcome.GRACEFUL and _ends_unseen(results[-1].observation):
        text += "; how other processes ended, if there were any, was not seen"
    hooks = hooks_line(results[-1].observation.scenario, results[-1].observation.record.hooks)
    return hanging("evidence", f"{text}.{hooks and ' '}{hooks}", width)


def _ready_lines(results: tuple[TrialResult, ...], width: int) -> list[str]:
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


def _cause_lines(results: tuple[TrialResult, ...], width: int, paint: Paint) -> list[str]:
    """Each cause once, in the words of the trial with the longest stop timeout, and what to do about it."""
    causes = {result.verdict.cause.id: result.verdict.cause for result in results if result.verdict.cause}
    lines = []
    for item in causes.values():
        lines += hanging("cause", f"{item.evidence.rstrip('.')}. [{item.id}]", width)
        for piece in advice_text.pieces(item):
            lines += hanging("cure", f"{piece.text} ({piece.basis})" if piece.basis else piece.text, width)
            lines += [paint(f"            {line}".rstrip(), DIM) for line in piece.lines.splitlines()]
    return lines


def _finding_lines(results: tuple[TrialResult, ...], width: int, paint: Paint) -> list[str]:
    """Every rule once, in the words of the trial with the longest stop timeout, gravest first."""
    findings = {finding.rule: finding for result in results for finding in result.verdict.findings}
    order = list(Severity)
    colours = {Severity.ERROR: RED, Severity.WARNING: YELLOW, Severity.NOTE: DIM}
    return [
        line
        for finding in sorted(findings.values(), key=lambda finding: order.index(finding.severity))
        for line in hanging(
            finding.severity, f"{finding.message} [{finding.rule}]", width, paint, colours[finding.severity]
        )
    ]


def _log_lines(results: tuple[TrialResult, ...], width: int, paint: Paint) -> list[str]:
    """The end of the log of the longest bad stop; a graceful one needs no log."""
    bad = [result for result in results if result.verdict.outcome is not Outcome.GRACEFUL]
    logs = printable(bad[-1].observation.looks.logs.text).rstrip("\n") if bad else ""
    if not logs:
        return []
    last = [fit(line.expandtabs(), width - 4).rstrip() for line in logs.split("\n")[-LOG_LINES:]]
    title = f"last lines of the log at {stop_limit(bad[-1].observation)}:"
    return ["", f"  {title}", *(paint(f"    {line}".rstrip(), DIM) for line in last)]


def _claim_lines(report: Report, width: int, paint: Paint, scenario: str | None = None) -> list[str]:
    """What the stops show about all stops. `scenario` None: of every one, each with its name."""
    lines = []
    for row in claims_text.rows(report, scenario):
        name = f"{row.scenario}, " if scenario is None else ""
        text = f"{name}stop timeout {row.place}: {row.statement}"
        lines += hanging(f"{row.mark} {row.word}", text, width, paint, _CLAIM_COLOURS[row.status])
    return lines


def _advice_lines(advice: TimeoutAdvice, width: int) -> list[str]:
    """The recommended stop timeout with its basis, or what it lacks."""
    value = "" if advice.recommended_ns is None else f"{timeout(advice.recommended_ns)}. "
    return hanging("recommended stop timeout", f"{value or 'none. '}{advice.basis}", width)


# ── Text ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _trial_name(result: TrialResult) -> str:
    """Its title, without "repetition 1": most runs have no other."""
    return trial_title(result.observation).removesuffix(", repetition 1")
