"""Whole tasks on real containers: a chain stopped in its order, beside scenarios of images, and as AWS prints them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stop_harness.engines.docker.host import DockerHost
from tests import aws_cli
from tests.ecs_runs import after
from tests.ecs_support import client, until
from tests.test_cli import Answer, ask
from tests.test_ecs_docker import served

__all__ = ["ask"]  # a fixture

pytestmark = pytest.mark.docker

IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")
DRAINS_1_S = "trap 'sleep 1; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
INIT = {"linuxParameters": {"initProcessEnabled": True}}
CHAIN = {
    "family": "web",
    "containerDefinitions": [
        {
            "name": "app",
            "image": "replaced",
            "memory": 64,
            "essential": True,
            "command": ["sh", "-c", DRAINS_1_S],
            "stopTimeout": 20,
            "dependsOn": after("proxy"),
        },
        {
            "name": "proxy",
            "image": IMAGE,
            "memory": 64,
            "essential": False,
            "command": ["sleep", "600"],
            "stopTimeout": 2,
            "dependsOn": after("router"),
        },
        {"name": "router", "image": IMAGE, "memory": 64, "essential": False, "command": ["sleep", "600"], **INIT},
    ],
}


def test_a_chain_of_containers_is_measured_in_its_order(tmp_path: Path, ask: Callable[..., Answer]) -> None:
    """The app drains for 1 s, the proxy is killed at its own 2 s, the router leaves under its init."""
    file = tmp_path / "web.json"
    file.write_text(json.dumps(CHAIN))
    done = ask("check", "--task-definition", str(file), "--task-image", f"app={IMAGE}", "--json")
    assert done.code == 1, done.err
    told = json.loads(done.out)
    (trial,) = told["trials"]
    assert trial["outcome"] == "killed"
    assert trial["reason"].startswith("proxy: still running 2 s after SIGTERM")
    (task,) = told["tasks"]
    by_name = {item["name"]: item for item in task["containers"]}
    assert {name: item["outcome"] for name, item in by_name.items()} == {
        "app": "graceful",
        "proxy": "killed",
        "router": "graceful",
    }
    assert by_name["proxy"]["cause"]["id"] == "pid1-no-handler"
    assert by_name["proxy"]["sigkill_evidence"] == "observed"
    assert by_name["router"]["exit_code"] == 143
    shares = task["containers"]
    assert [item["name"] for item in shares] == ["app", "proxy", "router"]
    began = [item["signalled_after_s"] for item in shares]
    took = [item["shutdown_duration_s"] for item in shares]
    assert began[0] == 0
    assert 0.6 <= took[0] <= 8
    assert 1.6 <= took[1] <= 9
    assert 0 <= took[2] <= 6
    assert began[0] + took[0] <= began[1] + 0.1
    assert began[1] + took[1] <= began[2] + 0.1
    assert task["total_s"] >= 2.5
    assert (task["fix_first"], task["chain"], task["worst_case_s"]) == ("proxy", ["app", "proxy", "router"], 52)


SCENARIO = """\
version: 1
name: {name}
subject: {subject}
ready: {{log: ^ready$}}
stop: {{timeouts: [3s]}}
"""


def test_a_folder_may_hold_tasks_and_images(tmp_path: Path, ask: Callable[..., Answer]) -> None:
    """The image on Docker itself, the task on the local endpoint, in one run and one report."""
    only = {**CHAIN["containerDefinitions"][0], "image": IMAGE, "dependsOn": None}  # type: ignore[dict-item]
    (tmp_path / "web.json").write_text(json.dumps({"containerDefinitions": [only]}))
    (tmp_path / "task.yaml").write_text(SCENARIO.format(name="task", subject="{task_definition: web.json}"))
    subject = json.dumps({"image": IMAGE, "command": ["sh", "-c", DRAINS_1_S]})
    (tmp_path / "image.yaml").write_text(SCENARIO.format(name="image", subject=subject))
    done = ask("run", str(tmp_path), "--report-dir", str(tmp_path / "reports"))
    assert done.code == 0, done.out + done.err
    told = json.loads((tmp_path / "reports" / "latest" / "results.json").read_text())
    trials = {trial["scenario"]: trial for trial in told["trials"]}
    assert {name: trial["outcome"] for name, trial in trials.items()} == {"image": "graceful", "task": "graceful"}
    (task,) = told["tasks"]
    assert (task["scenario"], [item["name"] for item in task["containers"]]) == ("task", ["app"])


@pytest.mark.oracle
def test_a_definition_is_read_as_the_aws_cli_prints_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[..., Answer]
) -> None:
    """Registered with a running endpoint, printed by `aws ecs describe-task-definition`, checked, and registered anew
    on that endpoint as if it were AWS."""
    aws = aws_cli.needed()
    with served() as (_process, url):
        containers = [{**CHAIN["containerDefinitions"][2], "essential": True}]  # type: ignore[dict-item]
        client(url).register_task_definition(family="web", containerDefinitions=containers)
        environment = aws_cli.environment(tmp_path, {})
        command = [aws, "ecs", "describe-task-definition", "--task-definition", "web", "--endpoint-url", url]
        printed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        file = tmp_path / "described.json"
        file.write_text(printed.stdout)
        alone = ask("check", "--task-definition", str(file), "--json")
        arguments = ("check", "--task-definition", str(file), "--engine", "ecs", "--json")
        for name, value in {**environment, "AWS_ENDPOINT_URL_ECS": url}.items():
            if name.startswith("AWS"):
                monkeypatch.setenv(name, value)
        there = ask(*arguments)
        left = client(url).list_tasks()["taskArns"]
    for done in (alone, there):
        assert done.code == 0, done.err
        (task,) = json.loads(done.out)["tasks"]
        (found,) = task["containers"]
        assert (found["name"], found["outcome"], found["exit_code"]) == ("router", "graceful", 143)
    assert left == []


def test_a_task_is_ended_in_each_way_that_is_asked_for(tmp_path: Path, ask: Callable[..., Answer]) -> None:
    """Real containers, one task for each way: the same outcome, with ECS's own stop code for each."""
    only = {"name": "app", "image": IMAGE, "memory": 64, "command": ["sh", "-c", DRAINS_1_S], "stopTimeout": 20}
    fargate = {"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512"}
    file = tmp_path / "web.json"
    file.write_text(json.dumps({"containerDefinitions": [only], **fargate}))
    ways = [item for way in ("stop-task", "scale-in", "spot") for item in ("--ended-by", way)]
    done = ask("check", "--task-definition", str(file), *ways, "--ready-delay", "300ms", "--json")
    assert done.code == 0, done.out + done.err
    told = json.loads(done.out)
    assert {task["ended_by"]: task["stop_code"] for task in told["tasks"]} == {
        "stop-task": "UserInitiated",
        "scale-in": "ServiceSchedulerInitiated",
        "spot": "SpotInterruption",
    }
    assert {trial["scenario"]: trial["outcome"] for trial in told["trials"]} == dict.fromkeys(
        ("web-stop-task", "web-scale-in", "web-spot"), "graceful"
    )


