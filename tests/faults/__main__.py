"""`python -m tests.faults`: every fault once, as a table. Exit code 1 if anything is not as it should be."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from harness.engines import docker_host
from tests.faults.runner import Bench, table
from tests.faults.table import FAULTS

if __name__ == "__main__":
    wanted = sys.argv[1:]
    chosen = tuple(fault for fault in FAULTS if not wanted or any(word in fault.name for word in wanted))
    with tempfile.TemporaryDirectory(prefix="stop-harness-faults-") as scratch:
        results = Bench(docker_host.find(), Path(scratch)).run_all(chosen)
    print(table(results))
    sys.exit(any(run.problems or any(run.problems_of(fault) for fault in run.faults) for run in results))
