"""`stop-harness watch -- COMMAND` judges exactly what the command stops; and a watch whose engine goes away."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import docker
import pytest

from stop_harness.engines.docker.forwarding import end_asked
from stop_harness.engines.docker.host import DockerHost
from stop_harness.evidence.watched_end import StopCall
from tests.own_runs import COMMAND, wait_until
from tests.second_engine import SecondEngine
from tests.watch_support import (
    BASE_IMAGE,
    DEAF,
    FAILS,
    TRAPS,
    Containers,
    CuttableFront,
    containers,
    sees_kills,
    watching,
)

STOPS = "import docker, sys; [docker.from_env().containers.get(name).stop(timeout=5) for name in sys.argv[1:]]"
"""What docker compose and others do, by the SDK."""


def watched(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command to its end."""
    line = [COMMAND, "watch", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.mark.docker
def test_exactly_the_stops_of_the_command_are_judged(ours: Containers) -> None:
    """Named in any way; what others stop meanwhile is none of them. The exit code is that of its stops."""
    by_name, by_id, other = ours.run(TRAPS), ours.run(FAILS), ours.run(TRAPS)
    meanwhile = threading.Timer(1, other.stop)
    meanwhile.start()
    done = watched("--json", "--", sys.executable, "-c", STOPS, by_name.name, by_id.id[:12])
    meanwhile.join()
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [item["container"] for item in told] == [by_name.name, by_id.name]
    assert told[1]["outcome"] == "crashed"
    assert {(item["stop_timeout_s"], item["stop_timeout_source"]) for item in told} == {(5.0, "call")}
    assert done.returncode == 1


@pytest.mark.docker
def test_good_stops_of_a_command_are_a_pass_and_its_output_is_its_own(
    ours: Containers, docker_engine_host: DockerHost
) -> None:
    """With `--json` it goes to standard error, so that nothing but objects is on standard output."""
    one = ours.run(TRAPS)
    done = watched("--json", "--", sys.executable, "-c", f"{STOPS}; print('all gone')", one.id)
    assert "all gone" in done.stderr
    (told,) = [json.loads(line) for line in done.stdout.splitlines()]
    if sees_kills(docker_engine_host):
        assert (done.returncode, told["outcome"]) == (0, "graceful")


@pytest.mark.docker
def test_a_command_that_stops_nothing_or_fails_is_no_pass(ours: Containers) -> None:
    """Nothing that was judged is no proof of anything."""
    nothing = watched("--", "true")
    assert nothing.returncode == 3
    assert "the command stopped no container" in nothing.stderr
    one = ours.run(TRAPS)
    failed = watched("--", sys.executable, "-c", f"{STOPS}; sys.exit(7)", one.id)
    assert failed.returncode == 3
    assert "the command ended with exit code 7" in failed.stderr


@pytest.mark.docker
def test_a_stop_that_its_command_does_not_await_is_no_pass(ours: Containers) -> None:
    """It is named, and not taken for none."""
    deaf = ours.run(["sleep", "1000"])
    leaves = (
        "import docker, os, sys, time\n"
        "found = docker.from_env().containers.get(sys.argv[1])\n"
        "if os.fork(): time.sleep(4)\n"
        "else: os.close(1), os.close(2), found.stop(timeout=20)"
    )
    done = watched("--", sys.executable, "-c", leaves, deaf.name)
    assert done.returncode == 3
    assert f"Still being stopped, and not judged: {deaf.name}." in done.stdout
    assert "stopped no container" not in done.stderr


@pytest.mark.docker
def test_a_command_that_cannot_be_run_is_a_mistake_in_usage(docker_engine_host: DockerHost) -> None:
    """Told in a sentence, with what is allowed."""
    assert docker_engine_host
    missing = watched("--", "no-such-program-of-anybody")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "no-such-program-of-anybody: No such file or directory" in missing.stderr
    assert watched("--").returncode == 2


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        (b"POST /v1.41/containers/web/stop?t=10 HTTP/1.1\r\n", ("web", StopCall(7, 10))),
        (b"POST /v1.45/containers/web/stop?signal=INT&t=0 HTTP/1.1\r\n", ("web", StopCall(7, 0))),
        (b"POST /v1.41/containers/web/restart?t=-1 HTTP/1.1\r\n", ("web", StopCall(7, -1))),
        (b"POST /containers/web/restart HTTP/1.1\r\n", ("web", StopCall(7, None))),
        (b"POST /v1.45/containers/web/stop?signal=INT HTTP/1.1\r\n", ("web", StopCall(7, None))),
        (b"POST /v1.41/containers/web/stop?t=soon HTTP/1.1\r\n", ("web", None)),
        (b"POST /v1.41/containers/web/stop?t=1", ("web", None)),
        (b"POST /v1.41/containers/c0ffee/kill?signal=TERM HTTP/1.1\r\n", ("c0ffee", None)),
        (b"DELETE /v1.41/containers/web?force=1 HTTP/1.1\r\n", ("web", None)),
        (b"POST /v1.41/containers/web/start HTTP/1.1\r\n", None),
        (b"GET /v1.41/containers/web/stop HTTP/1.1\r\n", None),
        (b"DELETE /v1.41/images/web HTTP/1.1\r\n", None),
    ],
)
def test_what_a_request_asks_for_is_read_from_its_first_line(
    line: bytes, asked: tuple[str, StopCall | None] | None
) -> None:
    """Every way in which a client ends a container. What stands behind the end of a piece is not known."""
    assert end_asked(line, 7) == asked


