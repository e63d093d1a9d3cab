"""`ready: {handler: true}`: wait until the stop signal has somebody to take it. The same for every engine."""

from __future__ import annotations

import time
from dataclasses import replace

from stop_harness import signals
from stop_harness.engines.interface import RunningSubject, SubjectFailed
from stop_harness.evidence import exec_form, start_up
from stop_harness.evidence.process_tree import quoted
from stop_harness.model import NS_PER_MS, NS_PER_S, Problem, ProblemKind, ProcessInfo, Trial

POLL_NS = 50 * NS_PER_MS
"""Between two looks; a look through Docker's API takes another 30 ms."""


def for_engine(trial: Trial) -> Trial:
    """The trial as the engine is to start it: the delay of readiness comes after the handler, and after what
    `image_ready` finds where the scenario says nothing, so that it is waited for here."""
    readiness = trial.scenario.readiness
    if not (readiness.handler or readiness.implied):
        return trial
    return replace(trial, scenario=replace(trial.scenario, readiness=replace(readiness, delay_ns=0)))


def wait(trial: Trial, subject: RunningSubject) -> None:
    """Return when PID 1, or the program below an init, takes the stop signal, and the delay has passed; at once where
    the scenario does not ask for it. Raises SubjectFailed when it does not in time."""
    readiness, number = trial.scenario.readiness, subject.stop_signal
    if not readiness.handler or number is None:
        return
    began, polls = time.monotonic_ns(), 0
    processes: tuple[ProcessInfo, ...] | None = None
    while max(time.monotonic_ns() - began, polls * POLL_NS) < readiness.timeout_ns:
        if not subject.is_running():
            return  # the trial records how it left
        processes = subject.processes()
        if processes and start_up.takes(processes, number):
            subject.sleep(readiness.delay_ns)
            return
        subject.sleep(POLL_NS)
        polls += 1
    raise SubjectFailed(Problem(ProblemKind.NOT_READY, _why(processes, number, readiness.timeout_ns)))


def _why(processes: tuple[ProcessInfo, ...] | None, number: int, timeout_ns: int) -> str:
    waited = f"not ready after {timeout_ns / NS_PER_S:g} s"
    takers = exec_form.receivers(processes or ())
    if not takers:
        return f"{waited}: the process table cannot be read, so `handler` cannot be seen; use `log`, `tcp` or `http`"
    return f"{waited}: {quoted(takers[0])} has no handler for {signals.name(number)}"
