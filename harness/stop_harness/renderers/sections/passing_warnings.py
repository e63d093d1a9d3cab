"""Warnings of trials that passed: nobody opens the details of what is green, so that every summary says them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from stop_harness.model import Report, Severity, Status, TrialResult
from stop_harness.records import dataclass
from stop_harness.wording import count_of, one_line, trial_title


@dataclass(frozen=True)
class PassingWarning:
    """One warning of one scenario. `trials`: whose it is, in report order, at least one."""

    scenario: str
    rule: str
    message: str
    trials: tuple[TrialResult, ...]

    @property
    def text(self) -> str:
        """`web, stop timeout 10 s, repetition 1: …`; of several trials `web, 3 trials: …`."""
        first = trial_title(self.trials[0].observation).removesuffix(", repetition 1")
        where = first if len(self.trials) == 1 else count_of(len(self.trials), "trial")
        return one_line(f"{self.scenario}, {where}: {self.message}")


def passing_warnings(report: Report) -> tuple[PassingWarning, ...]:
    """Each once, with all the passing trials that have it, in the order in which they come up; those under standard
    faults aside, which have them in their details."""
    found: dict[tuple[str, str, str], list[TrialResult]] = {}
    for result in report.undisturbed:
        for rule, message in _warnings(result):
            found.setdefault((result.observation.scenario, rule, message), []).append(result)
    return tuple(PassingWarning(*key, trials=tuple(trials)) for key, trials in found.items())


def _warnings(result: TrialResult) -> Iterator[tuple[str, str]]:
    if result.verdict.status is Status.PASS:
        for finding in result.verdict.findings:
            if finding.severity is Severity.WARNING:
                yield finding.rule, finding.message
