"""`explore`: a scenario's stop searched for the circumstances under which it breaks."""

from __future__ import annotations

import itertools
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stop_harness import units
from stop_harness.conductor import perform_trials, ready_engine, run_info
from stop_harness.conductor.request import Listener, RunRequest, new_run_id
from stop_harness.conductor.routing import engine_of
from stop_harness.engines.interface import Engine
from stop_harness.errors import UsageError, not_written, require_extra
from stop_harness.experiments.explore import space
from stop_harness.experiments.explore.candidate import (
    Candidate,
    Fate,
    Over,
    Part,
    TriedCandidate,
    part_of_client,
    part_of_fault,
    parts_of,
    scenario_of,
)
from stop_harness.model import (
    NS_PER_S,
    EngineInfo,
    FaultAction,
    FaultKind,
    Observation,
    Outcome,
    Plan,
    Scenario,
    Status,
    TrafficClient,
    Trial,
    TrialResult,
    When,
)
from stop_harness.trial import perform, scheduler
from stop_harness.verdict import faults
from stop_harness.verdict.traffic import lost_requests

if TYPE_CHECKING:
    from stop_harness.experiments.explore.result import Exploration

FOLDER = Path(".stop-harness/explore")
"""In the working directory: failures of earlier searches, and what hypothesis keeps otherwise."""

STOPS_PER_CPU = 3
"""Side by side: more would slow each other, and what is slow then would be called hung."""

SLOW_NS = 3 * NS_PER_S
"""In addition, for a program under a quota of CPU time, or one to which answers come late."""
SLOWED_BY = frozenset({FaultKind.CPU, FaultKind.NETWORK, FaultKind.DNS})


SIGNALLED = 126
"""Exit codes from this on are of a shell: that it found no program, or that a signal ended one."""

SEEDS = 1 << 16
"""So many, that a seed is easily typed."""


@dataclass(frozen=True)
class Wanted:
    """How long to search. `for_ns`: time; `stops`: at most so many, None: no limit. `seed`: of what is random."""

    for_ns: int
    stops: int | None
    seed: int

    @classmethod
    def of(cls, for_: str, stops: int | None, seed: int | None) -> Wanted:
        """As it is asked for. `seed` None: another each time. Raises UsageError."""
        try:
            for_ns = units.parse_duration(for_)
        except ValueError as error:
            raise UsageError(f"--for: {error}") from None
        if for_ns == 0:
            raise UsageError("--for 0: nothing would be searched; write a time such as 90s or 5m")
        if stops is not None and stops < 1:
            raise UsageError(f"--stops {stops} is not a number from 1 on")
        if seed is not None and seed < 0:
            raise UsageError(f"--seed {seed} is not a number from 0 on")
        return cls(for_ns, stops, secrets.randbelow(SEEDS) if seed is None else seed)


@dataclass(frozen=True)
class Searched:
    """A search, and of its stops those that were given the scenario's own stop timeout, each with its candidate."""

    search: Exploration
    stops: tuple[tuple[Candidate, Observation], ...]
    engine: EngineInfo
    started_at: str


def explore(
    request: RunRequest,
    wanted: Wanted,
    listener: Listener,
    interruption: perform.Interruption,
    progress: Callable[[str], None],
) -> Searched:
    """Search the one scenario of the request. `progress` hears what is tried. Raises the errors of
    `stop_harness.errors`."""
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(FOLDER))
    from stop_harness.experiments.explore import past_failures, search  # late: hypothesis

    scenario, started_at = scenario_of_request(request), run_info.now()
    engine, planned = ready_engine.ready(request, new_run_id(), listener, ready_engine.opener(request))
    try:
        for skipped in planned.skipped:
            raise UsageError(f"{skipped.scenario}: {skipped.reason}")
        bench = _Bench(scenario, engine, interruption, request.jobs)
        undisturbed = tuple(map(Candidate, space.graceful_timeouts(scenario)))
        listener.planned(
            Plan(tuple(bench.trial(item, thorough=True) for item in undisturbed)), bench.side_by_side, engine
        )

        def space_of(controls: tuple[TriedCandidate, ...]) -> space.Space:
            bench.drain_ns = max(item.took_ns or 0 for item in controls)
            return space.of(scenario, bench.drain_ns, controls[0].signal, engine.cannot_run)

        deadline_ns = time.monotonic_ns() + wanted.for_ns
        with _ending_what_runs(interruption):
            found = search.StopSearch(
                scenario.name,
                undisturbed,
                space_of,
                bench,
                search.Limits(wanted.stops, lambda: time.monotonic_ns() > deadline_ns),
                past_failures.PastFailures(FOLDER / "failures", scenario),
                wanted.seed,
                progress,
                lambda: interruption.requested,
            ).run()
        return Searched(found, tuple(bench.thorough), engine.info(), started_at)
    finally:
        ready_engine.close(engine, lambda: interruption.by_user)


