"""What a number of stops shows about all stops: confidence, reliability, and how many stops a statement takes. Pure.

Each stop meets its expectation or does not, independently of the others and with the same chance: its reliability. All
bounds are exact (binomial; Clopper and Pearson, Biometrika 26, 1934), not approximations for large numbers. They hold
for a number of stops that was fixed beforehand.
"""

from __future__ import annotations

from functools import cache
from math import exp, lgamma, log, log1p

SMALLEST = 1e-17
"""A term that is smaller than this part of a sum does not change it."""


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
    return at_least_so_many(failures + 1, stops, 1 - reliability)


def at_least(confidence: float, stops: int, failures: int) -> float:
    """The reliability that the stops show with this confidence (one-sided lower bound); 0 without a stop."""
    return chance_behind(stops - failures, stops, 1 - confidence) if failures < stops else 0.0


def at_most(confidence: float, stops: int, failures: int) -> float:
    """The reliability that the stops rule out to be exceeded, with this confidence (one-sided upper bound); 1 without
    a failure."""
    return 1 - chance_behind(failures, stops, 1 - confidence) if failures else 1.0


# ── The binomial distribution ────────────────────────────────────────────────────────────────────────────────────────


def at_least_so_many(count: int, total: int, chance: float) -> float:
    """The probability that `count` or more of `total` independent events happen, each with this chance."""
    if count <= 0:
        return 1.0
    if count > total or chance == 0:
        return 0.0
    if chance == 1:
        return 1.0
    # The side that does not hold the mean is summed up from its largest term on, where nothing cancels out.
    if count > total * chance:
        return _tail(count, total, chance)
    return 1 - _tail(total - count + 1, total, 1 - chance)


def _tail(count: int, total: int, chance: float) -> float:
    """The same for a `count` above the mean: the terms fall from the first to the last."""
    logarithm = (
        lgamma(total + 1)
        - lgamma(count + 1)
        - lgamma(total - count + 1)
        + count * log(chance)
        + (total - count) * log1p(-chance)
    )
    term = found = exp(logarithm)
    odds = chance / (1 - chance)
    for more in range(count, total):
        term *= (total - more) / (more + 1) * odds
        found += term
        if term <= found * SMALLEST:
            break
    return found


def chance_behind(count: int, total: int, probability: float) -> float:
    """The chance of one event with which `count` (at least 1) or more of `total` happen with this probability."""
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:  # until no number lies between them
        low, high = (low, middle) if at_least_so_many(count, total, middle) >= probability else (middle, high)
    return high
