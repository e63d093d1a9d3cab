"""How long a run will take: its trials played through in virtual time, one CPU's share after the other. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stop_harness.model import NS_PER_MS, Plan, ReferenceStop, Trial
from stop_harness.plan.trials import expected_stop_ns, longest_ns

CPU_OF_A_TRIAL_NS = 320 * NS_PER_MS
"""CPU time that engine, kernel and harness spend on one Docker container that is started, stopped and removed: 100
trials with stops of up to 10 s took 30 s on two CPUs that had as much else to do."""

CPU_AGAINST_REFERENCE = 1.2
"""The same as a multiple of what the reference stop of an earlier run took on an otherwise idle engine."""

LOAD_SHARE = 0.25
"""How much slower each other process that wants a CPU makes the work on a container: twice with 8 on two CPUs."""

LAST_STEPS_NS = 150 * NS_PER_MS
"""From the exit to the end of the trial: the return of the stop call, the record, the removal."""

StopKey = tuple[str, int]
"""Scenario and stop timeout."""


@dataclass(frozen=True)
class Experience:
    """What an earlier run showed. `stops_ns`: how long the stops of a scenario took at a stop timeout, the median.
    `lengths_ns`: the waits and stops of its trials, in the order of their starts. `wall_ns` None: it did not end by
    itself. `load`: how many others want a CPU of this machine now."""

    stops_ns: Mapping[StopKey, int] = field(default_factory=dict)
    reference: ReferenceStop | None = None
    lengths_ns: tuple[int, ...] = ()
    wall_ns: int | None = None
    load: float = 0.0

    def cpu_of_a_trial_ns(self, jobs: int, cpus: int) -> int:
        """With which that run would have taken as long as it did, as far as its reference stop makes that likely."""
        seen = self.reference
        if seen is None:
            return round(CPU_OF_A_TRIAL_NS * (1 + LOAD_SHARE * self.load / cpus))
        likely_ns = round(CPU_AGAINST_REFERENCE * (seen.start_ns + (seen.return_ns or 0) + seen.removal_ns))
        if self.wall_ns is None or not self.lengths_ns:
            return likely_ns
        least_ns, most_ns = likely_ns // 2, likely_ns * 2
        while most_ns - least_ns > NS_PER_MS:
            middle_ns = (least_ns + most_ns) // 2
            if _play(self.lengths_ns, jobs, cpus, middle_ns) > self.wall_ns:
                most_ns = middle_ns
            else:
                least_ns = middle_ns
        return least_ns


@dataclass(frozen=True)
class Estimate:
    """`expected_ns`: by experience, else by what the scenarios expect. `at_most_ns`: every stop lasts its timeout.
    `known`: of how many trials an earlier run shows how long their stop takes. Builds and reports are not in it."""

    expected_ns: int
    at_most_ns: int
    known: int


def estimate(plan: Plan, *, jobs: int, cpus: int, experience: Experience | None = None) -> Estimate:
    """For a run of this plan with so many trials in flight."""
    seen = experience or Experience()
    expected = [_waits_ns(trial) + stop_ns(trial, seen.stops_ns) for trial in plan.trials]
    cpu_ns = seen.cpu_of_a_trial_ns(jobs, cpus)
    return Estimate(
        expected_ns=_play(expected, jobs, cpus, cpu_ns),
        at_most_ns=_play([longest_ns(trial) for trial in plan.trials], jobs, cpus, cpu_ns),
        known=sum(_key(trial) in seen.stops_ns for trial in plan.trials),
    )


def stop_ns(trial: Trial, earlier_ns: Mapping[StopKey, int]) -> int:
    """How long a stop will take: as before, else as the scenario expects."""
    known_ns = earlier_ns.get(_key(trial))
    return expected_stop_ns(trial) if known_ns is None else min(known_ns, trial.stop_timeout_ns)


def _key(trial: Trial) -> StopKey:
    return trial.scenario.name, trial.stop_timeout_ns


def _waits_ns(trial: Trial) -> int:
    return longest_ns(trial) - trial.stop_timeout_ns


def _play(lengths_ns: Sequence[int], jobs: int, cpus: int, cpu_ns: int) -> int:
    """The wall time of trials in this order: each needs a job until its end, and first a CPU for `cpu_ns`."""
    jobs_free = [0] * max(1, min(jobs, len(lengths_ns)))
    cpus_free = [0] * cpus
    for length_ns in lengths_ns:
        job = min(range(len(jobs_free)), key=jobs_free.__getitem__)
        cpu = min(range(cpus), key=cpus_free.__getitem__)
        cpus_free[cpu] = max(jobs_free[job], cpus_free[cpu]) + cpu_ns
        jobs_free[job] = cpus_free[cpu] + length_ns + LAST_STEPS_NS
    return max(jobs_free) if lengths_ns else 0
