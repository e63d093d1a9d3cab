"""What a run's stops show about all stops of a container."""

from __future__ import annotations

from enum import StrEnum

from stop_harness.records import dataclass


@dataclass(frozen=True)
class ReliabilityGoal:
    """The statement that is asked for: with `confidence` at least the fraction `reliability` of stops is graceful
    within the stop timeout. Both lie between 0 and 1, exclusive."""

    confidence: float = 0.95
    reliability: float = 0.99


DEFAULT_GOAL = ReliabilityGoal()


class ClaimStatus(StrEnum):
    """Whether the stops show the statement."""

    SHOWN = "shown"
    NOT_SHOWN = "not_shown"
    """Too few stops, or too many failures among them for so few."""
    REFUTED = "refuted"
    """They show, with the same confidence, that the reliability is lower."""


@dataclass(frozen=True)
class ReliabilityClaim:
    """The statement about one scenario, stop timeout and stop moment at which graceful stops are expected.

    `stops` were judged, `failures` of them did not meet their expectation, `derived` of them were not performed;
    `undecided` more were inconclusive and do not count. `at_least`: what the stops do show with the goal's confidence.
    `stops_needed`: how many in all show the goal with no more failures than these, in a plan made beforehand.
    """

    scenario: str
    stop_timeout_ns: int
    stop_after_ns: int
    goal: ReliabilityGoal
    status: ClaimStatus
    stops: int
    failures: int
    derived: int
    undecided: int
    at_least: float
    stops_needed: int
    statement: str
