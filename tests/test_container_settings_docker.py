"""What a scenario gives its container, on a real engine: it arrives there, and nothing of it is left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stop_harness.conductor import pipeline
from stop_harness.conductor.request import RunOutcome, RunRequest
from stop_harness.engines.docker.host import DockerHost
from stop_harness.errors import ScenarioError
from stop_harness.model import Outcome, Scenario
from stop_harness.scenario import discovery
from stop_harness.trial.perform import Interruption
from tests.silence import Silence

pytestmark = pytest.mark.docker

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")

SHOW = """trap 'exit 0' TERM; id -u; cat /conf/a; cat /data/shared; ulimit -n; hostname; cat /etc/hosts; tty; mount
grep -E 'CapBnd|NoNewPrivs' /proc/self/status; cat /proc/sys/net/core/somaxconn; touch /x; echo MODE $MODE
echo ready; while :; do sleep 0.1; done"""

EVERYTHING = """
  env_file: a.env
  volumes: ["./conf:/conf:ro", "data:/data", "data:/other", "/anonymous"]
  tmpfs: /scratch:size=1m
  read_only: true
  tty: true
  stdin_open: true
  user: "0"
  cap_drop: [ALL]
  cap_add: [KILL]
  security_opt: [no-new-privileges]
  ulimits: {nofile: {soft: 321, hard: 654}}
  cpus: 0.5
  cpu_shares: 512
  memory: 64MiB
  memory_swap: 96MiB
  shm_size: 3MiB
  ipc: private
  hostname: hosted
  extra_hosts: ["elsewhere:10.9.8.7"]
  sysctls: {net.core.somaxconn: 77}
  labels: {com.example.team: shop}
  healthcheck: {test: "true", interval: 1s}
ready: {log: "ready", healthcheck: true}
"""


def load(folder: Path, rest: str, command: str = SHOW, timeout: str = "5s") -> Scenario:
    """A scenario of the base image whose subject goes on with `rest`."""
    words = "\n      ".join(command.splitlines())
    (folder / "s.yaml").write_text(
        f"version: 1\nname: settings\nsubject:\n  image: {BASE_IMAGE}\n  command:\n    - /bin/sh\n    - -c\n"
        f"    - |\n      {words}\n{rest.strip(chr(10))}\nstop: {{timeouts: [{timeout}]}}\n"
    )
    (scenario,) = discovery.load((folder / "s.yaml",))
    return scenario


def run(scenario: Scenario) -> RunOutcome:
    """On the docker engine, without a report directory."""
    return pipeline.run(RunRequest((scenario,), "test", None, engine="docker"), Silence(), Interruption())


def test_settings_arrive_in_the_container(tmp_path: Path, docker_engine_host: DockerHost) -> None:
    """Each of them, by what the container itself sees; its volumes are gone afterwards."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "a").write_text("configured\n")
    (tmp_path / "a.env").write_text("MODE=from-file\n")
    done = run(load(tmp_path, EVERYTHING, "echo kept > /other/shared; " + SHOW))
    (result,) = done.report.results
    seen = result.observation.looks.logs.text.replace("\r", "")
    assert result.verdict.outcome is Outcome.GRACEFUL, (result.verdict.reason, seen)
    for line in ("0", "configured", "kept", "321", "hosted", "10.9.8.7\telsewhere", "NoNewPrivs:\t1", "77"):
        assert line in seen.splitlines()
    for part in ("/dev/pts/", "on /conf type", "on /anonymous type", "on /scratch type tmpfs", "size=1024k"):
        assert part in seen
    assert "size=3072k" in seen, "of /dev/shm"
    assert "CapBnd:\t0000000000000020" in seen, "KILL and nothing else"
    assert "MODE from-file" in result.observation.looks.logs.text.replace("…", "from-file")
    assert "Read-only file system" in seen
    assert not done.left_behind
    assert not _volumes(docker_engine_host, done)


def _volumes(host: DockerHost, done: RunOutcome) -> list[str]:
    """Names of the volumes that a run has left."""
    client = host.connect()
    try:
        label = f"stop-harness.run={done.report.run.run_id}"
        return [volume.name for volume in client.volumes.list(filters={"label": label})]
    finally:
        client.close()


def test_in_the_machines_namespaces_a_program_without_a_handler_ends(tmp_path: Path) -> None:
    """As PID 1 it would ignore SIGTERM; what it is asked for is what is measured."""
    command, ready = "echo ready; exec sleep 60", "\nready: {log: ready}"
    alone, shared = (run(load(tmp_path, rest + ready, command, "1s")) for rest in ("", "  pid: host\n  network: none"))
    assert [done.report.results[0].verdict.outcome for done in (alone, shared)] == [Outcome.KILLED, Outcome.GRACEFUL]
    assert shared.report.results[0].observation.record.exit_code == 143


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("user: nosuchuser", "s.yaml:10:3: subject.user: there is no user 'nosuchuser': /etc/passwd of the image has "),
        ("user: root:nosuchgroup", "subject.user: there is no group 'nosuchgroup': /etc/group of the image has "),
        ("network: nosuchnetwork", "s.yaml:10:3: subject.network: the engine has no network 'nosuchnetwork'; it has "),
    ],
)
def test_names_that_engine_and_image_do_not_know_are_mistakes(tmp_path: Path, key: str, said: str) -> None:
    """Before anything runs, with the place in the file."""
    with pytest.raises(ScenarioError) as refused:
        run(load(tmp_path, f"  {key}", "exec sleep 60"))
    assert said in str(refused.value)


def test_a_volume_is_fresh_in_each_trial(tmp_path: Path, docker_engine_host: DockerHost) -> None:
    """What one trial left there is no business of the next, although both run in one go."""
    command = (
        "ls /data; test ! -e /data/left || exit 3; touch /data/left; trap 'exit 0' TERM; while :; do sleep 0.1; done"
    )
    scenario = load(tmp_path, '  volumes: ["data:/data"]\nrepeat: 2', command)
    done = run(scenario)
    assert [result.verdict.outcome for result in done.report.results] == [Outcome.GRACEFUL] * 2
    assert not _volumes(docker_engine_host, done)
