"""The sections of results.json about many stops together: shares, curves, percentiles, what they show of all stops."""

from __future__ import annotations

from dataclasses import dataclass

from stop_harness.model import (
    ClaimStatus,
)


@dataclass(frozen=True)
class GracefulShareDocument:
    """How many of the stops at one stop timeout were graceful, with the exact binomial interval (95 %)."""

    stop_timeout_s: float
    graceful: int
    stops: int
    """Without those that say nothing: inconclusive, not running."""
    left_out: int
    """Those that say nothing."""
    share_low: float
    share_high: float


@dataclass(frozen=True)
class CutOffDocument:
    """Stops that were still running at their stop timeout, when SIGKILL came: right-censored observations."""

    after_s: float
    stops: int


@dataclass(frozen=True)
class CurvePointDocument:
    """A step of the survival curve (Kaplan–Meier) with its pointwise 95 % interval."""

    after_s: float
    """Seconds after the stop signal."""
    still_running: float
    """Fraction still running from then on."""
    low: float
    high: float


@dataclass(frozen=True)
class PercentileDocument:
    """The shutdown duration by which so many percent of the stops have ended; bounds by order statistics (95 %)."""

    percent: int
    duration_s: float | None
    """null: too many stops were cut off before."""
    low_s: float | None
    """null: the sample is too small to bound it from below."""
    high_s: float | None
    """null: the sample is too small, or too many stops were cut off, to bound it from above."""


@dataclass(frozen=True)
class StillRunningDocument:
    """The survival curve at a platform's default stop timeout; null where no stop was watched for that long."""

    after_s: float
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class StatisticsDocument:
    """The stops of one scenario over all its stop timeouts. docs/statistics.md says how each number is computed."""

    scenario: str
    measured: int
    """Graceful stops of known duration."""
    cut_off: tuple[CutOffDocument, ...]
    left_out: dict[str, int]
    """Stops that have no duration of a graceful stop, by the reason."""
    graceful: tuple[GracefulShareDocument, ...]
    """One for each stop timeout that was tried and told something."""
    curve: tuple[CurvePointDocument, ...]
    """At most 200 steps; empty with fewer than five stops, as are the two below."""
    percentiles: tuple[PercentileDocument, ...]
    at_platform_defaults: tuple[StillRunningDocument, ...]


@dataclass(frozen=True)
class ClaimDocument:
    """What the stops show about all stops of one scenario, at one stop timeout and moment where only a graceful stop is
    expected. docs/confidence.md says how it is computed. Each holds by itself with its confidence, not all together."""

    scenario: str
    stop_timeout_s: float
    stop_after_s: float
    status: ClaimStatus
    """Whether at least `reliability` of the stops is graceful: shown, not shown (too few stops, or a failure among so
    few), or refuted with the same confidence."""
    confidence: float
    reliability: float
    """The fraction that was asked for, 0.99 by default."""
    stops: int
    """Stops that were judged."""
    failures: int
    derived: int
    """How many of the stops were not performed (`--infer`)."""
    undecided: int
    """More stops, which were inconclusive and do not count."""
    at_least: float
    """The fraction that the stops do show with this confidence: exact one-sided lower bound."""
    stops_needed: int
    """Stops in all that show `reliability` with no more failures than these, in a plan made beforehand."""
    statement: str
