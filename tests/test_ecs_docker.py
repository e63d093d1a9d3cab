"""The ECS endpoint on real containers: the example of `aws ecs stop-task`, its page, and its clean end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stop_harness.conductor import exit_codes
from stop_harness.ecs_endpoint.containers import ContainerRequest, EndpointClock
from stop_harness.ecs_endpoint.docker_containers import LOG_LIMITS, DockerContainers
from stop_harness.ecs_endpoint.server import EcsServer
from stop_harness.ecs_endpoint.state import Endpoint
from stop_harness.engines.docker.calls import TIME_LIMIT_VARIABLE
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.reaper import RUN_LABEL
from stop_harness.linux import oom_log
from tests import aws_cli
from tests.ecs_support import client, hears, until
from tests.faults.effects import Answer, Hang, OomToldLate, drop, set_to
from tests.faults.proxy import FaultyEngine, Rule
from tests.free_port import free_port

pytestmark = pytest.mark.docker

IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")
HANDLER = ["sh", "-c", "trap 'sleep 0.3; exit 7' TERM; echo ready; while :; do sleep 0.05; done"]
REMOVED_WITHIN_S = 60
"""A quiet machine needs one or two; how long the engine takes for a removal is not what is asked."""


@pytest.fixture(scope="module")
def server(docker_engine_host: DockerHost) -> Iterator[EcsServer]:
    """One endpoint on the real engine."""
    containers = DockerContainers(f"test-{uuid.uuid4().hex[:8]}", docker_engine_host)
    serving = EcsServer(Endpoint(containers, EndpointClock()))
    yield serving
    serving.close()


@pytest.fixture(scope="module")
def ecs(server: EcsServer) -> Any:
    """boto3."""
    return client(server.url)


def container(name: str, command: list[str], **more: Any) -> dict[str, Any]:
    """A container definition."""
    return {"name": name, "image": IMAGE, "command": command, "memory": 64, **more}


def start(ecs: Any, *containers: dict[str, Any], family: str = "test", running: bool = True, **more: Any) -> str:
    """A task's ARN, once it runs."""
    ecs.register_task_definition(family=family, containerDefinitions=list(containers), **more)
    arn = str(ecs.run_task(taskDefinition=family)["tasks"][0]["taskArn"])
    if running:
        wait(ecs, arn, "RUNNING")
    return arn


def wait(ecs: Any, arn: str, status: str) -> dict[str, Any]:
    """The task once its lastStatus is reached."""
    return dict(until(lambda: ecs.describe_tasks(tasks=[arn])["tasks"][0], lambda it: it["lastStatus"] == status, 60))


def told(server: EcsServer, path: str) -> Any:
    """A resource of this endpoint's own."""
    with urllib.request.urlopen(f"{server.url}/stop-harness/{path}") as answer:
        return json.load(answer)


def measured(server: EcsServer, arn: str) -> dict[str, dict[str, Any]]:
    """What the engine put on record, by container."""
    return {item["name"]: item for item in told(server, f"tasks/{arn}")["containers"]}


def test_the_example_of_the_reference_is_stopped_and_measured(server: EcsServer, ecs: Any) -> None:
    """Task definition sleep360 in the default cluster: `sleep` as PID 1 does not hear SIGTERM and is killed."""
    sleep = container("sleep", ["sleep", "360"], memory=10, essential=True, stopTimeout=2)
    arn = start(ecs, sleep, family="sleep360")
    answer = ecs.stop_task(task=arn, reason="testing the stop")["task"]
    assert (answer["desiredStatus"], answer["lastStatus"]) == ("STOPPED", "RUNNING")
    done = wait(ecs, arn, "STOPPED")
    assert (done["stopCode"], done["stoppedReason"]) == ("UserInitiated", "testing the stop")
    assert done["containers"][0]["exitCode"] == 137
    assert 2 <= (done["executionStoppedAt"] - done["stoppingAt"]).total_seconds() < 20
    sleep = measured(server, arn)["sleep"]
    assert (sleep["stopSignal"], sleep["sigkill"], sleep["stopTimeoutSeconds"]) == ("SIGTERM", "observed", 2)
    assert 2 <= sleep["shutdownDurationSeconds"] < 10
    assert sleep["sigkillAtNs"] - sleep["stopSignalAtNs"] >= 2_000_000_000


