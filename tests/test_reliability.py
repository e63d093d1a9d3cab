"""Statements about all stops from some: exact bounds, against the definition and against published numbers."""

from __future__ import annotations

import re
from math import comb
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stop_harness.report import reliability

probabilities = st.floats(0.01, 0.99)
confidences = st.floats(0.5, 0.999)


def at_most_failures(failures: int, stops: int, chance: float) -> float:
    """The binomial distribution, by its definition: the chance of at most so many failures."""
    return sum(
        comb(stops, number) * (1 - chance) ** number * chance ** (stops - number) for number in range(failures + 1)
    )


@pytest.mark.parametrize(
    ("confidence", "asked", "failures", "stops"),
    [
        (0.95, 0.99, 0, 299),
        (0.95, 0.9, 0, 29),
        (0.9, 0.9, 0, 22),
        (0.95, 0.999, 0, 2995),
        (0.99, 0.999, 0, 4603),
        (0.95, 0.99, 1, 473),
        (0.95, 0.99, 2, 628),
        (0.95, 0.9, 1, 46),
        (0.5, 0.5, 0, 1),
    ],
)
def test_numbers_of_stops_are_those_of_the_tables(confidence: float, asked: float, failures: int, stops: int) -> None:
    """Success-run theorem and its extension to some failures, as published tables have them."""
    assert reliability.stops_needed(confidence, asked, failures) == stops


@given(confidences, probabilities, st.integers(0, 4))
def test_no_fewer_stops_would_do(confidence: float, asked: float, failures: int) -> None:
    """The number is enough, and one less is not."""
    stops = reliability.stops_needed(confidence, asked, failures)
    assert reliability.confidence_in(asked, stops, failures) >= confidence
    assert reliability.confidence_in(asked, stops - 1, failures) < confidence


@given(st.integers(1, 60), st.integers(0, 60), probabilities)
def test_confidence_follows_from_the_binomial_distribution(stops: int, failures: int, asked: float) -> None:
    """The chance that stops of just that reliability would have failed more often."""
    assume(failures <= stops)
    expected = 1 - at_most_failures(failures, stops, asked)
    assert reliability.confidence_in(asked, stops, failures) == pytest.approx(expected, abs=1e-9)


@given(st.integers(1, 60), st.integers(0, 60), confidences)
def test_bounds_are_where_the_observation_becomes_improbable(stops: int, failures: int, confidence: float) -> None:
    """At the lower bound so few failures, at the upper one so many, have the chance 1 - confidence."""
    assume(failures <= stops)
    low, high = (bound(confidence, stops, failures) for bound in (reliability.at_least, reliability.at_most))
    assert 0 <= low <= 1
    assert 0 <= high <= 1
    assert low <= (stops - failures) / stops <= high
    if failures < stops:
        assert at_most_failures(failures, stops, low) == pytest.approx(1 - confidence, abs=1e-6)
    if failures:
        assert 1 - at_most_failures(failures - 1, stops, high) == pytest.approx(1 - confidence, abs=1e-6)


@given(st.integers(1, 2000), confidences)
def test_without_a_failure_the_bound_has_a_closed_form(stops: int, confidence: float) -> None:
    """(1 - confidence)**(1 / stops)."""
    assert reliability.at_least(confidence, stops, 0) == pytest.approx((1 - confidence) ** (1 / stops), abs=1e-9)


@pytest.mark.oracle
@given(st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), st.floats(1e-6, 1 - 1e-6))
def test_the_binomial_distribution_is_scipys(stops_failures: tuple[int, int], chance: float) -> None:
    """The product does without scipy, which takes longer to load than a container to stop; the tests ask it."""
    from scipy.special import bdtrc

    stops, failures = stops_failures
    found = reliability.at_least_so_many(failures + 1, stops, chance)
    assert found == pytest.approx(float(bdtrc(failures, stops, chance)), rel=1e-8, abs=1e-290)


@pytest.mark.oracle
@given(st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))), st.floats(1e-4, 1 - 1e-4))
def test_the_chance_behind_a_count_is_scipys(stops_count: tuple[int, int], probability: float) -> None:
    """The inverse of the regularised incomplete beta function."""
    from scipy.special import betaincinv

    stops, count = stops_count
    expected = float(betaincinv(count, stops - count + 1, probability))
    assert reliability.chance_behind(count, stops, probability) == pytest.approx(expected, rel=1e-9)


def test_three_stops_show_little_and_none_show_nothing() -> None:
    """36 % with 95 % confidence; without a stop, or where all failed, nothing."""
    assert reliability.at_least(0.95, 3, 0) == pytest.approx(0.3684, abs=1e-4)
    assert reliability.at_least(0.95, 0, 0) == 0
    assert reliability.at_least(0.95, 7, 7) == 0
    assert reliability.at_most(0.95, 0, 0) == 1
    assert reliability.at_most(0.95, 7, 7) == pytest.approx(1 - 0.05 ** (1 / 7))
    assert reliability.confidence_in(0.9, 0, 0) == 0


def test_the_table_of_the_docs_is_computed_as_the_program_does() -> None:
    """docs/confidence.md: confidence, reliability, and the stops it takes with no, one and two failures."""
    page = (Path(__file__).parent.parent / "docs/confidence.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (0\.\d+) \| (0\.\d+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", page, re.MULTILINE)
    assert len(rows) == 6
    for confidence, asked, *stops in rows:
        needed = [reliability.stops_needed(float(confidence), float(asked), failures) for failures in (0, 1, 2)]
        assert [int(number.replace(",", "")) for number in stops] == needed
