"""`python -m tests.faults [--write] [WORD…]`: every fault once (those whose name holds a word), as a table.

`--write`: into docs/failing-engines.md as well. Exit code 1 if anything is not as it should be.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from stop_harness.engines.docker import host as docker_host
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.reaper import PATIENCE_VARIABLE
from tests.faults.runner import Bench, Run, markdown, table
from tests.faults.table import FAULTS

PAGE = Path(__file__).resolve().parents[2] / "docs/failing-engines.md"
BLOCK = re.compile(r"(?<=<!-- faults: begin -->\n).*(?=<!-- faults: end -->)", re.DOTALL)


def main() -> int:
    """Run, print, write."""
    words = [word for word in sys.argv[1:] if word != "--write"]
    chosen = tuple(fault for fault in FAULTS if not words or any(word in fault.name for word in words))
    host = docker_host.find()
    os.environ.setdefault(PATIENCE_VARIABLE, "60")  # the engine's address goes with the run
    with tempfile.TemporaryDirectory(prefix="stop-harness-faults-") as scratch:
        runs = Bench(host, Path(scratch)).run_all(chosen)
    print(table(runs))
    if "--write" in sys.argv:
        write(runs, host)
    return any(run.problems or any(run.problems_of(fault) for fault in run.faults) for run in runs)


def write(runs: list[Run], host: DockerHost) -> None:
    """Into the page, with the date and the engine."""
    text = f"{datetime.now(UTC):%Y-%m-%d}, {host.info.product} {host.info.version}:\n\n{markdown(runs)}\n"
    PAGE.write_text(BLOCK.sub(lambda _: text, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
