"""One stop of one fresh container: the only place that orders its steps. Always cleans up."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime

from harness import traffic
from harness.engines.interface import Engine, RunningSubject, StopRecord, SubjectFailed
from harness.errors import EngineError
from harness.model import LogTail, Observation, Problem, ProblemKind, ProcessInfo, Trial

SECOND_LOOK_S = 0.3
"""A handler that ends its process at once has done so by then; measured: 60 ms are enough on an idle machine."""

Step = Callable[[Trial, str], None]
"""Called as (trial, step) when a step begins: starting, waiting, stopping, removing."""


class Interruption:
    """Ends trials in flight from outside: no new step begins, and blocked engine calls return."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._by_user = threading.Event()
        self._lock = threading.Lock()
        self._running: set[RunningSubject] = set()

    @property
    def requested(self) -> bool:
        """Whether the trials were asked to end."""
        return self._requested.is_set()

    @property
    def by_user(self) -> bool:
        """Whether it was the user who asked, not `--fail-fast`."""
        return self._by_user.is_set()

    def request(self) -> None:
        """The user asks every trial to end. Safe in a signal handler: it does no I/O and never waits."""
        self._by_user.set()
        self._requested.set()

    def end_trials(self) -> None:
        """The run itself asks every trial to end."""
        self._requested.set()

    def abort_running(self) -> None:
        """Make the engine calls of running trials return. Slow; not for a signal handler."""
        with self._lock:
            running = tuple(self._running)
        threads = [threading.Thread(target=subject.abort, daemon=True) for subject in running]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=10)

    @contextlib.contextmanager
    def watching(self, subject: RunningSubject) -> Iterator[None]:
        """Register a subject for `abort_running` while the block runs."""
        with self._lock:
            self._running.add(subject)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(subject)


def perform(
    trial: Trial,
    engine: Engine,
    interruption: Interruption,
    *,
    start_slot: AbstractContextManager[object] | None = None,
    step: Step = lambda _trial, _step: None,
    keep_if: Callable[[Observation], bool] = lambda _observation: False,
) -> Observation:
    """Start, make ready, stop, record, remove.

    `start_slot` is held while the container starts, so that starts do not crowd out measurements. `keep_if` decides on
    the finished observation whether the container is left on the engine. Raises nothing but bugs: an engine that fails
    and a subject that does not start are observations with a `problem`.
    """
    notes = _Notes(trial, engine)
    if interruption.requested:
        return notes.observation(problem=_interrupted())
    step(trial, "starting")
    subject: RunningSubject | None = None
    observation: Observation | None = None
    try:
        with start_slot or contextlib.nullcontext():
            subject = engine.start(trial)
        with interruption.watching(subject):
            observation = _stop_and_record(trial, subject, notes, interruption, step)
    except SubjectFailed as failure:
        observation = notes.failed(subject, failure)
    except EngineError as error:
        problem = _interrupted() if interruption.requested else Problem(ProblemKind.ENGINE_FAILED, str(error))
        observation = notes.observation(subject, problem=problem)
    finally:
        if subject is not None and not (observation is not None and keep_if(observation)):
            step(trial, "removing")
            subject.remove()
    return observation


def _stop_and_record(
    trial: Trial, subject: RunningSubject, notes: _Notes, interruption: Interruption, step: Step
) -> Observation:
    step(trial, "waiting until ready")
    subject.wait_ready()
    _prepare(trial, subject)
    subject.sleep(trial.stop_after_ns)
    running = subject.is_running()
    processes = subject.processes() if running else None
    flow, look = traffic.Flow(trial.scenario.traffic, subject), _SecondLook(subject)
    if running and not interruption.requested:
        flow.begin()
        step(trial, "stopping")
        flow.mark_stop()
        look.begin()
        try:
            subject.stop(trial.stop_timeout_ns)
        finally:
            look.end()
            flow.end()
    if interruption.requested:
        return notes.observation(subject, problem=_interrupted())
    observation = notes.observation(subject, subject.record(), processes=processes, was_running=running)
    return replace(observation, processes_after_signal=look.processes, requests=flow.requests, vantage=flow.vantage)


def _prepare(trial: Trial, subject: RunningSubject) -> None:
    """The scenario's steps between readiness and the stop. Raises SubjectFailed if one does not succeed."""
    for preparation in trial.scenario.before_stop:
        if preparation.execute is not None:
            code = subject.execute(preparation.execute)
            if code != 0:
                text = f"`{' '.join(preparation.execute)}` before the stop left with exit code {code}"
                raise SubjectFailed(Problem(ProblemKind.NOT_READY, text))
        if preparation.log is not None:
            subject.wait_log(preparation.log, trial.scenario.readiness.timeout_ns)


class _SecondLook:
    """The process table a moment after the stop signal, taken beside the stop call, which blocks."""

    def __init__(self, subject: RunningSubject) -> None:
        self._subject = subject
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.processes: tuple[ProcessInfo, ...] | None = None

    def begin(self) -> None:
        """Look in `SECOND_LOOK_S`, unless the stop is over by then: who is gone needs no look."""
        self._thread = threading.Thread(target=self._look, name="second look", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """The stop is over."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(timeout=SECOND_LOOK_S + 5)

    def _look(self) -> None:
        if not self._over.wait(SECOND_LOOK_S):
            self.processes = self._subject.processes()


class _Notes:
    """What is known of a trial before and beside the engine's record."""

    def __init__(self, trial: Trial, engine: Engine) -> None:
        self._trial, self._engine = trial, engine.info()
        self._started_at = datetime.now(UTC).isoformat(timespec="milliseconds")

    def failed(self, subject: RunningSubject | None, failure: SubjectFailed) -> Observation:
        """The subject did not get as far as being stopped."""
        if failure.problem is not None:
            return self.observation(subject, problem=failure.problem, exit_code=failure.exit_code)
        return self.observation(subject, exit_code=failure.exit_code, was_running=False)

    def observation(
        self,
        subject: RunningSubject | None = None,
        record: StopRecord | None = None,
        *,
        problem: Problem | None = None,
        processes: tuple[ProcessInfo, ...] | None = None,
        exit_code: int | None = None,
        was_running: bool = True,
    ) -> Observation:
        """Everything known, put together."""
        trial, scenario = self._trial, self._trial.scenario
        engine_answers = problem is None or problem.kind not in {ProblemKind.ENGINE_FAILED, ProblemKind.INTERRUPTED}
        return Observation(
            trial_id=trial.trial_id,
            scenario=scenario.name,
            engine=self._engine,
            stop_timeout_ns=trial.stop_timeout_ns,
            stop_after_ns=trial.stop_after_ns,
            repetition=trial.repetition,
            started_at=self._started_at,
            stop_signal=subject.stop_signal if subject else None,
            stop_signal_source=subject.stop_signal_source if subject else None,
            events=tuple(sorted(record.events, key=lambda event: (event.clock, event.at_ns))) if record else (),
            exit_code=record.exit_code if record else exit_code,
            exit_signal=record.exit_signal if record else None,
            oom_killed=record.oom_killed if record else None,
            exited_before_stop=not was_running or (record is not None and record.exited_before_stop),
            complete=record.complete if record else True,
            processes=processes,
            lost_processes=record.lost_processes if record else None,
            suspected_processes=record.suspected_processes if record else (),
            problem=problem,
            logs=subject.logs() if subject and engine_answers else LogTail(),
            load_average=os.getloadavg()[0],
        )


def _interrupted() -> Problem:
    return Problem(ProblemKind.INTERRUPTED, "the run was interrupted before this trial ended")
