"""How runs differ: a run beside its baseline, and a scenario over many runs."""

from __future__ import annotations

from enum import StrEnum

from stop_harness.model.outcome import Outcome
from stop_harness.model.run import RunInfo, RunWarning
from stop_harness.records import dataclass


class StatusChange(StrEnum):
    """What became of a stop's status."""

    BROKE = "broke"
    CURED = "cured"
    SAME = "same"
    UNCLEAR = "unclear"
    """In one of the runs no such stop could be judged."""


class DurationChange(StrEnum):
    """What became of a stop's shutdown duration."""

    SLOWER = "slower"
    FASTER = "faster"
    SAME = "same"
    TOO_FEW = "too_few"
    """Too few repetitions to tell a difference from chance."""
    NOT_MEASURED = "not_measured"


@dataclass(frozen=True)
class TestResult:
    """A statistical test. `p_value` is adjusted for the number of stops that were tested together."""

    __test__ = False  # not a test of pytest's

    name: str
    p_value: float


@dataclass(frozen=True)
class StopId:
    """The same stop in different runs."""

    scenario: str
    stop_timeout_ns: int
    stop_after_ns: int


@dataclass(frozen=True)
class StopSummary:
    """One stop in one run. `outcome`: the most frequent. `median_ns`: of graceful stops, with killed ones as longer
    than all; None where that is not known or half of them were killed."""

    trials: int
    passed: int
    failed: int
    outcome: Outcome
    median_ns: int | None
    measured: int
    cut_off: int


@dataclass(frozen=True)
class StopChange:
    """One stop beside the same stop of the baseline.

    The bases are sentences; a test is None where none was needed or possible. `differs`: the medians are far enough
    apart to matter, whether or not that may be chance.
    """

    stop: StopId
    before: StopSummary
    now: StopSummary
    status: StatusChange
    status_basis: str
    status_test: TestResult | None
    duration: DurationChange
    differs: bool
    duration_basis: str
    duration_test: TestResult | None


@dataclass(frozen=True)
class Comparison:
    """A run beside its baseline; `changes` in report order, also of stops that are as they were."""

    baseline: RunInfo
    changes: tuple[StopChange, ...]
    new: tuple[StopId, ...] = ()
    gone: tuple[StopId, ...] = ()
    warnings: tuple[RunWarning, ...] = ()

    def with_status(self, status: StatusChange) -> tuple[StopChange, ...]:
        """The stops whose status changed like this."""
        return tuple(change for change in self.changes if change.status is status)

    def with_duration(self, duration: DurationChange) -> tuple[StopChange, ...]:
        """The stops whose duration changed like this."""
        return tuple(change for change in self.changes if change.duration is duration)


@dataclass(frozen=True)
class TrendPoint:
    """A scenario in one run. Durations are those of graceful stops, None without one; `outcome` is the most frequent at
    the longest stop timeout. `changed`: where the outcome is another than in the run before, in words; may be empty.
    """

    started_at: str
    stops: int
    outcome: Outcome
    longest_timeout_ns: int
    median_ns: int | None
    shortest_ns: int | None
    longest_ns: int | None
    changed: str = ""


@dataclass(frozen=True)
class TrendSeries:
    """One scenario over the runs that hold it, oldest first."""

    scenario: str
    points: tuple[TrendPoint, ...]


@dataclass(frozen=True)
class Trend:
    """Many runs, oldest first. `comparisons`: each run but the first beside the one before it."""

    runs: tuple[RunInfo, ...]
    series: tuple[TrendSeries, ...]
    comparisons: tuple[Comparison, ...]
