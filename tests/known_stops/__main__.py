"""python -m tests.known_stops: build, run, compare, and print what is wrong.

--write           write docs/known-stops.md and the README's line
--under-load N    then stop each N times more beside two busy loops
--report-dir DIR  keep the runs there
--only TEXT       only the stops with TEXT in their name
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stop_harness.engines.docker import host as docker_host
from tests.known_stops import cases, images, page
from tests.known_stops.measure import Measurement, measure

BUSY_LOOPS = 2


def main() -> int:
    """0 if every outcome is right, under load also where a stop is left undecided."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--under-load", type=int, default=0)
    parser.add_argument("--report-dir", type=Path)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    stops = tuple(stop for stop in cases.load(cases.folder()) if asked.only in stop.name)
    if not stops:
        print(f"no known stops in {cases.folder()}; name their folder with {cases.VARIABLE}", file=sys.stderr)
        return 2
    host = docker_host.find()
    client = host.connect(timeout_s=600)
    with told_time("images"):
        images.build(client, cases.folder(), (stop.case for stop in stops), lambda line: None)
    with told_time("run"):
        quiet = measure(stops, asked.report_dir)
    tell(quiet)
    loaded = None
    if asked.under_load:
        with told_time(f"run beside {BUSY_LOOPS} busy loops"), busy_loops():
            loaded = measure(stops, asked.report_dir, asked.under_load)
        tell(loaded)
    if asked.write:
        page.write(quiet, loaded)
    undecided_or_right = loaded is None or not page.wrong_outcomes(loaded)
    return int(not (undecided_or_right and all("outcome" not in measured.wrong() for measured in quiet.stops)))


def tell(measurement: Measurement) -> None:
    """What is wrong, and the figures."""
    for measured in measurement.stops:
        for question, answer in measured.wrong().items():
            print(f"{measured.result.observation.trial_id}: {question}: known {answer.known}; got {answer.got}")
    print(page.summary(measurement), flush=True)


@contextmanager
def told_time(what: str) -> Iterator[None]:
    """Print how long it took."""
    began = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - began:.0f} s", flush=True)


@contextmanager
def busy_loops() -> Iterator[None]:
    """Keep as many processors busy."""
    loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(BUSY_LOOPS)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


if __name__ == "__main__":
    sys.exit(main())
