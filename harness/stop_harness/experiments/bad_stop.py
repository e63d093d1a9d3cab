"""A bad stop that a remedy is looked for; of a task or a group each container that was stopped badly. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from stop_harness.experiments import place
from stop_harness.experiments.remedies import NOT_CURABLE
from stop_harness.model import Observation, Outcome, Scenario, Status, TrialResult
from stop_harness.verdict import judge


@dataclass(frozen=True)
class BadStop:
    """A bad stop as it is judged today, its scenario as the user wrote it, and how the same stop ended without a change
    in other repetitions: `graceful` of `measured`, itself among them.

    `container`: of a task or a group the one that is to be mended, whose own part `result` is; None: there is only one.
    `whole`: the stop of all of it, which is what is repeated.
    """

    result: TrialResult
    scenario: Scenario
    whole: TrialResult
    graceful: int = 0
    measured: int = 1
    container: str | None = None

    @classmethod
    def of(
        cls, bad: TrialResult, scenario: Scenario, results: Iterable[TrialResult], container: str | None = None
    ) -> BadStop:
        """`results`: all of the run."""
        seen = bad.observation
        same = [
            place.part_of(result, container).verdict.outcome
            for result in results
            if result.observation.scenario == seen.scenario
            and result.observation.stop_timeout_ns == seen.stop_timeout_ns
            and result.observation.stop_after_ns == seen.stop_after_ns
        ]
        told = [outcome for outcome in same if outcome is not Outcome.INCONCLUSIVE]
        graceful = sum(outcome is Outcome.GRACEFUL for outcome in told)
        return cls(place.part_of(bad, container), scenario, bad, graceful, len(told), container)

    def judged(self, seen: Observation, scenario: Scenario) -> TrialResult:
        """A repetition of it: what became of the container, and of what the whole lost where all its containers left as
        they should."""
        whole = TrialResult(seen, judge.judge(seen, scenario))
        part = place.part_of(whole, self.container)
        if part is whole:
            return whole
        others = [item for item in whole.verdict.containers if item.outcome is not Outcome.GRACEFUL]
        if part.verdict.outcome is Outcome.GRACEFUL and not others:
            told = replace(
                part.verdict, outcome=whole.verdict.outcome, status=whole.verdict.status, reason=whole.verdict.reason
            )
            return replace(part, verdict=told)
        status = Status.PASS if part.verdict.outcome is Outcome.GRACEFUL else Status.FAIL
        return replace(part, verdict=replace(part.verdict, status=status))

    def worse_beside(self, seen: Observation, scenario: Scenario) -> str:
        """Which other container was stopped worse in a repetition than in the bad stop; empty where none was."""
        before = {item.name: item.outcome for item in self.whole.verdict.containers}
        for item in judge.judge(seen, scenario).containers:
            was = before.get(item.name)
            if item.name == self.container or was is None or Outcome.INCONCLUSIVE in {was, item.outcome}:
                continue
            if item.outcome.severity > was.severity:
                return f"{item.name}, which was {was} before, was {item.outcome}"
        return ""


def containers_to_mend(bad: TrialResult) -> tuple[str | None, ...]:
    """The containers of a bad stop that were themselves stopped badly, or None for the only one there is.

    Empty where nobody can tell which container it was: requests belong to a task or a group as a whole.
    """
    if not bad.verdict.containers:
        return (None,)
    about = bad.observation.task.about if bad.observation.task is not None else None
    return tuple(
        item.name for item in bad.verdict.containers if item.outcome not in NOT_CURABLE and about in {None, item.name}
    )
