"""What to mend first, in the words that the page and the summary share. Pure.

Advice is what is known to help; what was tried against this very container stands in `remedy_text`, and is named here.
"""

from __future__ import annotations

from dataclasses import dataclass

from stop_harness.model import Compliance, Report
from stop_harness.renderers.sections import advice_text, remedy_text
from stop_harness.report import mending
from stop_harness.verdict.known_causes import CAUSES
from stop_harness.wording import count_of, one_line, sentence

TITLE = "What to mend first"
KEY = "Each cause with its cure, the cause behind most scenarios first. ✔ was tried here and made the stop graceful."


@dataclass(frozen=True)
class StopText:
    """One scenario that shows the cause: how, what else it needs (empty: nothing), and what was seen to cure it."""

    scenario: str
    trial_id: str
    evidence: str
    also: str
    tried: tuple[str, ...]


@dataclass(frozen=True)
class CureText:
    """What to change, and whom it is for."""

    advice: tuple[advice_text.AdviceText, ...]
    stops: tuple[StopText, ...]


@dataclass(frozen=True)
class MendingText:
    """One cause. `scenarios`: `2 scenarios`; `names`: which; `meaning` and `cure`: in general, for any container;
    empty if not known."""

    id: str
    meaning: str
    cure: str
    scenarios: str
    names: str
    cures: tuple[CureText, ...]


@dataclass(frozen=True)
class WhyText:
    """Why a scenario is compliant or not: the cause where there is one, and what happened. `cause_id` and `detail` may
    be empty."""

    text: str
    detail: str
    cause_id: str


MOST_NAMES = 8
"""Scenarios that are named in a heading; each stands in the text below it."""


def entries(report: Report) -> tuple[MendingText, ...]:
    """What to mend, in the order in which it is worth it."""
    return tuple(_entry(item) for item in mending.first(report))


def why(row: Compliance) -> WhyText:
    """The cause before the symptom: that it was killed is the same sentence for eight different mistakes."""
    reason = one_line(row.reason)
    if row.cause is None:
        return WhyText(reason, "", "")
    evidence = one_line(row.cause.evidence)
    if evidence.rstrip(".") in reason:
        return WhyText(reason, "", row.cause.id)
    return WhyText(sentence(evidence), reason, row.cause.id)


def _entry(item: mending.Mending) -> MendingText:
    names = [one_line(name) for name in item.scenarios]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    known = CAUSES.get(item.cause)
    return MendingText(
        item.cause,
        known.meaning if known else "",
        known.cure if known else "",
        count_of(len(names), "scenario"),
        ", ".join(names[:MOST_NAMES]) + more,
        tuple(CureText(advice_text.texts(cure.advice), tuple(map(_stop, cure.stops))) for cure in item.cures),
    )


def _stop(stop: mending.CausedStop) -> StopText:
    also = f"It also needs the cure of {' and '.join(stop.other_causes)}." if stop.other_causes else ""
    cures = (remedy_text.text(tried) for tried in stop.cured_by)
    return StopText(
        one_line(stop.scenario),
        one_line(stop.trial_id),
        sentence(stop.evidence),
        also,
        tuple(f"{cure.mark} {cure.title}: {cure.result}" for cure in cures),
    )
