"""What can be said without a run: how long it will take, what a stop will come to, where a start loses its signal."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stop_harness.conductor import open_engine as selection
from stop_harness.conductor import ready_engine, store
from stop_harness.conductor.request import Listener, RunRequest, new_run_id
from stop_harness.errors import StoreError, UsageError
from stop_harness.evidence import forecast
from stop_harness.model import NS_PER_S, GroupKind, Plan, Role
from stop_harness.plan import running_time
from stop_harness.trial import perform, scheduler

if TYPE_CHECKING:
    from stop_harness.experiments import start_window


def forecast_stop(
    request: RunRequest,
    listener: Listener,
    interruption: perform.Interruption,
    open_engine: Callable[[str, str], selection.Chosen] | None = None,
) -> forecast.Forecast:
    """What the process table says will become of the first scenario's stop, without stopping anything.

    The subject is started, made ready, looked at and removed. Raises the errors of `stop_harness.errors`.
    """
    _refuse_others(request, "--predict")
    if any(item.subject.container is not None and item.subject.container.restart for item in request.scenarios):
        raise UsageError("--restart does not go with --predict, which stops nothing")
    opener = open_engine or ready_engine.opener(request)
    engine, planned = ready_engine.ready(request, new_run_id(), listener, opener)
    try:
        for skipped in planned.skipped:
            return forecast.Forecast(forecast.Expected.UNKNOWN, skipped.reason)
        return perform.forecast_stop(planned.trials[0], engine, interruption)
    finally:
        engine.close()


def sweep_start(request: RunRequest, listener: Listener, interruption: perform.Interruption) -> start_window.Sweep:
    """Stops of the first scenario from its creation on. Raises the errors of `stop_harness.errors`."""
    from stop_harness.experiments import start_sweep, start_window

    _refuse_others(request, "--sweep-start")
    if any(item.subject.container is not None for item in request.scenarios):
        raise UsageError("--sweep-start does not go with --container: it is about starts")
    engine, planned = ready_engine.ready(request, new_run_id(), listener, ready_engine.opener(request))
    try:
        for skipped in planned.skipped:
            raise UsageError(f"{skipped.scenario}: {skipped.reason}")
        # As many as may be starting at once: more would slow the very thing that is measured.
        auto = request.jobs == "auto"
        jobs = scheduler.start_slots() if auto else scheduler.parse_jobs(request.jobs, start_window.MAX_TRIALS)
        bench = start_sweep.Bench(engine, interruption, listener.note, jobs)
        return start_sweep.run(planned.trials[0].scenario, bench)
    finally:
        engine.close()


def plan_only(request: RunRequest) -> tuple[Plan, running_time.Estimate]:
    """What would run and for how long, without asking any engine; by the latest run of `report_dir`, if any."""
    planned = ready_engine.expand(request)
    jobs = scheduler.parse_jobs(request.jobs, len(planned.trials))
    return planned, running_time.estimate(
        planned, jobs=jobs, cpus=os.cpu_count() or 1, experience=_experience(request.report_dir)
    )


def _experience(report_dir: Path | None) -> running_time.Experience:
    """What the latest run there showed; only how busy the machine is where none can be read."""
    nothing = running_time.Experience(load=os.getloadavg()[0])
    if report_dir is None:
        return nothing
    try:
        stored, verdicts = store.read(report_dir / store.LATEST)
    except StoreError:
        return nothing
    waits_ns = {item.name: item.readiness.delay_ns for item in stored.scenarios}
    stops: dict[running_time.StopKey, list[int]] = {}
    lengths = []
    for seen, judged in zip(stored.observations, verdicts, strict=True):
        duration_ns = judged.facts.shutdown_duration_ns
        if duration_ns is not None:
            stops.setdefault((seen.scenario, seen.stop_timeout_ns), []).append(duration_ns)
        if seen.derivation.derived_from is None:
            lengths.append((seen.started_at, waits_ns[seen.scenario] + seen.stop_after_ns + (duration_ns or 0)))
    wall_s = store.elapsed_s(stored.run)
    return running_time.Experience(
        {key: sorted(values)[len(values) // 2] for key, values in stops.items()},
        stored.run.reference,
        lengths_ns=tuple(length_ns for _, length_ns in sorted(lengths)),
        wall_ns=None if wall_s is None else round(wall_s * NS_PER_S),
    )


def _refuse_others(request: RunRequest, option: str) -> None:
    if any(item.twin is not None for item in request.scenarios):
        raise UsageError(f"--faults does not go with {option}, which disturbs no stop")
    if any(item.subject.task is not None for item in request.scenarios):
        raise UsageError(f"{option} looks at one container, not at a task definition; check its images one by one")
    for group in (item.subject.group for item in request.scenarios if item.subject.group is not None):
        mains = [member.name for member in group.members if member.role is not Role.INIT]
        if group.stopped is None and len(mains) > 1:
            names = ", ".join(mains)
            what = "CONTAINER" if group.kind is GroupKind.POD else "SERVICE"
            raise UsageError(f"{option} looks at one container, not at a whole group; name one {what} of {names}")
