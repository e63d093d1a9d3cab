"""The conductor: choose an engine, plan, prepare, run trials, judge, report. No printing, no options, no policy."""

from __future__ import annotations

import importlib
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from harness import (
    assurance,
    inference,
    plan,
    prediction,
    reference,
    remedy_search,
    report,
    scenario,
    scheduler,
    start_sweep,
    start_window,
    store,
    trend,
    trial,
    verdict,
    wall_time,
    wording,
)
from harness._version import VERSION
from harness.engines import selection
from harness.engines.interface import Engine
from harness.engines.routing import engine_of
from harness.errors import BaseImageMissing, ScenarioError, StoreError, UsageError
from harness.model import (
    DEFAULT_GOAL,
    NS_PER_S,
    Observation,
    Plan,
    ReferenceStop,
    ReliabilityGoal,
    RemedyTrial,
    Report,
    RunInfo,
    Scenario,
    SkippedScenario,
    Status,
    StoredRun,
    Trial,
    TrialResult,
    Verdict,
)

HTML_FILE = "report.html"
JUNIT_FILE = "junit.xml"
SARIF_FILE = "results.sarif"

RENDERERS_NEED = ("matplotlib.backends.backend_svg", "matplotlib.figure", "pandas")
"""What the reports of every run import late, for the plots and the tables."""


@dataclass(frozen=True)
class RunRequest:
    """What the command line asks for.

    `report_dir` None: nothing is written. `repeat` None: as each scenario says. `junitxml`, `sarif` None: only
    in the run directory. `until_sure`: repeat until `goal` is shown or out of reach, each stop at most `max_repeat`
    times (None: twice as often as is needed without a failure), and begin nothing more after `max_time_ns`.
    `baseline`: a run directory to compare with.
    """

    scenarios: tuple[Scenario, ...]
    name: str
    report_dir: Path | None
    engine: str = "auto"
    jobs: str = "auto"
    repeat: int | None = None
    shard: plan.Shard | None = None
    seed: int | None = None
    fail_fast: bool = False
    fast: bool = False
    infer: bool = False
    goal: ReliabilityGoal = DEFAULT_GOAL
    until_sure: bool = False
    max_repeat: int | None = None
    max_time_ns: int | None = None
    keep: bool = False
    try_fixes: bool = False
    junitxml: Path | None = None
    sarif: Path | None = None
    base_image: str | None = None
    cluster: selection.Cluster | None = None
    baseline: Path | None = None
    command_line: tuple[str, ...] = ()


class Listener(Protocol):
    """Hears what happens while it happens; the terminal is one. Called from several threads."""

    def note(self, text: str) -> None:
        """Something the user should know: a fallback, a kept container."""

    def preparing(self, what: str, state: str) -> None:
        """An image is pulled or built."""

    def planned(self, planned: Plan, jobs: int, engine: Engine) -> None:
        """Trials are about to begin; once a run, and again for each batch of repetitions until it is sure."""

    def step(self, running: Trial, step: str) -> None:
        """A trial begins a step."""

    def ended(self, result: TrialResult) -> None:
        """A trial is judged and in the journal."""


@dataclass(frozen=True)
class RunOutcome:
    """A finished run: what it says and where it lies (None: it was not to be written)."""

    report: Report
    directory: Path | None


