"""summary.md: what fits into a pull-request comment or `$GITHUB_STEP_SUMMARY`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, islice

from stop_harness.model import Compliance, Report, Status, TrialResult
from stop_harness.renderers.sections import (
    claims_text,
    fates_text,
    matrix_text,
    mending_text,
    property_text,
    remedy_text,
    run_facts,
    statistics_text,
    task_text,
    trend_text,
    waiver_text,
)
from stop_harness.renderers.sections.passing_warnings import passing_warnings
from stop_harness.wording import (
    COMPLIANCE_MARKS,
    COMPLIANCE_WORDS,
    EACH_ITS_OWN,
    STATUS_KEY,
    STATUS_MARKS,
    count_of,
    expectation_headline,
    headline,
    hooks_line,
    one_line,
    only_pods,
    outcome_words,
    printable,
    requests_line,
    seconds,
    stop_limit,
    timeout,
    why,
)

MAX_TRIALS = 200
"""Rows of the trials table. GitHub cuts a comment at 65,536 characters and a step summary at 1 MiB."""
MAX_SCENARIOS = 200
MAX_OPEN = 3
"""Causes that are told in full; of more only the heads stand open, so that the table is not far below."""
MAX_FATES = 5
"""Trials whose processes are listed."""
MAX_CELL = 300
"""Characters of one cell; a reason can quote a container."""


def render(report: Report) -> str:
    """The summary, ending in a newline."""
    lines = [
        f"## Graceful shutdown: {_cell(report.run.name) or 'stop-harness'}",
        "",
        f"**{headline(report)}** {expectation_headline(report)}",
        "",
        *chain.from_iterable(
            (f"> **Warning:** {_cell(item.message)} {_cell(item.advice)}", "") for item in report.warnings
        ),
        *_mend_first(report),
        *_compliance(report),
        *_under_faults(report),
        *_skipped(report),
        *_waivers(report),
        *_tasks(report),
        *_remedies(report),
        *_comparison(report),
        *_run(report),
        *_passing_warnings(report),
        *_claims(report),
        *_statistics(report),
        *_advice(report),
        *_trials(report),
        *_fates(report),
        _footer(report),
    ]
    return "\n".join(lines) + "\n"


def _waivers(report: Report) -> list[str]:
    """Known failures that are let pass, and waivers that are over or for nothing."""
    found = [(_cell(row.word), _cell(row.text)) for row in waiver_text.rows(report)]
    return [f"### {waiver_text.TITLE}", "", *_table(("", "What"), (":--", ":--"), found), ""] if found else []


def _passing_warnings(report: Report) -> list[str]:
    """What trials that passed warn of."""
    found = passing_warnings(report)
    if not found:
        return []
    items = [f"- {_cell(item.text)} \\[{item.rule}\\]" for item in found[:MAX_SCENARIOS]]
    return ["### Warnings of stops that passed", "", *items, *_left_out(len(found), MAX_SCENARIOS, "warnings"), ""]


def _comparison(report: Report) -> list[str]:
    """What changed since the baseline, where there is one."""
    if report.comparison is None:
        return []
    found = report.comparison
    changed, same = trend_text.side_by_side(found)
    rows = [
        (_cell(item.word), _cell(item.stop), _cell(item.before), _cell(item.now), _cell(item.why))
        for item in changed[:MAX_SCENARIOS]
    ]
    heads = ("Change", "Stop", "Baseline", "This run", "How we know")
    table = [*_table(heads, (":--",) * 5, rows), *_left_out(len(changed), MAX_SCENARIOS, "changes"), ""] if rows else []
    unchanged = [tuple(map(_cell, (item.stop, item.before, item.now))) for item in same[:MAX_SCENARIOS]]
    as_before = [
        f"<details><summary>{count_of(len(same), 'stop')} without a difference</summary>",
        "",
        *_table(heads[1:4], (":--",) * 3, unchanged),
        *_left_out(len(same), MAX_SCENARIOS, "stops"),
        "",
        "</details>",
        "",
    ]
    too_few = trend_text.too_few(found)
    return [
        "### Against the baseline",
        "",
        _cell(trend_text.headline(found)),
        "",
        *chain.from_iterable(
            (f"> **Warning:** {_cell(item.message)} {_cell(item.advice)}", "") for item in found.warnings
        ),
        *table,
        *(as_before if same else []),
        *([too_few, ""] if too_few else []),
    ]


def _compliance(report: Report) -> list[str]:
    if not report.compliance or only_pods(report):
        return []
    rows = [
        (
            f"{COMPLIANCE_MARKS[row.status]} {COMPLIANCE_WORDS[row.status]}",
            _cell(row.scenario),
            "–" if row.headroom_ns is None else seconds(row.headroom_ns),
            _why(row),
        )
        for row in islice(report.compliance, MAX_SCENARIOS)
    ]
    return [
        "### Against the Amazon ECS default of 30 s",
        "",
        *_table(("Compliance", "Scenario", "To spare", "Why"), (":--", ":--", "--:", ":--"), rows),
        *_left_out(len(report.compliance), MAX_SCENARIOS, "scenarios"),
        "",
    ]


def _why(row: Compliance) -> str:
    """The cause, what happened, and the cause's id."""
    told = mending_text.why(row)
    happened = f" <sub>{_cell(told.detail)}</sub>" if told.detail else ""
    return _cell(told.text) + happened + (f" \\[{told.cause_id}\\]" if told.cause_id else "")


