"""Pods of manifests on real containers: started and stopped as a kubelet does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stop_harness.engines.docker.host import DockerHost
from stop_harness.model import NS_PER_S, EventKind, Observation, Outcome, Report, TrialResult
from stop_harness.renderers import terminal
from stop_harness.scenario import discovery
from tests.group_support import BASE_IMAGE, IGNORES, LEAVES, container, moment, run

LOOKS_AROUND = """
import json, os, socket, stat
def mode(path):
    return oct(os.stat(path).st_mode)
print(json.dumps({
    "address": os.environ["POD_IP"] in (socket.gethostbyname(socket.gethostname()), "127.0.0.1"),
    "name": os.environ["NAME"] == socket.gethostname() == "shop-0",
    "conf": open("/etc/shop.conf").read(),
    "modes": [mode("/conf/secret"), mode("/work"), mode("/memory/logs/shop-0")],
    "ids": [os.getuid(), os.getgid(), sorted(set(os.getgroups()) & {2000, 5000})],
    "found": open("/work/from-init").read(),
    "init": os.readlink("/proc/1/exe") == os.readlink("/proc/self/exe"),
    "wrote": open("/memory/logs/shop-0/mine", "w").write("x"),
}), flush=True)
"""


HAS_ITS_HANDLER = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}


def program(name: str, code: str, **fields: Any) -> dict[str, Any]:
    """A container that runs this program to its end."""
    return {"name": name, "image": BASE_IMAGE, "command": ["python3", "-u", "-c", code], **fields}


def python(name: str, code: str, **fields: Any) -> dict[str, Any]:
    """A container that is ready once its program says so."""
    told = code.replace("print('ready'", 'print("ready"').replace(
        'print("ready"', 'open("/tmp/ready", "w").close(); print("ready"'
    )
    assert told.count("/tmp/ready") == 1
    return program(name, told, readinessProbe=HAS_ITS_HANDLER, **fields)


def stopped(tmp_path: Path, spec: dict[str, Any], *others: dict[str, Any]) -> TrialResult:
    """The stop of a Deployment with such a pod."""
    (result,) = reported(tmp_path, spec, *others).results
    return result


def reported(tmp_path: Path, spec: dict[str, Any], *others: dict[str, Any]) -> Report:
    """What is said of it."""
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop"},
        "spec": {"template": {"metadata": {"labels": {"app": "shop"}}, "spec": spec}},
    }
    file = tmp_path / "shop.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [deployment, *others]}))
    (scenario,) = discovery.pods_of(file)
    return run(scenario).report


def log(seen: Observation, name: str) -> str:
    """What a container wrote."""
    assert seen.task is not None, seen.problem
    return next(item.looks.logs.text for item in seen.task.containers if item.name == name)


def test_a_container_finds_what_its_manifest_gives_it(docker_engine_host: DockerHost, tmp_path: Path) -> None:
    """Files of ConfigMaps and parts of them, shared folders with their permissions, memory, its user and groups, its
    address and name; an init container runs first."""
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shop"}, "data": {"shop.conf": "a = 1"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop"}, "stringData": {"secret": "s"}}

    def mount(name: str, path: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "mountPath": path, **more}

    def field(path: str) -> dict[str, Any]:
        return {"valueFrom": {"fieldRef": {"fieldPath": path}}}

    app = python(
        "app",
        LOOKS_AROUND + LEAVES,
        env=[{"name": "POD_IP", **field("status.podIP")}, {"name": "NAME", **field("metadata.name")}],
        volumeMounts=[
            mount("files", "/etc/shop.conf", subPath="shop.conf"),
            mount("secrets", "/conf"),
            mount("work", "/work"),
            mount("memory", "/memory/logs/shop-0", subPathExpr="logs/$(NAME)"),
        ],
    )
    writes = program(
        "first", "open('/work/from-init', 'w').write('written')", volumeMounts=[{"name": "work", "mountPath": "/work"}]
    )
    spec = {
        "terminationGracePeriodSeconds": 5,
        "securityContext": {"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000, "supplementalGroups": [5000]},
        "initContainers": [writes],
        "containers": [app],
        "volumes": [
            {"name": "files", "configMap": {"name": "shop"}},
            {"name": "secrets", "secret": {"secretName": "shop", "defaultMode": 0o440}},
            {"name": "work", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        ],
    }
    result = stopped(tmp_path, spec, config, secret)
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
    told = json.loads(log(result.observation, "app").splitlines()[0])
    assert told == {
        "address": True,
        "name": True,
        "conf": "a = 1",
        "modes": ["0o100440", "0o42777", "0o42775"],
        "ids": [1000, 3000, [2000, 5000]],
        "found": "written",
        "init": True,
        "wrote": 1,
    }


def test_a_hook_that_outlasts_the_grace_period_leaves_two_seconds(
    docker_engine_host: DockerHost, tmp_path: Path
) -> None:
    """It is cut off at the end of the grace period, the signal comes then, and SIGKILL 2 s later."""
    hook = {"preStop": {"exec": {"command": ["sleep", "60"]}}}
    spec = {"terminationGracePeriodSeconds": 3, "containers": [python("app", IGNORES, lifecycle=hook)]}
    report = reported(tmp_path, spec)
    (result,) = report.results
    assert result.verdict.outcome is Outcome.KILLED, result.verdict.reason
    said = " ".join(terminal.check_verdict(report).split())
    assert "grace period 3 s: killed after" in said
    assert "preStop and the stop share the grace period of 3 s: that of app took 3" in said
    assert "and was cut off; a kubelet leaves each container 2 s after its stop signal, so 5 s at most." in said
    assert "the cluster around the pod: endpoints are not removed" in said
    assert "stop timeout 3 s" not in said
    record = container(result, "app")
    assert record.hooks[0].cut_off
    assert record.stop_timeout_ns == 2 * NS_PER_S
    kill = moment(record, EventKind.SIGNAL_SENT, 9)
    assert 1.9 * NS_PER_S < kill - moment(record, EventKind.SIGNAL_SENT, 15) < 60 * NS_PER_S
    assert "hook-outlasts-grace" in {
        finding.rule for item in result.verdict.containers for finding in item.findings
    } | {finding.rule for finding in result.verdict.findings}


def test_a_sidecar_is_stopped_when_the_main_container_has_gone(docker_engine_host: DockerHost, tmp_path: Path) -> None:
    """It started before it, and the hook of the main container comes before both."""
    sidecar = {**python("proxy", LEAVES), "restartPolicy": "Always"}
    hook = {"preStop": {"sleep": {"seconds": 1}}}
    spec = {
        "terminationGracePeriodSeconds": 10,
        "initContainers": [sidecar],
        "containers": [python("app", LEAVES, env=[{"name": "DRAIN", "value": "1"}], lifecycle=hook)],
    }
    result = stopped(tmp_path, spec)
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
    app, proxy = container(result, "app"), container(result, "proxy")
    assert moment(app, EventKind.EXITED) <= moment(proxy, EventKind.SIGNAL_SENT)
    assert proxy.waits_for == ("app",)
    assert result.verdict.facts.shutdown_duration_ns is not None
    assert result.verdict.facts.shutdown_duration_ns > 2 * NS_PER_S


SERVES_LATE = """
import os, signal, socket
answers = 0
def on_stop(*_):
    print("answers", answers, flush=True)
    os._exit(0)