def file_for(scenario: Scenario, wanted: Path | None) -> Path:
    """Where the scenario of what is found is written: beside its own, unless another is wanted. Raises UsageError where
    something else is there, or nothing can be written."""
    from stop_harness.experiments.explore import written

    source = Path(scenario.source or "")
    target = wanted or source.with_name(f"{source.stem}.found{source.suffix}")
    try:
        known = not target.exists() or target.read_text(encoding="utf-8").startswith(written.HEAD)
    except (OSError, UnicodeError):
        known = False
    if not known:
        raise UsageError(f"{target} exists, and no search has written it; name another file with --write")
    if not os.access(target if target.exists() else target.absolute().parent, os.W_OK):
        why = "cannot be written" if target.parent.is_dir() else f"there is no folder {target.parent}"
        raise UsageError(f"{target}: {why}; name another file with --write")
    return target


def write(scenario: Scenario, candidate: Candidate, said: tuple[str, ...], target: Path) -> None:
    """The scenario file of what was found. `said`: sentences of what happened. Raises StopHarnessError."""
    from stop_harness.experiments.explore import written

    source = Path(str(scenario.source))
    if source.is_absolute() != target.is_absolute():
        source, target = source.absolute(), target.absolute()
    try:
        original = source.read_text(encoding="utf-8")
        target.write_text(written.text_of(original, str(source), str(target), candidate, said), encoding="utf-8")
    except OSError as error:
        raise not_written(f"cannot write {target}: {error.strerror}", error) from None


def scenario_of_request(request: RunRequest) -> Scenario:
    """The one scenario that is searched. Raises MissingExtra, and UsageError for what cannot be."""
    require_extra("explore", "explore")
    if len(request.scenarios) != 1:
        raise UsageError(f"explore searches one scenario, and these are {len(request.scenarios)}; name one file")
    (scenario,) = request.scenarios
    if not space.graceful_timeouts(scenario):
        raise UsageError(
            f"{scenario.location('expect')}: explore looks for a stop that is not graceful, and this "
            "scenario expects none that is"
        )
    return scenario