def _under_faults(report: Report) -> list[str]:
    """Scenarios × faults, what each broke, and what was not tried."""
    found = matrix_text.rows(report)
    if not found:
        return []
    faults = matrix_text.columns(found)
    rows = []
    for row in found[:MAX_SCENARIOS]:
        cells = {cell.fault: cell for cell in row.cells}
        rows.append(
            (
                _cell(row.scenario),
                f"{row.mark} {row.undisturbed}",
                f"{row.worst_mark} {row.worst_word}",
                *(_under_fault(cells.get(fault)) for fault in faults),
            )
        )
    heads = ("Scenario", "Undisturbed", "Worst for 30 s", *map(_cell, faults))
    lines = [f"### {matrix_text.TITLE}", "", _cell(matrix_text.headline(report)), "", matrix_text.KEY, ""]
    lines += [*_table(heads, (":--",) * len(heads), rows), *_left_out(len(found), MAX_SCENARIOS, "scenarios"), ""]
    for row in found[:MAX_SCENARIOS]:
        lines.append(f"- **{_cell(row.scenario)}**: {_cell(row.sentence)}")
        lines += [f"  - {cell.mark} {_cell(cell.fault)}: {_cell(cell.detail)}" for cell in row.broken]
    for names, reason, scenarios in matrix_text.not_tried(report):
        lines.append(f"- Not tried: {_cell(names)}: {_cell(reason)}" + (f" ({_cell(scenarios)})" if scenarios else ""))
    return [*lines, ""]


def _under_fault(cell: matrix_text.Cell | None) -> str:
    if cell is None:
        return "–"
    return " ".join(part for part in (cell.mark, cell.outcome if cell.style else "", cell.cost) if part)


def _run(report: Report) -> list[str]:
    """Where, when and with what it was measured."""
    facts = [f"- {label}: {_cell(value)}" for label, value in run_facts.facts(report)]
    return [f"### {run_facts.TITLE}", "", *facts, ""]


def _skipped(report: Report) -> list[str]:
    if not report.skipped:
        return []
    return [*(f"- Skipped: {_cell(item.scenario)}: {_cell(item.reason)}" for item in report.skipped), ""]


def _mend_first(report: Report) -> list[str]:
    """Causes with their cures, the one behind most scenarios first; of more than a few only the heads stand open."""
    found = mending_text.entries(report)
    if not found:
        return []
    lines = [f"### {mending_text.TITLE}", ""]
    lines += [mending_text.KEY, ""] if len(found) > 1 else []
    for number, entry in enumerate(found[:MAX_SCENARIOS], start=1):
        count = f"{number}. " if len(found) > 1 else ""
        body = [line for cure in entry.cures for line in _cure(cure)]
        if len(found) > MAX_OPEN:
            head = f"{count}{entry.scenarios}: {entry.meaning} → {entry.cure} {entry.id}: {entry.names}"
            lines += [f"<details><summary>{_summary(head)}</summary>", "", *body, "</details>", ""]
        else:
            head = f"**{count}{entry.scenarios}**: {_cell(entry.meaning)} \\[{entry.id}\\]"
            lines += [head, "", *body]
    return [*lines, *([*_left_out(len(found), MAX_SCENARIOS, "causes"), ""] if len(found) > MAX_SCENARIOS else [])]


