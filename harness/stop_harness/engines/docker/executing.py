"""Commands in a running container: `docker exec --detach`, and looks at the exit code until it is there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import docker

from stop_harness.engines.docker.calls import ENGINE_ERRORS, Calls, in_one_line
from stop_harness.errors import EngineError
from stop_harness.model import NS_PER_MS

EXECUTE_POLL_NS = 50 * NS_PER_MS
"""Between two looks at the exit code of a command. To wait for its output instead would take its silence for the
engine's."""


def execute(
    api: Any,
    calls: Calls,
    container_id: str,
    command: tuple[str, ...],
    *,
    timeout_ns: int,
    sleep: Callable[[int], None],
    **settings: Any,
) -> int | None:
    """Its exit code; None: it had not ended by then, and goes on, for the API ends no command. Raises EngineError.

    `sleep`: lets nanoseconds pass. `settings`: further arguments of the SDK's `exec_create`.
    """
    text, deadline_ns = f"`{' '.join(command)}`", time.monotonic_ns() + timeout_ns
    try:
        created = calls.run(text, lambda: api.exec_create(container_id, list(command), **settings))["Id"]
        # What cannot be started has its exit code all the same: 126 or 127, as in a shell.
        with contextlib.suppress(docker.errors.APIError):
            calls.run(text, lambda: api.exec_start(created, detach=True))
        while True:
            seen = calls.run(text, api.exec_inspect, created)
            if not seen["Running"] and seen["ExitCode"] is not None:
                return int(seen["ExitCode"])
            left_ns = deadline_ns - time.monotonic_ns()
            if left_ns <= 0:
                return None
            sleep(min(left_ns, EXECUTE_POLL_NS))
    except ENGINE_ERRORS as error:
        raise EngineError(f"{text} cannot be run in the container: {in_one_line(error)}") from None