def test_exit_codes_and_order_of_real_containers(server: EcsServer, ecs: Any) -> None:
    """A handler's own code, 143 under an init, and the dependency only after its dependent."""
    arn = start(
        ecs,
        container("db", ["sleep", "99"], linuxParameters={"initProcessEnabled": True}),
        container("app", HANDLER, dependsOn=[{"containerName": "db", "condition": "START"}]),
    )
    hears(ecs, arn, "app")
    ecs.stop_task(task=arn)
    done = wait(ecs, arn, "STOPPED")
    assert {item["name"]: item["exitCode"] for item in done["containers"]} == {"db": 143, "app": 7}
    found = measured(server, arn)
    assert found["db"]["stopSignalAtNs"] >= found["app"]["exitedAtNs"]
    assert {item["sigkill"] for item in found.values()} == {"not_sent"}


def test_logs_and_processes_of_a_real_container(server: EcsServer, ecs: Any) -> None:
    """Both streams, also after the exit; PID 1 with its signal masks while it runs."""
    says = ["sh", "-c", "trap 'echo bye >&2; exit 0' TERM; echo hello; while :; do sleep 0.05; done"]
    arn = start(ecs, container("app", says))
    until(lambda: told(server, f"tasks/{arn}/logs"), lambda seen: seen == {"text": "hello\n", "truncated": False})
    pid_one = told(server, f"tasks/{arn}/processes")["app"][0]
    assert pid_one["caught"] & 1 << (signal.SIGTERM - 1)
    assert pid_one["command"].startswith("sh -c trap")
    engine = told(server, "info")["engine"]
    if engine["proves_lost_processes"] and "Podman" not in engine["product"]:  # it is on this machine
        assert pid_one["is_pid1"]
        assert pid_one["cpu_ns"] is not None
    ecs.stop_task(task=arn)
    wait(ecs, arn, "STOPPED")
    assert told(server, f"tasks/{arn}/logs?container=app") == {"text": "hello\nbye\n", "truncated": False}
    assert told(server, f"tasks/{arn}/processes") == {"app": None}


def test_only_the_end_of_a_long_log_is_kept(server: EcsServer, ecs: Any) -> None:
    """A container that writes without end, and without a line's end, does not fill the answer."""
    arn = start(
        ecs, container("app", ["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo the end"]), running=False
    )
    wait(ecs, arn, "STOPPED")
    seen = told(server, f"tasks/{arn}/logs")
    assert seen["truncated"] is True
    assert len(seen["text"]) == LOG_LIMITS.keep_bytes
    assert seen["text"].endswith("xthe end\n")


def test_the_endpoint_names_its_engine(server: EcsServer, docker_engine_host: DockerHost) -> None:
    """What the engine said when it was found."""
    info = docker_engine_host.info
    shown = told(server, "info")["engine"]
    assert (shown["product"], shown["version"], shown["observes_sigkill"]) == (
        info.product,
        info.version,
        info.observes_sigkill,
    )


def test_ends_that_nobody_asked_for(ecs: Any) -> None:
    """An essential exit, a command that is not there, an image that is not there, an OOM kill."""
    exits = start(ecs, container("app", ["sh", "-c", "exit 3"]), running=False)
    absent = start(ecs, container("app", ["/nope"]), running=False)
    image = start(ecs, {**container("app", []), "image": "localhost:1/nope:1"}, running=False)
    hungry = start(ecs, container("app", ["sh", "-c", "tail /dev/zero"], memory=16), running=False)
    done = wait(ecs, exits, "STOPPED")
    assert (done["stopCode"], done["containers"][0]["exitCode"]) == ("EssentialContainerExited", 3)
    done = wait(ecs, absent, "STOPPED")
    assert done["stopCode"] == "TaskFailedToStart"
    assert done["containers"][0]["reason"].startswith("CannotStartContainerError: Error response from daemon: ")
    assert "exitCode" not in done["containers"][0]
    done = wait(ecs, image, "STOPPED")
    assert done["stoppedReason"].startswith("CannotPullContainerError: ")
    assert done["pullStartedAt"] <= done["pullStoppedAt"]
    done = wait(ecs, hungry, "STOPPED")
    assert done["containers"][0]["reason"] == "OutOfMemoryError: Container killed due to memory usage"


