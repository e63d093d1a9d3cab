"""The field guide: its page says what was measured, its samples come out as they are shown, its cures are proved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stop_harness.engines.docker.host import DockerHost
from stop_harness.model import Outcome, Scenario, Status
from stop_harness.verdict.advice import cures, programs
from tests.field_guide import index, measure

PAGE = Path(__file__).parent.parent / "docs" / "field-guide.md"


def measured() -> dict[str, Any]:
    """The figures that the page shows."""
    found: dict[str, Any] = json.loads(index.MEASURED.read_text(encoding="utf-8"))
    return found


def test_everything_in_the_guide_was_measured() -> None:
    """Each server with each of its signals, idle and at work, and both of each pair; and nothing else."""
    guide = index.load()
    servers = {each.name for server in guide.servers for each in index.variants(server)}
    samples = {each.name for pair in guide.pairs for each in pair}
    assert servers | samples == set(measured()["stops"])
    assert not [name for name, found in measured()["stops"].items() if found["outcome"] == "inconclusive"]


def test_every_pair_is_a_bad_stop_and_its_cure() -> None:
    """As measured: the sample is not graceful, its twin is."""
    stops = measured()["stops"]
    for bad, cured in index.load().pairs:
        assert stops[bad.name]["outcome"] not in {"graceful", "inconclusive"}, bad.name
        assert stops[cured.name]["outcome"] == "graceful", cured.name


def test_every_proof_of_advice_is_a_graceful_stop_on_the_page() -> None:
    """Advice that could not be tried names no proof, and the page says so of it."""
    stops, page = measured()["stops"], PAGE.read_text(encoding="utf-8")
    entries = [*cures(), *(entry for program in programs() for entry in program.entries)]
    for entry in entries:
        proof = entry.advice.proof
        if proof:
            assert stops[proof]["outcome"] == "graceful", proof
            assert f'<a id="{proof}"></a>' in page, proof
            assert entry.advice.text in page
        else:
            assert not entry.advice.program or entry.advice.text in page


@pytest.mark.docker
@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(1200)
def test_samples_and_their_cures_come_out_as_the_guide_says(docker_engine_host: DockerHost) -> None:
    """Both of every pair meet the expectation in their file, and end as measured."""
    assert docker_engine_host.url
    _compare([each for pair in index.load().pairs for each in pair])


@pytest.mark.docker
@pytest.mark.servers
@pytest.mark.alone
@pytest.mark.timeout(1200)
def test_servers_at_work_end_as_the_guide_says(docker_engine_host: DockerHost) -> None:
    """Every server, with each of its signals."""
    assert docker_engine_host.url
    _compare([each for server in index.load().servers for each in index.variants(server, idle=False)])


def _compare(scenarios: list[Scenario]) -> None:
    """What a busy machine leaves undecided is no disagreement, if it is seldom."""
    stops, results = measured()["stops"], measure.perform(tuple(scenarios)).results
    decided = [item for item in results if item.verdict.outcome is not Outcome.INCONCLUSIVE]
    assert len(decided) >= len(results) * 0.95
    wrong = {
        item.observation.scenario: (item.verdict.outcome.value, item.verdict.reason)
        for item in decided
        if item.verdict.status is Status.FAIL
        or item.verdict.outcome.value != stops[item.observation.scenario]["outcome"]
    }
    assert not wrong
