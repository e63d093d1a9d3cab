"""Stops a run's tasks when the harness dies without doing so itself, even by `kill -9`.

A small process of its own that waits on a pipe whose other end the harness holds; see `engines/docker/reaper.py`.
Tasks are found by `startedBy`, which is the run's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time

from stop_harness.engines.ecs.api import EcsApi, EcsSettings, stop_run
from stop_harness.errors import EngineError

DISMISSED = b"done"

KILLED = "stop-harness was killed"

SETTLE_S = 20.0
"""RunTask calls that were on their way when the harness died may still land; look again for this long."""


class EcsReaper:
    """The harness's end: starts the process, and dismisses it after an orderly end."""

    def __init__(self, started_by: str, cluster: str, settings: EcsSettings) -> None:
        told = json.dumps({"started_by": started_by, "cluster": cluster, "endpoint_url": settings.endpoint_url})
        self._process = subprocess.Popen(  # nosec B603 # words, no shell
            [sys.executable, "-P", "-m", "stop_harness.engines.ecs.reaper", told],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,  # closes when it ends: it is not our child, to be waited for
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C at the terminal must not reach it
        )
        # It leaves its place at once and is to be no zombie; see `engines/docker/reaper.py`.
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=self._process.wait, name="reaper-started", daemon=True).start()

    def dismiss(self) -> None:
        """The run is clean: nothing is left to stop. Returns when the process has ended: in a container it would be
        killed with a harness that is the first process there."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):  # it was killed; there is nothing left to dismiss
            self._process.communicate(DISMISSED, timeout=10)


def main() -> None:
    """Wait for the harness to go; stop its tasks unless it said that it had."""
    if os.fork():
        os._exit(0)  # the one that works has no parent from here on, as in `engines/docker/reaper.py`
    if sys.stdin.buffer.read().endswith(DISMISSED):
        os._exit(0)
    told = json.loads(sys.argv[1])
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(EngineError):
            stop_run(EcsApi(EcsSettings(told["cluster"], told["endpoint_url"])), told["started_by"], KILLED)
        time.sleep(1.0)


if __name__ == "__main__":
    main()