def _cure(cure: mending_text.CureText) -> list[str]:
    """What to change, with lines to copy, and the scenarios that it is for."""
    lines = []
    for piece in cure.advice:
        lines += [_cell(piece.text) + (f" <sub>{_cell(piece.basis)}</sub>" if piece.basis else ""), ""]
        lines += [*_fenced(piece.lines), ""] if piece.lines else []
    for stop in cure.stops[:MAX_SCENARIOS]:
        also = f" {_cell(stop.also)}" if stop.also else ""
        lines.append(f"- **{_cell(stop.scenario)}**: {_cell(stop.evidence)}{also}")
        lines += [f"  - {_cell(tried)}" for tried in stop.tried]
    return [*lines, *_left_out(len(cure.stops), MAX_SCENARIOS, "scenarios"), ""]


def _fenced(text: str) -> list[str]:
    """A block of code, whatever backticks are in it."""
    fence = "`" * (3 + max((len(run) for run in re.findall("`+", text)), default=0))
    return [fence, *printable(text).split("\n"), fence]


def _remedies(report: Report) -> list[str]:
    """What was tried against bad stops; lines to paste for the first cure of each."""
    lines = []
    for section in islice(remedy_text.sections(report), MAX_SCENARIOS):
        lines += [f"### {_cell(section.subject)}: {section.headline}", ""]
        for item in section.remedies:
            lines.append(f"- {item.mark} **{_cell(item.title)}**: {_cell(item.result)}")
            lines += [f"  {_cell(note)}" for note in item.notes]
        first = section.remedies[0].lines
        lines += [""] if first else []
        for paste in first:
            lines += [f"{paste.place}:", "", *_fenced(paste.text), ""]
        lines += [] if first else [""]
    return lines


def _tasks(report: Report) -> list[str]:
    """Each task container by container, and what its definition shows."""
    lines = []
    for section in islice(task_text.sections(report), MAX_SCENARIOS):
        rows = [
            (
                f"{'**' if row.fix_first else ''}{_cell(row.name)}{'**' if row.fix_first else ''}",
                row.after,
                row.took,
                row.share,
                row.limit,
                _cell(row.ended),
            )
            for row in section.rows
        ]
        heads = ("Container", "Signal after", "Took", "Share", "Stop timeout", "Ended")
        lines += [f"### {section.kind.capitalize()} {_cell(section.scenario)}", "", _cell(section.headline), ""]
        lines += [
            *_table(heads, (":--", "--:", "--:", "--:", "--:", ":--"), rows),
            "",
            *([f"- Ended by: {_cell(section.ended_by)}"] if section.ended_by else []),
            f"- {'Budget' if section.of_pod else 'Chain'}: {_cell(section.chain)}",
        ]
        lines += [f"- Fix first: {_cell(section.fix_first)}"] if section.fix_first else []
        lines.append("")
    found = [f"- {item.severity}: {_cell(item.text)} [{item.rule}]" for item in task_text.findings(report)]
    return lines + (["### What the files show before they run", "", *found, ""] if found else [])


def _claims(report: Report) -> list[str]:
    """What the stops show about all stops, where they are repeated."""
    found = claims_text.rows(report)
    if not found:
        return []
    rows = [
        (f"{row.mark} {row.word}", _cell(row.scenario), row.place, _cell(row.statement))
        for row in islice(found, MAX_SCENARIOS)
    ]
    return [
        "### How certain that is",
        "",
        *_table(("Claim", "Scenario", "Stop timeout", "What the stops show"), (":--", ":--", "--:", ":--"), rows),
        *_left_out(len(found), MAX_SCENARIOS, "claims"),
        "",
    ]


def _statistics(report: Report) -> list[str]:
    """Percentiles and shares of scenarios that were stopped often enough."""
    found = statistics_text.rows(report)
    if not found:
        return []
    rows = [
        (
            _cell(row.scenario),
            _cell(row.stops),
            _pairs(row.percentiles),
            _pairs(row.still_running),
            _pairs(row.graceful),
        )
        for row in islice(found, MAX_SCENARIOS)
    ]
    heads = ("Scenario", "Stops", "Ended within", "Still running", "Graceful at stop timeout")
    return [
        "### Shutdown durations, with 95 % intervals",
        "",
        *_table(heads, (":--",) * 5, rows),
        *_left_out(len(found), MAX_SCENARIOS, "scenarios"),
        "",
    ]


def _pairs(pairs: tuple[tuple[str, str], ...]) -> str:
    """`50 %: 5.0 s (4.9 to 5.1 s); 90 %: …`."""
    return _cell("; ".join(f"{label}: {value}" for label, value in pairs)) or "–"


