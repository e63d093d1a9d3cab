"""What `watch` tells where it is not root, or not on the engine's machine: causes, by the engine's own `ps`."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest

from stop_harness.engines.docker import running
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.plain_api import PlainApi
from stop_harness.engines.docker.watched_table import WatchedTable
from tests.watch_support import DEAF, TRAPS, Containers, WatchProcess, watching

WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
"""As much as a user has who is not root: he sees the signal masks of all processes, and not where they sleep."""

AWAITS = (
    "import signal, time; signal.pthread_sigmask(signal.SIG_BLOCK, {15}); print('ready', flush=True); "
    "signal.sigwait({15}); print('going', flush=True); time.sleep(1000)"
)
"""The kernel shows the signal that it waits for as one without a handler."""


def seen_by(watch: WatchProcess, ours: Containers, *commands: list[str]) -> list[dict[str, Any]]:
    """What is told of a container of each command, stopped one after the other once it has been looked at."""
    # A watch that does not see the call takes a SIGKILL after 2.2 s for a late one only where that is their own.
    made = [ours.run(command, stop_timeout=2) for command in commands]
    # A look follows a start by a second; the next stop is told after it, and so were the looks at all of them taken.
    ours.run(["sh", "-c", "exec sleep 2"]).wait()
    for container in made:
        container.stop()
    told = {item["container_id"]: item for item in watch.wait_for(len(made) + 1)}
    return [told[container.id] for container in made]


@pytest.mark.docker
def test_a_user_without_rights_is_told_the_cause(ours: Containers) -> None:
    """Also for a signal that is waited for, of which the masks alone would say that there is no handler."""
    if WITHOUT_RIGHTS and shutil.which("setpriv") is None:
        pytest.skip("setpriv is needed to give up root's rights")
    with watching("--json", "--label", ours.label, before=WITHOUT_RIGHTS) as watch:
        deaf, awaits, traps = seen_by(watch, ours, DEAF, ["python3", "-c", AWAITS], TRAPS)
        watch.interrupt()
    assert (deaf["outcome"], deaf["cause"]) == ("killed", "pid1-no-handler"), deaf["reason"]
    assert awaits["outcome"] == "killed", awaits["reason"]
    assert awaits["cause"] != "pid1-no-handler"
    assert traps["outcome"] in {"graceful", "inconclusive"}
    if traps["outcome"] == "inconclusive":
        assert traps["reason"].endswith("to see it: run stop-harness on the engine's machine, as root")


@pytest.mark.docker
def test_an_engine_whose_processes_are_elsewhere_is_asked_for_them(ours: Containers, tcp_engine: str) -> None:
    """As with Docker Desktop."""
    with watching("--json", "--label", ours.label, environment={"DOCKER_HOST": tcp_engine}) as watch:
        deaf, awaits = seen_by(watch, ours, DEAF, ["python3", "-c", AWAITS])
        watch.interrupt()
    assert (deaf["outcome"], deaf["cause"]) == ("killed", "pid1-no-handler"), deaf["reason"]
    assert awaits["outcome"] == "killed", awaits["reason"]
    assert awaits["cause"] != "pid1-no-handler"


@pytest.mark.docker
def test_the_engine_and_proc_tell_the_same_processes(ours: Containers, docker_engine_host: DockerHost) -> None:
    """PID 1 first, with the same masks; nobody is told of a container that has ended."""
    made = ours.run(TRAPS)
    api = PlainApi(docker_engine_host)
    try:
        found = running.described(api.get(f"/containers/{made.id}/json"), same_kernel=docker_engine_host.same_kernel)
        table = WatchedTable(found, docker_engine_host, api.get)
        at_once = table.read(at_once=True)
        table.by_engine = True
        by_engine = table.read()
        assert at_once
        assert by_engine
        (first, *_), (same, *_) = at_once[0], by_engine[0]
        assert (first.pid, first.caught, first.command) == (same.pid, same.caught, same.command)
        made.kill()
        made.wait()
        assert table.read() is table.read(at_once=True) is None
    finally:
        api.close()