def run(
    request: RunRequest,
    listener: Listener,
    interruption: trial.Interruption,
    open_engine: Callable[[str, str], selection.Chosen] | None = None,
) -> RunOutcome:
    """Do a whole run. `open_engine` (name, run id) replaces the choice of an engine, for tests.

    Raises the errors of `harness.errors` for what keeps a run from starting; from the first trial on, everything that
    happens is in the report.
    """
    run_id = new_run_id()
    # Read before anything starts: a mistake shows at once, and `latest` still names the run before.
    baseline = report_of(store.read(request.baseline)[0]) if request.baseline else None
    directory = store.RunDirectory.create(request.report_dir, request.name) if request.report_dir else None
    opener = open_engine or _opener(request)
    try:
        engine, planned = _ready_engine(request, run_id, listener, opener)
    except BaseException:
        if directory is not None:
            directory.remove_if_empty()
        raise
    stored = StoredRun(_run_info(request, run_id, engine), request.scenarios, (), planned.count, planned.skipped)
    results: list[TrialResult] = []
    tried: list[RemedyTrial] = []
    try:
        if directory is not None:  # without a record nobody would see it
            stored = replace(stored, run=replace(stored.run, reference=_reference(engine, listener)))
        _write_run_file(directory, stored)
        for result in _trial_results(request, planned, engine, listener, interruption):
            if directory is not None:
                directory.append(result)
            results.append(result)
            listener.ended(result)
        if request.try_fixes and not interruption.requested:
            for attempt in remedy_search.run(
                tuple(results), request.scenarios, _search(request, engine, listener, interruption)
            ):
                if directory is not None:
                    directory.append_remedy(attempt)
                tried.append(attempt)
    finally:
        engine.close()
    finished = replace(stored.run, finished_at=_now(), interrupted=interruption.by_user)
    stored = replace(
        stored,
        run=finished,
        observations=tuple(result.observation for result in results),
        remedies=tuple(tried),
        trials_planned=max(stored.trials_planned, len(results)),  # repetitions until sure are planned as they come
    )
    _write_run_file(directory, stored)
    built = report.build(stored, tuple(result.verdict for result in results))
    built = compared(built, baseline)
    if directory is not None:
        write_report(built, directory)
        directory.mark_latest()
    if request.junitxml is not None:
        write_junit(built, request.junitxml)
    if request.sarif is not None:
        write_sarif(built, request.sarif)
    return RunOutcome(built, directory.path if directory else None)


def predict(
    request: RunRequest,
    listener: Listener,
    interruption: trial.Interruption,
    open_engine: Callable[[str, str], selection.Chosen] | None = None,
) -> prediction.Forecast:
    """What the process table says will become of the first scenario's stop, without stopping anything.

    The subject is started, made ready, looked at and removed. Raises the errors of `harness.errors`.
    """
    _refuse_tasks(request, "--predict")
    opener = open_engine or _opener(request)
    engine, planned = _ready_engine(request, new_run_id(), listener, opener)
    try:
        for skipped in planned.skipped:
            return prediction.Forecast(prediction.Expected.UNKNOWN, skipped.reason)
        return trial.foresee(planned.trials[0], engine, interruption)
    finally:
        engine.close()


def sweep_start(request: RunRequest, listener: Listener, interruption: trial.Interruption) -> start_window.Sweep:
    """Stops of the first scenario from its creation on. Raises the errors of `harness.errors`."""
    _refuse_tasks(request, "--sweep-start")
    engine, planned = _ready_engine(request, new_run_id(), listener, _opener(request))
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


def plan_only(request: RunRequest) -> tuple[Plan, wall_time.Prediction]:
    """What would run and for how long, without asking any engine; by the latest run of `report_dir`, if any."""
    planned = _expand(request)
    jobs = scheduler.parse_jobs(request.jobs, len(planned.trials))
    return planned, wall_time.predict(
        planned, jobs=jobs, cpus=os.cpu_count() or 1, experience=_experience(request.report_dir)
    )


