"""What was tried against bad stops, in the words that every format shares. Pure."""

from __future__ import annotations

from stop_harness.model import NS_PER_S, Paste, RemedyEffect, Report, TriedRemedy
from stop_harness.records import dataclass
from stop_harness.wording import OUTCOME_WORDS, count_of, one_line, precise_seconds, sentence, timeout

MARKS = {
    RemedyEffect.CURES: "✔",
    RemedyEffect.HELPS: "◐",
    RemedyEffect.LOSES_WORK: "✘",
    RemedyEffect.UNPROVED: "?",
    RemedyEffect.SKIPS_HANDLER: "✘",
    RemedyEffect.ENDS_ANYWAY: "✘",
    RemedyEffect.FAILS: "✘",
    RemedyEffect.NOT_MEASURED: "?",
}
WORDS = {
    RemedyEffect.CURES: "cures",
    RemedyEffect.HELPS: "helps in part",
    RemedyEffect.LOSES_WORK: "quick, but loses work",
    RemedyEffect.UNPROVED: "not proved",
    RemedyEffect.SKIPS_HANDLER: "no cure: it leaves out the program's own shutdown",
    RemedyEffect.ENDS_ANYWAY: "no cure: the stop is not what ended it",
    RemedyEffect.FAILS: "no cure",
    RemedyEffect.NOT_MEASURED: "not measured",
}

QUICK_NS = 3 * NS_PER_S
"""Up to here a lossy stop is called quick: that it is, is what makes it look like a cure."""


@dataclass(frozen=True)
class RemedyText:
    """One remedy: its mark, what it is, what it did, what has to be said beside it, and lines to paste if it cures."""

    effect: RemedyEffect
    mark: str
    title: str
    result: str
    notes: tuple[str, ...]
    lines: tuple[Paste, ...]


@dataclass(frozen=True)
class RemedySection:
    """Everything tried for one scenario, the best first. `container`: of a task or a group the one that was changed;
    None: there is only one."""

    scenario: str
    headline: str
    remedies: tuple[RemedyText, ...]
    container: str | None = None

    @property
    def subject(self) -> str:
        """`shop`, `shop: celery`."""
        return self.scenario if self.container is None else f"{self.scenario}: {one_line(self.container)}"


def sections(report: Report) -> tuple[RemedySection, ...]:
    """One for each scenario, and container of it, with a bad stop for which something was tried; in report order."""
    found: dict[tuple[str, str | None], list[TriedRemedy]] = {}
    for tried in report.remedies:
        found.setdefault((tried.scenario, tried.container), []).append(tried)
    return tuple(
        RemedySection(one_line(name), _headline(tried), tuple(text(item) for item in tried), container)
        for (name, container), tried in found.items()
    )


def by_bad_stop(report: Report) -> dict[str, tuple[str, ...]]:
    """Id of the trial that was repeated → a line for each change that was tried against it, the best first:
    `✔ exec form: graceful after 0.031 s, exit code 0. Nothing was at work; …`."""
    found: dict[str, list[str]] = {}
    for tried in report.remedies:
        told = text(tried)
        notes = "".join(f" {note}" for note in told.notes)
        result = f"{told.result.rstrip('.')}." if notes else told.result
        where = "" if tried.container is None else f"{one_line(tried.container)}: "
        found.setdefault(tried.trial_id, []).append(f"{told.mark} {where}{told.title}: {result}{notes}")
    return {trial_id: tuple(lines) for trial_id, lines in found.items()}


def _headline(tried: list[TriedRemedy]) -> str:
    """`2 of 5 changes that were tried cure it.` What could not be measured does not count as tried."""
    cures = sum(item.effect is RemedyEffect.CURES for item in tried)
    lost = sum(item.effect is RemedyEffect.NOT_MEASURED for item in tried)
    measured = len(tried) - lost
    if not measured:
        return f"{count_of(lost, 'change')} could not be measured."
    changes = "change that was tried" if measured == 1 else "changes that were tried"
    verb = "cure" if cures > 1 else "cures"
    helps = sum(item.effect is RemedyEffect.HELPS for item in tried)
    partly = f", {helps} {'help' if helps > 1 else 'helps'} in part" if helps else ""
    others = f" ({lost} more could not be measured)" if lost else ""
    return f"{cures or 'None'} of {measured} {changes} {verb} it{partly}{others}."


def text(tried: TriedRemedy) -> RemedyText:
    """One remedy in words."""
    cures = tried.effect is RemedyEffect.CURES
    notes = (*([sentence(tried.note)] if tried.note else []), *([tried.remedy.assumption] if cures else []))
    return RemedyText(
        effect=tried.effect,
        mark=MARKS[tried.effect],
        title=one_line(tried.remedy.title),
        result=_result(tried),
        notes=tuple(one_line(note) for note in notes if note),
        lines=tried.remedy.lines if cures else (),
    )


def _result(tried: TriedRemedy) -> str:
    """`graceful after 0.031 s, exit code 0`; `quick, but loses work: …`."""
    seen, verdict = tried.result.observation, tried.result.verdict
    took = verdict.facts.shutdown_duration_ns
    outcome = OUTCOME_WORDS[verdict.outcome] + ("" if took is None else f" after {precise_seconds(took)}")
    code = "" if seen.record.exit_code is None else f", exit code {seen.record.exit_code}"
    if tried.effect is RemedyEffect.CURES:
        return outcome + code
    if tried.effect is RemedyEffect.LOSES_WORK:
        word = WORDS[tried.effect] if took is not None and took <= QUICK_NS else "loses work"
        return f"{word}: {one_line(verdict.reason)}"
    if tried.effect in {RemedyEffect.HELPS, RemedyEffect.SKIPS_HANDLER, RemedyEffect.ENDS_ANYWAY}:
        return f"{WORDS[tried.effect]}: {outcome}{code}"
    if tried.effect is RemedyEffect.UNPROVED:
        return f"{outcome}{code}, but not proved"
    if tried.effect is RemedyEffect.NOT_MEASURED:
        return f"not measured: {one_line(verdict.reason)}"
    limit = f" (stop timeout {timeout(seen.stop_timeout_ns)})" if took is None else ""
    return f"no cure: {outcome}{code}{limit}"
