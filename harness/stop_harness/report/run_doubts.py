"""Doubts about a run as a whole: what is missing of it, and what makes its numbers suspect. Pure."""

from __future__ import annotations

from collections import defaultdict

from stop_harness.model import Outcome, ProblemKind, RunWarning, StoredRun, TrialResult
from stop_harness.report import doubts
from stop_harness.report.natural_order import natural
from stop_harness.wording import count_of

OVERLOAD = 1.5
"""Runnable processes per CPU (1-minute load average) above which durations are suspect: each process then waits for a
CPU about half of the time, and the wait is counted as shutdown time."""


def of_run(stored: StoredRun, results: tuple[TrialResult, ...]) -> tuple[RunWarning, ...]:
    """Every warning that applies, gravest first."""
    found = (
        _missing_trials(stored, results),
        _engine_failures(results),
        _harness_failures(results),
        _several_engines(stored, results),
        _incomplete_records(results),
        _overload(stored, results),
        _unstable(results),
        *doubts.measurement_doubts(results),
    )
    return tuple(warning for warning in found if warning is not None)


def _missing_trials(stored: StoredRun, results: tuple[TrialResult, ...]) -> RunWarning | None:
    performed = sum(not _was_interrupted(result) for result in results)
    if performed >= stored.trials_planned and not stored.run.interrupted:
        return None
    how = "was interrupted" if stored.run.interrupted else "did not finish its plan"
    return RunWarning(
        "missing-trials",
        f"The run {how}: {performed} of {count_of(stored.trials_planned, 'planned trial')} were performed.",
        "Run the missing trials before you draw conclusions from what is not here: "
        "`stop-harness run --resume DIR` performs them, DIR being the run's directory.",
    )


def _was_interrupted(result: TrialResult) -> bool:
    return _failed_by(result, ProblemKind.INTERRUPTED)


def _failed_by(result: TrialResult, kind: ProblemKind) -> bool:
    problem = result.observation.problem
    return problem is not None and problem.kind is kind


def _engine_failures(results: tuple[TrialResult, ...]) -> RunWarning | None:
    failed = sum(_failed_by(result, ProblemKind.ENGINE_FAILED) for result in results)
    if not failed:
        return None
    return RunWarning(
        "engine-failed",
        f"The engine failed in {count_of(failed, 'trial')}; they say nothing about the container.",
        "Look at the engine's own log, then run these trials again.",
    )


def _harness_failures(results: tuple[TrialResult, ...]) -> RunWarning | None:
    failed = sum(_failed_by(result, ProblemKind.HARNESS_FAILED) for result in results)
    if not failed:
        return None
    return RunWarning(
        "harness-failed",
        f"The harness itself failed in {count_of(failed, 'trial')}; they say nothing about the container.",
        "Send us the details that the trial names; `stop-harness run --resume RUN_DIR` performs these trials again.",
    )


def _several_engines(stored: StoredRun, results: tuple[TrialResult, ...]) -> RunWarning | None:
    # Tasks run on an endpoint of our own beside the engine of the run.
    engines = {_engine_text(result) for result in results if result.observation.task is None}
    if len(engines) < 2:
        return None
    return RunWarning(
        "several-engines",
        f"The trials were measured by different engines: {'; '.join(sorted(engines))}.",
        "Compare durations only within one engine; every trial names its own.",
    )


def _engine_text(result: TrialResult) -> str:
    engine = result.observation.engine
    return f"{engine.name} ({engine.product} {engine.version})"


def _incomplete_records(results: tuple[TrialResult, ...]) -> RunWarning | None:
    broken = sum(not result.observation.record.complete for result in results)
    if not broken:
        return None
    return RunWarning(
        "incomplete-record",
        f"The engine's event record has a gap in {count_of(broken, 'trial')}.",
        "A missing event proves nothing there; repeat these trials on a quieter engine.",
    )


def _overload(stored: StoredRun, results: tuple[TrialResult, ...]) -> RunWarning | None:
    limit = OVERLOAD * max(stored.run.cpu_count, 1)
    loads = [load for result in results if (load := result.observation.load_average) is not None and load > limit]
    if not loads:
        return None
    return RunWarning(
        "overload",
        f"The machine was overloaded during {count_of(len(loads), 'trial')} (load average up to {max(loads):.1f} "
        f"on {count_of(stored.run.cpu_count, 'CPU')}); shutdown durations may be too long.",
        _quieter(results),
    )


def _quieter(results: tuple[TrialResult, ...]) -> str:
    """What can be done about it: of stops that others asked for nobody can have fewer at once."""
    if any(result.observation.watched is not None for result in results):
        return "Trust durations of stops at a quieter time more."
    return (
        "Run fewer trials at once (--jobs) or use a quieter machine." if len(results) > 1 else "Use a quieter machine."
    )


def _unstable(results: tuple[TrialResult, ...]) -> RunWarning | None:
    outcomes: dict[tuple[str, int, int], set[Outcome]] = defaultdict(set)
    for result in results:
        seen = result.observation
        outcomes[seen.scenario, seen.stop_timeout_ns, seen.stop_after_ns].add(result.verdict.outcome)
    unstable = {key[0] for key, found in outcomes.items() if len(found - {Outcome.INCONCLUSIVE}) > 1}
    if not unstable:
        return None
    names = sorted(unstable, key=natural)
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return RunWarning(
        "unstable",
        f"The same stop ended differently from one repetition to the next: {listed}.",
        "Look for a race in the stop path; repeat more often (--repeat) to see how often it goes wrong.",
    )
