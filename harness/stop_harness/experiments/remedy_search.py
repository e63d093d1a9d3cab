"""Tries remedies: repeats each bad stop with one change after the other, through the same trial as any stop.

What looks like a cure is compared with a control run: the same subject, left alone for as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from stop_harness.engines.interface import Engine
from stop_harness.errors import EngineError
from stop_harness.experiments import effects, place, remedies
from stop_harness.experiments.bad_stop import BadStop, containers_to_mend
from stop_harness.model import (
    Configuration,
    Observation,
    Outcome,
    Remedy,
    RemedyEffect,
    RemedyTrial,
    Scenario,
    Subject,
    Trial,
    TrialResult,
    TriedRemedy,
)
from stop_harness.trial import scheduler
from stop_harness.verdict import judge
from stop_harness.wording import count_of, of_pod

REPEATS = 3
"""How often a bad stop is repeated as it was: one that is bad in a third of the stops is seen to be graceful by these
with 96 %."""


_Key = tuple[str, str | None]
"""Name of a scenario, and the container of a task or a group that is to be mended."""


@dataclass(frozen=True)
class _Bad:
    """A bad stop and what its container runs."""

    stop: BadStop
    configuration: Configuration

    @property
    def result(self) -> TrialResult:
        """The bad stop as it was judged, of several containers the one that is to be mended."""
        return self.stop.result

    @property
    def key(self) -> _Key:
        """Of which scenario, and which container of it."""
        return self.scenario.name, self.stop.container

    @property
    def scenario(self) -> Scenario:
        """As the user wrote it."""
        return self.stop.scenario


@dataclass(frozen=True)
class _Attempt:
    """One remedy for one bad stop."""

    bad: _Bad
    remedy: Remedy

    @property
    def trial(self) -> Trial:
        """The bad stop again, with the remedy."""
        seen, container = self.bad.stop.whole.observation, self.bad.stop.container
        changed = remedies.apply(self.bad.scenario, self.remedy, seen.stop_timeout_ns, container)
        where = "" if container is None else f"{container}/"
        return Trial(
            trial_id=f"{seen.trial_id}/{where}{self.remedy.id}",
            scenario=changed,
            stop_timeout_ns=changed.stop.timeouts_ns[0],
            stop_after_ns=seen.stop_after_ns,
            repetition=1,
        )

    def tried(self, seen: Observation) -> RemedyTrial:
        """What is kept of the attempt."""
        stop, scenario = self.bad.stop, self.trial.scenario
        timeout_ns, took_ns = stop.result.observation.stop_timeout_ns, self._took_ns(seen)
        remedy = remedies.fitted(self.remedy, scenario, timeout_ns, took_ns, self.bad.configuration)
        return RemedyTrial(seen.scenario, stop.whole.observation.trial_id, remedy, seen, container=stop.container)

    def _took_ns(self, seen: Observation) -> int | None:
        """How long its stop took, of a pod all of it since its grace period began; None if it did not end by itself."""
        scenario = self.trial.scenario
        judged = self.bad.stop.judged(seen, scenario).verdict
        if judged.outcome is not Outcome.GRACEFUL:
            return None
        facts = judge.judge(seen, scenario).facts if of_pod(seen) else judged.facts
        return facts.shutdown_duration_ns

    def control(self, tried: RemedyTrial) -> Trial:
        """The same subject left alone, and then ended at once: how is of no interest."""
        trial = self.trial
        took_ns = self._took_ns(tried.observation)
        whole = (
            trial.scenario.subject.alone is None
        )  # its containers have stop timeouts of their own, or a pod's budget
        return replace(
            trial,
            trial_id=f"{trial.trial_id}/left-alone",
            scenario=replace(trial.scenario, traffic=(), load_balancer=None),
            stop_after_ns=effects.control_ns(tried, self.bad.result, took_ns),
            stop_timeout_ns=trial.stop_timeout_ns if whole else 0,
        )

    @property
    def unchanged(self) -> tuple[Trial, ...]:
        """The bad stop as it was, some times more: work may be lost by chance. None where SIGKILL ended it, which is no
        matter of milliseconds and takes the whole stop timeout."""
        bad = self.bad.result
        if bad.verdict.outcome is Outcome.KILLED:
            return ()
        seen = self.bad.stop.whole.observation
        return tuple(
            Trial(
                f"{seen.trial_id}/again-{number}",
                self.bad.scenario,
                seen.stop_timeout_ns,
                seen.stop_after_ns,
                seen.repetition,
            )
            for number in range(1, REPEATS + 1)
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

    def perform_all(self, trials: Iterable[Trial]) -> Iterator[Observation]:
        """Side by side, those that take longest first; each as it ends."""
        return scheduler.run_all(
            sorted(trials, key=lambda item: -(item.stop_timeout_ns + item.stop_after_ns)),
            self.perform,
            jobs=self.jobs,
            interrupted=self.interrupted,
            on_interrupt=self.on_interrupt,
            lost=self.lost,
            note=self.note,
        )


def run(
    results: tuple[TrialResult, ...],
    scenarios: tuple[Scenario, ...],
    search: Search,
    done: tuple[RemedyTrial, ...] = (),
) -> Iterator[RemedyTrial]:
    """Each attempt as it ends: first every single change, then pairs for the stops that no single one cured.

    `done`: attempts of a run that is resumed; they count, and are made neither again nor known again.
    """
    performed = {_id(tried): tried for tried in done}
    stops = _stops(results, {scenario.name: scenario for scenario in scenarios}, search)
    singles = {
        key: remedies.candidates(stop.scenario, stop.result, stop.configuration, stop.stop.container)
        for key, stop in stops.items()
    }
    for (name, container), found in singles.items():
        if not found:
            search.note(f"{name}: {'' if container is None else f'{container}: '}no change from outside fits this stop")
    came: dict[_Key, list[TriedRemedy]] = {}
    first = [_Attempt(stops[key], item) for key, found in singles.items() for item in found]
    for tried in _wave(first, search, performed):
        key = tried.scenario, tried.container
        came.setdefault(key, []).append(effects.judged(tried, stops[key].stop))
        if _id(tried) not in performed:
            yield tried
    pairs = [
        _Attempt(stops[key], item)
        for key, items in came.items()
        if all(item.effect is not RemedyEffect.CURES for item in items)
        for item in remedies.combinations(
            tuple((item.remedy, item.result) for item in items), stops[key].scenario, stops[key].configuration, key[1]
        )
    ]
    for tried in _wave(pairs, search, performed):
        if _id(tried) not in performed:
            yield tried


def _stops(results: tuple[TrialResult, ...], by_name: dict[str, Scenario], search: Search) -> dict[_Key, _Bad]:
    """The bad stops of which it is known what to change, and a note on each of the others."""
    stops = {}
    for bad in remedies.bad_stops(results):
        scenario = by_name[bad.observation.scenario]
        to_mend = containers_to_mend(bad)
        if not to_mend:
            search.note(f"{scenario.name}: no container was stopped badly by itself; which one to change is not known")
        for container in to_mend:
            stop = BadStop.of(bad, scenario, results, container)
            configuration = _configuration(stop, search)
            if configuration is not None:
                found = _Bad(stop, configuration)
                stops[found.key] = found
    return stops


def _id(tried: RemedyTrial) -> str:
    """Of the trial that tried it; a remedy may have been cut to what is needed since."""
    return tried.observation.trial_id


def _configuration(stop: BadStop, search: Search) -> Configuration | None:
    """None, and a note, where the engine cannot say what the image runs."""
    try:
        return search.engine.configuration(place.as_alone(stop.scenario, stop.container, stop.result.observation))
    except EngineError as error:
        search.note(f"{stop.scenario.name}: no remedies were tried: {error}")
        return None


def _wave(attempts: list[_Attempt], search: Search, performed: dict[str, RemedyTrial]) -> Iterator[RemedyTrial]:
    """Attempts side by side; those that the engine cannot run are left out, with its reason.

    What looks like a cure is yielded last, with its control run.
    """
    wanted: dict[str, _Attempt] = {}
    for attempt in attempts:
        trial = attempt.trial
        if trial.trial_id in performed:
            yield performed[trial.trial_id]
            continue
        reason = search.engine.cannot_run(trial.scenario)
        if reason is None:
            wanted[trial.trial_id] = attempt
        else:
            search.note(f"{trial.scenario.name}: {attempt.remedy.title} was not tried: {reason}")
    if wanted:
        scenarios = len({item.bad.scenario.name for item in wanted.values()})
        search.note(f"trying {count_of(len(wanted), 'change')} on {count_of(scenarios, 'scenario')}")
    cures: list[tuple[_Attempt, RemedyTrial]] = []
    for seen in search.perform_all(item.trial for item in wanted.values()):
        attempt = wanted[seen.trial_id]
        tried = attempt.tried(seen)
        if effects.needs_control(tried, attempt.bad.stop):
            cures.append((attempt, tried))
        else:
            yield tried
    yield from _controlled(cures, search)


def _controlled(cures: list[tuple[_Attempt, RemedyTrial]], search: Search) -> Iterator[RemedyTrial]:
    """Each with a run of the same subject that is left alone; one run serves all that start the same subject. And with
    the bad stop once more, unless the engine had to end that."""
    if not cures:
        return
    controls: dict[Subject, Trial] = {}
    for attempt, tried in cures:
        control = attempt.control(tried)
        longest = controls.get(control.scenario.subject)
        if longest is None or control.stop_after_ns > longest.stop_after_ns:
            controls[control.scenario.subject] = control
    search.note("leaving the same containers alone, to see whether they end anyway")
    subjects = {trial.trial_id: subject for subject, trial in controls.items()}
    repeated = {item.trial_id: item for attempt, _ in cures for item in attempt.unchanged}
    seen = {item.trial_id: item for item in search.perform_all((*controls.values(), *repeated.values()))}
    alone = {subjects[trial_id]: item for trial_id, item in seen.items() if trial_id in subjects}
    for attempt, tried in cures:
        unchanged = tuple(seen[item.trial_id] for item in attempt.unchanged if item.trial_id in seen)
        yield replace(tried, control=alone.get(attempt.trial.scenario.subject), unchanged=unchanged)
