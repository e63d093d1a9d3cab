"""Waivers in words: what is let pass, until when and why; what has expired; what matches nothing. Pure."""

from __future__ import annotations

import difflib

from stop_harness.model import Report, Status, TrialResult, Waiver, WaiverState, WaiverUse
from stop_harness.records import dataclass
from stop_harness.wording import OUTCOME_WORDS, count_of, one_line

TITLE = "Waivers"
MOST_NAMED = 3
"""Waivers of other scenarios that one line names."""

_WORDS = {WaiverState.APPLIES: "waived", WaiverState.EXPIRED: "expired", WaiverState.UNUSED: "unused waiver"}
_STATUSES = {
    WaiverState.APPLIES: Status.PASS,
    WaiverState.EXPIRED: Status.FAIL,
    WaiverState.UNUSED: Status.INCONCLUSIVE,
}


@dataclass(frozen=True)
class WaiverText:
    """`word`: what became of it. `status`: in whose colour it is shown. `text`: a sentence with reason and place.
    `in_run` False: it is about scenarios that were not stopped, of which `elsewhere` tells those who watch this run."""

    word: str
    status: Status
    text: str
    in_run: bool = True


def rows(report: Report) -> tuple[WaiverText, ...]:
    """Each waiver of the run, those that have expired first."""
    order = (WaiverState.EXPIRED, WaiverState.APPLIES, WaiverState.UNUSED)
    found = sorted(report.waivers, key=lambda use: order.index(use.state))
    return tuple(
        WaiverText(_WORDS[use.state], _STATUSES[use.state], _sentence(use, report), use.in_run) for use in found
    )


def news(report: Report) -> tuple[WaiverText, ...]:
    """Those that are about this run."""
    return tuple(row for row in rows(report) if row.in_run)


def elsewhere(report: Report) -> str:
    """Which waivers name no scenario of this run, in one sentence; empty where all do. There are others for a run of a
    part of a project, but a name may also be mistyped."""
    found = [use.waiver for use in report.waivers if use.state is WaiverState.UNUSED and not use.in_run]
    if not found:
        return ""
    known = [scenario.name for scenario in report.scenarios]
    shown = ", ".join(_with_near_name(waiver, known) for waiver in found[:MOST_NAMED])
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    name = "names" if len(found) == 1 else "name"
    return f"{count_of(len(found), 'waiver')} {name} no scenario that was stopped in this run: {shown}{more}."


def _with_near_name(waiver: Waiver, known: list[str]) -> str:
    near = difflib.get_close_matches(waiver.scenario or "", known, n=1)
    hint = f"; did you mean `{one_line(near[0])}`?" if near else ""
    return f"{_what(waiver)} ({one_line(waiver.place)}{hint})"


def justification(result: TrialResult, report: Report) -> str:
    """Why a trial that failed is let pass: the reasons of what covers it. Empty where it is not."""
    trial_id = result.observation.trial_id
    if trial_id not in report.waived:
        return ""
    covering = report.waivers_of(trial_id)
    return "; ".join(f"{_reason(item)}, waived until {item.expires} ({one_line(item.place)})" for item in covering)


def _sentence(use: WaiverUse, report: Report) -> str:
    waiver = use.waiver
    what, reason = _what(waiver), _reason(waiver)
    place = one_line(waiver.place)
    failures = count_of(len(use.trials), "failure")
    if use.state is WaiverState.EXPIRED:
        covers = "is" if len(use.trials) == 1 else "are"
        return (
            f"{place}: the waiver of {what} expired on {waiver.expires}, and {failures} that it covered {covers} still "
            f"there: mend what it was for, or decide anew. Its reason was: {reason}"
        )
    if use.state is WaiverState.APPLIES:
        let = sum(trial in report.waived for trial in use.trials)
        rest = f"; {let} of them let pass, the others went wrong elsewhere, too" if let < len(use.trials) else ""
        return f"{what}: {failures} until {waiver.expires}{rest}. {reason} ({place})"
    if not use.in_run:
        return f"{place}: the waiver of {what} names no scenario that was stopped in this run."
    return f"{place}: the waiver of {what} matches no failure of this run; where it is mended, remove it."


def _what(waiver: Waiver) -> str:
    """`web, container proxy, killed, sigkill-needed`."""
    parts = (
        None if waiver.scenario is None else one_line(waiver.scenario),
        None if waiver.container is None else f"container {one_line(waiver.container)}",
        None if waiver.outcome is None else OUTCOME_WORDS[waiver.outcome],
        waiver.rule,
        waiver.cause,
    )
    return ", ".join(part for part in parts if part is not None)


def _reason(waiver: Waiver) -> str:
    return one_line(waiver.reason).rstrip(".")
