"""`check --compose` and scenarios with `subject.compose` on a real engine, from the file to the exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from stop_harness.engines.docker.host import DockerHost
from tests.group_support import BASE_IMAGE, IGNORES, LEAVES

pytestmark = pytest.mark.docker

ASKS_DB = "import socket; socket.create_connection(('db', 7000), 60).close()\n"
LISTENS = "import socket; it = socket.create_server(('', 7000)); print('listens', flush=True)\n"
CHECK = ["CMD", "python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 7000)).close()"]


def service(program: str, **more: Any) -> dict[str, Any]:
    """Of this Python program."""
    return {"image": BASE_IMAGE, "command": ["python3", "-u", "-c", program.replace("$", "$$")], **more}


def check(folder: Path, services: dict[str, Any], *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, results and what was said of `check --compose` in a folder of its own."""
    (folder / "compose.yaml").write_text(yaml.safe_dump({"services": services}))
    command = [sys.executable, "-m", "stop_harness", "check", "--compose", "compose.yaml", "--json", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def test_a_service_is_stopped_while_what_it_needs_runs(docker_engine_host: DockerHost, tmp_path: Path) -> None:
    """It starts when its database is healthy, finds it by name, and is judged alone under its own name."""
    services = {
        "web": service(ASKS_DB + LEAVES, depends_on={"db": {"condition": "service_healthy"}}),
        "db": service(LISTENS + IGNORES, healthcheck={"test": CHECK, "interval": "1s", "timeout": "20s"}),
        "other": {"image": "nobody/has-this"},
    }
    code, results, said = check(tmp_path, services, "web", "--timeout", "10s", "--ready-log", "^ready$")
    assert code == 0, said
    (scenario,) = results["scenarios"]
    assert scenario["name"] == "web"
    assert [trial["outcome"] for trial in results["trials"]] == ["graceful"], said
    assert "nobody/has-this" not in said


def test_a_whole_project_goes_down_dependents_first(docker_engine_host: DockerHost, tmp_path: Path) -> None:
    """Each with its own grace period, from the file."""
    services = {
        "web": service(IGNORES, depends_on=["db"], stop_grace_period="1900ms"),
        "db": service(LEAVES, stop_grace_period="5s"),
    }
    code, results, said = check(tmp_path, services, "--down")
    assert code == 1, said
    (stop,) = results["tasks"]
    outcomes = {item["name"]: item["outcome"] for item in stop["containers"]}
    assert outcomes == {"web": "killed", "db": "graceful"}, said
    limits = {item["name"]: item["stop_timeout_s"] for item in stop["containers"]}
    assert limits == {"web": 1, "db": 5}


def test_a_dependency_that_is_never_healthy_is_nobodys_failure(docker_engine_host: DockerHost, tmp_path: Path) -> None:
    """The stop of the service was never tried, and it is said who kept it from that."""
    services = {
        "web": service(LEAVES, depends_on={"db": {"condition": "service_healthy"}}),
        "db": service(LEAVES, healthcheck={"test": ["CMD", "false"], "interval": "300ms", "retries": 1}),
    }
    code, results, said = check(tmp_path, services, "web", "--timeout", "5s")
    assert code == 3, said
    (trial,) = results["trials"]
    assert trial["outcome"] == "inconclusive"
    assert "db has to be healthy before web starts" in trial["reason"]


def test_an_image_that_does_not_exist_has_its_place(docker_engine_host: DockerHost, tmp_path: Path) -> None:
    """Of the service that names it; nothing is started."""
    services = {"db": {"image": "no.such.registry.invalid/db"}, "web": service(LEAVES, depends_on=["db"])}
    code, _, said = check(tmp_path, services, "web")
    assert code == 2
    assert "compose.yaml:3:5: web/db: image 'no.such.registry.invalid/db' is not on the engine" in said


def test_a_scenario_names_a_service(docker_engine_host: DockerHost, tmp_path: Path) -> None:
    """With its own expectations, and the project in another file."""
    services = {
        "web": service(LEAVES, depends_on=["db"], stop_grace_period="4s"),
        "db": service(LEAVES),
    }
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump({"services": services}))
    scenario = {
        "version": 1,
        "name": "sample",
        "subject": {"compose": {"file": "compose.yaml", "service": "web"}},
        "ready": {"log": "^ready$"},
        "stop": {"timeouts": ["4s"]},
    }
    (tmp_path / "sample.yaml").write_text(yaml.safe_dump(scenario))
    command = [sys.executable, "-m", "stop_harness", "run", "sample.yaml", "--report-dir", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sample" in done.stdout