def _advice(report: Report) -> list[str]:
    """Recommended stop timeouts, where there are any."""
    rows = [
        (_cell(item.scenario), timeout(item.recommended_ns), _cell(item.basis))
        for item in islice(report.advice, MAX_SCENARIOS)
        if item.recommended_ns is not None
    ]
    if not rows:
        return []
    heads = ("Scenario", "Stop timeout", "Basis")
    return ["### Recommended stop timeouts", "", *_table(heads, (":--", "--:", ":--"), rows), ""]


def _trials(report: Report) -> list[str]:
    """The trials in report order; where there are too many, those that did not pass come first."""
    results = report.results
    if len(results) > MAX_TRIALS:
        results = tuple(sorted(results, key=lambda result: result.verdict.status is Status.PASS))
    if not results:
        return []
    return [
        f"<details><summary>{len(report.results):,} trials</summary>",
        "",
        STATUS_KEY,
        "",
        *_table(
            ("Status", "Scenario", "Stop timeout", "Outcome", "Shutdown", "Why"),
            (":--", ":--", "--:", ":--", "--:", ":--"),
            [_trial_row(result) for result in results[:MAX_TRIALS]],
        ),
        *_left_out(len(results), MAX_TRIALS, "trials; those that did not pass stand first"),
        "",
        "</details>",
        "",
    ]


def _fates(report: Report) -> list[str]:
    """Who ended how, in the first trials where that explains something."""
    found = ((result, fates_text.explains(result)) for result in report.results)
    told = ((result, table) for result, table in found if table is not None)
    lines = []
    for result, table in islice(told, MAX_FATES):
        seen = result.observation
        title = _summary(f"{fates_text.TITLE}: {seen.scenario}, {stop_limit(seen)}")
        rows = [(row[0], _indented(row[1]), *map(_cell, row[2:])) for row in table.rows]
        more = [f"and {table.left_out:,} more"] if table.left_out else []
        heads = tuple(head[:1].upper() + head[1:] for head in fates_text.HEADS)
        body = _table(heads, ("--:", *(":--",) * 4, "--:"), rows)
        lines += [f"<details><summary>{title}</summary>", "", *body, "", *more, "", "</details>", ""]
    return lines


def _indented(text: str) -> str:
    """A cell whose leading spaces a reader sees."""
    return "&emsp;" * (len(text) - len(text.lstrip(" "))) + _cell(text)


def _trial_row(result: TrialResult) -> tuple[str, ...]:
    seen, verdict = result.observation, result.verdict
    duration = verdict.facts.shutdown_duration_ns
    hooks = hooks_line(seen.scenario, seen.record.hooks).rstrip(".")
    cause = f" [{verdict.cause.id}]" if verdict.cause else ""
    text = property_text.summary((result,))
    left = text and f"after the stop {text}"
    return (
        f"{STATUS_MARKS[verdict.status]} {verdict.status}",
        _cell(seen.scenario),
        (EACH_ITS_OWN if seen.own_timeouts else timeout(seen.stop_timeout_ns))
        + (f" (after {timeout(seen.stop_after_ns)})" if seen.stop_after_ns else ""),
        outcome_words(result),
        "–" if duration is None else seconds(duration),
        _cell("; ".join(part for part in (why(verdict), left, hooks, requests_line(seen.traffic)) if part) + cause),
    )


def _footer(report: Report) -> str:
    engine = report.run.engine
    return (
        f"<sub>stop-harness {_cell(report.run.harness_version)}, {_cell(engine.product)} {_cell(engine.version)} "
        f"({_cell(engine.name)}), {_cell(report.run.started_at)}</sub>"
    )


def _table(heads: tuple[str, ...], alignment: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (heads, alignment, *rows)]


def _left_out(total: int, shown: int, what: str) -> list[str]:
    return ["", f"{shown:,} of {total:,} {what}."] if total > shown else []


_MARKUP = re.compile(r"([\\`*_\[\]|~])")
_MENTION = re.compile(r"(?<![\w.])@(?=\w)")


def _cell(text: str) -> str:
    """Text as text: no markup, no HTML, one line, and no mention that would notify somebody on GitHub."""
    return _MARKUP.sub(r"\\\1", _summary(text))


def _summary(text: str) -> str:
    """The same inside an HTML element, where nothing is markup but HTML."""
    line = one_line(text)
    if len(line) > MAX_CELL:
        line = line[: MAX_CELL - 1] + "…"
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MENTION.sub("@\u200b", line)