def test_health_ports_and_volumes(ecs: Any) -> None:
    """A health check gates the next container; ports are published on loopback; a volume is shared."""
    arn = start(
        ecs,
        container(
            "db",
            ["sh", "-c", "touch /data/ready; exec sleep 99"],
            healthCheck={"command": ["CMD-SHELL", "test -e /data/ready"], "interval": 1},
            mountPoints=[{"sourceVolume": "shared", "containerPath": "/data"}],
            portMappings=[{"containerPort": 8080}],
            stopTimeout=1,
        ),
        container(
            "app",
            ["sh", "-c", "test -e /data/ready && exec sleep 99"],
            dependsOn=[{"containerName": "db", "condition": "HEALTHY"}],
            mountPoints=[{"sourceVolume": "shared", "containerPath": "/data", "readOnly": True}],
            stopTimeout=1,
        ),
        volumes=[{"name": "shared"}],
    )
    task = ecs.describe_tasks(tasks=[arn])["tasks"][0]
    assert task["healthStatus"] == "HEALTHY"
    binding = task["containers"][0]["networkBindings"][0]
    assert (binding["bindIP"], binding["containerPort"]) == ("127.0.0.1", 8080)
    assert binding["hostPort"] > 0
    ecs.stop_task(task=arn)
    wait(ecs, arn, "STOPPED")


def test_a_container_that_is_started_again_is_waited_for_again(docker_engine_host: DockerHost) -> None:
    """What a restart policy does, without its period of a minute: the second end is told, not the first again."""
    containers = DockerContainers(f"test-{uuid.uuid4().hex[:8]}", docker_engine_host)
    try:
        counts = ["sh", "-c", "echo x >> /runs; exit $(wc -l < /runs)"]
        runtime_id = containers.create(ContainerRequest("", container("app", counts), {}))
        ends = []
        for _ in range(2):
            containers.start(runtime_id)
            ends.append(containers.wait(runtime_id))
    finally:
        containers.close()
    assert [end.exit_code for end in ends] == [1, 2]
    assert ends[0].finished_at_ns < ends[1].finished_at_ns  # type: ignore[operator] # both have ended
    assert ends[1].complete


# ── its end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def served(**environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`stop-harness ecs serve` as a process of its own, and its address."""
    root = Path(__file__).parent.parent
    serve = [sys.executable, "-m", "stop_harness", "ecs", "serve", "--port", "0"]
    process = subprocess.Popen(
        serve,
        cwd=root,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        match = re.search(r"http://\S+", process.stdout.readline())
        assert match
        yield process, match[0]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.long), signal.SIGKILL]
)
def test_nothing_outlives_the_endpoint(docker_engine_host: DockerHost, number: signal.Signals) -> None:
    """Ended in order or killed, while one task runs and another stops: no container and no volume of it is left."""

    engine = docker_engine_host.connect().api

    def left(run: str) -> list[str]:
        containers = engine.containers(all=True, filters={"label": run})
        volumes = engine.volumes(filters={"label": run})["Volumes"] or ()
        return [*(item["Id"] for item in containers), *(item["Name"] for item in volumes)]

    with served() as (process, url):
        ecs = client(url)
        mounts = [{"sourceVolume": "data", "containerPath": "/data"}]
        deaf = container("app", ["sleep", "360"], mountPoints=mounts, stopTimeout=300)
        stopping, running = (start(ecs, deaf, volumes=[{"name": "data"}]) for _ in range(2))
        ecs.stop_task(task=stopping)
        found = engine.containers(filters={"label": f"com.amazonaws.ecs.task-arn={running}"})
        run = f"{RUN_LABEL}={found[0]['Labels'][RUN_LABEL]}"
        assert len(left(run)) == 4
        process.send_signal(number)
        until(lambda: left(run), lambda seen: not seen, REMOVED_WITHIN_S)
        assert process.wait(60) == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    engine.close()


