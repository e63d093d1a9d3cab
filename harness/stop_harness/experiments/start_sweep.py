"""`check --sweep-start`: stops fresh containers from their creation on and finds where the stop signal is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from stop_harness.engines.interface import Engine
from stop_harness.evidence import stop_sequence
from stop_harness.experiments import start_window
from stop_harness.experiments.start_window import Moment, StopFate, Sweep
from stop_harness.model import (
    NS_PER_S,
    Clock,
    EventKind,
    Expectation,
    Observation,
    Outcome,
    Readiness,
    Scenario,
    StopPlan,
    Trial,
)
from stop_harness.plan import trials
from stop_harness.trial import perform, scheduler
from stop_harness.verdict import judge
from stop_harness.wording import precise_seconds, timeout

SHORT_TIMEOUT_NS = 3 * NS_PER_S
"""Long enough for a container that leaves at once; one that is known to take longer gets longer."""


@dataclass(frozen=True)
class Bench:
    """Where moments are tried: the engine, how many containers at once, and whom to tell."""

    engine: Engine
    interruption: perform.Interruption
    note: Callable[[str], None]
    side_by_side: int


def run(scenario: Scenario, bench: Bench) -> Sweep:
    """One stop once it is ready, to know that it works then; a grid of moments; finer ones at the window's edges."""
    wanted_ns = scenario.stop.timeouts_ns[0]
    expectation = replace(scenario.expectation_at(wanted_ns), outcomes=(Outcome.GRACEFUL,), stop_timeout_ns=None)
    scenario = replace(scenario, expectations=(expectation,))
    bench.note("one stop once it is ready, to compare with")
    later = perform.perform(_trial(scenario, wanted_ns, 0, "ready"), bench.engine, bench.interruption)
    judged = judge.judge(later, scenario)
    ready_ns = _between(later, EventKind.STARTED, EventKind.READY)
    if judged.outcome is not Outcome.GRACEFUL or ready_ns is None:
        reason = f"a stop once it is ready is not graceful, so there is no window to look for: {judged.reason}"
        return Sweep(scenario.name, wanted_ns, bench.side_by_side, ready_ns, reason)
    took_ns = judged.facts.shutdown_duration_ns or 0
    short_ns = min(wanted_ns, max(SHORT_TIMEOUT_NS, -(-2 * took_ns // NS_PER_S) * NS_PER_S))
    at_once = replace(
        scenario,
        readiness=Readiness(delay_ns=0, timeout_ns=scenario.readiness.timeout_ns),
        stop=StopPlan((short_ns,), scenario.stop.signal),
        before_stop=(),
        traffic=(),
        load_balancer=None,
        expectations=(Expectation(exit_codes=expectation.exit_codes),),
    )
    moments = _sweep(at_once, ready_ns, bench)
    return Sweep(scenario.name, short_ns, bench.side_by_side, ready_ns, None, moments, start_window.window(moments))


def _sweep(scenario: Scenario, ready_ns: int, bench: Bench) -> tuple[Moment, ...]:
    """Grid, then rounds of refinement, at most `MAX_TRIALS` stops in all."""
    found: list[Moment] = []
    wanted = start_window.grid(ready_ns)
    starts = threading.BoundedSemaphore(scheduler.start_slots())
    interruption = bench.interruption
    while wanted and not interruption.requested:
        bench.note(f"stops at {len(wanted)} moments up to {precise_seconds(wanted[-1])} after the start")
        timeout_ns = scenario.stop.timeouts_ns[0]
        results = scheduler.run_all(
            tuple(_trial(scenario, timeout_ns, at_ns, f"{len(found)}+{at_ns}") for at_ns in wanted),
            lambda item: perform.perform(item, bench.engine, interruption, start_slot=starts),
            jobs=bench.side_by_side,
            interrupted=lambda: interruption.requested,
            on_interrupt=interruption.abort_running,
        )
        found += [_moment(seen, scenario) for seen in results]
        wanted = start_window.refine(tuple(found))[: start_window.MAX_TRIALS - len(found)]
    return tuple(sorted(found, key=lambda moment: moment.at_ns))


def _trial(scenario: Scenario, timeout_ns: int, after_ns: int, name: str) -> Trial:
    return Trial(f"{trials.trial_id(scenario.name, timeout_ns, 0, 1)}/start/{name}", scenario, timeout_ns, after_ns, 1)


def _moment(seen: Observation, scenario: Scenario) -> Moment:
    """When the stop really came, and what became of it."""
    judged = judge.judge(seen, scenario)
    at_ns = _between(seen, EventKind.STARTED, EventKind.STOP_REQUESTED)
    took_ns = judged.facts.shutdown_duration_ns
    if judged.outcome is Outcome.KILLED and at_ns is not None:
        return Moment(at_ns, StopFate.LOST, f"lost: killed after {timeout(seen.stop_timeout_ns)}")
    if judged.outcome in {Outcome.INCONCLUSIVE, Outcome.NOT_RUNNING} or at_ns is None:
        return Moment(
            seen.stop_after_ns if at_ns is None else at_ns, StopFate.UNCLEAR, f"not measured: {judged.reason}"
        )
    took = "" if took_ns is None else f" after {precise_seconds(took_ns)}"
    return Moment(at_ns, StopFate.HEARD, f"exited{took}, exit code {seen.record.exit_code}")


def _between(seen: Observation, start: EventKind, end: EventKind) -> int | None:
    """Time between two steps, both stamped by the harness (or in virtual time); None if one is missing."""
    for clock in (Clock.HARNESS, Clock.VIRTUAL):
        first, last = stop_sequence.first(seen.record, start, clock), stop_sequence.first(seen.record, end, clock)
        if first is not None and last is not None:
            return last.at_ns - first.at_ns
    return None
