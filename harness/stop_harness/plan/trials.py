"""Scenarios → Trials: subject × stop timeout × moment of the stop × repetition. Pure."""

from __future__ import annotations

import hashlib
import random
import re

from stop_harness import units
from stop_harness.errors import UsageError
from stop_harness.model import NS_PER_S, Outcome, Plan, Scenario, SkippedScenario, Trial
from stop_harness.records import dataclass


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count` (1-based), as in `--shard 2/5`."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`2/5`. Raises UsageError for anything else."""
        match = re.fullmatch(r"([1-9]\d{0,3})/([1-9]\d{0,3})", text)
        if match is None or int(match[1]) > int(match[2]):
            raise UsageError(f"--shard {text!r} is not of the form I/N with I from 1 to N, such as 2/5")
        return cls(int(match[1]), int(match[2]))

    def holds(self, trial_id: str) -> bool:
        """Whether a trial belongs here: by a hash of its id, so that adding a scenario moves no other trial."""
        digest = hashlib.sha256(trial_id.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def expand(
    scenarios: tuple[Scenario, ...],
    *,
    skipped: tuple[SkippedScenario, ...] = (),
    repeat: int | None = None,
    shard: Shard | None = None,
    seed: int | None = None,
    infer: bool = False,
) -> Plan:
    """Every trial of the scenarios that are not skipped, longest stop timeouts first so that they overlap the rest, and
    of equal ones those first that are expected to last longest.

    `repeat` None: as each scenario says. `seed` None: trials that are equal in both stay in the order of the scenarios,
    else they are shuffled by it. `infer`: only the longest stop timeout is planned, with the shorter ones to derive
    from it.
    """
    left_out = {skip.scenario for skip in skipped}
    trials = [
        Trial(
            trial_id=trial_id(scenario.name, timeout_ns, after_ns, repetition),
            scenario=scenario,
            stop_timeout_ns=timeout_ns,
            stop_after_ns=after_ns,
            repetition=repetition,
            shorter_timeouts_ns=tuple(shorter_ns),
        )
        for scenario in scenarios
        if scenario.name not in left_out
        for timeout_ns, *shorter_ns in _timeouts(scenario, infer=infer)
        for after_ns in scenario.stop.after_ns
        for repetition in range(1, (repeat or scenario.repeat) + 1)
    ]
    if shard is not None:
        trials = [trial for trial in trials if shard.holds(trial.trial_id)]
    if seed is not None:
        random.Random(seed).shuffle(trials)  # nosec B311 # no secret
    trials.sort(key=lambda trial: (longest_ns(trial), expected_stop_ns(trial)), reverse=True)
    return Plan(tuple(trials), skipped)


def _timeouts(scenario: Scenario, *, infer: bool) -> list[tuple[int, ...]]:
    """Each stop timeout to perform, followed by those to derive from it. Of a task nothing is derived: when one of its
    containers is told to stop depends on when others were killed. Nor is a stop after which something must be true:
    nobody can look at what a derived one left behind; nor one under faults, which may outlast a shorter one."""
    timeouts_ns = scenario.stop.timeouts_ns
    if not infer or scenario.subject.task_file is not None or scenario.faults:
        return [(each,) for each in timeouts_ns]
    longest_ns, *shorter_ns = sorted(timeouts_ns, reverse=True)
    looked_at = [each for each in shorter_ns if scenario.expectation_at(each).after_stop]
    derived = (each for each in shorter_ns if each not in looked_at)
    return [(longest_ns, *derived), *((each,) for each in looked_at)]


def trial_id(scenario: str, stop_timeout_ns: int, stop_after_ns: int, repetition: int) -> str:
    """`drains-5s@30s#1`, and `drains-5s@30s+500ms#1` where the stop comes later than readiness."""
    moment = f"+{units.format_in_minutes(stop_after_ns)}" if stop_after_ns else ""
    return f"{scenario}@{units.format_in_minutes(stop_timeout_ns)}{moment}#{repetition}"


def longest_ns(trial: Trial) -> int:
    """The longest a trial's measured part can take: the wait before the stop and the whole stop timeout."""
    return trial.scenario.readiness.delay_ns + trial.stop_after_ns + trial.stop_timeout_ns


def expected_stop_ns(trial: Trial) -> int:
    """How long the stop may well take, by what the scenario expects: all of the stop timeout where SIGKILL is expected,
    else the `within` of the expectation, 0 without one."""
    expectation = trial.scenario.expectation_at(trial.stop_timeout_ns)
    if Outcome.KILLED in expectation.outcomes:
        return trial.stop_timeout_ns
    return min(expectation.within_ns or 0, trial.stop_timeout_ns)


def whole_seconds_problem(scenario: Scenario) -> str | None:
    """Why an engine that takes whole seconds only cannot run this scenario; None if it can."""
    for timeout_ns in scenario.stop.timeouts_ns:
        if timeout_ns % NS_PER_S:
            written = units.format_duration(timeout_ns)
            return f"stop timeout {written} is not a whole number of seconds, and this engine takes nothing else"
    return None
