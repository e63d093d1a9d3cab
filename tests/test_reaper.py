"""The small processes that clean up after a killed harness leave no zombie while the harness lives."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from stop_harness.engines.docker import reaper
from stop_harness.engines.docker.address import Address
from stop_harness.engines.ecs import reaper as ecs_reaper
from stop_harness.engines.ecs.api import EcsSettings

NOBODY = "http://127.0.0.1:9"


def zombies() -> list[int]:
    """Children of this process that have ended and were not waited for."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except OSError:  # it is gone
            continue
        if state == "Z" and int(parent) == os.getpid():
            found.append(int(name))
    return found


@pytest.mark.parametrize(
    "start",
    [
        lambda: reaper.DockerReaper("no-run", Address(NOBODY)),
        lambda: ecs_reaper.EcsReaper("nobody", "none", EcsSettings("none", NOBODY)),
    ],
    ids=["docker", "ecs"],
)
def test_the_process_that_starts_the_reaper_is_waited_for(start: Callable[[], reaper.DockerReaper]) -> None:
    """It ends as soon as it has started the one that works; then nothing of it is left."""
    before = set(zombies())
    started = start()
    try:
        deadline = time.monotonic() + 30
        while started._process.returncode is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert started._process.returncode == 0
        assert not set(zombies()) - before
    finally:
        started.dismiss()
