"""report.html: one file that shows a run to people, without fetching anything.

The trials travel as JSON and `templates/report.js` draws the rows on screen, so that 10,000 trials open at once. Text
that came from containers or scenario files has passed `wording.printable` and is escaped by jinja, or drawn as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from stop_harness.model import (
    ECS_STOP_TIMEOUT_S,
    Compliance,
    ComplianceStatus,
    Outcome,
    Report,
    Scenario,
    Status,
    TrialResult,
)
from stop_harness.renderers import html_trials
from stop_harness.renderers.plots import drawing, plots
from stop_harness.renderers.plots.marks import OUTCOME_COLOURS
from stop_harness.renderers.sections import (
    claims_text,
    matrix_text,
    mending_text,
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
    OUTCOME_MEANINGS,
    OUTCOME_WORDS,
    STATUS_KEY,
    STATUS_MARKS,
    count_of,
    expectation_headline,
    headline,
    one_line,
    only_pods,
    printable,
    seconds,
    subject_name,
    timeout,
    to_seconds,
)

if TYPE_CHECKING:
    from jinja2 import Environment

LONG_RUN = 100
"""Trials from which on the page begins with a table of contents."""


PARTS_AT_ONCE = 1000
"""Parts of the template that are put together for a piece of the page; that of 10,000 trials has 350,000 parts."""


Pictures = dict[str, str]
"""What `plots.render_all` has drawn of a report."""


def render(report: Report, pictures: Pictures | None = None, for_phones: Pictures | None = None) -> str:
    """The page. Its Content-Security-Policy allows the one script by hash and no request to anywhere.

    `pictures`: None to draw them here, both for pages and `for_phones`; where there are none for phones these see the
    same.
    """
    return "".join(pieces(report, pictures, for_phones))


def draw(report: Report) -> tuple[Pictures, Pictures]:
    """Its plots for pages, and for phones: the width of the screen decides which are shown."""
    return plots.render_all(report), plots.render_all(report, drawing.NARROW)


def pieces(report: Report, pictures: Pictures | None = None, for_phones: Pictures | None = None) -> Iterator[str]:
    """The same for a file, in pieces as they are made."""
    from markupsafe import Markup

    wide, narrow = draw(report) if pictures is None else (pictures, for_phones or {})
    script, style = (
        resources.files("stop_harness.renderers").joinpath("templates", name).read_text("utf-8")
        for name in ("report.js", "report.css")
    )
    template = templates().get_template("report.html.j2")
    page = template.stream(
        **_view(report),
        script=Markup(script),  # nosec B704 # our own text or escaped
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=Markup(style),  # nosec B704 # our own text or escaped
        data=Markup(_embedded(_data(report))),  # nosec B704 # our own text or escaped
        plots={name: Markup(inline(name, svg, narrow.get(name))) for name, svg in wide.items()},  # nosec B704 # the same
        survival_plot=plots.SURVIVAL,
    )
    page.enable_buffering(PARTS_AT_ONCE)
    return page


@cache
def templates() -> Environment:
    """Those of all pages, once in a process: to compile that of a report takes longer than to render it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("stop_harness.renderers", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,  # or jinja looks for a newer template of a trial before each
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(line=one_line, text=printable, moment=html_trials.moment)
    return environment


def _embedded(value: object) -> str:
    """JSON that cannot end the `<script>` element around it, nor open a comment in it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def inline(name: str, wide: str, narrow: str | None) -> str:
    """Both files of a plot as part of a page, which shows one of them; `narrow` None: there is one only."""
    return _inline(name, "wide", wide) + ("" if narrow is None else _inline(name, "narrow", narrow))


def _inline(name: str, style: str, svg: str) -> str:
    """An SVG file as part of a page: no prologue, the page's neutral colour, no style rules for the whole page."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    # Plots share ids such as `axes_1`, which nothing refers to; the others carry a hash.
    body = re.sub(r' id="(?:figure|axes|patch|line2d|text|matplotlib\.axis|xtick|ytick|legend)_\d+"', "", body)
    return body.replace("<svg ", f'<svg class="{style}" role="img" aria-label="{name.replace("-", " ")}" ', 1).replace(
        drawing.INK, "var(--ink)"
    )


# ── What the template shows ──────────────────────────────────────────────────────────────────────────────────────────


def _view(report: Report) -> dict[str, Any]:
    """Everything but the trials, as the template names it."""
    return {
        "report": report,
        "run": report.run,
        "title": one_line(report.run.name) or "stop-harness",
        "headline": headline(report),
        "expectation": expectation_headline(report),
        "only_pods": only_pods(report),
        "tally": _tally(report),
        "passing_warnings": passing_warnings(report),
        "waivers": waiver_text.rows(report),
        "waivers_title": waiver_text.TITLE,
        "facts": run_facts.facts(report),
        "proofs": run_facts.proofs(report),
        "compliance": [
            _compliance_row(row, scenario, report)
            for row, scenario in zip(report.compliance, report.scenarios, strict=True)
        ],
        **_under_faults(report),
        "tasks": task_text.sections(report),
        "tasks_title": task_text.title(report),
        "definition_findings": task_text.findings(report),
        "mendings": (mendings := mending_text.entries(report)),
        "mended": {item.id for item in mendings},
        "mend_title": mending_text.TITLE,
        "mend_key": mending_text.KEY,
        "remedies": remedy_text.sections(report),
        "advice": [
            (one_line(item.scenario), timeout(item.recommended_ns), item.basis)
            for item in report.advice
            if item.recommended_ns is not None
        ],
        "no_advice": _without_advice(report),
        "claims": claims_text.rows(report),
        "statistics": statistics_text.rows(report),
        "too_few_stops": statistics_text.too_few(report),
        "comparison": report.comparison,
        "comparison_headline": trend_text.headline(report.comparison) if report.comparison else "",
        "stops_beside": trend_text.side_by_side(report.comparison) if report.comparison else ([], []),
        "runs_beside": run_facts.beside(report.comparison.baseline, report.run) if report.comparison else [],
        "contents": _contents(report) if len(report.results) >= LONG_RUN else None,
        "too_few_to_compare": trend_text.too_few(report.comparison) if report.comparison else "",
        "platforms": _platform_heads(report),
        "platform_rows": _platform_rows(report),
        "colours": {outcome.value: OUTCOME_COLOURS[outcome] for outcome in Outcome},
        "outcomes": [
            (outcome.value, OUTCOME_WORDS[outcome], OUTCOME_MEANINGS[outcome], OUTCOME_COLOURS[outcome])
            for outcome in Outcome
        ],
        "statuses": [status.value for status in Status],
        "status_key": STATUS_KEY,
        "detailed": len(detailed := html_trials.detailed(report)),
        "details": map(html_trials.details, detailed),  # one by one, when the page comes to it
        "default_s": ECS_STOP_TIMEOUT_S,
    }


def _under_faults(report: Report) -> dict[str, Any]:
    """Scenarios × standard faults."""
    rows = matrix_text.rows(report)
    return {
        "matrix": rows,
        "matrix_faults": matrix_text.columns(rows),
        "matrix_cells": [{cell.fault: cell for cell in row.cells} for row in rows],
        "matrix_headline": matrix_text.headline(report),
        "matrix_title": matrix_text.TITLE,
        "matrix_key": matrix_text.KEY,
        "not_tried": matrix_text.not_tried(report),
    }


def _tally(report: Report) -> list[tuple[int, str, str, str]]:
    """Number, mark, word and style class of each compliance status that occurs."""
    statuses = [row.status for row in report.compliance]
    return [
        (statuses.count(status), COMPLIANCE_MARKS[status], COMPLIANCE_WORDS[status], status.value)
        for status in ComplianceStatus
        if status in statuses
    ]


def _compliance_row(row: Compliance, scenario: Scenario, report: Report) -> dict[str, Any]:
    durations = [
        result.verdict.facts.shutdown_duration_ns
        for result in report.of_scenario(row.scenario)
        if result.verdict.outcome is Outcome.GRACEFUL and result.verdict.facts.shutdown_duration_ns is not None
    ]
    return {
        "scenario": one_line(row.scenario),
        "subject": subject_name(scenario),
        "description": one_line(scenario.description),
        "status": row.status.value,
        "mark": COMPLIANCE_MARKS[row.status],
        "word": COMPLIANCE_WORDS[row.status],
        "longest": seconds(max(durations)) if durations else "",
        "headroom": "" if row.headroom_ns is None else seconds(row.headroom_ns),
        "why": mending_text.why(row),
    }


def _contents(report: Report) -> list[dict[str, str]]:
    """Each scenario with how many of its trials ended as expected, and the trial to look at first."""
    by_scenario: dict[str, list[TrialResult]] = {}
    for result in report.results:
        by_scenario.setdefault(result.observation.scenario, []).append(result)
    found = []
    for name, results in by_scenario.items():
        passed = sum(result.verdict.status is Status.PASS for result in results)
        first = min(results, key=lambda result: result.verdict.status is Status.PASS)
        found.append(
            {
                "scenario": one_line(name),
                "trial": one_line(first.observation.trial_id),
                "passed": f"{passed:,} of {count_of(len(results), 'trial')} as expected",
                "status": first.verdict.status.value,
            }
        )
    return found


def _without_advice(report: Report) -> list[tuple[str, str]]:
    """Scenarios without a recommendation by the reason why, the names in one text."""
    names: dict[str, list[str]] = {}
    for item in report.advice:
        if item.recommended_ns is None:
            names.setdefault(item.basis, []).append(one_line(item.scenario))
    return [(", ".join(those), basis) for basis, those in names.items()]


def _platform_heads(report: Report) -> list[dict[str, Any]]:
    return [
        {
            "name": row.platform.name,
            "signal": row.platform.stop_signal,
            "default": f"{row.platform.default_timeout_s} s",
            "note": row.platform.note,
            "source": row.platform.source,
            "checked": row.platform.checked,
        }
        for row in report.platforms
    ]


def _platform_rows(report: Report) -> list[dict[str, Any]]:
    """One row a scenario: its cells in the order of `_platform_heads`, and the reasons, each with its platforms."""
    return [_platform_row(report, index) for index in range(len(report.scenarios))]


def _platform_row(report: Report, index: int) -> dict[str, Any]:
    cells = []
    reasons: dict[tuple[str, str, str, str], list[str]] = {}
    for row in report.platforms:
        status = row.statuses[index]
        mark, word = COMPLIANCE_MARKS[status], COMPLIANCE_WORDS[status]
        cells.append({"status": status.value, "mark": mark, "word": word})
        if row.reasons:
            reasons.setdefault((status.value, mark, word, one_line(row.reasons[index])), []).append(row.platform.name)
    return {
        "scenario": one_line(report.scenarios[index].name),
        "cells": cells,
        "reasons": [(*reason, ", ".join(names)) for reason, names in reasons.items()],
    }


# ── What the script draws ────────────────────────────────────────────────────────────────────────────────────────────


def _data(report: Report) -> dict[str, Any]:
    """The trials, and the words for their codes."""
    return {
        "outcomes": {outcome.value: OUTCOME_WORDS[outcome] for outcome in Outcome},
        "marks": {status.value: STATUS_MARKS[status] for status in Status},
        "trials": [_trial(result) for result in report.results],
    }


def _trial(result: TrialResult) -> dict[str, Any]:
    """One row for the script."""
    seen, verdict = result.observation, result.verdict
    return {
        "id": one_line(seen.trial_id),
        "scenario": one_line(seen.scenario),
        "timeout": seen.stop_timeout_ns / 1e9,
        "own": seen.own_timeouts,
        "after": seen.stop_after_ns / 1e9,
        "repetition": seen.repetition,
        "outcome": verdict.outcome.value,
        "status": verdict.status.value,
        "duration": to_seconds(verdict.facts.shutdown_duration_ns),
        "exit": seen.record.exit_code,
        "reason": one_line(verdict.reason),
        "cause": verdict.cause.id if verdict.cause else "",
        "derived": seen.derivation.derived_from is not None,
    }
