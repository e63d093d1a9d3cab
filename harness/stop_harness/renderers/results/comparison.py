"""The section of results.json that sets a run beside its baseline. Times are seconds."""

from __future__ import annotations

from dataclasses import dataclass

from stop_harness.model import (
    Comparison,
    DurationChange,
    Outcome,
    StatusChange,
    StopChange,
    StopId,
    StopSummary,
    TestResult,
)
from stop_harness.renderers.results.documented import WarningDocument
from stop_harness.wording import to_seconds


@dataclass(frozen=True)
class TestDocument:
    """A statistical test."""

    __test__ = False  # not a test of pytest's

    name: str
    p_value: float
    """Adjusted for the number of stops that were tested together."""


@dataclass(frozen=True)
class StopDocument:
    """The same stop in both runs."""

    scenario: str
    stop_timeout_s: float
    stop_after_s: float


@dataclass(frozen=True)
class StopSummaryDocument:
    """One stop in one run."""

    trials: int
    passed: int
    failed: int
    outcome: Outcome
    """The most frequent one."""
    median_s: float | None
    """Of graceful stops, with killed ones as longer than all; null where not known or half of them were killed."""
    measured: int
    cut_off: int


@dataclass(frozen=True)
class StopChangeDocument:
    """One stop beside the same stop of the baseline."""

    stop: StopDocument
    before: StopSummaryDocument
    now: StopSummaryDocument
    status: StatusChange
    status_basis: str
    status_test: TestDocument | None
    duration: DurationChange
    """too_few: too few repetitions to tell a difference from chance."""
    medians_differ: bool
    """The medians are far enough apart to matter, whether or not that may be chance."""
    duration_basis: str
    duration_test: TestDocument | None


@dataclass(frozen=True)
class ComparisonDocument:
    """The run beside its baseline. docs/statistics.md says how a change is told from chance."""

    baseline_run_id: str
    baseline_started_at: str
    changes: tuple[StopChangeDocument, ...]
    """Every stop that is in both runs, also where nothing changed."""
    new: tuple[StopDocument, ...]
    gone: tuple[StopDocument, ...]
    warnings: tuple[WarningDocument, ...]
    """What differs between the runs beside the containers: engine, machine, version, scenarios."""


def comparison(found: Comparison) -> ComparisonDocument:
    """The record as the document has it."""
    return ComparisonDocument(
        baseline_run_id=found.baseline.run_id,
        baseline_started_at=found.baseline.started_at,
        changes=tuple(_change(change) for change in found.changes),
        new=tuple(_stop(stop) for stop in found.new),
        gone=tuple(_stop(stop) for stop in found.gone),
        warnings=tuple(WarningDocument(item.rule, item.message, item.advice) for item in found.warnings),
    )


def _change(change: StopChange) -> StopChangeDocument:
    return StopChangeDocument(
        stop=_stop(change.stop),
        before=_summary(change.before),
        now=_summary(change.now),
        status=change.status,
        status_basis=change.status_basis,
        status_test=_test(change.status_test),
        duration=change.duration,
        medians_differ=change.differs,
        duration_basis=change.duration_basis,
        duration_test=_test(change.duration_test),
    )


def _stop(stop: StopId) -> StopDocument:
    return StopDocument(stop.scenario, stop.stop_timeout_ns / 1e9, stop.stop_after_ns / 1e9)


def _summary(side: StopSummary) -> StopSummaryDocument:
    return StopSummaryDocument(
        trials=side.trials,
        passed=side.passed,
        failed=side.failed,
        outcome=side.outcome,
        median_s=to_seconds(side.median_ns),
        measured=side.measured,
        cut_off=side.cut_off,
    )


def _test(test: TestResult | None) -> TestDocument | None:
    return None if test is None else TestDocument(test.name, float(f"{test.p_value:.3g}"))
