"""python -m tests.field_guide [--only REGEX] [--missing]: measure field-guide/ and write field-guide/measured.json."""

from __future__ import annotations

import argparse
import sys

from stop_harness.engines.docker import host as docker_host
from tests.field_guide import index, measure


def main() -> int:
    """0; the figures are in the file, and `make docs` writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="only what matches this")
    parser.add_argument("--missing", action="store_true", help="only what has no figure yet")
    parser.add_argument("--jobs", type=int, default=measure.JOBS, help="trials at once")
    asked = parser.parse_args()
    client = docker_host.find().connect(timeout_s=900)
    measure.write(measure.measure(index.load(), client, asked.only, missing=asked.missing, jobs=asked.jobs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