@pytest.mark.docker
def test_a_watch_whose_engine_goes_away_connects_again_and_says_what_it_missed(
    ours: Containers, docker_engine_host: DockerHost, tmp_path: Path
) -> None:
    """What the engine tells again is judged as if nothing had been; the watch ends in doubt only where it must."""
    if not docker_engine_host.url.startswith("unix://"):
        pytest.skip("the engine is not behind a socket file")
    front = CuttableFront(tmp_path, docker_engine_host.url.removeprefix("unix://"))
    with watching("--json", "--label", ours.label, environment={"DOCKER_HOST": front.url}) as watch:
        before, during, after = ours.run(DEAF, stop_timeout=1), ours.run(DEAF, stop_timeout=1), ours.run(FAILS)
        before.stop()
        watch.wait_for(1)
        front.cut()
        wait_until(lambda: any("broke off" in line for line in watch.err), "it says that the engine is gone")
        during.stop()
        front.join()
        wait_until(lambda: any("answers again after" in line for line in watch.err), "it is back")
        after.stop()
        told = watch.wait_for(3)
        assert watch.interrupt() == 1
    assert [item["container"] for item in told] == [before.name, during.name, after.name]
    assert {item["end"] for item in told} <= {"stop", "unseen"}
    assert told[1]["outcome"] in {"killed", None}
    assert told[2]["outcome"] == "crashed"


@pytest.mark.docker
def test_a_container_that_the_command_starts_renames_and_stops_is_its_own(ours: Containers) -> None:
    """However soon it does: the engine is asked who is meant, as what it has told may not be read yet."""
    acts = (
        "import docker, sys\n"
        "client = docker.from_env()\n"
        "key, _, value = sys.argv[1].partition('=')\n"
        f"made = client.containers.run({BASE_IMAGE!r}, {FAILS!r}, detach=True, labels={{key: value}})\n"
        "next(made.logs(stream=True))\n"
        "made.rename('renamed-' + made.id[:12])\n"
        "client.api.stop('renamed-' + made.id[:12])\n"
    )
    done = watched("--json", "--", sys.executable, "-c", acts, ours.label)
    ours.made += ours.client.containers.list(all=True, filters={"label": ours.label})
    (told,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert told["container"] == f"renamed-{told['container_id'][:12]}"
    assert (told["outcome"], done.returncode) == ("crashed", 1)


@pytest.mark.oracle
@pytest.mark.docker
def test_the_stops_of_docker_compose_are_judged(ours: Containers, tmp_path: Path) -> None:
    """Of `down`, in whichever version is there; what is stopped beside it is none of them."""
    compose = shutil.which("docker-compose")
    if compose is None:
        pytest.skip("needs docker-compose")
    key, _, value = ours.label.partition("=")
    common = {"image": BASE_IMAGE, "labels": {key: value}}
    services = {"crashes": {**common, "command": FAILS}, "deaf": {**common, "command": DEAF, "stop_grace_period": "1s"}}
    (tmp_path / "docker-compose.yml").write_text(json.dumps({"version": "3", "services": services}))
    project = [compose, "--project-directory", str(tmp_path), "-f", str(tmp_path / "docker-compose.yml")]
    project += ["-p", ours.label[-8:]]
    subprocess.run([*project, "up", "-d"], check=True, capture_output=True, timeout=120)
    other = ours.run(DEAF)
    meanwhile = threading.Timer(1, other.kill)
    meanwhile.start()
    try:
        done = watched("--json", "--", *project, "down")
    finally:
        meanwhile.join()
        subprocess.run([*project, "down"], check=True, capture_output=True, timeout=120)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(item["outcome"] for item in told) == ["crashed", "killed"]
    assert done.returncode == 1


@pytest.mark.long
@pytest.mark.docker
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_engine_that_is_restarted_is_watched_on(second_docker: SecondEngine, number: int) -> None:
    """Orderly it stops its containers, killed it ends those that it finds when it is back: none of them is lost, and
    what happens then is judged as before."""
    client = docker.DockerClient(base_url=second_docker.socket)
    with containers(client) as ours:
        environment = {"DOCKER_HOST": second_docker.socket}
        with watching("--json", "--label", ours.label, environment=environment) as watch:
            deaf, again = ours.run(DEAF), ours.run(FAILS, restart_policy={"Name": "always"})
            second_docker.kill(number)
            wait_until(lambda: any("answers again after" in line for line in watch.err), "it is back", 120)
            ours.run(FAILS).stop()
            again.stop()
            told = watch.wait_for(4)
            assert watch.interrupt() == 1
    assert {item["end"] for item in told} <= {"stop", "unseen"}
    assert [item["container_id"] for item in told].count(again.id) == 2
    assert [item["container_id"] for item in told].count(deaf.id) == 1
    assert [item["outcome"] for item in told][-2:] == ["crashed", "crashed"]
    assert not any("ready" in (item["evidence"] or "") for item in told)
    client.close()


@pytest.mark.docker
def test_the_socket_of_a_command_leaves_nothing_behind(docker_engine_host: DockerHost) -> None:
    """Neither its file nor its folder."""
    assert docker_engine_host
    done = watched("--", sys.executable, "-c", "import os; print(os.environ['DOCKER_HOST'])")
    path = Path(done.stdout.splitlines()[0].removeprefix("unix://"))
    assert path.name == "engine.sock"
    assert not os.path.lexists(path.parent)
