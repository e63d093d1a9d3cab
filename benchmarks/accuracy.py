"""How far the shutdown durations are from the truth, by a subject that knows it (`make accuracy`).

`truthful/app.py` writes down when its handler began and when it began to exit, by its own clocks. The error of a trial
is our shutdown duration minus the subject's. It holds all that is not the subject's: the way of the signal into the
handler, the kernel's clearing up after `_exit`, and our own stamps. Prints a table; the exit code is 1 where a target
is missed. `--keep FILE` writes every trial as a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stop_harness.conductor import pipeline
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.interface import Engine
from stop_harness.model import (
    NS_PER_MS,
    NS_PER_S,
    Clock,
    Event,
    EventKind,
    Plan,
    Readiness,
    Scenario,
    StopPlan,
    Subject,
    Trial,
    TrialResult,
)
from stop_harness.trial.perform import Interruption

TRUTHFUL = Path(__file__).resolve().parent / "truthful"
TRUTH = re.compile(r"^truth (\d+) (\d+) (\d+) (\d+)$", re.MULTILINE)

DRAINS_ALONE_S = (0.0, 0.1)
DRAINS_IN_FLIGHT_S = (0.0, 1.0, 3.0, 5.0)
STOP_TIMEOUT_S = 30
IN_FLIGHT = 50

MEDIAN_ALONE_NS, P99_ALONE_NS = 1_500_000, 5 * NS_PER_MS
MEDIAN_IN_FLIGHT_NS, P99_IN_FLIGHT_NS = 5 * NS_PER_MS, 50 * NS_PER_MS


@dataclass(frozen=True)
class Stop:
    """One stop of the truthful subject; the subject's own times on both clocks, `duration_ns` and its source ours."""

    received_monotonic_ns: int
    received_wall_ns: int
    exiting_monotonic_ns: int
    exiting_wall_ns: int
    duration_ns: int
    source: str
    events: tuple[Event, ...]

    @property
    def truth_ns(self) -> int:
        """Signal received → exit begun, as the subject saw it."""
        return self.exiting_monotonic_ns - self.received_monotonic_ns

    @property
    def error_ns(self) -> int:
        """Ours minus the subject's."""
        return self.duration_ns - self.truth_ns

    def late_ns(self, kind: EventKind, clock: Clock) -> int | None:
        """How late the engine's stamp of one end is against the subject's own; None where there is none."""
        wall = clock is Clock.ENGINE
        start = self.received_wall_ns if wall else self.received_monotonic_ns
        end = self.exiting_wall_ns if wall else self.exiting_monotonic_ns
        stamps = [event.at_ns for event in self.events if event.kind is kind and event.clock is clock]
        return min(stamps) - (end if kind is EventKind.EXITED else start) if stamps else None