def test_ended_by_is_about_tasks(ask: Callable[..., Answer]) -> None:
    """Exit code 2, with what it goes with."""
    for arguments, said in (
        (("--ended-by", "spot", "--", "true"), "--ended-by goes with --task-definition"),
        (("--task-definition", "web.json", "--ended-by", "spot", "--predict"), "does not go with --predict"),
        (("--task-definition", "web.json", "--ended-by", "reboot"), "'stop-task', 'scale-in', 'spot'"),
    ):
        done = ask("check", *arguments)
        assert (done.code, said in done.err) == (2, True), done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
def test_nothing_is_left_of_a_run_that_is_ended(docker_engine_host: DockerHost, tmp_path: Path, number: int) -> None:
    """Ctrl-C during a stop of minutes, and kill -9: no container of the task is left."""
    marker = f"wait-for-{uuid.uuid4().hex}"
    command = ["sh", "-c", f"# {marker}\ntrap '' TERM; while :; do sleep 1; done"]
    stays = {"name": "app", "image": IMAGE, "memory": 64, "command": command, "stopTimeout": 100}
    (tmp_path / "web.json").write_text(json.dumps({"containerDefinitions": [stays]}))
    command = [sys.executable, "-m", "stop_harness", "check", "--task-definition", str(tmp_path / "web.json")]
    engine = docker_engine_host.connect()

    def living() -> list[str]:
        shown = engine.api.containers(all=True)
        return [item["Id"] for item in shown if marker in item["Command"]]

    try:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            until(living, lambda found: len(found) == 1, 60)
            process.send_signal(number)
            until(living, lambda found: found == [], 60)
            process.wait(60)
    finally:
        engine.close()


def test_what_is_no_task_definition_is_refused_before_anything_starts(
    tmp_path: Path, ask: Callable[..., Answer]
) -> None:
    """Exit code 2 and a sentence, never a traceback."""
    file = tmp_path / "web.json"
    cases: dict[str, tuple[str, str]] = {
        "no file": ("", "cannot be read"),
        "not JSON": ("{", "not valid JSON"),
        "no such container": (json.dumps(CHAIN), "no container of this task is named nope"),
    }
    assert "Traceback" not in ask("check", "--task-definition", str(tmp_path), "--task-image", "a=b").err
    for text, said in cases.values():
        file.unlink(missing_ok=True)
        if text:
            file.write_text(text)
        done = ask("check", "--task-definition", str(file), "--task-image", "nope=x")
        assert (done.code, said in done.err, "Traceback" in done.err) == (2, True, False), done.err


def test_an_image_that_cannot_be_pulled_is_named(tmp_path: Path, ask: Callable[..., Answer]) -> None:
    """The task never ran, so nothing is said about its containers."""
    containers: Any = [{"name": "app", "image": "localhost:1/no-such-image", "memory": 64}]
    (tmp_path / "web.json").write_text(json.dumps({"containerDefinitions": containers}))
    done = ask("check", "--task-definition", str(tmp_path / "web.json"), "--json")
    assert done.code == 3, done.err
    (trial,) = json.loads(done.out)["trials"]
    assert trial["outcome"] == "inconclusive"
    assert "CannotPullContainerError" in trial["reason"]


