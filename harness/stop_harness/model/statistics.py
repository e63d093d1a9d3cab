"""What the durations and outcomes of many stops say: survival curve, percentiles, shares, each with its interval.

Every interval is two-sided with 95 % confidence. `docs/statistics.md` says how each number is computed, and its source.
"""

from __future__ import annotations

from stop_harness.records import dataclass


@dataclass(frozen=True)
class Share:
    """`count` of `total`, and the exact binomial interval of the share behind it (Clopper and Pearson)."""

    count: int
    total: int
    low: float
    high: float


@dataclass(frozen=True)
class GracefulShare:
    """How many of the stops at one stop timeout were graceful. `left_out`: stops that say nothing (inconclusive, not
    running), which are not in `share.total`."""

    stop_timeout_ns: int
    share: Share
    left_out: int


@dataclass(frozen=True)
class CutOff:
    """`stops` were still running `after_ns` after the stop signal, when SIGKILL came: they would have needed longer."""

    after_ns: int
    stops: int


@dataclass(frozen=True)
class LeftOut:
    """`stops` that have no duration of a graceful stop, with the reason in a few words."""

    why: str
    stops: int


@dataclass(frozen=True)
class CurvePoint:
    """A step of the survival curve: from `after_ns` on this fraction is still running, with its pointwise interval."""

    after_ns: int
    still_running: float
    low: float
    high: float


@dataclass(frozen=True)
class Percentile:
    """The duration by which `percent` of the stops have ended. None: more of them were cut off than that leaves room
    for. `low_ns`, `high_ns`: bounds by order statistics, None where the sample is too small to bound that side."""

    percent: int
    duration_ns: int | None
    low_ns: int | None
    high_ns: int | None


@dataclass(frozen=True)
class StillRunning:
    """The survival curve at a platform's default stop timeout. None: no stop was watched for that long."""

    after_ns: int
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ScenarioStatistics:
    """The stops of one scenario, over all its stop timeouts and moments.

    `measured`: graceful stops of known duration. `cut_off`: killed ones, by stop timeout, shortest first. `left_out`:
    the others. `curve`, `percentiles` and `at_defaults` are empty where `measured` and `cut_off` together are fewer
    than `stop_harness.report.survival.MIN_STOPS`. `at_timeouts`: shortest stop timeout first.
    """

    scenario: str
    measured: int
    cut_off: tuple[CutOff, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    at_timeouts: tuple[GracefulShare, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    percentiles: tuple[Percentile, ...] = ()
    at_defaults: tuple[StillRunning, ...] = ()

    @property
    def stops_cut_off(self) -> int:
        """How many stops SIGKILL ended."""
        return sum(item.stops for item in self.cut_off)

    @property
    def stops(self) -> int:
        """How many stops the curve rests on."""
        return self.measured + self.stops_cut_off