@contextmanager
def _ending_what_runs(interruption: perform.Interruption) -> Iterator[None]:
    """An interruption makes the engine calls of trials in flight return, whichever thread waits for them."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(scheduler.POLL_S):
            if interruption.requested:
                interruption.abort_running()
                return

    thread = threading.Thread(target=watch, name="explore-interrupt", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class _Bench:
    """Candidates as trials of an engine."""

    def __init__(self, scenario: Scenario, engine: Engine, interruption: perform.Interruption, jobs: str) -> None:
        self._scenario, self._engine, self._interruption = scenario, engine, interruption
        self._starts = threading.BoundedSemaphore(scheduler.start_slots())
        self._numbers = itertools.count(1)
        self.drain_ns: int | None = None
        self.thorough: list[tuple[Candidate, Observation]] = []
        self._slow: dict[frozenset[Part], int] = {}
        self.side_by_side = self._side_by_side(jobs)

    def _side_by_side(self, jobs: str) -> int:
        if jobs != "auto":
            return scheduler.parse_jobs(jobs, scheduler.MAX_JOBS)
        room = scheduler.room_for(self._engine.info(), (self.trial(Candidate(NS_PER_S), thorough=True),))
        weight = scheduler.weight_on(self._engine.info())(self.trial(Candidate(NS_PER_S), thorough=True))
        return max(1, min(STOPS_PER_CPU * (os.cpu_count() or 1), room.trials) // weight)

    def one(self, candidate: Candidate) -> TriedCandidate:
        """Raises Over."""
        if self._interruption.requested:
            raise Over
        tried = self._perform(self.trial(candidate, thorough=False), candidate, thorough=False)
        if self._interruption.requested:
            raise Over
        return tried

    def several(self, candidates: Iterable[Candidate], *, thorough: bool = False) -> Iterator[TriedCandidate]:
        """Side by side; those that an interruption cut say nothing, and are left out."""
        trials = {(trial := self.trial(item, thorough=thorough)).trial_id: (trial, item) for item in candidates}
        for tried in scheduler.run_all(
            tuple(trial for trial, _ in trials.values()),
            lambda trial: self._perform(trial, trials[trial.trial_id][1], thorough=thorough),
            jobs=self.side_by_side,
            interrupted=lambda: self._interruption.requested,
            on_interrupt=lambda: None,
            lost=lambda trial, error: _unclear(trials[trial.trial_id][1], f"the trial was lost: {error}"),
        ):
            if not self._interruption.requested:
                yield tried

    def trial(self, candidate: Candidate, *, thorough: bool) -> Trial:
        """The stop of a candidate; unless `thorough`, with a stop timeout that shows sooner what hangs."""
        changed = scenario_of(candidate, self._scenario)
        timeout_ns = candidate.stop_timeout_ns
        if not thorough and self.drain_ns is not None and not changed.stop.own_timeouts:
            timeout_ns = min(timeout_ns, _soon_ns(candidate, max(self.drain_ns, self._known_slow_ns(candidate))))
            changed = replace(changed, stop=replace(changed.stop, timeouts_ns=(timeout_ns,)))
        trial_id = f"{self._scenario.name}/explore/{next(self._numbers)}"
        return Trial(trial_id, changed, timeout_ns, changed.stop.after_ns[0], 1)

    def _perform(self, trial: Trial, candidate: Candidate, *, thorough: bool) -> TriedCandidate:
        engine = engine_of(self._engine, trial.scenario)
        seen = perform.perform(trial, engine, self._interruption, start_slot=self._starts)
        if thorough and not self._interruption.requested:
            self.thorough.append((candidate, seen))
        found = tried(perform_trials.judged(seen, trial.scenario), candidate, thorough=thorough)
        if thorough and found.fate is Fate.FINE:
            parts = parts_of(candidate)
            self._slow[parts] = max(found.took_ns or 0, self._slow.get(parts, 0))
        return found

    def _known_slow_ns(self, candidate: Candidate) -> int:
        """How long a stop took that was fine, under some of what disturbs this one: nothing that is slow is to be taken
        for hung again and again."""
        parts = parts_of(candidate)
        return max((took_ns for slow, took_ns in tuple(self._slow.items()) if slow <= parts), default=0)


def _soon_ns(candidate: Candidate, drain_ns: int) -> int:
    """Long enough for a stop that is as it should be under what disturbs it, in whole seconds."""
    needed_ns = max(space.BREATH_NS, 2 * drain_ns + NS_PER_S)
    needed_ns += sum(fault.for_ns or 0 for fault in candidate.faults)
    needed_ns += SLOW_NS if any(fault.kind in SLOWED_BY for fault in candidate.faults) else 0
    return -(-needed_ns // NS_PER_S) * NS_PER_S


def tried(result: TrialResult, candidate: Candidate, *, thorough: bool) -> TriedCandidate:
    """What a judged stop says about its candidate."""
    verdict, seen = result.verdict, result.observation
    cause = f"; {verdict.cause.evidence}" if verdict.cause is not None and verdict.cause.id != "unknown" else ""
    lost = len(lost_requests(seen.traffic)) + len(seen.record.lost_processes or ())
    broken = (finding.message for finding in verdict.findings if finding.rule == "property-failed")
    return TriedCandidate(
        candidate,
        _fate(result),
        verdict.outcome,
        f"{verdict.reason}{cause}",
        verdict.facts.shutdown_duration_ns,
        lost,
        _absent(seen),
        seen.record.stop_signal,
        thorough,
        next(broken, None),
    )


def _absent(seen: Observation) -> frozenset[Part]:
    """Clients without a connection at the stop, and faults that could not be made."""
    missing = seen.traffic.missing if seen.traffic is not None else ()
    clients = (part_of_client(TrafficClient(item.kind, item.port)) for item in missing if item.held)
    faults = (part_of_fault(record.fault) for record in seen.faults if record.begun_ns is None and record.problem)
    return frozenset((*clients, *faults))


def _fate(result: TrialResult) -> Fate:
    verdict, seen = result.verdict, result.observation
    missed = [record for record in seen.faults if record.begun_ns is None]
    if missed and seen.problem is None and all(record.fault.moment.when is not When.BEFORE for record in missed):
        return Fate.PASSED_BY
    if verdict.cause is not None and verdict.cause.id in faults.BY_FAULT:
        return Fate.UNCLEAR
    if _could_not_write_and_said_so(result):
        return Fate.FINE
    if verdict.status is Status.FAIL and verdict.outcome not in {Outcome.NOT_RUNNING, Outcome.INCONCLUSIVE}:
        return Fate.BAD
    return Fate.FINE if verdict.status is Status.PASS else Fate.UNCLEAR


def _could_not_write_and_said_so(result: TrialResult) -> bool:
    """Whether it left by itself with an exit code of its own while one of its mounts was read-only. Room can be taken
    beforehand, so that a full disk does no harm; against this there is nothing that a program could do but say so."""
    seen, verdict = result.observation, result.verdict
    read_only = any(item.fault.action is FaultAction.READ_ONLY and item.begun_ns is not None for item in seen.faults)
    by_itself = seen.record.exit_signal is None and 0 < (seen.record.exit_code or 0) < SIGNALLED
    return read_only and by_itself and verdict.outcome is Outcome.CRASHED


def _unclear(candidate: Candidate, reason: str) -> TriedCandidate:
    return TriedCandidate(candidate, Fate.UNCLEAR, Outcome.INCONCLUSIVE, reason)
