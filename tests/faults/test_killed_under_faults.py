"""`kill -9` of the harness at any moment of a run with faults: all that they made goes with the containers.

Every kind of fault is in the run, in scenarios side by side, again and again; and after each stop what it has left is
taken back for a next start.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.reaper import OWNER_LABEL
from stop_harness.linux import proc
from tests.faults.runner import BASE_IMAGE
from tests.faults.test_nothing_left import begun, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.long, pytest.mark.timeout(300)]

MOMENTS = 12
"""Each takes some seconds. Thirty were tried when this was written."""
LATEST_S = 12.0
"""From the start of the command: by then the first stops are over, and the next ones under way."""

SUBJECT = "trap 'sleep 2; exit 0' TERM; echo ready; while :; do sleep 0.02; done"

FAULTS = {
    "limits": "[{cpu: 0.3, at: with}, {memory: {headroom: 32MiB}}, {pids: 40}, {fds: 30}, {disk: {full: /data}, "
    "at: 0s}, {exec: ['true']}]",
    "halted": "[{pause: true, at: before, for: 800ms}, {process: {stop: ^sleep}, at: 1s, for: 300ms}, "
    "{signal: SIGHUP, at: 1200ms}]",
    "network": "[{network: {latency: 100ms}, at: -500ms}, {dns: dead, at: 100ms}, {pause: true, at: 500ms, "
    "for: 300ms}]",
    "load": "[{cpu: {load: 2}, at: -1s}, {network: cut, at: 300ms, for: 500ms}, {stop: again, at: 500ms}, "
    "{stop: client_gone, at: 800ms}]",
    "removed": "[{network: {loss: 30%, port: 53}}, {process: {signal: SIGWINCH, match: ^sleep}, at: 100ms}, "
    "{stop: remove, at: 700ms}]",
    "group": "[{dependency: {pause: db}, at: 100ms, for: 500ms}, {dependency: {cut: cache}}, "
    "{dependency: {kill: db}, at: 900ms}]",
}


@pytest.fixture
def run(tmp_path: Path, docker_engine_host: DockerHost) -> Iterator[subprocess.Popen[str]]:
    """All of them, of a command of its own."""
    if os.geteuid() != 0 or not docker_engine_host.same_kernel or docker_engine_host.podman:
        pytest.skip("some faults need root on the machine of a Docker engine")
    command = json.dumps(["/bin/sh", "-c", SUBJECT])
    for name, faults in FAULTS.items():
        subject = f"{{image: '{BASE_IMAGE}', command: {command}, tmpfs: ['/data:size=2m']}}"
        if name == "group":
            subject = "{compose: {file: compose.yaml, service: web}}"
        (tmp_path / f"{name}.yaml").write_text(
            f"version: 1\nname: {name}\nsubject: {subject}\nready: {{log: ^ready$}}\n"
            f"stop: {{timeouts: [5s]}}\nrepeat: 3\nfaults: {faults}\nexpect: {{after_stop: {{restart: true}}}}\n"
        )
    service = f"{{image: '{BASE_IMAGE}', command: {command}"
    (tmp_path / "compose.yaml").write_text(
        f"services:\n  db: {service}, volumes: ['kept:/kept']}}\n  cache: {service}}}\n"
        f"  web: {service}, depends_on: [db, cache]}}\nvolumes: {{kept: {{}}}}\n"
    )
    process = begun(tmp_path, *(f"{name}.yaml" for name in FAULTS), "--jobs=6")
    yield process
    process.kill()
    process.wait()


def owned(client: docker.DockerClient, pid: int) -> dict[str, list[str]]:
    """What is on the engine of that command: ids and names by kind."""
    found = {
        "containers": [(it["Id"], it["Labels"]) for it in client.api.containers(all=True)],
        "volumes": [(it["Name"], it["Labels"]) for it in client.api.volumes()["Volumes"] or ()],
        "networks": [(it["Id"], it["Labels"]) for it in client.api.networks()],
    }
    return {
        kind: [name for name, labels in items if f"/{pid}/" in (labels or {}).get(OWNER_LABEL, "")]
        for kind, items in found.items()
    }


def text(*command: str) -> str:
    """What a command of this machine prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("number", range(MOMENTS))
def test_nothing_of_a_fault_outlives_a_harness_that_is_killed(
    run: subprocess.Popen[str], number: int, docker_engine_host: DockerHost
) -> None:
    """No container, volume or network on the engine; no cgroup, frozen or not, mount, process or rule on this
    machine."""
    client = docker_engine_host.connect()
    kill_at = time.monotonic() + random.Random(number).uniform(0.5, LATEST_S)
    seen: set[str] = set()
    while time.monotonic() < kill_at and run.poll() is None:
        seen |= set(owned(client, run.pid)["containers"])
        time.sleep(0.1)
    assert run.poll() is None, run.communicate()[1]
    children = proc.living([run.pid])[1:]
    run.kill()
    run.communicate()
    wait_until(lambda: not any(owned(client, run.pid).values()), 90, "the reaper has cleaned up")
    client.close()
    wait_until(lambda: not any(map(lives, children)), 30, "no process of the harness")
    names = [path for folder in ("freezer", "memory", "") for path in Path("/sys/fs/cgroup", folder).glob("docker/*")]
    assert not [path for path in names if path.name in seen]
    assert not [name for name in seen if name in Path("/proc/self/mountinfo").read_text()]
    assert "NFQUEUE" not in text("iptables", "-S")


def lives(pid: int) -> bool:
    """Whether a process is there, no zombie."""
    return not proc.is_dead(proc.status_of(pid))