def written(tmp_path: Path, *containers: dict[str, Any], **more: Any) -> Path:
    """A task definition of Fargate's kind, as a file."""
    path = tmp_path / "task.json"
    whole = {"family": "shared", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], **more}
    whole = {"cpu": "256", "memory": "512", **whole, "containerDefinitions": list(containers)}
    path.write_text(json.dumps(whole))
    return path


def trial_of(done: Answer, tmp_path: Path) -> dict[str, Any]:
    """Its one trial, of results.json."""
    assert done.out, done.err
    results = json.loads((tmp_path / "report" / "latest" / "results.json").read_text())
    return {**results["trials"][0], "containers": results["tasks"][0]["containers"]}


def test_an_app_reaches_its_sidecar_at_localhost(tmp_path: Path, ask: Callable[..., Answer]) -> None:
    """As in every task of Fargate: without that the app leaves with 9, and is no graceful stop."""
    serve = "import socket, sys; s = socket.create_server(('127.0.0.1', 9000))\nwhile True: s.accept()[0].close()"
    sidecar = {"name": "sidecar", "image": IMAGE, "command": ["python3", "-c", serve], **INIT}
    connects = "for i in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/9000) 2>/dev/null && break; sleep 0.1; done"
    app = f"trap 'exit 0' TERM; {connects}; [ $i = 100 ] && exit 9; echo ready; while :; do sleep 0.05; done"
    task = written(
        tmp_path,
        {"name": "app", "image": IMAGE, "command": ["bash", "-c", app], "dependsOn": after("sidecar")},
        {**sidecar, "essential": False},
    )
    done = ask(
        "check", "--task-definition", str(task), "--ready-log", "ready", "--report-dir", str(tmp_path / "report")
    )
    trial = trial_of(done, tmp_path)
    assert trial["outcome"] in {"graceful", "inconclusive"}, done.out  # the latter where CPU cannot be shared out
    assert {item["name"]: item["exit_code"] for item in trial["containers"]} == {"app": 0, "sidecar": 143}


def test_in_a_shared_pid_namespace_no_program_is_pid_1_and_nothing_says_so(
    tmp_path: Path, ask: Callable[..., Answer]
) -> None:
    """A program without a handler ends by SIGTERM with 143, far below the stop timeout; who is left behind by another
    container is SIGKILLed and named as its own."""
    leaves = "(setsid bash -c 'trap \"\" TERM; while :; do :; done' &); trap 'exit 0' TERM; echo ready"
    task = written(
        tmp_path,
        {"name": "plain", "image": IMAGE, "command": ["sleep", "600"], "stopTimeout": 60},
        {
            "name": "leaver",
            "image": IMAGE,
            "command": ["bash", "-c", leaves + "; while :; do sleep 0.05; done"],
            "stopTimeout": 60,
        },
        pidMode="task",
    )
    done = ask(
        "check", "--task-definition", str(task), "--ready-log", "ready", "--report-dir", str(tmp_path / "report")
    )
    trial = trial_of(done, tmp_path)
    of = {item["name"]: item for item in trial["containers"]}
    assert of["plain"]["exit_code"] == 143
    assert of["plain"]["outcome"] in {"graceful", "inconclusive"}
    assert of["plain"]["shutdown_duration_s"] < 30
    if of["leaver"]["outcome"] != "inconclusive":  # nobody may listen to the kernel
        assert of["leaver"]["outcome"] == "lossy"
        assert "SIGKILL ended bash" in trial["reason"]
        assert trial["cause"]["evidence"].startswith("leaver: the main process, `bash")
    assert "PID 1 " not in done.out + done.err


def test_a_container_has_the_memory_that_it_needs_beside_the_cpu_limit_of_its_task(
    tmp_path: Path, ask: Callable[..., Answer]
) -> None:
    """A task's CPU limit is that of the pause container's cgroup, below which its containers live: its own few MiB,
    which would count for all of them, are no limit there. 20 MiB that are written to, beside a small container."""
    needs = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "held = bytearray(b'x') * (20 << 20)\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.05)\n"
    )
    small = ["sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done"]
    task = written(
        tmp_path,
        {"name": "app", "image": IMAGE, "command": ["python3", "-c", needs]},
        {"name": "side", "image": IMAGE, "command": small, "essential": False},
        cpu="1024",
        memory="2048",
    )
    done = ask(
        "check", "--task-definition", str(task), "--ready-log", "ready", "--report-dir", str(tmp_path / "report")
    )
    trial = trial_of(done, tmp_path)
    assert {item["name"]: item["exit_code"] for item in trial["containers"]} == {"app": 0, "side": 0}, done.out
    assert trial["outcome"] in {"graceful", "inconclusive"}, done.out  # the latter where CPU cannot be shared out