def test_what_the_endpoint_cannot_remove_is_said(docker_engine_host: DockerHost, tmp_path: Path) -> None:
    """Exit code 4 and the container's id, as of a run; its reaper removes it once the engine does as it is told."""
    refused = Rule("DELETE", "/containers/[0-9a-f]+", Answer(500, b'{"message":"injected fault"}'), everybody=True)
    engine = docker_engine_host.connect().api
    with (
        FaultyEngine(docker_engine_host.url, tmp_path / "engine.sock", (refused,)) as proxy,
        served(DOCKER_HOST=proxy.url) as (process, url),
    ):
        arn = start(client(url), container("app", ["sleep", "360"]))
        label = f"com.amazonaws.ecs.task-arn={arn}"
        (found,) = engine.containers(filters={"label": label})
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == exit_codes.HARNESS, said
        assert f"could not be removed from the engine: {found['Id'][:12]}: injected fault" in said
        assert engine.containers(filters={"label": label})
        proxy.heal()
        until(lambda: engine.containers(all=True, filters={"label": label}), lambda seen: not seen)
    engine.close()


@pytest.mark.parametrize("told", ["late", "never"])
def test_an_oom_kill_that_the_engine_tells_late_or_never_is_told(
    docker_engine_host: DockerHost, tmp_path: Path, told: str
) -> None:
    """Late: an engine elsewhere, whose first look at the exited container shows no OOMKilled. Never: the kernel's log
    of this machine has it. No event ever comes."""
    if told == "never" and not os.access(oom_log.LOG, os.R_OK):
        pytest.skip("the kernel's log: reading it needs root")
    shown = OomToldLate(0.5) if told == "late" else set_to(False, "State", "OOMKilled")
    unsaid = Rule("GET", "/containers/[0-9a-f]+/json", shown, mark="unsaid", everybody=True)
    no_event = Rule("GET", "/events", drop("oom"), everybody=True)
    path = None if told == "late" else tmp_path / "engine.sock"
    with (
        FaultyEngine(docker_engine_host.url, path, (unsaid, no_event)) as proxy,
        served(DOCKER_HOST=proxy.url) as (process, url),
    ):
        ecs = client(url)
        arn = start(ecs, container("app", ["sh", "-c", "tail /dev/zero"], memory=16), running=False)
        done = wait(ecs, arn, "STOPPED")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0  # while the proxy is there
        assert proxy.injected["unsaid"]
        assert done["containers"][0]["reason"] == "OutOfMemoryError: Container killed due to memory usage"


@pytest.mark.long
def test_a_call_that_the_engine_does_not_answer_ends_in_time(docker_engine_host: DockerHost, tmp_path: Path) -> None:
    """A start that hangs fails its task alone, in the agent's words; a stop that hangs is tried again."""
    hangs = tuple(
        Rule("POST", f"/containers/[0-9a-f]+/{call}", Hang(), mark=call, everybody=True, most=1)
        for call in ("start", "stop")
    )
    with (
        FaultyEngine(docker_engine_host.url, tmp_path / "engine.sock", hangs) as proxy,
        served(DOCKER_HOST=proxy.url, **{TIME_LIMIT_VARIABLE: "6"}) as (process, url),
    ):
        ecs = client(url)
        hangs_at_start = start(ecs, container("app", ["sleep", "360"]), running=False)
        failed = wait(ecs, hangs_at_start, "STOPPED")
        said = "DockerTimeoutError: Could not transition to started; timed out after waiting 6s"
        assert (failed["stopCode"], failed["containers"][0]["reason"]) == ("TaskFailedToStart", said)
        hangs_at_stop = start(ecs, container("app", HANDLER, stopTimeout=2))
        hears(ecs, hangs_at_stop, "app")
        ecs.stop_task(task=hangs_at_stop)
        stopped = wait(ecs, hangs_at_stop, "STOPPED")
        assert stopped["containers"][0]["exitCode"] == 7
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0  # while the proxy is there
        assert dict(proxy.injected) == {"start": 1, "stop": 1}


