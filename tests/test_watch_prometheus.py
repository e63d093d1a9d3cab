"""`watch --prometheus` counts what was judged, in names that a dashboard can rely on."""

from __future__ import annotations

import subprocess
import urllib.request
from dataclasses import replace

import pytest

from stop_harness.conductor.stop_metrics import StopMetrics
from stop_harness.errors import UsageError
from stop_harness.evidence import watched_end
from stop_harness.report import watched
from tests.own_runs import COMMAND, wait_until
from tests.strategies import DOCKER
from tests.test_watched_end import TERM, life
from tests.watch_support import FAILS, TRAPS, Containers, watching

pytest.importorskip("prometheus_client")


def scraped(url: str) -> list[str]:
    """The samples that are not made up of times."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        text = answer.read().decode()
    return [line for line in text.splitlines() if not line.startswith("#") and "_created" not in line]


def test_stops_are_counted_by_outcome_and_image_with_their_durations() -> None:
    """Other ends are counted by their kind alone."""
    engine = replace(DOCKER, proves_lost_processes=True)
    metrics = StopMetrics("127.0.0.1:0")
    try:
        for seen in (
            life((0, TERM), exit_s=0.2),
            life((0, TERM), exit_s=3),
            life((0, TERM), exit_s=1, code=1),
            life(exit_s=1),
        ):
            metrics.add(watched.judged(watched_end.end(seen, engine)))
        samples = scraped(metrics.url)
    finally:
        metrics.close()
    assert 'container_stop_total{image="shop/web",outcome="graceful"} 2.0' in samples
    assert 'container_stop_total{image="shop/web",outcome="crashed"} 1.0' in samples
    assert 'container_stop_duration_seconds_bucket{image="shop/web",le="0.25"} 1.0' in samples
    assert 'container_stop_duration_seconds_bucket{image="shop/web",le="10.0"} 3.0' in samples
    assert 'container_end_total{end="stop"} 3.0' in samples
    assert 'container_end_total{end="exit"} 1.0' in samples


@pytest.mark.parametrize("address", ["9101", "", "host:", ":99999", "[::1]"])
def test_an_address_that_is_none_is_refused_with_what_is_allowed(address: str) -> None:
    """Before any engine is asked."""
    with pytest.raises(UsageError, match=r":PORT or HOST:PORT is needed, such as :9101"):
        StopMetrics(address)


def test_a_port_that_is_taken_is_told_in_a_sentence() -> None:
    """A mistake in usage, no fault."""
    first = StopMetrics("127.0.0.1:0")
    try:
        port = first.url.rpartition(":")[2].removesuffix("/metrics")
        with pytest.raises(UsageError, match="cannot listen there: Address already in use"):
            StopMetrics(f"127.0.0.1:{port}")
    finally:
        first.close()


@pytest.mark.docker
def test_a_watch_is_scraped_while_it_runs(ours: Containers) -> None:
    """From the command line, with real stops."""
    with watching("--label", ours.label, "--prometheus", "127.0.0.1:0") as watch:
        (line,) = [line for line in watch.err if "metrics for Prometheus" in line]
        url = line.rpartition(" ")[2]
        ours.run(TRAPS).stop()
        ours.run(FAILS).stop()
        wait_until(lambda: any('container_end_total{end="stop"} 2.0' in line for line in scraped(url)), "both count")
        samples = scraped(url)
        watch.interrupt()
    assert any('outcome="crashed"} 1.0' in line for line in samples)


def test_a_bad_address_ends_the_command_with_2() -> None:
    """Without a traceback."""
    done = subprocess.run(
        [COMMAND, "watch", "--prometheus", "nowhere"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "--prometheus 'nowhere': :PORT or HOST:PORT is needed" in done.stderr
