"""Others have the same engine: what they do to a container during its trial is not the container's failure."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest

from stop_harness.conductor import pipeline
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.reaper import OWNER_LABEL, owner
from stop_harness.model import NS_PER_S, Outcome, Readiness, Scenario, Status, StopPlan, Subject, TrialResult
from stop_harness.trial.perform import Interruption
from tests.faults.runner import BASE_IMAGE, SUBJECTS
from tests.silence import Silence

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]

Deed = Callable[[Any], object]


@pytest.fixture
def engine(docker_engine_host: DockerHost) -> Iterator[docker.DockerClient]:
    """The engine as somebody else sees it."""
    client = docker_engine_host.connect()
    yield client
    client.close()


def trial(  # noqa: PLR0917
    engine: docker.DockerClient, name: str, subject: str, step: str, deed: Deed, timeout_s: int = 30
) -> TrialResult:
    """One trial, in the middle of which somebody does something to its container, two seconds after a step begins."""

    def act() -> None:
        for item in engine.api.containers(all=True, filters={"label": f"{OWNER_LABEL}={owner()}"}):
            found = engine.containers.get(item["Id"])
            if found.attrs["Path"] == "perl":
                deed(found)

    class Somebody(Silence):
        def step(self, running: Any, begun: str) -> None:
            if begun == step:
                threading.Timer(2.0, act).start()

    made = Scenario(
        name,
        Subject(image=BASE_IMAGE, command=("perl", "-e", SUBJECTS[subject])),
        readiness=Readiness(log="^ready$", delay_ns=6 * NS_PER_S if step == "waiting until ready" else 0),
        stop=StopPlan((timeout_s * NS_PER_S,)),
    )
    request = RunRequest((made,), "test", None, engine="docker")
    return pipeline.run(request, Somebody(), Interruption()).report.results[0]


def kill_on_the_host(container: Any) -> None:
    """`kill -9` of PID 1, past the engine."""
    os.kill(int(container.attrs["State"]["Pid"]), signal.SIGKILL)


@pytest.mark.parametrize(
    ("step", "subject", "deed"),
    [
        ("waiting until ready", "graceful", lambda container: container.kill()),
        pytest.param("waiting until ready", "graceful", lambda container: container.stop(), marks=pytest.mark.long),
        ("stopping", "killed", lambda container: container.kill()),
        pytest.param("stopping", "killed", lambda container: container.stop(timeout=1), marks=pytest.mark.long),
        pytest.param("stopping", "killed", lambda container: container.remove(force=True), marks=pytest.mark.long),
        ("stopping", "killed", lambda container: container.restart(timeout=0)),
        pytest.param(
            "stopping", "killed", kill_on_the_host, marks=pytest.mark.skipif(os.geteuid() != 0, reason="root")
        ),
    ],
    ids=[
        "killed before the stop",
        "stopped before the stop",
        "killed",
        "stopped with less time",
        "removed",
        "started again",
        "killed on the host",
    ],
)
def test_what_somebody_else_does_is_said_and_is_inconclusive(
    engine: docker.DockerClient, step: str, subject: str, deed: Deed
) -> None:
    """Never a failure of the container, and the reason names somebody else."""
    result = trial(engine, "victim", subject, step, deed)
    assert result.verdict.outcome is Outcome.INCONCLUSIVE, result.verdict.reason
    assert result.verdict.status is Status.INCONCLUSIVE
    assert "somebody" in result.verdict.reason


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        (lambda container: container.kill("SIGTERM"), "a second SIGTERM"),
        pytest.param(lambda container: container.stop(timeout=10), "a second SIGTERM", marks=pytest.mark.long),
        (lambda container: container.pause(), "somebody paused it"),
        pytest.param(lambda container: container.kill(), "somebody else sent it SIGKILL", marks=pytest.mark.long),
        (lambda container: container.stop(timeout=0), "a second SIGTERM and SIGKILL"),
    ],
    ids=["stop signal again", "stopped with more time", "paused", "killed", "stopped without time"],
)
def test_what_the_engine_has_on_record_of_others_is_a_rule_of_its_own(
    engine: docker.DockerClient, deed: Deed, said: str
) -> None:
    """It may be what made the container come too late, so that its SIGKILL at the stop timeout proves nothing."""
    result = trial(engine, "victim", "killed", "stopping", deed, timeout_s=7)
    found = result.verdict
    assert (found.outcome, found.findings[0].rule) == (Outcome.INCONCLUSIVE, "killed-by-somebody"), found.reason
    assert said in found.reason
