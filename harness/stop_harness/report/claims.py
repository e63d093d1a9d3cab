"""Is this certain enough, and how many more stops does it take? Pure.

The plan of `--until-sure` is fixed before the first stop: so many stops as show the goal without a failure, and no
failure. A scenario, stop timeout and moment is done when it has them, or at its first failure. Whoever is only just
not reliable enough passes with the chance reliability**stops, which is at most 1 - confidence: that is the error rate
of the statement. Going on after a failure until the numbers look better would raise it, so that is not done; more
stops than planned without a failure lower it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from math import floor, log10

from stop_harness.model import (
    ClaimStatus,
    Outcome,
    ReliabilityClaim,
    ReliabilityGoal,
    Scenario,
    Status,
    Trial,
    TrialResult,
)
from stop_harness.plan import trials as plan
from stop_harness.records import dataclass
from stop_harness.report import reliability
from stop_harness.wording import count_of, timeout

Place = tuple[str, int, int]
"""Scenario, stop timeout, stop moment: what one statement is about."""


@dataclass
class _Count:
    """Trials of one place so far."""

    passed: int = 0
    failed: int = 0
    undecided: int = 0
    derived: int = 0

    def add(self, result: TrialResult) -> None:
        """One more."""
        match result.verdict.status:
            case Status.PASS:
                self.passed += 1
            case Status.FAIL:
                self.failed += 1
            case Status.INCONCLUSIVE:
                self.undecided += 1
                return
        self.derived += result.observation.derivation.derived_from is not None


def shown_by(
    results: Iterable[TrialResult], scenarios: Iterable[Scenario], goal: ReliabilityGoal, *, until_sure: bool
) -> tuple[ReliabilityClaim, ...]:
    """What the stops show, for each place where nothing but a graceful stop is expected, in the order of `results`.

    `until_sure`: the number of stops depended on the failures, so a statement with a failure is not made.
    """
    by_name = {scenario.name: scenario for scenario in scenarios}
    counts: dict[Place, _Count] = {}
    for result in results:
        seen = result.observation
        if _expects_grace(by_name[seen.scenario], seen.stop_timeout_ns):
            counts.setdefault(_place(result), _Count()).add(result)
    return tuple(
        _claim(place, count, by_name[place[0]], goal, until_sure=until_sure) for place, count in counts.items()
    )


class UntilSure:
    """Counts the results of a run, and says which repetitions are still worth it."""

    def __init__(
        self,
        trials: Iterable[Trial],
        goal: ReliabilityGoal,
        max_repeat: int | None = None,
        done: frozenset[str] = frozenset(),
    ) -> None:
        """`trials`: the plan's, which are all performed once; those under standard faults are not repeated.
        `max_repeat` None: twice as many as are needed. `done`: ids of trials that a run which is resumed holds
        already."""
        self._done = done
        self.stops_needed = reliability.stops_needed(goal.confidence, goal.reliability)
        self.max_repeat = max_repeat or 2 * self.stops_needed
        self._last: dict[Place, Trial] = {}
        for trial in (item for item in trials if item.scenario.twin is None):
            place = trial.scenario.name, trial.stop_timeout_ns, trial.stop_after_ns
            if place not in self._last or trial.repetition > self._last[place].repetition:
                self._last[place] = trial
        self._counts = {
            (trial.scenario.name, timeout_ns, trial.stop_after_ns): _Count()
            for trial in self._last.values()
            for timeout_ns in _timeouts(trial)
            if _expects_grace(trial.scenario, timeout_ns)
        }

    @property
    def places(self) -> int:
        """Statements that are to be made."""
        return len(self._counts)

    def count(self, result: TrialResult) -> None:
        """Take a result in."""
        count = self._counts.get(_place(result))
        if count is not None:
            count.add(result)

    def is_worth(self, trial: Trial) -> bool:
        """Whether one of the statements that the trial counts for can still be made."""
        return self._missing(trial) > 0

    def next_trials(self) -> tuple[Trial, ...]:
        """As many further repetitions as are missing, longest first; none when all is decided or the limit reached."""
        further = []
        for place, last in self._last.items():
            fresh = (_again(last, repetition) for repetition in range(last.repetition + 1, self.max_repeat + 1))
            made = list(islice((trial for trial in fresh if trial.trial_id not in self._done), self._missing(last)))
            if made:
                self._last[place] = made[-1]
            further += made
        return tuple(sorted(further, key=plan.longest_ns, reverse=True))

    def _missing(self, trial: Trial) -> int:
        """Stops without a failure that its statements lack, the most of any; 0 for one that cannot be made any more."""
        counts = [
            self._counts.get((trial.scenario.name, timeout_ns, trial.stop_after_ns)) for timeout_ns in _timeouts(trial)
        ]
        missing = (self.stops_needed - count.passed for count in counts if count is not None and not count.failed)
        return max(0, *missing, 0)


def _again(trial: Trial, repetition: int) -> Trial:
    """The same stop, once more."""
    name = plan.trial_id(trial.scenario.name, trial.stop_timeout_ns, trial.stop_after_ns, repetition)
    return replace(trial, trial_id=name, repetition=repetition)


def _timeouts(trial: Trial) -> tuple[int, ...]:
    return (trial.stop_timeout_ns, *trial.shorter_timeouts_ns)


def _place(result: TrialResult) -> Place:
    seen = result.observation
    return seen.scenario, seen.stop_timeout_ns, seen.stop_after_ns


def _expects_grace(scenario: Scenario, stop_timeout_ns: int) -> bool:
    return scenario.expectation_at(stop_timeout_ns).outcomes == (Outcome.GRACEFUL,)


# ── The statement ────────────────────────────────────────────────────────────────────────────────────────────────────


def _claim(
    place: Place, count: _Count, scenario: Scenario, goal: ReliabilityGoal, *, until_sure: bool
) -> ReliabilityClaim:
    name, timeout_ns, after_ns = place
    stops, failures = count.passed + count.failed, count.failed
    reached = reliability.confidence_in(goal.reliability, stops, failures) >= goal.confidence
    if reached and not (until_sure and failures):
        status = ClaimStatus.SHOWN
    elif reliability.at_most(goal.confidence, stops, failures) < goal.reliability:
        status = ClaimStatus.REFUTED
    else:
        status = ClaimStatus.NOT_SHOWN
    claim = ReliabilityClaim(
        scenario=name,
        stop_timeout_ns=timeout_ns,
        stop_after_ns=after_ns,
        goal=goal,
        status=status,
        stops=stops,
        failures=failures,
        derived=count.derived,
        undecided=count.undecided,
        at_least=reliability.at_least(goal.confidence, stops, failures),
        stops_needed=reliability.stops_needed(goal.confidence, goal.reliability, failures),
        statement="",
    )
    within_ns = scenario.expectation_at(timeout_ns).within_ns
    limit = timeout(timeout_ns if within_ns is None else min(within_ns, timeout_ns))
    return replace(claim, statement=_statement(claim, limit))


def _statement(claim: ReliabilityClaim, limit: str) -> str:
    """What is shown, by how many stops, and what more it would take."""
    verb = "does" if claim.undecided == 1 else "do"
    undecided = f" {count_of(claim.undecided, 'more stop')} could not be judged and {verb} not count."
    after = undecided if claim.undecided else ""
    if not claim.stops:
        return f"No stop could be judged.{after}"
    derived = f" ({claim.derived:,} derived)" if claim.derived else ""
    failed = f"{claim.failures or 'none'} failed"
    basis = f"{count_of(claim.stops, 'stop')}{derived}, {failed}"
    confidence, asked = percent(claim.goal.confidence), percent(claim.goal.reliability)
    if claim.status is ClaimStatus.SHOWN:
        return f"With {confidence} confidence at least {asked} of stops are graceful within {limit}: {basis}.{after}"
    if claim.status is ClaimStatus.REFUTED:
        return f"With {confidence} confidence fewer than {asked} of stops are graceful within {limit}: {basis}.{after}"
    shown = f"With {confidence} confidence at least {percent(claim.at_least)} of stops are graceful within {limit}"
    return f"{shown}: {basis}.{after} {_what_it_takes(claim, asked)}"


def _what_it_takes(claim: ReliabilityClaim, asked: str) -> str:
    more = claim.stops_needed - claim.stops
    if not claim.failures:
        return f"{count_of(more, 'more stop')} without a failure would show {asked}."
    failures = "1 failure" if claim.failures == 1 else f"{claim.failures:,} failures"
    return (
        f"To show {asked} in spite of {failures} takes a new run of {claim.stops_needed:,} stops "
        f"(--repeat {claim.stops_needed}) with no more than that."
    )


def percent(fraction: float) -> str:
    """Rounded down, with more digits the closer it is to 1: `36 %`, `94.7 %`, `99 %`, `99.95 %`."""
    if not 0 < fraction < 1:
        return f"{fraction:.0%}".replace("%", " %")
    digits = min(9, max(0, floor(-log10(1 - fraction) + 1e-9)))
    scale = 10**digits
    text = f"{floor(fraction * 100 * scale + 1e-6) / scale:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + " %"
