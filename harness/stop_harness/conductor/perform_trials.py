"""The plan's trials, side by side, each judged as it ends; and the trials of remedies, with the same limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from stop_harness.conductor import crash_report, loading
from stop_harness.conductor.request import Listener, RunRequest
from stop_harness.conductor.routing import engine_of
from stop_harness.engines.interface import Engine, RunningSubject
from stop_harness.model import Observation, Plan, Problem, ProblemKind, RunInfo, Scenario, Status, Trial, TrialResult
from stop_harness.plan import trials as plan
from stop_harness.trial import perform, scheduler, surroundings

if TYPE_CHECKING:
    from stop_harness.experiments import remedy_search
    from stop_harness.report import claims


NOTHING_TO_KEEP = "nothing is left on this engine that --keep could keep; the report has its log and its processes"


def results_of(
    request: RunRequest,
    planned: Plan,
    engine: Engine,
    listener: Listener,
    interruption: perform.Interruption,
    *,
    run: RunInfo,
) -> Iterator[TrialResult]:
    """The plan's trials, and then repetitions of them until it is certain enough, if that was asked for.

    Of a run that is resumed those that it lacks. `run` has the waivers: a failure that they let pass is no reason for
    `--fail-fast` to end it.
    """
    failed = threading.Event()
    ends_it = _first_failure(request, run)
    sure = _until_sure(request, planned, listener) if request.until_sure else None
    for result in request.resumption.results if request.resumption else ():
        if ends_it(result):
            return
        if sure is not None:
            sure.count(result)
    yield from _derivable(request, planned)
    batch = missing(request, planned)
    work = _worker(request, len(batch.trials), engine, listener, interruption)
    in_time = _stopwatch(request.max_time_ns)
    trials = iter(batch.trials)
    while True:
        room = scheduler.room_for(engine.info(), batch.trials)
        jobs = scheduler.parse_jobs(request.jobs, len(batch.trials), room)
        if room.stops_at_once is not None and min(jobs, len(batch.trials)) > room.stops_at_once:
            text = f"this engine performs {room.stops_at_once} stops at a time: of more trials at once many come late"
            listener.note(f"{text}; --jobs auto keeps below it")
        listener.planned(batch, jobs, engine)
        for results in scheduler.run_all(
            trials,
            work,
            jobs=jobs,
            interrupted=lambda: interruption.requested or failed.is_set(),
            on_interrupt=lambda: _end_running(interruption, request),
            lost=lambda item, error: (_lost(item, engine, error),),
            note=listener.note,
            weight=scheduler.weight_on(engine.info()),
        ):
            for result in results:
                if ends_it(result):
                    failed.set()
                if sure is not None:
                    sure.count(result)
                yield result
        batch = Plan(sure.next_trials() if sure is not None and in_time() else ())
        if not batch.trials or interruption.requested or failed.is_set():
            return
        trials = (item for item in batch.trials if in_time() and sure is not None and sure.is_worth(item))


def _first_failure(request: RunRequest, run: RunInfo) -> Callable[[TrialResult], bool]:
    """Whether a result ends the run."""
    scenarios = {item.name: item for item in request.scenarios}

    def ends_it(result: TrialResult) -> bool:
        if not request.fail_fast or result.verdict.status is not Status.FAIL:
            return False
        from stop_harness.verdict import waivers  # late, as the judge

        scenario = scenarios[result.observation.scenario]
        return not waivers.lets_pass(result, scenario, run.waivers, run.started_at[:10])

    return ends_it


def missing(request: RunRequest, planned: Plan) -> Plan:
    """What is left of a plan; all of it unless the run is resumed."""
    done = request.resumption.done if request.resumption else frozenset()
    return replace(planned, trials=tuple(item for item in planned.trials if item.trial_id not in done))


def _derivable(request: RunRequest, planned: Plan) -> Iterator[TrialResult]:
    """What follows from a stop that stands, and was not written any more when the run ended."""
    if request.resumption is None:
        return
    stands = {result.observation.trial_id: result.observation for result in request.resumption.results}
    for item in planned.trials:
        if item.trial_id in stands:
            for seen in _derived(item, stands[item.trial_id]):
                if seen.trial_id not in stands:
                    yield judged(seen, item.scenario)


def _worker(
    request: RunRequest, trials: int, engine: Engine, listener: Listener, interruption: perform.Interruption
) -> Callable[[Trial], tuple[TrialResult, ...]]:
    """Performs a trial; gives its result, and behind it those that are derived from it."""
    slots = scheduler.MAX_JOBS if engine.info().remote else scheduler.start_slots()
    starts = scheduler.StartSlots(
        slots,
        trials,
        beside_first=loading.verdicts,
        after_last=loading.plots if request.report_dir else lambda: None,
    )

    def work(item: Trial) -> tuple[TrialResult, ...]:
        def kept(seen: Observation, subject: RunningSubject) -> bool:
            if item.scenario.subject.container is not None and interruption.requested:
                listener.note(f"{subject.keep()}")
            if not request.keep or interruption.requested:
                return False
            if judged(seen, item.scenario).verdict.status is Status.PASS:
                return False
            said = subject.keep()
            listener.note(f"{item.trial_id}: {said or NOTHING_TO_KEEP}")
            return said is not None

        seen = perform.perform(
            item,
            engine_of(engine, item.scenario),
            interruption,
            start_slot=starts,
            step=listener.step,
            kept=kept,
            fast=request.fast,
        )
        if (
            seen.problem is not None
            and seen.problem.kind is ProblemKind.ENGINE_FAILED
            and surroundings.says_shortage(seen.problem.message)
        ):
            raise surroundings.Shortage(seen.problem.message)
        return tuple(judged(each, item.scenario) for each in (seen, *_derived(item, seen)))

    return work


def _lost(item: Trial, engine: Engine, error: Exception) -> TrialResult:
    """A trial that the harness itself did not get to its end; the others go on."""
    if isinstance(error, scheduler.GaveUp):
        problem = Problem(ProblemKind.INTERRUPTED, f"the run was interrupted before this trial ended, and {error}")
    elif surroundings.is_shortage(error):
        text = f"the machine gave the harness too little even for one trial at a time: {error}"
        problem = Problem(ProblemKind.HARNESS_FAILED, text)
    else:
        problem = Problem(ProblemKind.HARNESS_FAILED, f"a fault of the harness: {crash_report.note(error)}")
    seen = perform.not_performed(item, engine_of(engine, item.scenario), problem)
    return judged(seen, item.scenario)


def judged(seen: Observation, scenario: Scenario) -> TrialResult:
    """With its verdict. The judge is imported late, beside the first start."""
    from stop_harness.verdict import judge

    return TrialResult(seen, judge.judge(seen, scenario))


def _until_sure(request: RunRequest, planned: Plan, listener: Listener) -> claims.UntilSure:
    """The count of what is missing, announced."""
    from stop_harness.report import claims

    done = request.resumption.done if request.resumption else frozenset()
    sure = claims.UntilSure(planned.trials, request.goal, request.max_repeat, done)
    if sure.places:
        text = (
            f"until sure: {sure.stops_needed:,} stops without a failure are needed, {sure.max_repeat:,} are the limit"
        )
        listener.note(text + ("" if sure.max_repeat >= sure.stops_needed else ": too few to be sure"))
    else:
        listener.note("until sure: nothing is repeated, for no stop timeout of the plan expects a graceful stop")
    return sure


def _stopwatch(limit_ns: int | None) -> Callable[[], bool]:
    """Whether the time since now is still within the limit; None: it always is."""
    began_ns = time.monotonic_ns()
    return lambda: limit_ns is None or time.monotonic_ns() - began_ns < limit_ns


def _derived(item: Trial, seen: Observation) -> Iterator[Observation]:
    """What a performed stop tells about its shorter timeouts."""
    if not item.shorter_timeouts_ns:
        return
    from stop_harness.evidence import inference

    for timeout_ns in item.shorter_timeouts_ns:
        trial_id = plan.trial_id(item.scenario.name, timeout_ns, item.stop_after_ns, item.repetition)
        yield inference.derive(seen, timeout_ns, trial_id)


def search(
    request: RunRequest, engine: Engine, listener: Listener, interruption: perform.Interruption
) -> remedy_search.Search:
    """Remedies are tried as trials are run, with the same limits."""
    from stop_harness.experiments import remedy_search

    starts = threading.BoundedSemaphore(scheduler.start_slots())
    return remedy_search.Search(
        engine=engine,
        perform=lambda item: perform.perform(
            item, engine, interruption, start_slot=starts, step=listener.step, fast=request.fast
        ),
        jobs=scheduler.parse_jobs(request.jobs, scheduler.MAX_JOBS, scheduler.room_for(engine.info(), ())),
        note=listener.note,
        interrupted=lambda: interruption.requested,
        on_interrupt=lambda: _end_running(interruption, request),
        lost=lambda item, error: _lost(item, engine, error).observation,
    )


def _end_running(interruption: perform.Interruption, request: RunRequest) -> None:
    interruption.end_trials()
    if request.report_dir:
        loading.plots()  # while the engine is waited for, which may hang; half of what the report takes
    interruption.abort_running()
