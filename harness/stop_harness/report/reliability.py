"""What a number of stops shows about all stops: confidence, reliability, and how many stops a statement takes. Pure.

Each stop meets its expectation or does not, independently of the others and with the same chance: its reliability. All
bounds are exact (binomial; Clopper and Pearson, Biometrika 26, 1934), not approximations for large numbers. They hold
for a number of stops that was fixed beforehand.
"""

from __future__ import annotations

from functools import cache


@cache
def stops_needed(confidence: float, reliability: float, failures: int = 0) -> int:
    """The fewest stops, of which at most `failures` fail, that show with this confidence at least this reliability.

    Without a failure that is the smallest n with 1 - reliability**n >= confidence (success run): 299 for 0.95 and
    0.99. Both numbers lie between 0 and 1, exclusive.
    """
    enough = failures + 1
    while confidence_in(reliability, enough, failures) < confidence:
        enough *= 2
    low, high = failures, enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if confidence_in(reliability, middle, failures) >= confidence else (middle, high)
    return high


def confidence_in(reliability: float, stops: int, failures: int) -> float:
    """With which confidence the stops show at least this reliability: the chance that stops which are just as reliable
    as that would have failed more often."""
    from scipy.special import bdtrc

    return float(bdtrc(failures, stops, 1 - reliability)) if failures < stops else 0.0


def at_least(confidence: float, stops: int, failures: int) -> float:
    """The reliability that the stops show with this confidence (one-sided lower bound); 0 without a stop."""
    from scipy.special import betaincinv

    return float(betaincinv(stops - failures, failures + 1, 1 - confidence)) if failures < stops else 0.0


def at_most(confidence: float, stops: int, failures: int) -> float:
    """The reliability that the stops rule out to be exceeded, with this confidence (one-sided upper bound); 1 without
    a failure."""
    from scipy.special import betaincinv

    return float(betaincinv(stops - failures + 1, failures, confidence)) if failures else 1.0
