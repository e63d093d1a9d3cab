"""An OOM kill that the engine had no time to hear of: the kernel's log has it, whoever was its victim."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import stop_harness
from stop_harness.engines.docker.host import DockerHost
from stop_harness.linux import oom_log
from tests.faults.effects import drop, set_to
from tests.faults.proxy import FaultyEngine, Rule
from tests.faults.runner import BASE_IMAGE

PROGRAM = """
import os, signal, subprocess, sys, time
def end(*_):
    subprocess.run([sys.executable, "-c", "held = [bytearray(8 << 20) for _ in range(99)]"])
    os._exit(0)
signal.signal(signal.SIGTERM, end)
os.write(1, b"ready\\n")
while True:
    time.sleep(0.05)
"""
"""Its helper needs more memory than there is, and it does not look at how that ended."""


@pytest.mark.docker
def test_of_a_process_below_pid_1_it_is_no_loss_by_somebody_in_the_container(
    docker_engine_host: DockerHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 0, no event, no flag: as Docker 20.10 leaves it in about one of a hundred such stops."""
    if not os.access(oom_log.LOG, os.R_OK) or not docker_engine_host.info.proves_lost_processes:
        pytest.skip("the kernel's log, and its record of exits: reading them needs root")
    silent = (
        Rule("GET", "/events", drop("oom"), everybody=True),
        Rule("GET", "/containers/[0-9a-f]+/json", set_to(False, "State", "OOMKilled"), mark="silent", everybody=True),
    )
    with FaultyEngine(docker_engine_host.url, tmp_path / "engine.sock", silent) as proxy:
        monkeypatch.setenv("DOCKER_HOST", proxy.url)
        result = stop_harness.check(
            image=BASE_IMAGE,
            command=["python3", "-u", "-c", PROGRAM],
            ready_log="^ready$",
            memory="64MiB",
            timeouts=[9],
        )
        assert proxy.injected["silent"]
    assert result.outcome == "oom_killed", result
