"""Which causes are behind the bad stops of a run, over all its scenarios, and what would mend each. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from stop_harness.model import Advice, Cause, Outcome, RemedyEffect, Report, Status, TrialResult, TriedRemedy


@dataclass(frozen=True)
class CausedStop:
    """The stop by which a scenario shows a cause. `evidence` is the cause's sentence about this very container.

    `failed`: the stop did not meet its expectation. `other_causes`: ids of what else has to be mended before the
    scenario is in order. `cured_by`: the changes that were tried against it and made it graceful, the best first.
    """

    scenario: str
    trial_id: str
    evidence: str
    failed: bool
    other_causes: tuple[str, ...] = ()
    cured_by: tuple[TriedRemedy, ...] = ()


@dataclass(frozen=True)
class Cure:
    """What to change, the likeliest first, and the stops that it is for."""

    advice: tuple[Advice, ...]
    stops: tuple[CausedStop, ...]


@dataclass(frozen=True)
class Mending:
    """One cause of the run with its cures. A container started in another way needs another cure of the same cause."""

    cause: str
    cures: tuple[Cure, ...]

    @property
    def scenarios(self) -> tuple[str, ...]:
        """The scenarios that show this cause, in report order within each cure."""
        return tuple(dict.fromkeys(stop.scenario for cure in self.cures for stop in cure.stops))

    @property
    def heals(self) -> int:
        """Number of scenarios that have no other cause."""
        return len({stop.scenario for cure in self.cures for stop in cure.stops if not stop.other_causes})


def first(report: Report) -> tuple[Mending, ...]:
    """Every cause that there is advice for, the one behind most scenarios first.

    Of equals the one whose stops failed their expectation comes first; what nobody could find out comes last.
    """
    found = _causes_of_scenarios(report)
    by_scenario: dict[str, list[str]] = defaultdict(list)
    for name, cause_id in found:
        by_scenario[name].append(cause_id)
    cured = _cured(report)
    by_cause: dict[str, dict[Advice, list[tuple[CausedStop, Cause]]]] = defaultdict(lambda: defaultdict(list))
    for (name, cause_id), (result, cause) in found.items():
        stop = CausedStop(
            name,
            result.observation.trial_id,
            cause.evidence,
            result.verdict.status is Status.FAIL,
            tuple(other for other in by_scenario[name] if other != cause_id),
            cured[name],
        )
        by_cause[cause_id][cause.advice[0]].append((stop, cause))
    mendings = (Mending(cause_id, tuple(map(_cure, cures.values()))) for cause_id, cures in by_cause.items())
    return tuple(sorted(mendings, key=_urgency))


def _cure(shown: list[tuple[CausedStop, Cause]]) -> Cure:
    """One cure of stops that begin with the same advice; what follows names the program that it is for."""
    advice = tuple(dict.fromkeys(piece for _, cause in shown for piece in cause.advice))
    return Cure(advice, tuple(stop for stop, _ in shown))


def _urgency(mending: Mending) -> tuple[bool, int, int, int]:
    failed = {stop.scenario for cure in mending.cures for stop in cure.stops if stop.failed}
    return mending.cause == "unknown", -mending.heals, -len(mending.scenarios), -len(failed)


def _causes_of_scenarios(report: Report) -> dict[tuple[str, str], tuple[TrialResult, Cause]]:
    """Each cause of each scenario with the first stop that shows it, in report order.

    As with the remedies that are tried: of the longest stop timeout, and at shorter ones of what failed its
    expectation, for at those a kill is often what the scenario asks for. Of a stop under a standard fault only what the
    undisturbed one does not show.
    """
    longest: dict[str, int] = {}
    for result in report.results:
        seen = result.observation
        longest[seen.scenario] = max(longest.get(seen.scenario, 0), seen.stop_timeout_ns)
    found: dict[tuple[str, str], tuple[TrialResult, Cause]] = {}
    twins = {scenario.name: scenario.twin for scenario in report.disturbed}
    for result in sorted(report.results, key=lambda result: result.observation.scenario in twins):
        name = result.observation.scenario
        twin = twins.get(name)
        if result.observation.stop_timeout_ns == longest[name] or result.verdict.status is Status.FAIL:
            for cause in _causes(result):
                if cause.advice and (twin is None or (twin.of, cause.id) not in found):
                    found.setdefault((name, cause.id), (result, cause))
    return found


def _causes(result: TrialResult) -> tuple[Cause, ...]:
    """Of the containers of a task, or of the one container."""
    verdict = result.verdict
    if verdict.outcome in {Outcome.GRACEFUL, Outcome.INCONCLUSIVE}:
        return ()
    of_containers = (item.cause for item in verdict.containers)
    return tuple(cause for cause in (*of_containers, verdict.cause) if cause)


def _cured(report: Report) -> dict[str, tuple[TriedRemedy, ...]]:
    """Scenario → the changes that made its bad stop graceful."""
    found: dict[str, tuple[TriedRemedy, ...]] = defaultdict(tuple)
    for tried in report.remedies:
        if tried.effect is RemedyEffect.CURES:
            found[tried.scenario] += (tried,)
    return found
