"""Tries remedies: repeats each bad stop with one change after the other, through the same trial as any stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stop_harness.engines.interface import Engine
from stop_harness.errors import EngineError
from stop_harness.experiments import remedies
from stop_harness.model import (
    Configuration,
    Observation,
    Remedy,
    RemedyEffect,
    RemedyTrial,
    Scenario,
    Trial,
    TrialResult,
)
from stop_harness.trial import scheduler
from stop_harness.wording import count_of


@dataclass(frozen=True)
class _Attempt:
    """One remedy for one bad stop."""

    bad: TrialResult
    scenario: Scenario
    remedy: Remedy

    @property
    def trial(self) -> Trial:
        """The bad stop again, with the remedy."""
        seen = self.bad.observation
        changed = remedies.apply(self.scenario, self.remedy, seen.stop_timeout_ns)
        return Trial(
            trial_id=f"{seen.trial_id}/{self.remedy.id}",
            scenario=changed,
            stop_timeout_ns=changed.stop.timeouts_ns[0],
            stop_after_ns=seen.stop_after_ns,
            repetition=1,
        )


@dataclass(frozen=True)
class Search:
    """What a search needs: the engine, how a trial is performed there, and whom to tell."""

    engine: Engine
    perform: Callable[[Trial], Observation]
    jobs: int
    note: Callable[[str], None]
    interrupted: Callable[[], bool]
    lost: Callable[[Trial, Exception], Observation]
    on_interrupt: Callable[[], None]


def run(
    results: tuple[TrialResult, ...],
    scenarios: tuple[Scenario, ...],
    search: Search,
    done: tuple[RemedyTrial, ...] = (),
) -> Iterator[RemedyTrial]:
    """Each attempt as it ends: first every single change, then pairs for the stops that no single one cured.

    `done`: attempts of a run that is resumed; they count, and are made neither again nor known again.
    """
    performed = {tried.observation.trial_id: tried for tried in done}
    by_name = {scenario.name: scenario for scenario in scenarios}
    bad = {item.observation.scenario: item for item in remedies.bad_stops(results)}
    for name in [name for name in bad if by_name[name].subject.task is not None]:
        search.note(f"{name}: changes are tried on single containers only, not on task definitions")
        del bad[name]
    known = {name: _configuration(by_name[name], search) for name in bad}
    singles = {
        name: remedies.candidates(by_name[name], bad[name], configuration)
        for name, configuration in known.items()
        if configuration is not None
    }
    for name in bad.keys() - {name for name, found in singles.items() if found}:
        search.note(f"{name}: no change from outside fits this stop")
    cured = set()
    first = [(bad[name], by_name[name], item) for name in singles for item in singles[name]]
    for tried in _wave(first, search, performed):
        if remedies.judged(tried, by_name[tried.scenario], _timeout_ns(bad[tried.scenario])).effect is (
            RemedyEffect.CURES
        ):
            cured.add(tried.scenario)
        if tried.observation.trial_id not in performed:
            yield tried
    pairs = [
        (bad[name], by_name[name], item)
        for name, found in singles.items()
        if name not in cured
        for item in remedies.combinations(found, bad[name], known[name] or Configuration())
    ]
    for tried in _wave(pairs, search, performed):
        if tried.observation.trial_id not in performed:
            yield tried


def _timeout_ns(bad: TrialResult) -> int:
    return bad.observation.stop_timeout_ns


def _configuration(scenario: Scenario, search: Search) -> Configuration | None:
    """None, and a note, where the engine cannot say what the image runs."""
    try:
        return search.engine.configuration(scenario)
    except EngineError as error:
        search.note(f"{scenario.name}: no remedies were tried: {error}")
        return None


def _wave(
    wanted: list[tuple[TrialResult, Scenario, Remedy]], search: Search, performed: dict[str, RemedyTrial]
) -> Iterator[RemedyTrial]:
    """Attempts side by side; those that the engine cannot run are left out, with its reason."""
    attempts: dict[str, _Attempt] = {}
    for bad, scenario, remedy in wanted:
        attempt = _Attempt(bad, scenario, remedy)
        if attempt.trial.trial_id in performed:
            yield performed[attempt.trial.trial_id]
            continue
        reason = search.engine.cannot_run(attempt.trial.scenario)
        if reason is None:
            attempts[attempt.trial.trial_id] = attempt
        else:
            search.note(f"{scenario.name}: {remedy.title} was not tried: {reason}")
    trials = tuple(sorted((item.trial for item in attempts.values()), key=lambda item: -item.stop_timeout_ns))
    if trials:
        scenarios = len({item.scenario.name for item in trials})
        search.note(f"trying {count_of(len(trials), 'change')} on {count_of(scenarios, 'scenario')}")
    for seen in scheduler.run_all(
        trials,
        search.perform,
        jobs=search.jobs,
        interrupted=search.interrupted,
        on_interrupt=search.on_interrupt,
        lost=search.lost,
        note=search.note,
    ):
        attempt = attempts[seen.trial_id]
        yield RemedyTrial(seen.scenario, attempt.bad.observation.trial_id, attempt.remedy, seen)
