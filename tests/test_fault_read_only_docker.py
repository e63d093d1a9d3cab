"""A mount that cannot be written to around a stop: root on the engine's machine makes it so, in the container alone."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

import stop_harness
from stop_harness.api.results import Result
from stop_harness.engines.docker.host import DockerHost
from tests.group_support import BASE_IMAGE

PROGRAM = r"""
import json, os, signal, sys, time
ending = []
kept = open("/data/kept", "w") if sys.argv[1:] else None

def end(number, frame):
    ending.append(time.monotonic())

def look():
    with open("/proc/self/mountinfo") as file:
        options = next(line.split()[5] for line in file if line.split()[4] == "/data")
    try:
        with open("/data/state", "w") as file:
            file.write("saved")
        error = 0
    except OSError as refused:
        error = refused.errno
    return {"options": options, "errno": error}

signal.signal(signal.SIGTERM, end)
os.write(1, b"up\n" + json.dumps(look()).encode() + b"\n")
while not ending or time.monotonic() < ending[0] + 2:
    time.sleep(0.01)
    if ending:
        os.write(1, json.dumps(look()).encode() + b"\n")
"""
EROFS = 30


@pytest.fixture(autouse=True)
def root_near(docker_engine_host: DockerHost) -> None:
    """As what it takes."""
    if not docker_engine_host.root_near:
        pytest.skip("that takes root on the engine's machine")


def stopped(fault: str, *words: str, **where: Any) -> Result:
    command = ["python3", "-c", PROGRAM, *words]
    return stop_harness.check(
        image=BASE_IMAGE, command=command, ready_log="^up$", faults=[fault], timeouts=["10s"], **where
    )


@pytest.mark.parametrize("where", [{"tmpfs": ["/data:size=2m"]}, {"volume": ["kept:/data"]}], ids=["tmpfs", "volume"])
def test_it_cannot_be_written_to_for_its_time_and_keeps_its_other_options(where: dict[str, Any]) -> None:
    """Then it is as it was: what the mount forbade before, it forbids still."""
    result = stopped("disk=read_only:/data@300ms:800ms", **where)
    (record,) = result.stops[0].record.observation.faults
    assert record.problem is None
    lines = result.stops[0].record.observation.looks.logs.text.splitlines()
    before, *seen = [json.loads(line) for line in lines if line.startswith("{")]
    assert before["errno"] == 0
    errors = [item["errno"] for item in seen]
    assert sorted(set(errors)) == [0, EROFS]
    assert errors[0] == errors[-1] == 0
    refused = next(item for item in seen if item["errno"] == EROFS)
    assert refused["options"].split(",")[0] == "ro"
    assert refused["options"].split(",")[1:] == before["options"].split(",")[1:]
    assert seen[-1] == before


@pytest.mark.parametrize(
    ("fault", "words", "said"),
    [
        ("disk=read_only:/data@100ms", ("open",), "a file in /data is open for writing"),
        ("disk=read_only:/var@100ms", (), "nothing is mounted at /var"),
        ("disk=read_only:/proc/sys@100ms", (), "is mounted read-only already"),
    ],
    ids=["open file", "no mount", "already"],
)
def test_what_was_not_made_read_only_makes_no_verdict(fault: str, words: tuple[str, ...], said: str) -> None:
    """The reason names what the kernel holds against it."""
    stop = stopped(fault, *words, tmpfs=["/data:size=2m"]).stops[0]
    assert stop.outcome == "inconclusive"
    assert said in stop.reason


def test_without_root_it_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it takes."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = stopped("disk=read_only:/data", tmpfs=["/data:size=2m"])
    assert not result.stops
    assert "can only be changed by root on the engine's machine" in " ".join(str(result).split())
