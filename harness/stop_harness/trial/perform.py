"""One stop of one fresh container: the only place that orders its steps. Always cleans up."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol

from stop_harness.engines.interface import Engine, EngineRecord, RunningSubject, SubjectFailed
from stop_harness.engines.looks import StopLooks, written_since
from stop_harness.errors import EngineError
from stop_harness.evidence import answer_ends, forecast
from stop_harness.evidence.lost_processes import first_names
from stop_harness.model import (
    MOST_FATES,
    MOST_NAMES,
    NS_PER_S,
    UNREADABLE_LOG,
    Derivation,
    LogTail,
    Looks,
    Observation,
    Problem,
    ProblemKind,
    ReadyBasis,
    StopRecord,
    TaskRecord,
    Trial,
)
from stop_harness.trial import handler_ready, image_ready, properties
from stop_harness.trial.absent import NoFaults, NoTraffic

if TYPE_CHECKING:
    from stop_harness.trial import faults, traffic

Step = Callable[[Trial, str], None]
"""Called as (trial, step) when a step begins: starting, waiting, stopping, looking at what is left, removing."""


class Abortable(Protocol):
    """What waits for an engine, and can be made to return: a subject, or an engine that is starting some."""

    def abort(self) -> None:
        """Whatever waits returns or raises, soon. Called from another thread."""


class Interruption:
    """Ends trials in flight from outside: no new step begins, and blocked engine calls return."""

    def __init__(self) -> None:
        # No threading.Event: its lock is not reentrant, and a second signal may come while the first one sets it.
        self._requested = self._by_user = False
        self._lock = threading.Lock()
        self._running: Counter[Abortable] = Counter()

    @property
    def requested(self) -> bool:
        """Whether the trials were asked to end."""
        return self._requested

    @property
    def by_user(self) -> bool:
        """Whether it was the user who asked, not `--fail-fast`."""
        return self._by_user

    def request(self) -> None:
        """The user asks every trial to end. Safe in a signal handler, also in one within another: no I/O, no lock."""
        self._by_user = True
        self._requested = True

    def end_trials(self) -> None:
        """The run itself asks every trial to end."""
        self._requested = True

    def abort_running(self) -> None:
        """Make the engine calls of running trials return. Slow; not for a signal handler."""
        with self._lock:
            running = tuple(subject for subject, times in self._running.items() if times)
        threads = [threading.Thread(target=subject.abort, daemon=True) for subject in running]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=10)

    @contextlib.contextmanager
    def watching(self, subject: Abortable) -> Iterator[None]:
        """Register a subject, or an engine that is starting one, for `abort_running` while the block runs."""
        with self._lock:
            self._running[subject] += 1
        if self.requested:  # it came while the subject was started, and may have been looked for already
            subject.abort()
        try:
            yield
        finally:
            with self._lock:
                self._running[subject] -= 1


def perform(
    trial: Trial,
    engine: Engine,
    interruption: Interruption,
    *,
    start_slot: AbstractContextManager[object] | None = None,
    step: Step = lambda _trial, _step: None,
    kept: Callable[[Observation, RunningSubject], bool] = lambda _observation, _subject: False,
    fast: bool = False,
) -> Observation:
    """Start, make ready, stop, record, remove. `fast`: without the rest of a stop whose end is beyond doubt.

    `start_slot` is held while the container starts, so that starts do not crowd out measurements. `kept` sees the
    finished observation, and may leave its subject on the engine. One failure stays one trial: an engine that
    fails, a subject that does not start and a bug of ours are observations with a `problem`. Raises nothing.
    """

    def once(trial: Trial, kept: Callable[[Observation, RunningSubject], bool]) -> Observation:
        slot = start_slot or contextlib.nullcontext()
        return _perform(trial, engine, interruption, start_slot=slot, step=step, kept=kept, fast=fast)

    observation = once(trial, lambda seen, subject: image_ready.later(trial, seen) is None and kept(seen, subject))
    later = image_ready.later(trial, observation)
    return observation if later is None or interruption.requested else once(later, kept)


def _perform(
    trial: Trial,
    engine: Engine,
    interruption: Interruption,
    *,
    start_slot: AbstractContextManager[object],
    step: Step,
    kept: Callable[[Observation, RunningSubject], bool],
    fast: bool,
) -> Observation:
    """One container, from its start to its removal."""
    notes = _Notes(trial, engine)
    if interruption.requested:
        return notes.observation(problem=_interrupted())
    step(trial, "starting")
    subject: RunningSubject | None = None
    observation: Observation | None = None
    try:
        with start_slot, interruption.watching(engine):
            if interruption.requested:
                return notes.observation(problem=_interrupted())
            subject = engine.start(handler_ready.for_engine(trial))
            with interruption.watching(subject):
                subject.wait_started()
        with interruption.watching(subject):
            observation = _stop_and_record(trial, subject, notes, interruption, step, fast=fast)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong here must not end the other trials
        observation = notes.interrupted(subject) if interruption.requested else notes.failed(subject, error)
    finally:
        if subject is not None and not (observation is not None and kept(observation, subject)):
            container = trial.scenario.subject.container
            step(trial, "removing" if container is None else "starting again" if container.restart else "letting go")
            with contextlib.suppress(Exception):  # the engine looks for it again when it closes
                subject.remove()
    return observation


def not_performed(trial: Trial, engine: Engine, problem: Problem) -> Observation:
    """The record of a trial that never came to its end, for a reason that is not the subject's."""
    return _Notes(trial, engine).observation(problem=problem)


