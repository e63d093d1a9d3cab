"""`watch --prometheus` counts what was judged, in names that a dashboard can rely on."""

from __future__ import annotations

import os
import socket
import subprocess
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from stop_harness.conductor.stop_metrics import StopMetrics
from stop_harness.errors import UsageError
from stop_harness.evidence import watched_end
from stop_harness.report import watched
from tests.free_port import free_port
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
        samples = scraped(metrics.serve())
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
        port = first.serve().rpartition(":")[2].removesuffix("/metrics")
        second = StopMetrics(f"127.0.0.1:{port}")
        with pytest.raises(UsageError, match="cannot listen there: Address already in use"):
            second.serve()
        second.close()
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


def test_nobody_is_answered_before_the_engine_is_listened_to(tmp_path: Path) -> None:
    """Whoever waits for an answer and then stops a container has that stop counted."""
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(tmp_path / "silent.sock"))
        engine.listen()
        port = free_port()
        address = {"DOCKER_HOST": f"unix://{tmp_path}/silent.sock"}
        with subprocess.Popen(
            [COMMAND, "watch", "--prometheus", f"127.0.0.1:{port}"], env={**os.environ, **address}
        ) as watch:
            try:
                engine.settimeout(60)
                asked, _ = engine.accept()  # it is asked, and says nothing
                with asked, pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port), timeout=30)
            finally:
                watch.kill()


def test_a_bad_address_ends_the_command_with_2() -> None:
    """Without a traceback."""
    done = subprocess.run(
        [COMMAND, "watch", "--prometheus", "nowhere"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "--prometheus 'nowhere': :PORT or HOST:PORT is needed" in done.stderr
