"""However harness and engine come to their ends: nothing of a run is left in the end, and what is left is said."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from stop_harness.engines.docker import address
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.reaper import OWNER_LABEL, RUN_LABEL, machine
from stop_harness.linux import proc
from tests.faults.effects import Hang
from tests.faults.proxy import MARK, FaultyEngine, Rule
from tests.faults.runner import BASE_IMAGE, SUBJECTS
from tests.second_engine import SecondEngine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

INSPECT = "/containers/[0-9a-f]+/json"

EVERYTHING = tuple(Rule(method, ".*", Hang(), everybody=True) for method in ("GET", "POST", "DELETE"))

SOON_S = 30
"""For an interrupted run to end: 5 s on a quiet machine, which a test machine is not. Measured: 2 to 5 s at load 8. Who
waits for the engine's answer waits a minute."""

STOPS_FOR_A_MINUTE = 2
"""Trials of a run here: they wait for the stop timeout of a program that ignores the stop signal."""


@dataclass
class Harness:
    """A command line of its own behind a proxy, in the middle of its stops."""

    process: subprocess.Popen[str]
    proxy: FaultyEngine
    containers: Callable[[], int]


@pytest.fixture
def engine(docker_engine_host: DockerHost) -> Iterator[docker.DockerClient]:
    """The real engine, to look at what is left there."""
    client = docker_engine_host.connect(timeout_s=240)  # it removes images one after the other
    yield client
    client.close()


@pytest.fixture
def harness(tmp_path: Path, docker_engine_host: DockerHost, request: pytest.FixtureRequest) -> Iterator[Harness]:
    """Two trials at their stop calls, or at a call that hangs by the rule that is the parameter."""
    with in_the_middle(tmp_path, docker_engine_host.url, getattr(request, "param", None)) as begun:
        yield begun


@contextlib.contextmanager
def in_the_middle(folder: Path, engine_url: str, rule: Rule | None = None) -> Iterator[Harness]:
    """A run with two trials at their stop calls, or at a call that hangs by the rule. What is left is removed."""
    words = json.dumps(["perl", "-e", SUBJECTS["killed"]])
    (folder / "slow.yaml").write_text(
        f"version: 1\nname: slow\nsubject: {{image: '{BASE_IMAGE}', command: {words}, "
        f"environment: {{{MARK}: slow}}}}\n"
        "ready: {log: ^ready$}\nstop: {timeouts: [60s, 61s]}\n"
    )
    client = address.connect(address.Address(engine_url))
    with FaultyEngine(engine_url, folder / "engine.sock", (rule,) if rule else ()) as proxy:
        process = begun(folder, "slow.yaml", DOCKER_HOST=proxy.url)

        def containers() -> int:
            items = client.api.containers(all=True, filters={"label": OWNER_LABEL})
            return sum(f"/{process.pid}/" in item["Labels"][OWNER_LABEL] for item in items)

        if rule is None:
            wait_until(lambda: proxy.stops == STOPS_FOR_A_MINUTE + 1, 90, "the stop calls")  # and the reference stop
        else:
            wait_until(lambda: proxy.injected[rule.mark] >= (1 if rule.everybody else 2), 90, "a hanging call")
        yield Harness(process, proxy, containers)
        process.kill()
        process.communicate()
        if not proxy.path or not proxy.path.exists():
            proxy.come_back()
        wait_until(lambda: containers() == 0, 60, "the reaper has cleaned up")
    client.close()


def begun(folder: Path, *scenarios: str, **environment: str) -> subprocess.Popen[str]:
    """A run on the docker engine, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "stop_harness", "run", *scenarios, "--engine", "docker"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(condition: Callable[[], bool], within_s: float, what: str) -> None:
    """Poll with a deadline."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.05)


@pytest.mark.parametrize(
    "harness",
    [
        Rule("GET", INSPECT, Hang(), mark="slow"),
        pytest.param(Rule("GET", INSPECT, Hang(), everybody=True), marks=pytest.mark.long),
    ],
    ids=["in the trials", "before the trials"],
    indirect=True,
)
def test_an_interrupt_ends_a_run_whose_engine_hangs(harness: Harness) -> None:
    """With no answer to `inspect`, SIGTERM ends the run within seconds, and nothing is left."""
    harness.process.send_signal(signal.SIGTERM)
    assert harness.process.wait(timeout=SOON_S) == 130
    wait_until(lambda: harness.containers() == 0, 30, "no container")


def test_an_interrupt_ends_a_run_whose_engine_does_not_answer_any_more(harness: Harness, tmp_path: Path) -> None:
    """Not even removals are answered: Ctrl-C ends the run with its report within seconds; the reaper removes the rest
    once the engine answers."""
    harness.proxy.rules = EVERYTHING
    harness.process.send_signal(signal.SIGINT)
    assert harness.process.wait(timeout=SOON_S) == 130
    assert list((tmp_path / "reports").glob("2*/report.html"))
    assert harness.containers() == STOPS_FOR_A_MINUTE
    harness.proxy.heal()
    wait_until(lambda: harness.containers() == 0, 60, "no container")


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_an_interrupt_ends_image_builds(tmp_path: Path, engine: docker.DockerClient, number: signal.Signals) -> None:
    """Two side by side that would take minutes: the run is over within seconds, and so are their containers."""
    for name, seconds in (("first", 0), ("second", 200), ("third", 200)):
        (tmp_path / name).mkdir()
        word = f": {tmp_path.name} {number}; sleep {seconds}"  # of its own, or the layer would come from the cache
        (tmp_path / name / "Dockerfile").write_text(f"FROM {BASE_IMAGE}\nRUN {word}\n")
        (tmp_path / f"{name}.yaml").write_text(f"version: 1\nname: {name}\nsubject: {{build: {name}}}\n")

    def building() -> int:
        return sum(
            f"{tmp_path.name} {number}; sleep 200" in item["Command"] for item in engine.api.containers(all=True)
        )

    process = begun(tmp_path, "first.yaml", "second.yaml", "third.yaml")
    try:
        wait_until(lambda: building() == 2, 90, "two builds")
        process.send_signal(number)
        assert process.wait(timeout=SOON_S) == 130
        wait_until(lambda: building() == 0, 30, "no container of a build")
    finally:
        process.kill()
        process.wait()
        for image in engine.images.list(name="stop-harness/first"):
            if f"{tmp_path.name} {number};" in str(image.history()):
                engine.images.remove(str(image.id), force=True)