def forecast_stop(trial: Trial, engine: Engine, interruption: Interruption) -> forecast.Forecast:
    """Start, make ready, look once, remove. What does not get ready cannot be foreseen. Raises EngineError."""
    subject: RunningSubject | None = None
    try:
        subject = engine.start(handler_ready.for_engine(trial))
        with interruption.watching(subject):
            subject.wait_started()
            _make_ready(trial, subject)
            _prepare(trial, subject)
            return forecast.forecast(*subject.foreseen())
    except SubjectFailed as failure:
        return forecast.Forecast(forecast.Expected.UNKNOWN, str(failure))
    finally:
        if subject is not None:
            subject.remove()


def _stop_and_record(
    trial: Trial, subject: RunningSubject, notes: _Notes, interruption: Interruption, step: Step, *, fast: bool
) -> Observation:
    faults = _faults(trial, subject)
    try:
        faults.hold()
        return _with_faults(trial, subject, notes, interruption, step, faults=faults, fast=fast)
    finally:
        faults.end()


def _with_faults(
    trial: Trial,
    subject: RunningSubject,
    notes: _Notes,
    interruption: Interruption,
    step: Step,
    *,
    faults: faults.Faults | NoFaults,
    fast: bool,
) -> Observation:
    step(trial, "waiting until ready")
    ready = _make_ready(trial, subject)
    _prepare(trial, subject)
    subject.sleep(trial.stop_after_ns)
    running = subject.is_running()
    fast = fast and not properties.expected(trial)  # what a stop leaves behind shows at its own end only
    flow = _flow(trial, subject, interruption)
    # Faults may halt what would else exit, for a time: then the looks prove nothing.
    looks = StopLooks(subject, trial.stop_timeout_ns, fast=fast and not trial.scenario.faults)
    log_before, stopped_ns = LogTail(), time.monotonic_ns()
    if running and not interruption.requested:
        try:
            faults.begin_early(flow.lead_ns)
            flow.begin()
            looks.before = subject.processes()
            flow.wait_lead()
            flow.deregister()
            log_before = _logs(subject)  # last, or what is written in the meantime would count as written after it
            flow.wait_stop_delay()
            faults.ready()
            step(trial, "stopping")
            faults.mark_stop()
            flow.mark_stop()
            looks.begin()
            subject.stop(trial.stop_timeout_ns)
        finally:
            stopped_ns = time.monotonic_ns()
            faults.end()
            looks.end()
            flow.end()
    if interruption.requested:
        return notes.observation(subject, problem=_interrupted())
    observation = notes.observation(subject, subject.record(), was_running=running)
    seen = replace(_seen(observation, log_before if running else None, faults, looks, flow), ready=ready)
    seen = replace(seen, traffic=answer_ends.with_known_ends(seen))
    if properties.expected(trial):
        step(trial, "looking at what is left")
    look = partial(properties.check, make_ready=partial(_make_ready, trial), give_back=faults.give_back)
    look = partial(look, given_up=lambda: interruption.requested)
    found = look(trial, subject, seen, stopped_ns=stopped_ns, acknowledged=flow.acknowledged)
    if found and interruption.requested:
        return notes.observation(subject, problem=_interrupted())
    return replace(seen, properties=found)


