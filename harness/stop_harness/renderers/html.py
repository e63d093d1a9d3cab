"""report.html: one file that shows a run to people, without fetching anything.

The trials travel as JSON and `templates/report.js` draws the rows on screen, so that 10,000 trials open at once. Text
that came from containers or scenario files has passed `wording.printable` and is escaped by jinja, or drawn as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from importlib import resources
from typing import Any

from stop_harness.evidence import start_up
from stop_harness.evidence.lost_processes import listed
from stop_harness.model import (
    ECS_STOP_TIMEOUT_S,
    Compliance,
    ComplianceStatus,
    Observation,
    Outcome,
    Report,
    Scenario,
    Status,
    TrialResult,
)
from stop_harness.renderers.plots import drawing, plots
from stop_harness.renderers.results import trial_section
from stop_harness.renderers.sections import (
    advice_text,
    claims_text,
    fates_text,
    remedy_text,
    statistics_text,
    task_text,
    trend_text,
)
from stop_harness.renderers.sections.passing_warnings import passing_warnings
from stop_harness.wording import (
    COMPLIANCE_MARKS,
    COMPLIANCE_WORDS,
    OUTCOME_MEANINGS,
    OUTCOME_WORDS,
    STATUS_KEY,
    STATUS_MARKS,
    VANTAGE_WORDS,
    count_of,
    expectation_headline,
    headline,
    one_line,
    only_pods,
    outcome_words,
    precise_seconds,
    printable,
    reference_sentence,
    requests_line,
    run_duration_ns,
    seconds,
    subject_name,
    timeout,
    to_seconds,
)

MAX_DETAILS = 500
"""Trials with everything that was recorded. With more trials than this, those that did not pass come first, the rest is
a sample; a trial takes about 2 kB, and log tails more."""
MAX_REQUESTS = 50
MAX_PROCESSES = 200
"""Of one trial, lost ones first; results.json has them all."""
MAX_PLAIN_ROWS = 200
"""Rows of the table for readers without script."""


def render(report: Report, pictures: dict[str, str] | None = None) -> str:
    """The page. Its Content-Security-Policy allows the one script by hash and no request to anywhere.

    `pictures`: what `plots.render_all` has drawn of this report, None to draw it here.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    pictures = plots.render_all(report) if pictures is None else pictures
    environment = Environment(
        loader=PackageLoader("stop_harness.renderers", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(line=one_line, text=printable)
    script, style = (
        resources.files("stop_harness.renderers").joinpath("templates", name).read_text("utf-8")
        for name in ("report.js", "report.css")
    )
    return environment.get_template("report.html.j2").render(
        **_view(report),
        script=Markup(script),  # nosec B704 # our own text or escaped
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=Markup(style),  # nosec B704 # our own text or escaped
        data=Markup(_embedded(_data(report))),  # nosec B704 # our own text or escaped
        plots={name: Markup(inline(name, svg)) for name, svg in pictures.items()},  # nosec B704 # our own text or escaped
        survival_plot=plots.SURVIVAL,
    )


def _embedded(value: object) -> str:
    """JSON that cannot end the `<script>` element around it, nor open a comment in it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def inline(name: str, svg: str) -> str:
    """An SVG file as part of a page: no prologue, the page's neutral colour, no style rules for the whole page."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    # Plots share ids such as `axes_1`, which nothing refers to; the others carry a hash.
    body = re.sub(r' id="(?:figure|axes|patch|line2d|text|matplotlib\.axis|xtick|ytick|legend)_\d+"', "", body)
    return body.replace("<svg ", f'<svg role="img" aria-label="{name.replace("-", " ")}" ', 1).replace(
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
        "facts": _run_facts(report),
        "proofs": _proofs(report),
        "compliance": [
            _compliance_row(row, scenario, report)
            for row, scenario in zip(report.compliance, report.scenarios, strict=True)
        ],
        "tasks": task_text.sections(report),
        "tasks_title": task_text.title(report),
        "definition_findings": task_text.findings(report),
        "causes": advice_text.sections(report),
        "remedies": remedy_text.sections(report),
        "advice": [
            (one_line(item.scenario), "–" if item.recommended_ns is None else timeout(item.recommended_ns), item.basis)
            for item in report.advice
        ],
        "claims": claims_text.rows(report),
        "statistics": statistics_text.rows(report),
        "too_few_stops": statistics_text.too_few(report),
        "comparison": report.comparison,
        "comparison_headline": trend_text.headline(report.comparison) if report.comparison else "",
        "news": trend_text.news(report.comparison) if report.comparison else [],
        "too_few_to_compare": trend_text.too_few(report.comparison) if report.comparison else "",
        "platforms": _platform_heads(report),
        "platform_rows": _platform_rows(report),
        "colours": {outcome.value: plots.OUTCOME_COLOURS[outcome] for outcome in Outcome},
        "outcomes": [
            (outcome.value, OUTCOME_WORDS[outcome], OUTCOME_MEANINGS[outcome], plots.OUTCOME_COLOURS[outcome])
            for outcome in Outcome
        ],
        "statuses": [status.value for status in Status],
        "status_key": STATUS_KEY,
        "plain_rows": [_plain_row(result) for result in report.results[:MAX_PLAIN_ROWS]],
        "detailed": min(len(report.results), MAX_DETAILS),
        "default_s": ECS_STOP_TIMEOUT_S,
    }


def _tally(report: Report) -> list[tuple[int, str, str, str]]:
    """Number, mark, word and style class of each compliance status that occurs."""
    statuses = [row.status for row in report.compliance]
    return [
        (statuses.count(status), COMPLIANCE_MARKS[status], COMPLIANCE_WORDS[status], status.value)
        for status in ComplianceStatus
        if status in statuses
    ]


def _run_facts(report: Report) -> list[tuple[str, str]]:
    """Label and value, for people."""
    run, took = report.run, run_duration_ns(report.run)
    engine = run.engine
    untold = "" if run.finished_at is not None and run.resumed_at else "did not end by itself"
    ran = f"{len(report.results):,} of {count_of(report.trials_planned, 'planned trial')}"
    facts = [
        ("Engine", f"{engine.name}: {engine.product} {engine.version}, {engine.host}"),
        ("Started", run.started_at),
        ("Resumed", ", ".join(run.resumed_at)),
        ("Duration", untold if took is None else precise_seconds(took)),
        ("Trials", ran),
        ("Machine", f"{run.machine}, {count_of(run.cpu_count, 'CPU')}"),
        ("Engine's own time", reference_sentence(run.reference).partition(": ")[2] if run.reference else ""),
        ("Command", shlex.join(run.command_line)),
        ("Shard", run.shard or ""),
        ("Run", run.run_id),
        ("stop-harness", run.harness_version),
    ]
    return [(label, one_line(value)) for label, value in facts if value]


def _proofs(report: Report) -> list[str]:
    """What this engine can prove and what it cannot, then its own caveats."""
    engine = report.run.engine
    watched = any(_saw_lost_processes(result.observation) for result in report.results)
    return [
        "The container's first process is PID 1: the kernel drops signals it has no handler for."
        if engine.pid1_rules
        else "The container's first process is not PID 1: a missing handler shows as a prompt exit here.",
        "SIGKILL is observed: the engine reports its own."
        if engine.observes_sigkill
        else "SIGKILL is inferred from exit code and time: the engine does not report its own.",
        "OOM kills are reported by the engine." if engine.reports_oom else "The engine cannot tell an OOM kill.",
        "It sees processes that are killed silently when PID 1 exits before them."
        if watched
        else "It does not see processes that are killed silently when PID 1 exits before them: "
        "a stop can look graceful and lose work.",
        *(["Stop timeouts are whole seconds."] if engine.whole_seconds else []),
        *(
            []
            if engine.runs_images
            else ["It runs commands, not images: no memory limit, no init, no network of its own."]
        ),
        *(one_line(caveat) for caveat in engine.caveats),
    ]


def _saw_lost_processes(seen: Observation) -> bool:
    """Whether it is on record which processes were killed silently; of a task or a group each container's record says
    so, and its own holds only what came to the whole."""
    containers = seen.task.containers if seen.task is not None else ()
    return any(record.lost_processes is not None for record in (seen.record, *(item.record for item in containers)))


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
        "longest": seconds(max(durations)) if durations else "–",
        "headroom": "–" if row.headroom_ns is None else seconds(row.headroom_ns),
        "reason": one_line(row.reason),
    }


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
    """One row a scenario, its cells in the order of `_platform_heads`."""
    return [
        {
            "scenario": one_line(scenario.name),
            "cells": [
                {
                    "status": row.statuses[index].value,
                    "mark": COMPLIANCE_MARKS[row.statuses[index]],
                    "word": COMPLIANCE_WORDS[row.statuses[index]],
                    "reason": one_line(row.reasons[index]) if row.reasons else "",
                }
                for row in report.platforms
            ],
        }
        for index, scenario in enumerate(report.scenarios)
    ]


def _plain_row(result: TrialResult) -> tuple[str, ...]:
    seen, verdict = result.observation, result.verdict
    duration = verdict.facts.shutdown_duration_ns
    return (
        one_line(seen.trial_id),
        f"{STATUS_MARKS[verdict.status]} {verdict.status}",
        one_line(seen.scenario),
        "each its own" if seen.own_timeouts else timeout(seen.stop_timeout_ns),
        outcome_words(result),
        "–" if duration is None else seconds(duration),
        one_line(verdict.reason),
    )


# ── What the script draws ────────────────────────────────────────────────────────────────────────────────────────────


def _data(report: Report) -> dict[str, Any]:
    """The trials, and the words for their codes."""
    detailed = _detailed(report)
    return {
        "outcomes": {outcome.value: OUTCOME_WORDS[outcome] for outcome in Outcome},
        "marks": {status.value: STATUS_MARKS[status] for status in Status},
        "trials": [_trial(result, result.observation.trial_id in detailed) for result in report.results],
    }


def _detailed(report: Report) -> set[str]:
    """Ids of the trials that carry their details: all, or those that did not pass and an even sample of the others."""
    ids = [result.observation.trial_id for result in report.results]
    if len(ids) <= MAX_DETAILS:
        return set(ids)
    bad = [result.observation.trial_id for result in report.results if result.verdict.status is not Status.PASS][
        :MAX_DETAILS
    ]
    good = [result.observation.trial_id for result in report.results if result.verdict.status is Status.PASS]
    room = MAX_DETAILS - len(bad)
    return {*bad, *(good[:: max(1, len(good) // room)][:room] if room else ())}


def _trial(result: TrialResult, detailed: bool) -> dict[str, Any]:
    """One trial for the script; `details` is absent where it is not embedded."""
    seen, verdict = result.observation, result.verdict
    row: dict[str, Any] = {
        "id": one_line(seen.trial_id),
        "scenario": one_line(seen.scenario),
        "timeout": seen.stop_timeout_ns / 1e9,
        "after": seen.stop_after_ns / 1e9,
        "repetition": seen.repetition,
        "outcome": verdict.outcome.value,
        "status": verdict.status.value,
        "duration": to_seconds(verdict.facts.shutdown_duration_ns),
        "exit": seen.record.exit_code,
        "reason": one_line(verdict.reason),
        "derived": seen.derivation.derived_from is not None,
    }
    if detailed:
        row["details"] = _details(result)
    return row


def _details(result: TrialResult) -> dict[str, Any]:
    """What opens under a trial."""
    seen, facts, cause = result.observation, result.verdict.facts, result.verdict.cause
    trial = trial_section.trial(result)
    error = f" ± {precise_seconds(facts.duration_error_ns)}" if facts.duration_error_ns is not None else ""
    load = "" if seen.load_average is None else f"{seen.load_average:.1f}"
    labelled = {
        "Ready": start_up.sentence(seen.ready) if seen.ready else "",
        "Derived from": seen.derivation.derived_from or "",
        "Cause": f"{trial.cause.id}: {trial.cause.evidence}" if trial.cause else "",
        "Cure": " ".join(piece.text for piece in advice_text.pieces(cause)) if cause else "",
        "SIGKILL": f"{trial.sigkill_evidence.replace('_', ' ')}: {trial.sigkill_reason}".rstrip(": "),
        "Time taken from": f"{facts.duration_source}{error}" if facts.duration_source else "",
        "Stop signal": " from ".join(part for part in (trial.stop_signal, trial.stop_signal_source) if part),
        "Ended by": trial.exit_signal or "",
        "Requests": requests_line(seen.traffic),
        "Traffic came": VANTAGE_WORDS[seen.vantage] if seen.vantage else "",
        "Lost processes": listed(seen.record.lost_processes or (), seen.record.lost_process_count),
        "Problem": f"{seen.problem.kind.replace('_', ' ')}: {seen.problem.message}" if seen.problem else "",
        "Record": "" if seen.record.complete else "incomplete: a missing event proves nothing",
        "Engine": f"{seen.engine.name}: {seen.engine.product} {seen.engine.version}",
        "Started": seen.started_at,
        "Load average": load,
    }
    return {
        "facts": [[label, one_line(value)] for label, value in labelled.items() if value],
        "findings": [[item.severity.value, one_line(item.rule), one_line(item.message)] for item in trial.findings],
        "killedAfter": trial.sigkill_after_s,
        "events": [
            [
                item.event.value,
                item.signal or "",
                item.at_s,
                item.relative_to.value,
                item.clock.value,
                one_line(item.source),
            ]
            for item in trial.timeline
        ],
        "processes": [
            [item.pid, item.parent_pid, item.stop_signal_disposition or "", one_line(item.command)]
            for item in (trial.processes or ())[:MAX_PROCESSES]
        ]
        + _more_rows(len(trial.processes or ()) - MAX_PROCESSES),
        "fates": _fates(result),
        "requests": [
            [
                f"{item.client}",
                item.kind.value.replace("_", " "),
                *(_at(at) for at in (item.connected_at_s, item.sent_at_s, item.first_byte_at_s, item.ended_at_s)),
                item.fate.value.replace("_", " ") + (" (lost)" if item.lost else ""),
                one_line(item.detail),
            ]
            for item in sorted(trial.requests or (), key=lambda item: not item.lost)[:MAX_REQUESTS]
        ],
        "log": printable(trial.log_tail),
        "logTruncated": trial.log_truncated,
    }


def _fates(result: TrialResult) -> dict[str, Any]:
    """Who ended how; without rows where nobody saw it."""
    found = fates_text.table(result.observation, result.verdict.facts)
    heads = [head[:1].upper() + head[1:] for head in fates_text.HEADS]
    rows = [] if found is None else [[cell.replace("  ", "\u2003") for cell in row] for row in found.rows]
    lost = [] if found is None else sorted(found.lost)
    if found is not None and found.left_out:
        rows.append(["", f"and {found.left_out:,} more", *[""] * (len(heads) - 2)])
    return {"title": fates_text.TITLE, "heads": heads, "rows": rows, "lost": lost}


def _more_rows(number: int) -> list[list[object]]:
    """A last row that says how many processes are left out."""
    return [["", "", "", f"and {number:,} more"]] if number > 0 else []


def _at(seconds_after: float | None) -> str:
    """A moment relative to the stop call."""
    return "–" if seconds_after is None else f"{seconds_after:+.3f} s".replace("-", "−")
