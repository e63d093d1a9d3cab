"""The trials of report.html that open: one timeline, then the evidence behind the verdict. Pure.

They stand in the page as elements that open without script; the script only moves them under the rows of its table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stop_harness.evidence import start_up
from stop_harness.evidence.lost_processes import listed
from stop_harness.model import NS_PER_S, Report, Status, TrialResult
from stop_harness.renderers.plots.marks import OUTCOME_COLOURS
from stop_harness.renderers.results import trial_section
from stop_harness.renderers.results.trial_document import TrialDocument
from stop_harness.renderers.sections import advice_text, fates_text, property_text, stop_timeline
from stop_harness.renderers.sections.stop_timeline import Lane, Timeline
from stop_harness.wording import (
    EACH_ITS_OWN,
    STATUS_MARKS,
    VANTAGE_WORDS,
    hooks_line,
    one_line,
    outcome_words,
    precise_seconds,
    printable,
    requests_line,
    seconds,
    signed_seconds,
    timeout,
)

MAX_DETAILS = 500
"""Trials with everything that was recorded. With more trials than this, those that did not pass come first, the rest is
a sample; a trial takes about 5 kB, and log tails more."""
MAX_REQUESTS = 50
MAX_PROCESSES = 200
"""Of one trial, lost ones first; results.json has them all."""


def detailed(report: Report) -> list[TrialResult]:
    """The trials that carry their details, in report order: all, or those that did not pass and an even sample of the
    others."""
    results = report.results
    if len(results) <= MAX_DETAILS:
        return list(results)
    bad = [result for result in results if result.verdict.status is not Status.PASS][:MAX_DETAILS]
    good = [result for result in results if result.verdict.status is Status.PASS]
    room = MAX_DETAILS - len(bad)
    chosen = [*bad, *(good[:: max(1, len(good) // room)][:room] if room else ())]
    ids = {result.observation.trial_id for result in chosen}
    return [result for result in results if result.observation.trial_id in ids]


def details(result: TrialResult) -> dict[str, Any]:
    """One trial for the template: its line in a list, and what opens under it."""
    seen, verdict = result.observation, result.verdict
    trial = trial_section.trial(result)
    duration_ns = verdict.facts.shutdown_duration_ns
    told = stop_timeline.timeline(result)
    return {
        "id": one_line(seen.trial_id),
        "status": verdict.status.value,
        "mark": STATUS_MARKS[verdict.status],
        "scenario": one_line(seen.scenario),
        "limit": EACH_ITS_OWN if seen.own_timeouts else timeout(seen.stop_timeout_ns),
        "outcome": outcome_words(result),
        "duration": "" if duration_ns is None else seconds(duration_ns),
        "reason": one_line(verdict.reason),
        "facts": _facts(result, trial),
        "findings": [(item.severity.value, one_line(item.rule), one_line(item.message)) for item in trial.findings],
        "timeline": told,
        "picture": _Picture(told).view(),
        "tables": [table for table in _tables(result, trial) if table],
        "log": printable(trial.log_tail),
        "log_title": "End of the log (there was more)" if trial.log_truncated else "Log",
    }


def _facts(result: TrialResult, trial: TrialDocument) -> list[tuple[str, str]]:
    """Label and value; what is not known is left out."""
    seen, facts, cause = result.observation, result.verdict.facts, result.verdict.cause
    error = f" ± {precise_seconds(facts.duration_error_ns)}" if facts.duration_error_ns is not None else ""
    labelled = {
        "Cause": f"{trial.cause.id}: {trial.cause.evidence}" if trial.cause else "",
        "Cure": " ".join(piece.text for piece in advice_text.pieces(cause)) if cause else "",
        "Ready": start_up.sentence(seen.ready) if seen.ready else "",
        "Derived from": seen.derivation.derived_from or "",
        "SIGKILL": f"{trial.sigkill_evidence.replace('_', ' ')}: {trial.sigkill_reason}".rstrip(": "),
        "Time taken from": f"{facts.duration_source}{error}" if facts.duration_source else "",
        "Stop signal": " from ".join(part for part in (trial.stop_signal, trial.stop_signal_source) if part),
        "Before the stop signal": hooks_line(seen.scenario, seen.record.hooks),
        "Ended by": trial.exit_signal or "",
        "Requests": requests_line(seen.traffic),
        "Traffic came": VANTAGE_WORDS[seen.vantage] if seen.vantage else "",
        "Lost processes": listed(seen.record.lost_processes or (), seen.record.lost_process_count),
        "Problem": f"{seen.problem.kind.replace('_', ' ')}: {seen.problem.message}" if seen.problem else "",
        "Record": "" if seen.record.complete else "incomplete: a missing event proves nothing",
        "Engine": f"{seen.engine.name}: {seen.engine.product} {seen.engine.version}",
        "Started": seen.started_at,
        "Load average": "" if seen.load_average is None else f"{seen.load_average:.1f}",
    }
    return [(label, one_line(value)) for label, value in labelled.items() if value]


LEAST_SHOWN_S = 0.000_005
"""What is shorter is `0.00 ms`, before or after."""


def moment(at_s: float | None) -> str:
    """When something happened: `−20 ms`, `0.14 ms`, `2.01 s`; `later` where nobody knows."""
    if at_s is None or abs(at_s) < LEAST_SHOWN_S:
        return "later" if at_s is None else "0 s"
    text = fates_text.short_time(abs(round(at_s * NS_PER_S)))
    return f"−{text}" if at_s < 0 else text


# ── Tables behind it ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Table:
    """`lost`: numbers of the rows that tell of a loss. `number`: the column of numbers, -1: none."""

    title: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    lost: frozenset[int] = frozenset()
    number: int = -1


def _tables(result: TrialResult, trial: TrialDocument) -> tuple[Table | None, ...]:
    return _properties(result), _fates(result), _requests(trial), _processes(trial), _stamps(trial)


def _properties(result: TrialResult) -> Table | None:
    """What must be true after the stop, and what was found of it."""
    records = result.observation.properties
    broken = frozenset(number for number, record in enumerate(records) if record.held is False)
    rows = [property_text.row(record) for record in records]
    return Table(property_text.TITLE, property_text.HEADS, rows, broken) if rows else None


def _fates(result: TrialResult) -> Table | None:
    """Who ended how; None where nobody saw it."""
    found = fates_text.table(result.observation, result.verdict.facts)
    if found is None:
        return None
    heads = tuple(head[:1].upper() + head[1:] for head in fates_text.HEADS)
    rows = [tuple(cell.replace("  ", "\u2003") for cell in row) for row in found.rows]
    if found.left_out:
        rows.append(("", f"and {found.left_out:,} more", *[""] * (len(heads) - 2)))
    return Table(fates_text.TITLE, heads, rows, found.lost)


def _requests(trial: TrialDocument) -> Table | None:
    ordered = sorted(trial.requests or (), key=lambda item: not item.lost)[:MAX_REQUESTS]
    rows = [
        (
            f"{item.client}",
            item.kind.value.replace("_", " "),
            *(_at(at) for at in (item.connected_at_s, item.sent_at_s, item.first_byte_at_s, item.ended_at_s)),
            item.fate.value.replace("_", " ") + (" (lost)" if item.lost else ""),
            one_line(item.detail),
        )
        for item in ordered
    ]
    heads = ("Client", "Kind", "Connected", "Sent", "First byte", "Ended", "Fate", "Seen by the client")
    lost = frozenset(number for number, item in enumerate(ordered) if item.lost)
    return Table("Requests, relative to the stop call", heads, rows, lost, number=0) if rows else None


def _processes(trial: TrialDocument) -> Table | None:
    every = trial.processes or ()
    rows = [
        (str(item.pid), str(item.parent_pid), item.stop_signal_disposition or "", one_line(item.command))
        for item in every[:MAX_PROCESSES]
    ]
    if len(every) > MAX_PROCESSES:
        rows.append(("", "", "", f"and {len(every) - MAX_PROCESSES:,} more"))
    return Table("Processes before the stop", ("PID", "Parent", "Stop signal is", "Command"), rows) if rows else None


def _stamps(trial: TrialDocument) -> Table | None:
    """Every event of the record by its own clock: what the timeline is made of."""
    rows = [
        (
            item.event.value.replace("_", " ") + (f" {item.signal}" if item.signal else ""),
            _at(item.at_s),
            item.relative_to.value.replace("_", " "),
            item.clock.value,
            one_line(item.source),
        )
        for item in trial.timeline
    ]
    heads = ("Event", "At", "Counted from", "Clock", "Source")
    return Table("Every stamp, by its own clock", heads, rows, number=1) if rows else None


def _at(seconds_after: float | None) -> str:
    """A moment relative to the stop call."""
    return "–" if seconds_after is None else signed_seconds(round(seconds_after * NS_PER_S), 3).replace("-", "−")


# ── The picture ──────────────────────────────────────────────────────────────────────────────────────────────────────

MOST_BEFORE = 0.5
"""Of the picture at most a third is time before the stop signal: what began earlier is drawn as open at its left."""
FARTHEST_LIMIT = 2.5
"""A stop timeout that lies farther away than this many times the stop took would leave nothing of it to be seen."""
NEAR = 0.24
"""Share of the width below which two texts above the picture share one."""


class _Picture:
    """A timeline as lengths in percent of the picture's width."""

    def __init__(self, told: Timeline) -> None:
        self._told = told
        ends = [at for lane in told.lanes for at in (lane.end_s, *(mark for mark, _ in lane.marks)) if at is not None]
        longest = max(ends, default=0.0) or 1e-6
        self._shows_limit = told.limit_s <= FARTHEST_LIMIT * longest
        self._end = max(longest, told.limit_s) if self._shows_limit else longest
        begins = [lane.begin_s for lane in told.lanes if lane.begin_s is not None]
        self._begin = max(min(begins, default=0.0), -MOST_BEFORE * self._end)
        room = 0.02 * (self._end - self._begin)
        self._begin, self._end = self._begin - room, self._end + room

    def view(self) -> dict[str, Any] | None:
        """What the template draws; None where there is nothing to draw."""
        if not self._told.lanes:
            return None
        first = self._told.lanes[0]
        rules = [self._place(0.0), *([self._place(self._told.limit_s)] if self._shows_limit else [])]
        return {
            "heads": self._heads(first),
            "lanes": [self._lane(lane) for lane in self._told.lanes],
            "ticks": [(self._place(at), _tick(at, self._end - self._begin)) for at in self._ticks()],
            "rules": rules,
            "beyond": ""
            if self._shows_limit
            else f"{self._told.limit_word} {self._told.limit_s:g} s, far to the right",
        }

    def _place(self, at_s: float) -> float:
        share = (at_s - self._begin) / (self._end - self._begin)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    def _lane(self, lane: Lane) -> dict[str, Any]:
        left = 0.0 if lane.begin_s is None else self._place(lane.begin_s)
        right = 100.0 if lane.end_s is None else self._place(lane.end_s)
        return {
            "who": lane.who.value,
            "label": lane.label,
            "left": left,
            "width": round(max(right - left, 0.0), 2),
            "colour": OUTCOME_COLOURS[lane.outcome] if lane.outcome is not None else "",
            "bad": lane.bad,
            "marks": [(self._place(at), kill) for at, kill in lane.marks],
        }

    def _heads(self, stop: Lane) -> list[tuple[float, str, bool]]:
        """Place, text, and whether it stands to the left of its place; texts that would touch are one."""
        kills = [at for at, kill in stop.marks if kill and at > 0]
        texts = [(0.0, "stop signal")]
        texts += [(at, f"SIGKILL {_exact(at)}") for at in kills[:1]]
        texts += [(stop.end_s, f"exit {_exact(stop.end_s)}")] if stop.end_s is not None else []
        if self._shows_limit:
            texts.append((self._told.limit_s, f"{self._told.limit_word} {self._told.limit_s:g} s"))
        merged: list[tuple[float, str]] = []
        for at, text in sorted(texts, key=lambda item: item[0]):
            if merged and (at - merged[-1][0]) / (self._end - self._begin) < NEAR:
                merged[-1] = (merged[-1][0], f"{merged[-1][1]}, {text}")
            else:
                merged.append((at, text))
        return [(self._place(at), text, self._place(at) > 50) for at, text in merged]

    def _ticks(self) -> list[float]:
        """Three to six round numbers within the picture."""
        span = self._end - self._begin
        step = 10 ** math.floor(math.log10(span / 3))
        step *= next(factor for factor in (5, 2, 1) if factor == 1 or span / (step * factor) >= 3)
        first = math.ceil(self._begin / step)
        return [round(number * step, 12) for number in range(first, math.floor(self._end / step) + 1)]


def _exact(at_s: float) -> str:
    return seconds(round(at_s * NS_PER_S))


def _tick(at_s: float, span_s: float) -> str:
    """In the unit of the whole axis, so that its numbers can be compared."""
    value, unit = (at_s * 1000, "ms") if span_s < 0.2 else (at_s, "s")
    return f"{value:z.6g} {unit}".replace("-", "−")
