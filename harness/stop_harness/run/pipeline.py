"""The conductor: choose an engine, plan, prepare, run trials, judge, report. No printing, no options, no policy."""

from __future__ import annotations

import os
import platform
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from stop_harness import wording
from stop_harness._version import VERSION
from stop_harness.engines.interface import Engine
from stop_harness.errors import StopHarnessError, StoreError, SurroundingsError, UsageError
from stop_harness.evidence import forecast
from stop_harness.model import NS_PER_S, Plan, RemedyTrial, Report, RunInfo, Status, StoredRun, TrialResult, Verdict
from stop_harness.plan import running_time
from stop_harness.report import build, redaction
from stop_harness.run import crash_report, digest_key, perform_trials, ready_engine, store, write_report
from stop_harness.run import open_engine as selection
from stop_harness.run.recorder import Recorder
from stop_harness.run.request import Listener, RunOutcome, RunRequest
from stop_harness.trial import perform, reference, scheduler
from stop_harness.verdict import judge as verdict
from stop_harness.wording import count_of

if TYPE_CHECKING:
    from stop_harness.experiments import start_window


def run(
    request: RunRequest,
    listener: Listener,
    interruption: perform.Interruption,
    open_engine: Callable[[str, str], selection.Chosen] | None = None,
) -> RunOutcome:
    """Do a whole run. `open_engine` (name, run id) replaces the choice of an engine, for tests.

    Raises the errors of `stop_harness.errors` for what keeps a run from starting; from the first trial on, everything
    that happens is in the report.
    """
    run_id = new_run_id()
    # Read before anything starts: a mistake shows at once, and `latest` still names the run before.
    baseline = report_of(store.read(request.baseline)[0]) if request.baseline else None
    directory = _directory(request)
    hidden = _redaction(request, listener)
    opener = open_engine or ready_engine.opener(request)
    try:
        engine, planned = ready_engine.ready(request, run_id, listener, opener)
    except BaseException:
        if directory is not None:
            directory.unlock()
            directory.remove_if_empty()
        raise
    resumed = request.resumption
    stored = _begun(request, run_id, engine, planned, hidden)
    results: list[TrialResult] = [*resumed.results] if resumed else []
    performed = [*results]  # with values: what is tried as a remedy must be what was run
    tried: list[RemedyTrial] = [*resumed.remedies] if resumed else []
    recorder = Recorder(directory, listener.note)
    try:
        if directory is not None and stored.run.reference is None:  # without a record nobody would see it
            stored = replace(stored, run=replace(stored.run, reference=reference.measure(engine)))
        recorder.begin(_run_file(stored, request), (*results, *tried))
        for raw in perform_trials.results_of(request, planned, engine, listener, interruption):
            performed.append(raw)
            result = _shown(raw, hidden)
            recorder.append(result)
            results.append(result)
            listener.ended(result)
        if request.try_fixes and not interruption.requested:
            from stop_harness.experiments import remedy_search

            search = perform_trials.search(request, engine, listener, interruption)
            for raw_attempt in remedy_search.run(tuple(performed), request.scenarios, search, tuple(tried)):
                attempt = hidden.remedy(raw_attempt)
                recorder.append(attempt)
                tried.append(attempt)
    finally:
        left_behind, not_closed = _close(engine, listener, interruption)
    finished = replace(stored.run, finished_at=_now(), interrupted=interruption.by_user)
    stored = replace(
        stored,
        run=finished,
        observations=tuple(result.observation for result in results),
        remedies=tuple(tried),
        trials_planned=max(stored.trials_planned, len(results)),  # repetitions until sure are planned as they come
    )
    problems = not_closed + recorder.finish(_run_file(stored, request))
    built = compared(_built(stored, tuple(results), directory), baseline)
    if directory is not None:
        problems += write_report.write(built, directory)
        if (without := write_report.without_plots()) is not None:
            listener.note(without)
        directory.mark_latest()
        directory.unlock()
    problems += write_report.write_elsewhere(built, request.junitxml, request.sarif, shared=request.share_report)
    return RunOutcome(built, directory.path if directory else None, left_behind, problems)


