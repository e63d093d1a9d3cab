"""The answer to `explore`: what was found, or that nothing was. Pure."""

from __future__ import annotations

import json

from stop_harness.experiments.explore.candidate import TriedCandidate, words
from stop_harness.experiments.explore.result import BreakingStop, Exploration
from stop_harness.wording import count_of, precise_seconds, printable, to_seconds


def render(found: Exploration) -> str:
    """Lines for a terminal."""
    lines = [headline(found)]
    if found.finding is not None:
        lines += [f"  {printable(text)}" for text in reasons(found.finding)]
        if found.finding.first != found.finding.candidate:
            lines += [f"  found as: {words(found.finding.first)}"]
    for fluke in found.flukes:
        lines += [f"  once, and not again: {fluke.said}, {words(fluke.candidate)}"]
    if found.finding is None and found.slowest is not None and found.slowest.took_ns is not None:
        took = precise_seconds(found.slowest.took_ns)
        lines += [f"  the longest shutdown took {took}: {words(found.slowest.candidate)}"]
    if found.finding is None:
        lines += [f"  not searched: {printable(text)}" for text in found.left_out]
    over = f", {found.passed_by} over before what was to disturb them" if found.passed_by else ""
    lines += [f"  {count_of(found.stops, 'stop')}, {found.unclear} of them not judged{over}; --seed {found.seed}"]
    return "\n".join(lines) + "\n"


def headline(found: Exploration) -> str:
    """`✘ web: killed in 5 of 5 stops with 1 keep-alive client at port 8000`."""
    if found.finding is not None:
        return f"✘ {found.scenario}: {sentence(found.finding)}"
    if found.problem is not None:
        return f"? {found.scenario}: {printable(found.problem)}"
    if found.interrupted:
        return f"? {found.scenario}: nothing was found before it was interrupted"
    return f"✔ {found.scenario}: no stop was found that fails"


def sentence(finding: BreakingStop) -> str:
    """`killed in 5 of 5 stops under cpu 0.1 before the stop`."""
    if finding.undisturbed:
        return (
            f"{finding.seen.said} in {finding.failed} of {finding.repeated} stops that nothing disturbs; mend that "
            "first"
        )
    often = f"in {finding.failed} of {finding.repeated} stops" if finding.repeated else "once, and not repeated"
    return f"{finding.seen.said} {often}: {words(finding.candidate)}"


def reasons(finding: BreakingStop) -> tuple[str, ...]:
    """How the stop went, and what it left behind."""
    seen = finding.seen
    return (seen.reason,) if seen.left is None else (seen.reason, seen.left)


def render_json(found: Exploration) -> str:
    """The same for machines."""
    finding = found.finding
    document = {
        "scenario": found.scenario,
        "answer": found.answer.value,
        "seed": found.seed,
        "stops": found.stops,
        "unclear": found.unclear,
        "passed_by": found.passed_by,
        "left_out": list(found.left_out),
        "interrupted": found.interrupted,
        "problem": found.problem,
        "finding": None
        if finding is None
        else {
            "what": words(finding.candidate),
            "outcome": finding.seen.outcome.value,
            "reason": finding.seen.reason,
            "after_stop": finding.seen.left,
            "failed": finding.failed,
            "repeated": finding.repeated,
            "undisturbed": finding.undisturbed,
            "first": words(finding.first),
        },
        "flukes": [_tried(item) for item in found.flukes],
        "slowest": None if found.slowest is None else _tried(found.slowest),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _tried(tried: TriedCandidate) -> dict[str, object]:
    return {"what": words(tried.candidate), "outcome": tried.outcome.value, "took_s": to_seconds(tried.took_ns)}