def _seen(
    observation: Observation,
    log_before: LogTail | None,
    faults: faults.Faults | NoFaults,
    looks: StopLooks,
    flow: traffic.Flow | NoTraffic,
) -> Observation:
    """With what was made and looked at beside the stop. `log_before`: the log until then; None: nothing ran by then."""
    logs = observation.looks.logs
    since = written_since(log_before, logs) if log_before is not None else None
    record, made = faults.records(observation.record)
    return replace(
        observation,
        record=record,
        faults=made,
        looks=Looks(looks.before, looks.second, looks.late, since, logs, looks.at_timeout),
        traffic=flow.record(),
        derivation=Derivation(cut_short=looks.cut_short),
    )


def _make_ready(trial: Trial, subject: RunningSubject) -> ReadyBasis:
    """Wait until it is ready, by what the scenario says, else by what is declared. Raises SubjectFailed."""
    began_ns = time.monotonic_ns()
    implied = image_ready.wait(trial, subject) if trial.scenario.readiness.implied else None
    subject.wait_ready()
    handler_ready.wait(trial, subject)
    return implied or image_ready.after(began_ns)


def _prepare(trial: Trial, subject: RunningSubject) -> None:
    """The scenario's steps between readiness and the stop. Raises SubjectFailed if one does not succeed."""
    for preparation in trial.scenario.before_stop:
        timeout_ns = preparation.timeout_ns
        if timeout_ns is None:
            timeout_ns = trial.scenario.readiness.timeout_ns
        if preparation.execute is not None:
            code = subject.execute(preparation.execute, timeout_ns)
            if code != 0:
                how = f"exited with code {code}"
                if code is None:
                    how = f"had not ended after {timeout_ns / NS_PER_S:g} s; give it more with `timeout` in its step"
                text = f"`{' '.join(preparation.execute)}` before the stop {how}"
                raise SubjectFailed(Problem(ProblemKind.NOT_READY, text))
        if preparation.log is not None:
            subject.wait_log(preparation.log, timeout_ns)


def _flow(trial: Trial, subject: RunningSubject, interruption: Interruption) -> traffic.Flow | NoTraffic:
    """The trial's clients. Without any, what they are made of is not loaded: a tenth of the start-up."""
    if not trial.scenario.traffic:
        return NoTraffic()
    from stop_harness.trial import traffic

    balancer = trial.scenario.load_balancer
    return traffic.Flow(trial.scenario.traffic, subject, balancer, given_up=lambda: interruption.requested)


def _faults(trial: Trial, subject: RunningSubject) -> faults.Faults | NoFaults:
    """Those of the trial; most have none, and then nothing of them is loaded."""
    if not trial.scenario.faults:
        return NoFaults()
    from stop_harness.trial import faults

    return faults.Faults(trial.scenario.faults, subject, trial.stop_timeout_ns)