def forecast_stop(
    request: RunRequest,
    listener: Listener,
    interruption: perform.Interruption,
    open_engine: Callable[[str, str], selection.Chosen] | None = None,
) -> forecast.Forecast:
    """What the process table says will become of the first scenario's stop, without stopping anything.

    The subject is started, made ready, looked at and removed. Raises the errors of `stop_harness.errors`.
    """
    _refuse_tasks(request, "--predict")
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

    _refuse_tasks(request, "--sweep-start")
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
        if seen.derived_from is None:
            lengths.append((seen.started_at, waits_ns[seen.scenario] + seen.stop_after_ns + (duration_ns or 0)))
    wall_s = store.elapsed_s(stored.run)
    return running_time.Experience(
        {key: sorted(values)[len(values) // 2] for key, values in stops.items()},
        stored.run.reference,
        lengths_ns=tuple(length_ns for _, length_ns in sorted(lengths)),
        wall_ns=None if wall_s is None else round(wall_s * NS_PER_S),
    )


def judge(stored: StoredRun) -> tuple[Verdict, ...]:
    """Today's verdicts on a stored run."""
    scenarios = {item.name: item for item in stored.scenarios}
    return tuple(verdict.judge(seen, scenarios[seen.scenario]) for seen in stored.observations)


def report_of(stored: StoredRun) -> Report:
    """A stored run, judged by today's rules, as a report."""
    return build.build(stored, judge(stored))


def compared(built: Report, baseline: Report | None) -> Report:
    """The report with what changed since the baseline, if there is one."""
    if baseline is None:
        return built
    from stop_harness.report import trend

    return replace(built, comparison=trend.compare(baseline, built))


def write_stored(stored: StoredRun, built: Report, directory: store.RunDirectory) -> None:
    """A merged run as a run directory of its own, so that it can be judged and reported again."""
    directory.write_run(_run_file(stored))
    for result in built.results:
        directory.append(result)
    for tried in stored.remedies:
        directory.append(tried)


def new_run_id() -> str:
    """Unique, and readable in `docker ps --filter label=…`."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


# ── stages ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _directory(request: RunRequest) -> store.RunDirectory | None:
    """Locked, with the part of a resumed run that stands."""
    if request.report_dir is None:
        return None
    if request.resumption is None:
        directory = store.RunDirectory.create(request.report_dir, request.name, shared=request.share_report)
        directory.lock()
        return directory
    directory = store.RunDirectory(request.resumption.directory)
    directory.lock()
    directory.keep_only(request.resumption.results, request.resumption.remedies)
    return directory


def _begun(request: RunRequest, run_id: str, engine: Engine, planned: Plan, hidden: redaction.Redaction) -> StoredRun:
    """The run as it is recorded before its first trial; of a resumed one what was recorded then."""
    if request.resumption is not None:
        stored = request.resumption.stored
        resumed_at = (*stored.run.resumed_at, _now())
        return replace(stored, run=replace(stored.run, finished_at=None, interrupted=False, resumed_at=resumed_at))
    info = replace(
        _run_info(request, run_id, engine),
        command_line=hidden.command_line(request.command_line),
        digest_key=hidden.key_id,
    )
    scenarios = tuple(hidden.scenario(item.name) for item in request.scenarios)
    return StoredRun(info, scenarios, (), planned.count, planned.skipped)


def _redaction(request: RunRequest, listener: Listener) -> redaction.Redaction:
    """What hides values; says so where their digests will compare with no other run's."""
    if request.show_values or not any(map(redaction.has_values, request.scenarios)):
        return redaction.Redaction(None, request.scenarios)
    key, trouble = digest_key.read_or_make(digest_key.path())
    if trouble is not None:
        listener.note(f"values of this run cannot be compared with those of others: {trouble}")
    return redaction.Redaction(key, request.scenarios)


def _shown(raw: TrialResult, hidden: redaction.Redaction) -> TrialResult:
    """A result without values, judged as the record will be that is written."""
    seen = hidden.observation(raw.observation)
    return TrialResult(seen, verdict.judge(seen, hidden.scenario(seen.scenario)))


def _built(stored: StoredRun, results: tuple[TrialResult, ...], directory: store.RunDirectory | None) -> Report:
    """The report. Raises SurroundingsError, with what the trials came to, where the machine does not let it be made."""
    try:
        return build.build(stored, tuple(result.verdict for result in results))
    except (MemoryError, OSError) as error:
        counts = Counter(result.verdict.status for result in results)
        said = ", ".join(f"{counts[status]} {status}" for status in Status)
        where = f"; `stop-harness report {directory.path}` makes it from the journal" if directory else ""
        text = f"{count_of(len(results), 'trial')}: {said}, but the report could not be made: {error}{where}"
        raise SurroundingsError(text) from None


def _close(
    engine: Engine, listener: Listener, interruption: perform.Interruption
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Clean up, and say what could not be; whatever the engine says to its end, the run is reported.

    Gives what is left on the engine, and what went wrong otherwise, in sentences.
    """
    try:
        left_behind = ready_engine.close(engine, lambda: interruption.by_user)
    except StopHarnessError as error:
        return (), (f"the engine was not left clean: {error}",)
    except Exception as error:  # noqa: BLE001 - a fault of the clean-up must not cost the results
        return (), (f"the engine was not left clean: {crash_report.note(error)}",)
    if left_behind:
        listener.note(wording.left_behind_sentence(left_behind))
    return left_behind, ()


def _refuse_tasks(request: RunRequest, option: str) -> None:
    if any(item.subject.task is not None for item in request.scenarios):
        raise UsageError(f"{option} looks at one container, not at a task definition; check its images one by one")


def _run_file(stored: StoredRun, request: RunRequest | None = None) -> store.RunFile:
    options = request.options if request else None
    return store.RunFile(
        store.FORMAT_VERSION, stored.run, stored.scenarios, stored.trials_planned, stored.skipped, options
    )


def _run_info(request: RunRequest, run_id: str, engine: Engine) -> RunInfo:
    return RunInfo(
        run_id=run_id,
        name=request.name,
        started_at=_now(),
        engine=engine.info(),
        harness_version=VERSION,
        machine=f"{platform.system()} {platform.release()} {platform.machine()}, Python {platform.python_version()}",
        cpu_count=os.cpu_count() or 1,
        command_line=request.command_line,
        shard=str(request.shard) if request.shard else None,
        goal=request.goal,
        until_sure=request.until_sure,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