def test_an_interrupt_ends_an_image_pull(tmp_path: Path, docker_engine_host: DockerHost) -> None:
    """From a registry that does not answer."""
    (tmp_path / "far.yaml").write_text("version: 1\nname: far\nsubject: {image: 'far.example/image'}\n")
    pull = Rule("POST", "/images/create", Hang(), mark="pull", everybody=True)
    with FaultyEngine(docker_engine_host.url, tmp_path / "engine.sock", (pull,)) as proxy:
        process = begun(tmp_path, "far.yaml", DOCKER_HOST=proxy.url)
        try:
            wait_until(lambda: proxy.injected["pull"] == 1, 90, "a pull")
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=SOON_S) == 130
        finally:
            process.kill()
            process.wait()


def test_an_engine_that_is_away_when_the_harness_dies_is_cleaned_up_when_it_is_back(harness: Harness) -> None:
    """The reaper goes on trying: it outlives an engine that does not answer at all for longer than it once waited."""
    harness.proxy.cut()
    harness.process.kill()
    harness.process.wait()
    time.sleep(6)  # twice as long as the reaper looks for late starts: it must not have given up
    assert harness.containers() == STOPS_FOR_A_MINUTE
    harness.proxy.come_back()
    wait_until(lambda: harness.containers() == 0, 60, "no container")


def test_the_end_of_the_whole_process_tree_leaves_nothing(harness: Harness) -> None:
    """What a CI runner kills, the process group and all that descend from the step, does not hold the reaper."""
    descendants = proc.living([harness.process.pid])
    os.killpg(harness.process.pid, signal.SIGKILL)
    for pid in descendants:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    wait_until(lambda: harness.containers() == 0, 60, "no container")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT])
def test_no_file_and_no_helper_is_left_however_the_harness_ends(
    tmp_path: Path, docker_engine_host: DockerHost, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """The reaper leaves once the containers are gone; it is found by the engine's address among its words."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))

    def helpers() -> list[int]:
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
        return [pid for pid in pids if f"{tmp_path}/engine.sock" in proc.text_of(pid, "cmdline")]

    with in_the_middle(tmp_path, docker_engine_host.url) as harness:
        assert helpers()
        harness.process.send_signal(number)
        assert harness.process.wait(timeout=SOON_S) == -number
        wait_until(lambda: harness.containers() == 0 and not helpers(), 60, "no container and no helper")
        assert list(folder.iterdir()) == []


def test_an_engine_that_dies_in_the_middle_leaves_a_whole_report_and_is_cleaned_up_later(
    harness: Harness, tmp_path: Path
) -> None:
    """Trials in flight are inconclusive; what is left is said, is exit code 4, and goes when the engine is back."""
    harness.proxy.cut()
    _, said = harness.process.communicate(timeout=120)
    assert harness.process.returncode == 4, said
    assert "could not be removed" in said
    assert "Traceback" not in said
    assert list((tmp_path / "reports").glob("2*/report.html"))
    assert harness.containers() == STOPS_FOR_A_MINUTE
    harness.proxy.come_back()
    wait_until(lambda: harness.containers() == 0, 60, "no container")


@pytest.mark.long
def test_an_engine_that_is_killed_and_comes_back_is_cleaned_up(tmp_path: Path, second_docker: SecondEngine) -> None:
    """`kill -9` of a dockerd in the middle of two stops, and a new one: a whole report, and nothing is left."""
    with in_the_middle(tmp_path, second_docker.socket) as harness:
        second_docker.kill()
        _, said = harness.process.communicate(timeout=200)
        assert harness.process.returncode in {3, 4}, said
        assert "Traceback" not in said
        (journal,) = (tmp_path / "reports").glob("2*/trials.jsonl")
        outcomes = [json.loads(line)["verdict"]["outcome"] for line in journal.read_text().splitlines()]
        assert outcomes == ["inconclusive", "inconclusive"]
        assert (journal.parent / "report.html").exists()
        wait_until(lambda: _answers(second_docker), 60, "the engine is back")
        wait_until(lambda: harness.containers() == 0, 60, "no container")


def _answers(engine: SecondEngine) -> bool:
    return not subprocess.run(
        ["docker", "--host", engine.socket, "version"], check=False, capture_output=True
    ).returncode


def test_the_next_run_says_what_dead_runs_have_left(engine: docker.DockerClient, tmp_path: Path) -> None:
    """One line with the number and the command that removes them; nothing is removed unasked."""
    labels = {RUN_LABEL: "dead", OWNER_LABEL: f"{machine()}/{os.getpid()}/1"}
    dead = engine.containers.create(BASE_IMAGE, command=["sleep", "60"], labels=labels)
    try:
        command = [
            sys.executable,
            "-m",
            "stop_harness",
            "check",
            BASE_IMAGE,
            "--engine",
            "docker",
            "--timeout",
            "1s",
        ]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert "left on this engine; `stop-harness clean` removes them" in done.stderr
        assert engine.containers.get(str(dead.id)).status == "created"
    finally:
        dead.remove(force=True)
