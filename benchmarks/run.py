"""Measure what the harness costs, beside the raw commands in the same run (`make benchmark`).

    python -m benchmarks.run                        everything but `ecs` and `accuracy`; a quarter of an hour
    python -m benchmarks.run --only hundred serial  some sections; the others keep their older figures
    python -m benchmarks.run --quick                each once, to see that it works

Needs a Docker engine on this machine and a quiet machine. Nothing is asserted: the tables say which target was met.
Each section goes into results.json as soon as it is measured; results.md and the table of
docs/comparison.md are written from that.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import results, sections
from benchmarks.ways import Bench
from stop_harness._version import VERSION
from stop_harness.errors import EngineError


def main() -> int:
    """Measure, record, write the pages."""
    options = arguments()
    # What pip installs has its byte code with it; without, most of a start is the compiling of every module.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what runs is ended and removed
    if options.write:
        results.write_pages(results.read(), sections.SECTIONS)
        return 0
    names = options.only or [name for name in sections.SECTIONS if name not in sections.ONLY_IF_NAMED]
    with tempfile.TemporaryDirectory(prefix="stop-harness-benchmark-") as directory:
        try:
            bench = Bench(Path(directory))
        except EngineError as error:
            print(error, file=sys.stderr)
            return 4
        chosen = sections.Options(bench, options.rounds, options.serial_parts, options.quick)
        try:
            for name in sections.SECTIONS:
                if name in names:
                    measure(name, chosen, keep=not options.quick)
        finally:
            bench.clear()
    return 0


def measure(name: str, options: sections.Options, *, keep: bool) -> None:
    """One section; into the record and the pages, or with `--quick` to the screen."""
    place = results.Place(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}, "
        f"{os.cpu_count()} CPUs, Python {platform.python_version()}",
        engine=f"{options.bench.engine}, stop-harness {VERSION}",
        load_average=os.getloadavg()[0],
    )
    print(f"{name} …", end=" ", file=sys.stderr, flush=True)
    begun = time.monotonic()
    section = sections.SECTIONS[name](options)
    print(f"{time.monotonic() - begun:.0f} s, load average before it {place.load_average:.1f}", file=sys.stderr)
    print(results.table_of(section), flush=True)
    if keep:
        results.write_pages(results.merge(section, place), sections.SECTIONS)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(sections.SECTIONS), metavar="SECTION", help="some of them")
    parser.add_argument("--rounds", type=int, help="how often each way is measured; default: as each section has it")
    parser.add_argument(
        "--serial-parts",
        type=int,
        default=1,
        choices=range(1, 6),
        help="fifths of the 100 containers that are stopped one after the other; 5: all, nine minutes; default: 1",
    )
    parser.add_argument("--quick", action="store_true", help="each way once, fewer in flight; nothing is written")
    parser.add_argument("--write", action="store_true", help="measure nothing; write the pages from results.json")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
