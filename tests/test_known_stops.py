"""How right the verdicts are where the result is known: `make test-known-stops`; figures in docs/known-stops.md."""

from __future__ import annotations

import pytest

from stop_harness.engines.docker.host import DockerHost
from tests.known_stops import cases, images, measure
from tests.known_stops.measure import Measurement

pytestmark = [pytest.mark.docker, pytest.mark.known_stops, pytest.mark.timeout(1800)]

CAUSES_RIGHT = 0.9
"""Goal: the cause of nine bad stops in ten."""

INCONCLUSIVE_AT_MOST = 0.05
"""A busy machine may leave a stop undecided, though not many."""


@pytest.fixture(scope="module")
def measurement(docker_engine_host: DockerHost) -> Measurement:
    """Every known stop, once, in one run."""
    stops = cases.load(cases.folder())
    if not stops:
        pytest.skip(f"no known stops in {cases.folder()}; {cases.VARIABLE} names their folder")
    host = docker_engine_host
    client = host.connect(timeout_s=600)
    try:
        images.build(client, cases.folder(), (stop.case for stop in stops), print)
    finally:
        client.close()
    return measure.measure(stops)


def wrong(measurement: Measurement, question: str) -> list[str]:
    """What was answered wrongly, for people; a stop that was left undecided is not."""
    return [
        f"{measured.stop.name}: known {answer.known}, got {answer.got}: {measured.result.verdict.reason}"
        for measured in measurement.stops
        if not measured.inconclusive and (answer := measured.wrong().get(question)) is not None
    ]


def test_no_bad_stop_is_called_graceful(measurement: Measurement) -> None:
    """The one mistake that must never happen."""
    assert [measured.stop.name for measured in measurement.stops if measured.false_graceful] == []


def test_few_stops_are_left_undecided(measurement: Measurement) -> None:
    """Doubt is allowed, but not as a way out."""
    undecided = [measured.stop.name for measured in measurement.stops if measured.inconclusive]
    assert len(undecided) <= INCONCLUSIVE_AT_MOST * len(measurement.stops), undecided


@pytest.mark.parametrize("question", [name for name in measure.QUESTIONS if name != "cause"])
def test_every_stop_is_read_rightly(measurement: Measurement, question: str) -> None:
    """Outcome, SIGKILL, OOM killer, lost requests and silent kills are what is known."""
    assert wrong(measurement, question) == []


def test_causes_are_named(measurement: Measurement) -> None:
    """Nine in ten."""
    asked = sum("cause" in measured.answers() for measured in measurement.stops)
    mistakes = wrong(measurement, "cause")
    assert len(mistakes) <= (1 - CAUSES_RIGHT) * asked, mistakes