def test_a_second_signal_ends_the_endpoint_at_once(docker_engine_host: DockerHost, tmp_path: Path) -> None:
    """While an engine that does not answer is waited for; the reaper removes the container once it does."""
    engine = docker_engine_host.connect().api
    with (
        FaultyEngine(docker_engine_host.url, tmp_path / "engine.sock") as proxy,
        served(DOCKER_HOST=proxy.url) as (process, url),
    ):
        arn = start(client(url), container("app", ["sleep", "360"]))
        listing = Rule("GET", "/containers/json", Hang(), mark="listing", everybody=True)
        proxy.rules = (listing,)
        process.send_signal(signal.SIGTERM)
        until(lambda: proxy.injected["listing"], bool)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == exit_codes.INTERRUPTED
        label = f"com.amazonaws.ecs.task-arn={arn}"
        assert engine.containers(filters={"label": label})
        proxy.heal()
        until(lambda: engine.containers(all=True, filters={"label": label}), lambda seen: not seen)
    engine.close()


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────────────────────

PAGE = Path(__file__).parent.parent / "docs/ecs.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.long
def test_the_page_s_commands_end_in_the_measured_stop(docker_engine_host: DockerHost, tmp_path: Path) -> None:
    """docs/ecs.md as a user types it: the first block in one terminal, the second in another; then Ctrl-C."""
    del docker_engine_host  # it is there; the page lets stop-harness find it
    port = free_port()
    serve, use = (block.replace("8123", str(port)) for block in BLOCK.findall(PAGE.read_text(encoding="utf-8"))[:2])
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/aws").symlink_to(aws_cli.needed())
    path = f"{tmp_path}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(tmp_path)}
    first = subprocess.Popen(["bash", "-c", f"exec {serve}"], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert str(port) in first.stdout.readline()
        second = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", use.replace("debian:bookworm-slim", IMAGE)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert second.returncode == 0, second.stderr
        first.send_signal(signal.SIGINT)
        assert first.wait(60) == 0
    finally:
        first.kill()
        first.wait()
        assert first.stdout is not None
        first.stdout.close()
    *_, described, evidence = json_documents(second.stdout)
    assert described == ["trying it", 137]
    (sleep,) = evidence["containers"]
    assert (sleep["stopSignal"], sleep["sigkill"], sleep["exitCode"]) == ("SIGTERM", "observed", 137)
    assert 5 <= sleep["shutdownDurationSeconds"] < 10


def json_documents(text: str) -> list[Any]:
    """Those that a text consists of."""
    found, rest = [], text.strip()
    while rest:
        value, end = json.JSONDecoder().raw_decode(rest)
        found.append(value)
        rest = rest[end:].strip()
    return found


def test_what_the_containers_of_a_task_share_is_shared(ecs: Any, docker_engine_host: DockerHost) -> None:
    """One network and its address, and where the engine can do it one limit of CPU and of memory; a pause container
    owns it, and is gone when the task has stopped. A container has limits of its own beside it."""
    app = container("app", HANDLER, cpu=64, portMappings=[{"containerPort": 8000}])
    definition = ecs.register_task_definition(
        family="shared",
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        containerDefinitions=[app, container("b", HANDLER)],
    )["taskDefinition"]["taskDefinitionArn"]
    network = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
    arn = ecs.run_task(taskDefinition=definition, networkConfiguration=network)["tasks"][0]["taskArn"]
    seen = wait(ecs, arn, "RUNNING")
    hears(ecs, arn, "app", "b")
    api = docker_engine_host.connect().api
    app_config, other = [
        api.inspect_container(item["runtimeId"])["HostConfig"]
        for item in sorted(seen["containers"], key=lambda it: it["name"])
    ]
    assert app_config["NetworkMode"] == other["NetworkMode"]
    pause = app_config["NetworkMode"].removeprefix("container:")
    assert api.inspect_container(pause)["HostConfig"]["NanoCpus"] == 250_000_000
    if docker_engine_host.info.limits_groups:
        assert app_config["CgroupParent"] == other["CgroupParent"]
        assert app_config["CgroupParent"].endswith(pause)
        above = api.inspect_container(pause)["HostConfig"]  # its limits are those of the others together
        together = 512 << 20 if docker_engine_host.info.shares_memory else 0
        assert (above["Memory"], above["PidsLimit"] or 0) == (together, 0)
    assert (app_config["CpuShares"], app_config["Memory"], other["Memory"]) == (64, 64 << 20, 64 << 20)
    ecs.stop_task(task=arn)
    stopped = wait(ecs, arn, "STOPPED")
    assert [item["exitCode"] for item in stopped["containers"]] == [7, 7]
    until(lambda: api.containers(all=True, filters={"id": pause}), lambda found: not found, 60)
    api.close()


def test_a_task_shares_its_memory_and_the_victim_of_the_oom_killer_is_told(
    server: EcsServer, ecs: Any, docker_engine_host: DockerHost
) -> None:
    """What one container holds another has not: 40 MB and 100 MB are too much for 128 MiB. The engine reports an OOM
    kill of both; the kernel killed one."""
    if not docker_engine_host.info.shares_memory:
        pytest.skip("this engine gives several containers no limit together, or the kernel's log is not ours to read")
    eats = (
        "import signal, sys, time\n"
        "held = bytearray(int(sys.argv[1]) << 20)\n"
        "def on_stop(*_):\n"
        "    more = bytearray(int(sys.argv[2]) << 20); time.sleep(2); raise SystemExit(7)\n"
        "signal.signal(signal.SIGTERM, on_stop)\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.05)"
    )
    holding, eating = (
        container(name, ["python3", "-u", "-c", eats, *sizes])
        for name, sizes in (("holding", ("40", "0")), ("eating", ("0", "100")))
    )
    for it in (holding, eating):
        del it["memory"]
    arn = start(ecs, holding, eating, family="shares-memory", memory="128")
    hears(ecs, arn, "holding", "eating")
    ecs.stop_task(task=arn)
    seen = {item["name"]: item for item in wait(ecs, arn, "STOPPED")["containers"]}
    assert seen["eating"]["exitCode"] == 137
    assert seen["eating"]["reason"].startswith("OutOfMemoryError")
    assert (seen["holding"]["exitCode"], seen["holding"].get("reason")) == (7, None)
    found = measured(server, arn)
    assert (found["eating"]["oomKilled"], found["holding"]["oomKilled"]) == (True, False)
    assert "oom" not in {event["kind"] for event in found["holding"]["events"]}


def test_limits_ports_and_namespaces_of_a_task_are_applied(ecs: Any, docker_engine_host: DockerHost) -> None:
    """CPU and memory of the task, a range of ports, the machine's PID namespace, security options, kernel parameters;
    and the capacity provider is said."""
    given = container("app", ["sleep", "60"], portMappings=[{"containerPortRange": "9000-9002"}])
    given |= {
        "dockerSecurityOptions": ["no-new-privileges"],
        "systemControls": [{"namespace": "net.core.somaxconn", "value": "9"}],
    }
    del given["memory"]
    definition = ecs.register_task_definition(
        family="limits", cpu="256", memory="64", pidMode="host", containerDefinitions=[given]
    )["taskDefinition"]["taskDefinitionArn"]
    strategy = [{"capacityProvider": "mine", "weight": 1}]
    started = ecs.run_task(taskDefinition=definition, capacityProviderStrategy=strategy)["tasks"][0]
    arn = started["taskArn"]
    assert (started["launchType"], started["capacityProviderName"]) == ("EC2", "mine")

    def task() -> dict[str, Any]:
        return dict(ecs.describe_tasks(tasks=[arn])["tasks"][0])

    seen = until(task, lambda found: found["lastStatus"] == "RUNNING")
    bindings = seen["containers"][0]["networkBindings"]
    assert [item["containerPort"] for item in bindings] == [9000, 9001, 9002]
    assert all(item["hostPort"] for item in bindings)
    runtime_id = seen["containers"][0]["runtimeId"]
    engine = docker_engine_host.connect()
    config = engine.api.inspect_container(runtime_id)["HostConfig"]
    engine.close()
    assert (config["NanoCpus"], config["Memory"], config["PidMode"]) == (250_000_000, 64 << 20, "host")
    assert "no-new-privileges" in config["SecurityOpt"]
    assert config["Sysctls"] == {"net.core.somaxconn": "9"}
    ecs.stop_task(task=arn)
    stopped = until(task, lambda found: found["lastStatus"] == "STOPPED")
    assert stopped["containers"][0]["exitCode"] == 143, (
        "in the machine's PID namespace SIGTERM ends what has no handler"
    )
