"""How long the engine itself takes: the stop of a subject that leaves at once, before the trials of a run."""

from __future__ import annotations

import time

from stop_harness.engines.interface import Engine, SubjectFailed
from stop_harness.errors import EngineError
from stop_harness.evidence import stop_sequence
from stop_harness.model import Clock, EventKind, ReferenceStop, StopRecord, Trial


def measure(engine: Engine) -> ReferenceStop | None:
    """Start, stop, remove. None where the engine has no such subject, or its stop did not go as it should."""
    scenario = engine.reference()
    if scenario is None:
        return None
    trial = Trial("reference", scenario, scenario.stop.timeouts_ns[0], 0, 1)
    try:
        return _stop(trial, engine)
    except (EngineError, SubjectFailed):
        return None


def _stop(trial: Trial, engine: Engine) -> ReferenceStop | None:
    begun_ns = time.monotonic_ns()
    subject = engine.start(trial)
    try:
        started_ns = time.monotonic_ns()
        subject.wait_ready()
        called_ns = time.monotonic_ns()
        subject.stop(trial.stop_timeout_ns)
        returned_ns = time.monotonic_ns()
        record = subject.record().stop
    finally:
        removing_ns = time.monotonic_ns()
        subject.remove()
    if record.exit_code != 0:
        return None
    signal_ns, exit_ns = _parts(record, called_ns)
    both = signal_ns is not None and exit_ns is not None
    return ReferenceStop(
        start_ns=started_ns - begun_ns,
        signal_ns=signal_ns,
        exit_ns=exit_ns,
        return_ns=max(0, returned_ns - called_ns - (signal_ns or 0) - (exit_ns or 0)) if both else None,
        removal_ns=time.monotonic_ns() - removing_ns,
    )


def _parts(record: StopRecord, called_ns: int) -> tuple[int | None, int | None]:
    """(stop call → signal, signal → exit), both by the best clock that saw signal and exit."""
    for clock in stop_sequence.CLOCKS_BY_WORTH:
        sent, left = (stop_sequence.first(record, kind, clock) for kind in (EventKind.SIGNAL_SENT, EventKind.EXITED))
        if sent is None or left is None:
            continue
        called = stop_sequence.first(record, EventKind.STOP_REQUESTED, clock)
        # The kernel's stamps are CLOCK_MONOTONIC of this machine, as ours are.
        begun_ns = called.at_ns if called else called_ns if clock is Clock.KERNEL else None
        return None if begun_ns is None else max(0, sent.at_ns - begun_ns), max(0, left.at_ns - sent.at_ns)
    return None, None
