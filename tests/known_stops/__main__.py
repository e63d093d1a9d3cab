"""python -m tests.known_stops: build, run, compare, and print what is wrong.

--write           write docs/known-stops.md and the README's block
--report-dir DIR  keep the run there
--repeat N        stop each N times
--only TEXT       only the stops with TEXT in their name
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import docker

from harness.engines import docker_host
from tests.known_stops import cases, images, measure, page


def main() -> int:
    """0 if every outcome is right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--report-dir", type=Path)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    stops = tuple(stop for stop in cases.load(cases.folder()) if asked.only in stop.name)
    if not stops:
        print(f"no known stops in {cases.folder()}; name their folder with {cases.VARIABLE}", file=sys.stderr)
        return 2
    host, began = docker_host.find(), time.monotonic()
    client = docker.DockerClient(base_url=host.url, version=host.api_version, timeout=600)
    images.build(client, cases.folder(), (stop.case for stop in stops), lambda line: None)
    built = time.monotonic()
    measurement = measure.measure(stops, asked.report_dir, asked.repeat)
    for measured in measurement.stops:
        for question, answer in measured.wrong().items():
            print(f"{measured.result.observation.trial_id}: {question}: known {answer.known}; got {answer.got}")
    print(page.summary(measurement))
    print(f"images {built - began:.0f} s, run {time.monotonic() - built:.0f} s")
    if asked.write:
        page.write(measurement)
    return int(any("outcome" in measured.wrong() for measured in measurement.stops))


if __name__ == "__main__":
    sys.exit(main())