@dataclass(frozen=True)
class Errors:
    """The distribution of the errors of some stops."""

    count: int
    median_ns: int
    p99_ns: int
    least_ns: int
    most_ns: int

    @classmethod
    def of(cls, errors_ns: Iterable[int]) -> Errors:
        """Median and 99th percentile are of the absolute error."""
        signed = list(errors_ns)
        sizes = sorted(map(abs, signed))
        rank = max(0, -(-99 * len(sizes) // 100) - 1)
        return cls(len(sizes), round(statistics.median(sizes)), sizes[rank], min(signed), max(signed))


def scenario(drain_s: float, repeat: int) -> Scenario:
    """The truthful subject with one drain."""
    return Scenario(
        name=f"truthful-{drain_s:g}s",
        subject=Subject(build_directory=str(TRUTHFUL), environment=(("DRAIN_SECONDS", f"{drain_s:g}"),)),
        readiness=Readiness(log="^ready$"),
        stop=StopPlan(timeouts_ns=(STOP_TIMEOUT_S * NS_PER_S,)),
        repeat=repeat,
    )


def stops(engine: str, drains_s: tuple[float, ...], count: int, jobs: int) -> tuple[Stop, ...]:
    """`count` stops by a run of the harness as it is. Raises SystemExit for a trial that was not measured."""
    scenarios = tuple(scenario(drain_s, -(-count // len(drains_s))) for drain_s in drains_s)
    request = RunRequest(
        scenarios,
        "accuracy",
        None,
        engine=engine,
        jobs=str(jobs),
        seed=1,
        base_image=os.environ.get("STOP_HARNESS_BASE_IMAGE"),
    )
    outcome = pipeline.run(request, Quiet(), Interruption())
    return tuple(_stop(result) for result in outcome.report.results)


def _stop(result: TrialResult) -> Stop:
    seen, facts = result.observation, result.verdict.facts
    log = seen.looks.logs.text
    told = TRUTH.search(log)
    if told is None or facts.shutdown_duration_ns is None:
        raise SystemExit(f"{seen.trial_id} was not measured: {result.verdict.reason} {seen.problem} {log!r}")
    received_ns, received_wall_ns, exiting_ns, exiting_wall_ns = map(int, told.groups())
    truth = (received_ns, received_wall_ns, exiting_ns, exiting_wall_ns)
    return Stop(*truth, facts.shutdown_duration_ns, str(facts.duration_source), seen.record.events)


class Quiet:
    """Listens and says nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def preparing(self, what: str, state: str) -> None:
        """Nothing."""

    def planned(self, planned: Plan, jobs: int, engine: Engine) -> None:
        """Nothing."""

    def step(self, running: Trial, step: str) -> None:
        """Nothing."""

    def ended(self, result: TrialResult) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Row:
    """One line of the table, with its targets."""

    engine: str
    jobs: int
    measured: tuple[Stop, ...]
    wall_s: float
    median_target_ns: int
    p99_target_ns: int

    @property
    def errors(self) -> Errors:
        """Of all its stops."""
        return Errors.of(stop.error_ns for stop in self.measured)

    @property
    def met(self) -> bool:
        """Both targets, and no negative duration."""
        errors = self.errors
        small = errors.median_ns <= self.median_target_ns and errors.p99_ns <= self.p99_target_ns
        return small and all(stop.duration_ns >= 0 for stop in self.measured)


def measure(engine: str, jobs: int, count: int) -> Row:
    """One line of the table."""
    alone = jobs == 1
    begun = time.monotonic()
    measured = stops(engine, DRAINS_ALONE_S if alone else DRAINS_IN_FLIGHT_S, count, jobs)
    wall_s = time.monotonic() - begun
    targets = (MEDIAN_ALONE_NS, P99_ALONE_NS) if alone else (MEDIAN_IN_FLIGHT_NS, P99_IN_FLIGHT_NS)
    return Row(engine, jobs, measured, wall_s, *targets)


def table(rows: list[Row]) -> str:
    """Milliseconds; the ends' own lateness explains an error."""
    lines = [
        "| engine | in flight | n | median error | p99 | least | most | targets | met | start late, median / p99 "
        "| exit late, median / p99 | by the kernel | wall |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        errors = row.errors
        lines.append(
            f"| {row.engine} | {row.jobs} | {errors.count} | {ms(errors.median_ns)} | {ms(errors.p99_ns)} "
            f"| {ms(errors.least_ns)} | {ms(errors.most_ns)} | {ms(row.median_target_ns)} / {ms(row.p99_target_ns)} "
            f"| {'yes' if row.met else '**no**'} | {_late(row, EventKind.SIGNAL_SENT)} "
            f"| {_late(row, EventKind.EXITED)} | {_by_kernel(row)} of {errors.count} | {row.wall_s:.1f} s |"
        )
    return "\n".join(lines) + "\n"


def _by_kernel(row: Row) -> int:
    """Of how many stops both ends are the kernel's stamps, or the waiting parent's."""
    return sum(f"({Clock.KERNEL} clock)" in stop.source for stop in row.measured)


def _late(row: Row, kind: EventKind) -> str:
    parts = []
    for clock in (Clock.KERNEL, Clock.ENGINE):
        late = [lag for stop in row.measured if (lag := stop.late_ns(kind, clock)) is not None]
        if late:
            errors = Errors.of(late)
            parts.append(f"{clock}: {ms(round(statistics.median(late)))} / {ms(errors.p99_ns)}")
    return ", ".join(parts) or "–"


def ms(value_ns: int) -> str:
    """`1.23 ms`."""
    return f"{value_ns / NS_PER_MS:.2f} ms"


def main() -> int:
    """Measure, print, and say by the exit code whether every target was met."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", action="append", choices=("docker", "process"), help="default: both")
    parser.add_argument("--jobs", action="append", type=int, help=f"default: 1 and {IN_FLIGHT}")
    parser.add_argument("--alone", type=int, default=100, help="stops with one trial at a time")
    parser.add_argument("--count", type=int, default=200, help="stops with more of them in flight")
    parser.add_argument("--keep", type=Path, help="a file to which each stop is written")
    options = parser.parse_args()
    rows = []
    for engine in options.engine or ("docker", "process"):
        for jobs in options.jobs or (1, IN_FLIGHT):
            print(f"measuring: {engine}, {jobs} in flight; load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
            rows.append(measure(engine, jobs, options.alone if jobs == 1 else options.count))
            if options.keep:
                _keep(options.keep, rows[-1])
    print(table(rows))
    return 0 if all(row.met for row in rows) else 1


def _keep(path: Path, row: Row) -> None:
    with path.open("a", encoding="utf-8") as file:
        for stop in row.measured:
            events = [(event.kind, event.at_ns, event.clock, event.source) for event in stop.events]
            values = {**vars(stop), "events": events, "engine": row.engine, "jobs": row.jobs}
            file.write(json.dumps(values | {"error_ns": stop.error_ns}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