def _experience(report_dir: Path | None) -> wall_time.Experience:
    """What the latest run there showed; only how busy the machine is where none can be read."""
    nothing = wall_time.Experience(load=os.getloadavg()[0])
    if report_dir is None:
        return nothing
    try:
        stored, verdicts = store.read(report_dir / store.LATEST)
    except StoreError:
        return nothing
    waits_ns = {item.name: item.readiness.delay_ns for item in stored.scenarios}
    stops: dict[wall_time.StopKey, list[int]] = {}
    lengths = []
    for seen, judged in zip(stored.observations, verdicts, strict=True):
        duration_ns = judged.facts.shutdown_duration_ns
        if duration_ns is not None:
            stops.setdefault((seen.scenario, seen.stop_timeout_ns), []).append(duration_ns)
        if seen.derived_from is None:
            lengths.append((seen.started_at, waits_ns[seen.scenario] + seen.stop_after_ns + (duration_ns or 0)))
    wall_s = store.elapsed_s(stored.run)
    return wall_time.Experience(
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
    return report.build(stored, judge(stored))


def compared(built: Report, baseline: Report | None) -> Report:
    """The report with what changed since the baseline, if there is one."""
    return replace(built, comparison=trend.compare(baseline, built)) if baseline else built


def write_report(built: Report, directory: store.RunDirectory) -> None:
    """Every format into the run directory. Raises StoreError if it cannot be written."""
    from harness.renderers import csv_table, html, markdown, plots, results_json

    directory.write("results.json", results_json.render(built))
    write_junit(built, directory.path / JUNIT_FILE)
    write_sarif(built, directory.path / SARIF_FILE)
    directory.write("results.csv", csv_table.render(built))
    directory.write("summary.md", markdown.render(built))
    pictures = plots.render_all(built)
    for name, svg in pictures.items():
        directory.write(f"plots/{name}.svg", svg)
    directory.write(HTML_FILE, html.render(built, pictures))


def write_stored(stored: StoredRun, built: Report, directory: store.RunDirectory) -> None:
    """A merged run as a run directory of its own, so that it can be judged and reported again."""
    _write_run_file(directory, stored)
    for result in built.results:
        directory.append(result)
    for tried in stored.remedies:
        directory.append_remedy(tried)


def write_junit(built: Report, path: Path) -> None:
    """JUnit XML at a place of its own. Raises StoreError."""
    from harness.renderers import junit

    store.RunDirectory(path.parent).write(path.name, junit.render(built))


def write_sarif(built: Report, path: Path) -> None:
    """SARIF at a place of its own. Raises StoreError."""
    from harness.renderers import sarif

    store.RunDirectory(path.parent).write(path.name, sarif.render(built))


def new_run_id() -> str:
    """Unique, and readable in `docker ps --filter label=…`."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


# ── stages ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _opener(request: RunRequest) -> Callable[[str, str], selection.Chosen]:
    return lambda name, run_id: selection.open_engine(
        name, run_id, base_image=request.base_image, scenarios=request.scenarios, cluster=request.cluster
    )


def _ready_engine(
    request: RunRequest, run_id: str, listener: Listener, opener: Callable[[str, str], selection.Chosen]
) -> tuple[Engine, Plan]:
    """An engine with every image at hand, and the plan for it."""
    chosen = opener(request.engine, run_id)
    engine = chosen.engine
    if chosen.fallback_reason is not None:
        listener.note(_fallback_note(chosen.fallback_reason, engine))
    try:
        planned = _plan(request, engine)
        engine.prepare(_needed(planned), listener.preparing)
    except BaseImageMissing as missing:
        engine.close()
        if request.engine != "auto":
            raise
        engine = selection.fall_back(run_id)
        listener.note(_fallback_note(str(missing).splitlines()[0], engine))
        planned = _plan(request, engine)
        engine.prepare(_needed(planned), listener.preparing)
    except BaseException:
        engine.close()
        raise
    return engine, planned


def _fallback_note(reason: str, engine: Engine) -> str:
    info = engine.info()
    return f"no container engine ({reason}); using the embedded `process` engine: {'; '.join(info.caveats)}"


def _plan(request: RunRequest, engine: Engine) -> Plan:
    if engine.info().whole_seconds:
        _refuse_fractional_timeouts(request.scenarios)
    reasons = ((item.name, engine.cannot_run(item)) for item in request.scenarios)
    skipped = tuple(SkippedScenario(name, reason) for name, reason in reasons if reason is not None)
    return _expand(request, skipped)


def _expand(request: RunRequest, skipped: tuple[SkippedScenario, ...] = ()) -> Plan:
    return plan.expand(
        request.scenarios,
        skipped=skipped,
        repeat=request.repeat,
        shard=request.shard,
        seed=request.seed,
        infer=request.infer,
    )


def _refuse_tasks(request: RunRequest, option: str) -> None:
    if any(item.subject.task is not None for item in request.scenarios):
        raise UsageError(f"{option} looks at one container, not at a task definition; check its images one by one")


def _refuse_fractional_timeouts(scenarios: tuple[Scenario, ...]) -> None:
    problems = []
    for item in scenarios:
        problem = plan.whole_seconds_problem(item)
        if problem is None:
            continue
        where = f"scenario {item.name}"
        if item.source is not None and Path(item.source).is_file():
            where = scenario.location(Path(item.source).read_text(), item.source, ("stop", "timeouts"))
        problems.append(f"{where}: stop.timeouts: {problem}")
    if problems:
        raise ScenarioError(tuple(problems))


def _needed(planned: Plan) -> tuple[Scenario, ...]:
    """The scenarios of which at least one trial will run, in their own order of appearance."""
    return tuple({item.scenario.name: item.scenario for item in planned.trials}.values())


def _reference(engine: Engine, listener: Listener) -> ReferenceStop | None:
    measured = reference.measure(engine)
    if measured is not None:
        listener.note(wording.reference_sentence(measured))
    return measured


def _trial_results(
    request: RunRequest, planned: Plan, engine: Engine, listener: Listener, interruption: trial.Interruption
) -> Iterator[TrialResult]:
    """The plan's trials, and then repetitions of them until it is certain enough, if that was asked for."""
    failed = threading.Event()
    work = _worker(request, len(planned.trials), engine, listener, interruption)
    sure = _until_sure(request, planned, listener) if request.until_sure else None
    in_time = _stopwatch(request.max_time_ns)
    batch, trials = planned, iter(planned.trials)
    while True:
        room = scheduler.room_for(engine.info(), batch.trials)
        jobs = scheduler.parse_jobs(request.jobs, len(batch.trials), room)
        listener.planned(batch, jobs, engine)
        for results in scheduler.run_all(
            trials,
            work,
            jobs=jobs,
            interrupted=lambda: interruption.requested or failed.is_set(),
            on_interrupt=lambda: _end_running(interruption),
        ):
            for result in results:
                if request.fail_fast and result.verdict.status is Status.FAIL:
                    failed.set()
                if sure is not None:
                    sure.count(result)
                yield result
        batch = Plan(sure.next_trials() if sure is not None and in_time() else ())
        if not batch.trials or interruption.requested or failed.is_set():
            return
        trials = (item for item in batch.trials if in_time() and sure is not None and sure.is_worth(item))


def load_renderers() -> threading.Thread:
    """Beside the last stops, in a thread: what every report needs takes two seconds to import."""

    def load() -> None:
        for module in RENDERERS_NEED:
            importlib.import_module(module)

    thread = threading.Thread(target=load, name="load renderers", daemon=True)
    thread.start()
    return thread


def _worker(
    request: RunRequest, trials: int, engine: Engine, listener: Listener, interruption: trial.Interruption
) -> Callable[[Trial], tuple[TrialResult, ...]]:
    """Performs a trial; gives its result, and behind it those that are derived from it."""
    slots = scheduler.MAX_JOBS if engine.info().remote else scheduler.start_slots()
    starts = scheduler.StartSlots(slots, trials, load_renderers if request.report_dir else lambda: None)

    def work(item: Trial) -> tuple[TrialResult, ...]:
        def keep(seen: Observation) -> bool:
            passed = verdict.judge(seen, item.scenario).status is Status.PASS
            return request.keep and not passed and not interruption.requested

        seen = trial.perform(
            item,
            engine_of(engine, item.scenario),
            interruption,
            start_slot=starts,
            step=listener.step,
            keep_if=keep,
            fast=request.fast,
        )
        return tuple(TrialResult(each, verdict.judge(each, item.scenario)) for each in (seen, *_derived(item, seen)))

    return work


def _until_sure(request: RunRequest, planned: Plan, listener: Listener) -> assurance.UntilSure:
    """The count of what is missing, announced."""
    sure = assurance.UntilSure(planned.trials, request.goal, request.max_repeat)
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
    for timeout_ns in item.shorter_timeouts_ns:
        trial_id = plan.trial_id(item.scenario.name, timeout_ns, item.stop_after_ns, item.repetition)
        yield inference.derive(seen, timeout_ns, trial_id)


def _search(
    request: RunRequest, engine: Engine, listener: Listener, interruption: trial.Interruption
) -> remedy_search.Search:
    """Remedies are tried as trials are run, with the same limits."""
    starts = threading.BoundedSemaphore(scheduler.start_slots())
    return remedy_search.Search(
        engine=engine,
        perform=lambda item: trial.perform(
            item, engine, interruption, start_slot=starts, step=listener.step, fast=request.fast
        ),
        jobs=scheduler.parse_jobs(request.jobs, scheduler.MAX_JOBS, scheduler.room_for(engine.info(), ())),
        note=listener.note,
        interrupted=lambda: interruption.requested,
        on_interrupt=lambda: _end_running(interruption),
    )


def _end_running(interruption: trial.Interruption) -> None:
    interruption.end_trials()
    interruption.abort_running()


def _write_run_file(directory: store.RunDirectory | None, stored: StoredRun) -> None:
    if directory is not None:
        directory.write_run(
            store.RunFile(store.FORMAT_VERSION, stored.run, stored.scenarios, stored.trials_planned, stored.skipped)
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
