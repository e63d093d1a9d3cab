"""What to change so that bad stops become graceful, in the words that every format shares. Pure.

Not tried: what was tried against this very container stands in `remedy_text`.
"""

from __future__ import annotations

from dataclasses import dataclass

from stop_harness.model import Advice, Cause, Outcome, Report, Status, TrialResult
from stop_harness.wording import one_line, printable, sentence

GUIDE = "docs/field-guide.md"
"""Where the scenarios are that prove a piece of advice."""


@dataclass(frozen=True)
class AdviceText:
    """One piece of advice: its sentence, lines to copy (empty: none), and where both come from."""

    text: str
    lines: str
    basis: str


@dataclass(frozen=True)
class CauseText:
    """One cause of one scenario with everything that may be done about it."""

    scenario: str
    id: str
    evidence: str
    advice: tuple[AdviceText, ...]


def pieces(cause: Cause) -> tuple[AdviceText, ...]:
    """The advice for one cause, the likeliest first."""
    return tuple(_text(item) for item in cause.advice)


def sections(report: Report) -> tuple[CauseText, ...]:
    """Each cause of each scenario once, in report order.

    Like the remedies that are tried: of the longest stop timeout, and at shorter ones of what failed its expectation.
    """
    longest: dict[str, int] = {}
    for result in report.results:
        seen = result.observation
        longest[seen.scenario] = max(longest.get(seen.scenario, 0), seen.stop_timeout_ns)
    found: dict[tuple[str, str], CauseText] = {}
    for result in report.results:
        name = result.observation.scenario
        if result.observation.stop_timeout_ns == longest[name] or result.verdict.status is Status.FAIL:
            for cause in _causes(result):
                text = CauseText(one_line(name), cause.id, sentence(cause.evidence), pieces(cause))
                found.setdefault((name, cause.id), text)
    return tuple(item for item in found.values() if item.advice)


def _causes(result: TrialResult) -> tuple[Cause, ...]:
    """Of the containers of a task, or of the one container."""
    verdict = result.verdict
    if verdict.outcome in {Outcome.GRACEFUL, Outcome.INCONCLUSIVE}:
        return ()
    of_containers = (item.cause for item in verdict.containers)
    return tuple(cause for cause in (*of_containers, verdict.cause) if cause)


def _text(advice: Advice) -> AdviceText:
    whom = f"For {advice.program}: " if advice.program else ""
    proof = f"shown in {GUIDE}, {advice.proof}" if advice.proof else ""
    basis = "; ".join(part for part in (advice.source, proof) if part)
    return AdviceText(one_line(whom + advice.text), printable(advice.lines), one_line(basis))