class _Notes:
    """What is known of a trial before and beside the engine's record."""

    def __init__(self, trial: Trial, engine: Engine) -> None:
        self._trial, self._engine = trial, engine.info()
        self._started_at = datetime.now(UTC).isoformat(timespec="milliseconds")

    def failed(self, subject: RunningSubject | None, error: Exception) -> Observation:
        """The subject did not get as far as being stopped, the engine failed, or we did."""
        if isinstance(error, SubjectFailed):
            gone = error.problem is None
            return self.observation(subject, problem=error.problem, exit_code=error.exit_code, was_running=not gone)
        text = str(error) if isinstance(error, EngineError) else f"the trial broke off: {_in_one_line(error)}"
        return self.observation(subject, problem=Problem(ProblemKind.ENGINE_FAILED, text))

    def interrupted(self, subject: RunningSubject | None) -> Observation:
        """The run was asked to end before this trial had."""
        return self.observation(subject, problem=_interrupted())

    def observation(
        self,
        subject: RunningSubject | None = None,
        record: EngineRecord | None = None,
        *,
        problem: Problem | None = None,
        exit_code: int | None = None,
        was_running: bool = True,
    ) -> Observation:
        """Everything known, put together."""
        trial, scenario = self._trial, self._trial.scenario
        engine_answers = problem is None or problem.kind not in {ProblemKind.ENGINE_FAILED, ProblemKind.INTERRUPTED}
        stop = record.stop if record else StopRecord(exit_code=exit_code)
        return Observation(
            trial_id=trial.trial_id,
            scenario=scenario.name,
            engine=self._engine,
            stop_timeout_ns=trial.stop_timeout_ns,
            stop_after_ns=trial.stop_after_ns,
            repetition=trial.repetition,
            started_at=self._started_at,
            record=replace(
                _in_order(_within_bounds(stop)),
                exited_before_stop=not was_running or stop.exited_before_stop,
                stop_signal=subject.stop_signal if subject else None,
                stop_signal_source=subject.stop_signal_source if subject else None,
            ),
            looks=Looks(logs=_logs(subject) if subject and engine_answers else LogTail()),
            task=_task_within_bounds(record.task) if record and record.task else None,
            problem=problem,
            load_average=os.getloadavg()[0],
            own_timeouts=scenario.stop.own_timeouts,
        )


def _task_within_bounds(task: TaskRecord) -> TaskRecord:
    return replace(
        task,
        containers=tuple(replace(item, record=_in_order(_within_bounds(item.record))) for item in task.containers),
    )


def _in_order(stop: StopRecord) -> StopRecord:
    return replace(stop, events=tuple(sorted(stop.events, key=lambda event: (event.clock, event.at_ns))))


def _within_bounds(stop: StopRecord) -> StopRecord:
    """With no more than `MOST_NAMES` processes named, however many an engine names."""
    stop = replace(stop, suspected_processes=first_names(stop.suspected_processes))
    if stop.fates is not None:
        count = len(stop.fates) if stop.fate_count is None else stop.fate_count
        stop = replace(stop, fates=stop.fates[:MOST_FATES], fate_count=count if count > MOST_FATES else None)
    if stop.lost_processes is None:
        return replace(stop, lost_process_count=None)
    count = len(stop.lost_processes) if stop.lost_process_count is None else stop.lost_process_count
    return replace(
        stop,
        lost_processes=first_names(stop.lost_processes),
        lost_process_count=count if count > MOST_NAMES else None,
    )


def _logs(subject: RunningSubject) -> LogTail:
    """For people; a trial is whole without it."""
    try:
        return subject.logs()
    except Exception as error:  # noqa: BLE001 - it may be called while another error is dealt with
        return LogTail(f"{UNREADABLE_LOG}: {_in_one_line(error)})", truncated=True)


def _in_one_line(error: Exception) -> str:
    """`KeyError: 'State'`."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _interrupted() -> Problem:
    return Problem(ProblemKind.INTERRUPTED, "the run was interrupted before this trial ended")
