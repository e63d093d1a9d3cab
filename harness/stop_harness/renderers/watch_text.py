"""What `watch` prints: a line for each stop, JSON for programs, the report at the end. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from stop_harness import signals
from stop_harness.model import NS_PER_S, EndKind, Outcome, Status, TrialResult
from stop_harness.renderers.sections.columns import (
    DIM,
    GREEN,
    RED,
    YELLOW,
    Paint,
    ascii_only,
    columns_of,
    fit,
    hanging,
    painter,
    wrapped,
)
from stop_harness.report.watched import ImageStops, JudgedEnd, WatchTally
from stop_harness.wording import OUTCOME_WORDS, count_of, one_line, seconds, to_seconds, why

MARKS = {Status.PASS: "✔", Status.FAIL: "✘", Status.INCONCLUSIVE: "?"}
_COLOURS = {Status.PASS: GREEN, Status.FAIL: RED, Status.INCONCLUSIVE: YELLOW}

KIND_WORDS = {
    EndKind.STOP: ("stop", "stops"),
    EndKind.KILL: ("container killed without a stop", "containers killed without a stop"),
    EndKind.EXIT: ("exit by itself", "exits by themselves"),
    EndKind.CRASH: ("crash", "crashes"),
    EndKind.OOM_KILL: ("OOM kill", "OOM kills"),
    EndKind.OUTSIDE: ("end by a signal from outside the engine", "ends by a signal from outside the engine"),
    EndKind.UNSEEN: ("end that nobody saw", "ends that nobody saw"),
}
MOST_CURES = 5
"""Of the report: what heals most comes first."""
OUTCOME_WIDTH = max(len(words) for words in OUTCOME_WORDS.values())


def lines(one: JudgedEnd, *, width: int = 80, colour: bool = False, unicode: bool = True) -> str:
    """A stop: its outcome, container, image and duration; below it the reason and the cause of one that was not
    graceful. An end that is no stop: nothing but an end that nobody saw is worth a line."""
    paint = painter(colour)
    if one.status is None:
        return ""
    name = f"{one_line(one.end.container)} ({one_line(one.end.image)})"
    words = OUTCOME_WORDS[one.outcome] if one.outcome is not None else "unseen"
    head = f"{_clock(one.end.at_ns)}  {paint(f'{MARKS[one.status]} {words:<{OUTCOME_WIDTH}}', _COLOURS[one.status])}  "
    took = "" if one.duration_ns is None else f"  {seconds(one.duration_ns)}"
    found = [f"{head}{name}{took}"]
    if one.result is None:
        found += _below("it ended, or its stop began, while the engine was not listened to", width)
    elif one.status is not Status.PASS:
        found += _below(why(one.result.verdict), width)
        found += _cause(one.result, width, paint)
    text = "\n".join(found) + "\n"
    return text if unicode else ascii_only(text)


def document(one: JudgedEnd) -> str:
    """One object on one line, with every end; `outcome` is null for one that is no stop."""
    end, result = one.end, one.result
    found: dict[str, Any] = {
        "time": _iso(end.at_ns),
        "container": one_line(end.container),
        "container_id": end.container_id,
        "image": one_line(end.image),
        "end": end.kind.value,
        "outcome": None,
        "status": one.status.value if one.status is not None else None,
        "shutdown_duration_s": to_seconds(one.duration_ns),
        "exit_code": end.exit_code,
        "cause": None,
    }
    if result is not None:
        seen, verdict = result.observation, result.verdict
        cause, watched = verdict.cause, seen.watched
        found |= {
            "outcome": verdict.outcome.value,
            "cause": cause.id if cause is not None else None,
            "evidence": one_line(cause.evidence) if cause is not None else None,
            "cure": one_line(cause.advice[0].text) if cause is not None and cause.advice else None,
            "reason": one_line(verdict.reason),
            "stop_signal": signals.name(seen.record.stop_signal) if seen.record.stop_signal is not None else None,
            "stop_timeout_s": seen.stop_timeout_ns / NS_PER_S,
            "stop_timeout_source": watched.timeout_source.value if watched is not None else None,
            "sigkill": verdict.facts.sigkill_evidence.value,
            "lost_processes": None
            if seen.record.lost_processes is None
            else [one_line(name) for name in seen.record.lost_processes],
        }
    return json.dumps(found, ensure_ascii=False)


def report(
    tally: WatchTally, watched_s: float, left: tuple[str, ...] = (), *, width: int = 80, colour: bool = False,
    unicode: bool = True,
) -> str:  # fmt: skip
    """The end: images with their stops, the worst first; then all in a sentence. `left`: containers that were still
    being stopped."""
    paint = painter(colour)
    found = ["", *_table(tally, paint), *_cures(tally, width, paint)] if tally.images else []
    found += ["", *wrapped(summary(tally, watched_s), width)]
    if left:
        found += wrapped(f"Still being stopped, and not judged: {', '.join(map(one_line, left))}.", width)
    text = "\n".join(found) + "\n"
    return text if unicode else ascii_only(text)


def summary(tally: WatchTally, watched_s: float) -> str:
    """`Watched for 61 s: 12 stops (10 graceful, 2 killed). Beside them 3 exits by themselves.`"""
    outcomes = ", ".join(f"{count:,} {OUTCOME_WORDS[outcome]}" for outcome, count in _by_severity(tally))
    text = f"Watched for {watched_s:,.0f} s: {count_of(tally.stops, 'stop')}{f' ({outcomes})' if outcomes else ''}."
    others = [
        f"{count:,} {KIND_WORDS[kind][count != 1]}"
        for kind, count in sorted(tally.kinds.items())
        if kind is not EndKind.STOP and count
    ]
    return text + (f" Beside them {', '.join(others)}." if others else "")


def _by_severity(tally: WatchTally) -> list[tuple[Outcome, int]]:
    return sorted(tally.outcomes.items(), key=lambda item: item[0].severity)


def _table(tally: WatchTally, paint: Paint) -> list[str]:
    rows = sorted(tally.images.values(), key=lambda row: (-row.worst.severity, row.image))
    cells = [("image", "stops", "graceful", "median", "longest", "what was not graceful"), *map(_row, rows)]
    widths = [max(columns_of(row[at]) for row in cells) for at in range(5)]
    found = []
    for number, row in enumerate(cells):
        text = "  ".join(
            fit(cell, size) if at == 0 else cell.rjust(size)
            for at, (cell, size) in enumerate(zip(row[:5], widths, strict=True))
        )
        bad = number > 0 and rows[number - 1].worst is not Outcome.GRACEFUL
        found.append(f"{paint(text, DIM) if number == 0 else text}  {paint(row[5], RED if bad else DIM)}".rstrip())
    return found


def _cures(tally: WatchTally, width: int, paint: Paint) -> list[str]:
    """What to mend first: each image and cause with its cure, by how many stops it would heal."""
    found = [
        (count, row.image, cause, row.cures.get(cause))
        for row in tally.images.values()
        for cause, count in row.causes.items()
    ]
    found.sort(key=lambda item: -item[0])
    lines = [
        line
        for count, image, cause, cure in found[:MOST_CURES]
        if cure is not None
        for line in hanging("-", f"{image}, {count_of(count, 'stop')}, {cause}: {cure}", width, paint)
    ]
    return ["", "What to mend first:", *lines] if lines else []


def _row(row: ImageStops) -> tuple[str, ...]:
    others = sorted(
        (item for item in row.outcomes.items() if item[0] is not Outcome.GRACEFUL), key=lambda item: -item[0].severity
    )
    words = ", ".join(f"{count} {OUTCOME_WORDS[outcome]}" for outcome, count in others)
    median_ns = row.median_ns
    return (
        one_line(row.image),
        f"{row.outcomes.total():,}",
        f"{row.outcomes[Outcome.GRACEFUL]:,}",
        "–" if median_ns is None else seconds(int(median_ns)),
        "–" if not row.durations_ns else seconds(max(row.durations_ns)),
        words,
    )


def _cause(result: TrialResult, width: int, paint: Paint) -> list[str]:
    cause = result.verdict.cause
    if cause is None:
        return []
    return hanging("        cause", f"{cause.evidence} [{cause.id}]", width, paint, YELLOW)


def _below(text: str, width: int) -> list[str]:
    indent = " " * 10
    return [indent + line for line in wrapped(one_line(text), width - len(indent))]


def _clock(at_ns: int | None) -> str:
    """In the time of this machine."""
    if at_ns is None:
        return "--:--:--"
    return datetime.fromtimestamp(at_ns // NS_PER_S, UTC).astimezone().strftime("%H:%M:%S")


def _iso(at_ns: int | None) -> str | None:
    if at_ns is None:
        return None
    return datetime.fromtimestamp(at_ns / NS_PER_S, UTC).isoformat(timespec="milliseconds")
