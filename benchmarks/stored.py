"""Stored runs of many trials, for the commands that read them: made-up ones, and copies of those of the example.

python -m benchmarks.stored KIND TRIALS DIRECTORY
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import command, median
from benchmarks.results import Row
from benchmarks.ways import ROOT, STOP_HARNESS
from stop_harness.conductor import store
from stop_harness.model import StoredRun, TrialResult
from tests.reports_factory import large_report

EXAMPLE = ROOT / "reports/example"


def made_up(trials: int) -> tuple[StoredRun, tuple[TrialResult, ...]]:
    """Trials that leave little behind: one or two processes, a line of log."""
    made = large_report(trials)
    seen = tuple(result.observation for result in made.results)
    return StoredRun(made.run, made.scenarios, seen, made.trials_planned, made.skipped), made.results


def of_example(trials: int) -> tuple[StoredRun, tuple[TrialResult, ...]]:
    """What real stops leave behind, over and over: every clock's events, process tables, logs, requests."""
    stored, verdicts = store.read(EXAMPLE)
    results = tuple(
        _copy(TrialResult(seen, verdict), number)
        for number in range(max(1, trials // len(verdicts)))
        for seen, verdict in zip(stored.observations, verdicts, strict=True)
    )
    return replace(stored, trials_planned=len(results)), results


def _copy(result: TrialResult, number: int) -> TrialResult:
    """The same trial as another repetition."""
    seen, origin = result.observation, result.observation.derivation.derived_from
    trial_id = f"{seen.trial_id}.{number}"
    derivation = seen.derivation if origin is None else replace(seen.derivation, derived_from=f"{origin}.{number}")
    repetition = seen.repetition + 1000 * number
    return TrialResult(
        replace(seen, trial_id=trial_id, repetition=repetition, derivation=derivation),
        replace(result.verdict, trial_id=trial_id),
    )


KINDS: dict[str, Callable[[int], tuple[StoredRun, tuple[TrialResult, ...]]]] = {
    "that are made up": made_up,
    "of the example": of_example,
}


def write(kind: str, trials: int, directory: Path) -> None:
    """A run directory of such a run, without its reports."""
    stored, results = KINDS[kind](trials)
    run = store.RunDirectory(directory, shared=True)
    run.write_run(store.RunFile(store.FORMAT_VERSION, stored.run, stored.scenarios, len(results), stored.skipped))
    run.keep_only(results, ())


def reports(folder: Path, sizes: Sequence[int], rounds: int) -> list[Row]:
    """`stop-harness report` of each kind of stored run: reading, judging, and every file of the report."""
    rows = []
    for kind in KINDS:
        for size in sizes:
            run = folder / f"{kind} {size}"
            write(kind, size, run)
            costs = [command([STOP_HARNESS, "report", str(run)], good=(0, 1, 3)) for _ in range(rounds)]
            wall_s, cpu_s = median(costs), median(costs, lambda cost: cost.cpu_s)
            peak = max(cost.largest_bytes for cost in costs)
            value = f"{wall_s:.2f} s ({cpu_s:.2f} s of CPU), {peak / 1e6:.0f} MB"
            rows.append(Row(f"`stop-harness report` of a stored run, {size:,} trials {kind}", value))
    return rows


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
