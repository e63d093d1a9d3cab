"""A clock that jumps around a stop, in an image that has libfaketime."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import docker
import pytest

import stop_harness
from stop_harness.engines.docker.faults import clock
from stop_harness.engines.docker.faults.image_contents import ImageContents
from stop_harness.engines.docker.host import DockerHost
from stop_harness.model import NS_PER_S, Fault, FaultAction, FaultKind, Scenario, StopPlan, Subject, Trial
from tests.group_support import BASE_IMAGE
from tests.variants import only_long

HOUR_S = 3600

DOCKERFILE = f"""\
FROM {BASE_IMAGE}
RUN apt-get -qq update && apt-get -qq install -y --no-install-recommends libfaketime >/dev/null
ENV LD_PRELOAD=""
"""

PROGRAM = r"""
import json, os, signal, time
ending = []

def up_s():
    with open("/proc/uptime") as file:  # of the machine: no library shows another one
        return float(file.read().split()[0])

def end(number, frame):
    ending.append(up_s())

signal.signal(signal.SIGTERM, end)
os.write(1, b"up\n")
while not ending or up_s() < ending[0] + 2:
    time.sleep(0.01)
    os.write(1, (json.dumps({"up": up_s(), "shown": time.time(), "signal": ending[:1]}) + "\n").encode())
"""


@pytest.fixture(scope="module")
def faketime(docker_engine_host: DockerHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image with Debian's package."""
    client: docker.DockerClient = docker_engine_host.connect()
    folder = tmp_path_factory.mktemp("faketime")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    tag = f"stop-harness-faketime-{os.getpid()}"  # by its name, for other images may have been built upon it
    client.images.build(path=str(folder), rm=True, forcerm=True, tag=tag)
    yield tag
    client.images.remove(tag)
    client.close()


@pytest.mark.parametrize("hours", [*only_long(1), -1])
def test_the_program_sees_the_clock_jump_at_its_time_and_come_back(faketime: str, hours: int) -> None:
    """The change of its clock lies where the record says, and after its length the time is the true one again."""
    result = stop_harness.check(
        image=faketime,
        command=["python3", "-c", PROGRAM],
        ready_log="^up$",
        faults=[f"clock={hours}h@500ms:800ms"],
        timeouts=["10s"],
    )
    observation = result.stops[0].record.observation
    (record,) = observation.faults
    assert result.stops[0].outcome == "graceful", result.stops[0].reason
    assert record.problem is None
    assert record.begun_ns is not None
    assert record.ended_ns is not None
    seen = [json.loads(line) for line in observation.looks.logs.text.splitlines() if line.startswith("{")]
    true_s = seen[0]["shown"] - seen[0]["up"]
    jumped = [item for item in seen if abs(item["shown"] - item["up"] - true_s - hours * HOUR_S) < 1]
    as_it_was = [item for item in seen if abs(item["shown"] - item["up"] - true_s) < 1]
    assert len(jumped) + len(as_it_was) == len(seen), "it showed a third time"
    signal_s = jumped[0]["signal"][0]
    assert jumped[0]["up"] - signal_s == pytest.approx(record.begun_ns / NS_PER_S, abs=0.5)
    assert jumped[-1]["up"] - signal_s == pytest.approx(record.ended_ns / NS_PER_S, abs=0.5)
    assert seen[-1] == as_it_was[-1], "it did not come back"


DRAINS = r"""
import os, signal, sys, time

def end(number, frame):
    until = time.time() + 1
    while time.time() < until:
        time.sleep(0.05)
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
os.write(1, b"up\n")
while True:
    time.sleep(0.05)
"""


def test_a_drain_that_waits_by_the_clock_is_not_said_to_swallow_its_signal(faketime: str) -> None:
    """It leaves in time undisturbed. Under the jump it waits for an hour, and looks like one that just goes on."""

    def stopped(*faults: str) -> stop_harness.JudgedStop:
        command = ["python3", "-c", DRAINS]
        result = stop_harness.check(
            image=faketime, command=command, ready_log="^up$", faults=list(faults), timeouts=["4s"]
        )
        return result.stops[0]

    assert stopped().outcome == "graceful"
    disturbed = stopped("clock=-1h@100ms")
    cause = disturbed.record.verdict.cause
    assert (disturbed.outcome, disturbed.cause) == ("killed", "maybe-by-fault"), disturbed.reason
    assert cause is not None
    assert "clock -1h from +0.1" in cause.evidence
    assert "CLOCK_MONOTONIC" in cause.advice[0].text
    assert not any("do not catch" in item.text.lower() for item in cause.advice)


def test_a_program_that_does_not_load_the_library_makes_no_verdict(faketime: str) -> None:
    """As one that is statically linked: its clock never jumped, so the stop is not the one that was asked about."""
    result = stop_harness.check(
        image=faketime,
        command=["env", "-u", "LD_PRELOAD", "python3", "-c", PROGRAM],
        ready_log="^up$",
        faults=["clock=1h@100ms"],
        timeouts=["10s"],
    )
    stop = result.stops[0]
    assert stop.outcome == "inconclusive"
    assert "its program has not loaded libfaketime" in stop.reason


def test_what_is_preloaded_already_stays_so() -> None:
    """The scenario's own libraries, or those of the image, come after ours; without such a fault nothing is added."""
    contents = ImageContents(shell=True, faketime="/lib/faketime.so", preload="/lib/of-the-image.so")

    def variables(**given: str) -> dict[str, str]:
        jump = Fault(FaultKind.CLOCK, FaultAction.JUMP, amount=HOUR_S * NS_PER_S)
        subject = Subject(image="any", environment=tuple(given.items()))
        scenario = Scenario("jumps", subject, stop=StopPlan((NS_PER_S,)), faults=(jump,))
        return dict(clock.with_library(Trial("jumps", scenario, NS_PER_S, 0, 1), contents).scenario.subject.environment)

    assert variables()["LD_PRELOAD"] == "/lib/faketime.so /lib/of-the-image.so"
    assert variables(LD_PRELOAD="/lib/own.so")["LD_PRELOAD"] == "/lib/faketime.so /lib/own.so"
    none = Trial("stays", Scenario("stays", Subject(image="any"), stop=StopPlan((NS_PER_S,))), NS_PER_S, 0, 1)
    assert clock.with_library(none, contents) is none
