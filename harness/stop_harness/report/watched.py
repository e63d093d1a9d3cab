"""Ends of containers that were watched → judged, counted, without the values that the containers were given. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from stop_harness.evidence.watched_end import SCENARIO, WatchedEnd
from stop_harness.model import (
    EndKind,
    EventKind,
    Observation,
    Outcome,
    RunInfo,
    Scenario,
    SkippedScenario,
    Status,
    StopPlan,
    StoredRun,
    Subject,
    TimeoutSource,
    TrialResult,
    Watched,
)
from stop_harness.report.redaction import Redaction
from stop_harness.verdict.judge import judge

_NO_DIGESTS = b"-"
"""Values are masked with any key; it only makes digests, of which none is shown."""


@dataclass(frozen=True)
class JudgedEnd:
    """How a container ended. `result`: of a stop, its record and the verdict; None for any other end."""

    end: WatchedEnd
    result: TrialResult | None = None

    @property
    def status(self) -> Status | None:
        """Of a stop; an end that nobody saw is inconclusive. None: nothing was judged."""
        if self.end.kind is EndKind.UNSEEN:
            return Status.INCONCLUSIVE
        return self.result.verdict.status if self.result is not None else None

    @property
    def outcome(self) -> Outcome | None:
        """Of a stop; None for any other end."""
        return self.result.verdict.outcome if self.result is not None else None

    @property
    def duration_ns(self) -> int | None:
        """From the stop signal to the exit of PID 1; None where that is not known."""
        return self.result.verdict.facts.shutdown_duration_ns if self.result is not None else None


def judged(end: WatchedEnd) -> JudgedEnd:
    """A stop is held against what every trial without an expectation is: it is graceful. Nothing that is told of it has
    a value that the container was given in its environment."""
    seen = end.observation
    if seen is None:
        return JudgedEnd(replace(end, environment=()))
    scenario = Scenario(SCENARIO, Subject(image=end.image), stop=StopPlan((seen.stop_timeout_ns,)))
    if end.environment:
        given = replace(scenario, subject=replace(scenario.subject, environment=end.environment))
        seen = Redaction(_NO_DIGESTS, (given,)).observation(seen)
        end = replace(end, environment=(), observation=seen)
    return JudgedEnd(end, TrialResult(seen, judge(seen, scenario)))


def as_run(ends: Sequence[JudgedEnd], run: RunInfo, left: Sequence[str] = ()) -> StoredRun:
    """What was watched, as a run of which each container is a scenario, and each of its stops a trial.

    A container whose end was not seen is one that was skipped, as are those of `left`, which were still being stopped.
    Other ends are left out. An image is no scenario: what two containers of it do with other commands and settings
    says nothing about each other.
    """
    ids: dict[str, str] = {}
    by_container: dict[str, list[Observation]] = {}
    skipped: list[SkippedScenario] = []
    for one in ends:
        name = f"{one.end.container} ({one.end.image})"
        if ids.setdefault(name, one.end.container_id) != one.end.container_id:  # another one, in its place
            name = f"{one.end.container} {one.end.container_id[:12]} ({one.end.image})"
        if one.result is not None:
            of_it = by_container.setdefault(name, [])
            number = len(of_it) + 1
            seen = replace(one.result.observation, scenario=name, trial_id=f"{name}/{number}", repetition=number)
            of_it.append(seen)
        elif one.status is Status.INCONCLUSIVE:
            skipped.append(SkippedScenario(name, "it ended, or its stop began, while the engine was not listened to"))
    skipped += (SkippedScenario(name, "it was still being stopped when the watch ended") for name in left)
    scenarios = tuple(
        Scenario(name, _subject(of_it[0]), stop=StopPlan(tuple(sorted({seen.stop_timeout_ns for seen in of_it}))))
        for name, of_it in by_container.items()
    )
    observations = tuple(seen for of_it in by_container.values() for seen in of_it)
    return StoredRun(run, scenarios, observations, len(observations), tuple(skipped))


def _subject(seen: Observation) -> Subject:
    return Subject(image=seen.watched.image if seen.watched is not None else None)


def of_result(result: TrialResult) -> JudgedEnd:
    """The end of which a run of `as_run` has this record and verdict; the container's id is not part of it."""
    seen = result.observation
    watched = seen.watched or Watched(seen.scenario, seen.scenario, TimeoutSource.ENGINE)
    exits = [event.at_ns for event in seen.record.events if event.kind is EventKind.EXITED]
    at_ns = exits[-1] if exits else None
    end = WatchedEnd(EndKind.STOP, "", watched.container, watched.image, seen.record.exit_code, at_ns, (), seen)
    return JudgedEnd(end, result)


@dataclass
class ImageStops:
    """The stops of one image. `causes`: how often each was found. `cures`: the first advice for each of them."""

    image: str
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    durations_ns: list[int] = field(default_factory=list)
    causes: Counter[str] = field(default_factory=Counter)
    cures: dict[str, str] = field(default_factory=dict)

    @property
    def worst(self) -> Outcome:
        """Which of them was worst."""
        return max(self.outcomes, key=lambda outcome: outcome.severity)

    @property
    def median_ns(self) -> float | None:
        """Of the durations; None where none is known."""
        return median(self.durations_ns) if self.durations_ns else None


MOST_DURATIONS = 100_000
"""Kept of one image: a watch may last for months."""


class WatchTally:
    """What a watch has counted so far: ends by their kind, stops by image."""

    def __init__(self) -> None:
        self.kinds: Counter[EndKind] = Counter()
        self.images: dict[str, ImageStops] = {}

    def add(self, one: JudgedEnd) -> None:
        """One more end."""
        self.kinds[one.end.kind] += 1
        if one.result is None or one.outcome is None:
            return
        row = self.images.setdefault(one.end.image, ImageStops(one.end.image))
        row.outcomes[one.outcome] += 1
        if one.duration_ns is not None and len(row.durations_ns) < MOST_DURATIONS:
            row.durations_ns.append(one.duration_ns)
        cause = one.result.verdict.cause
        if cause is not None:
            row.causes[cause.id] += 1
            for advice in cause.advice[:1]:
                row.cures.setdefault(cause.id, advice.text)

    @property
    def stops(self) -> int:
        """How many stops were judged."""
        return self.kinds[EndKind.STOP]

    @property
    def outcomes(self) -> Counter[Outcome]:
        """Of all stops."""
        return sum((row.outcomes for row in self.images.values()), Counter())

    @property
    def status(self) -> Status:
        """Failures count before doubts; an end that nobody saw is a doubt."""
        found = self.outcomes
        if found.total() > found[Outcome.GRACEFUL] + found[Outcome.INCONCLUSIVE]:
            return Status.FAIL
        if found[Outcome.INCONCLUSIVE] or self.kinds[EndKind.UNSEEN]:
            return Status.INCONCLUSIVE
        return Status.PASS