def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
signal.signal(signal.SIGTERM, on_stop)
listener = socket.create_server(("0.0.0.0", 9000))
while True:
    with listener.accept()[0] as connection:
        connection.sendall(frame(4, 0, 0))  # SETTINGS
        received = b""
        while b"\\x0a\\x04shop" not in received:  # what acknowledges our SETTINGS may come with it
            received += connection.recv(4096) or b"\\x0a\\x04shop"
        answers += 1
        status = 1 if answers > 2 else 2  # SERVING, NOT_SERVING
        trailers = b"\\0" + bytes([11]) + b"grpc-status" + bytes([1]) + b"0"
        connection.sendall(frame(1, 4, 1, b"\\x88") + frame(0, 0, 1, bytes([0, 0, 0, 0, 2, 8, status])))
        connection.sendall(frame(1, 5, 1, trailers))
        connection.recv(4096)
"""
"""A server of gRPC by hand, frame by frame: it is SERVING when it is asked for the third time."""


def test_a_grpc_probe_asks_the_service_itself(docker_engine_host: DockerHost, tmp_path: Path) -> None:
    """That somebody accepts connections is not enough: the container is stopped once it says SERVING."""
    asks = {"port": 9000, "service": "shop"}
    probe = {"grpc": asks, "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 60}
    app = program("app", SERVES_LATE, readinessProbe=probe)
    result = stopped(tmp_path, {"terminationGracePeriodSeconds": 5, "containers": [app]})
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
    assert log(result.observation, "app").split() == ["answers", "3"]


@pytest.mark.long
@pytest.mark.parametrize(("shared", "code"), [(True, 143), (False, 137)])
def test_in_a_shared_pid_namespace_sigterm_ends_who_does_not_handle_it(
    docker_engine_host: DockerHost, tmp_path: Path, *, shared: bool, code: int
) -> None:
    """The pause container is PID 1 there; alone the program is, and the kernel drops the signal."""
    app = python("app", "import time; print('ready', flush=True); time.sleep(600)")
    spec = {"terminationGracePeriodSeconds": 2, "shareProcessNamespace": shared, "containers": [app]}
    assert container(stopped(tmp_path, spec), "app").record.exit_code == code


@pytest.mark.long
def test_who_must_not_be_root_is_not_started_as_root(docker_engine_host: DockerHost, tmp_path: Path) -> None:
    """The image has no user, and nobody says one."""
    app = python("app", LEAVES, securityContext={"runAsNonRoot": True})
    result = stopped(tmp_path, {"containers": [app]})
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert "runAsNonRoot, and the image will run as root" in result.verdict.reason
