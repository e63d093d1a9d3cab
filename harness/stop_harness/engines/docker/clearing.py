"""The end of a run on an engine: what is left of it is removed, and what cannot be is said."""

from __future__ import annotations

import time
from functools import partial

from stop_harness.engines.docker import sdk
from stop_harness.engines.docker.calls import Calls, in_one_line
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.reaper import remove_run

CLEAR_AFTER_S = (0.0, 0.5, 2.0)
"""Pauses before the attempts to remove what is left at the end of a run; the reaper goes on from there."""

CLEAR_LIMIT_S = 20.0
"""For one of these attempts."""


def clear(
    host: DockerHost, run_id: str, *, call_limit_s: float, in_a_hurry: bool = False, networks: bool = False
) -> tuple[int, tuple[str, ...]]:
    """Remove the containers, volumes and networks of a run. Gives how many containers there were, and what is left and
    cannot be removed after a few attempts (`in_a_hurry`: after one, for the user waits). `networks`: it made some."""
    problems: list[str] = []
    total = 0
    for pause_s in CLEAR_AFTER_S[:1] if in_a_hurry else CLEAR_AFTER_S:
        time.sleep(pause_s)
        limit_s = min(CLEAR_LIMIT_S, call_limit_s)
        try:
            version = host.api_version
            remove = partial(
                remove_run, host.address, run_id, api_version=version, call_limit_s=limit_s, networks=networks
            )
            removed, problems = Calls(host.url, limit_s).run("the clean-up", remove)
            total += removed
        except sdk.CALL_ERRORS as error:
            problems = [f"whatever this run has left: {in_one_line(error)}"]
        if not problems:
            break
    return total, tuple(problems)
