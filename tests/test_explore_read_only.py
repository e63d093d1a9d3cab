"""`explore` and places that cannot be written to any more: where, and what is a finding then."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stop_harness.conductor import exit_codes, exploring
from stop_harness.engines.docker.host import DockerHost
from stop_harness.experiments.explore.candidate import Candidate, Fate
from stop_harness.experiments.explore.space import Space
from stop_harness.model import (
    NS_PER_S,
    Fault,
    FaultAction,
    FaultKind,
    FaultRecord,
    Scenario,
    Subject,
    TrialResult,
)
from stop_harness.scenario import discovery, scenario_file
from stop_harness.verdict import judge
from tests.group_support import BASE_IMAGE
from tests.strategies import DOCKER, Behaviour, Jitter, stop
from tests.test_cli import Answer, ask
from tests.test_explore import Simulated, everything, kinds, search

__all__ = ["ask"]  # a fixture

READ_ONLY = Fault(FaultKind.DISK, FaultAction.READ_ONLY, target="/spool")
FULL = Fault(FaultKind.DISK, FaultAction.FULL, target="/spool")

MOUNTS = """
version: 1
name: mounts
subject:
  image: web
  tmpfs: ["/small:size=1m", "/scratch", "/fixed:ro"]
  volumes: ["kept:/kept", "/host:/shared", "/settings:/settings:ro"]
ready: {log: up}
stop: {timeouts: [10s]}
"""


def places(found: Space, action: FaultAction) -> list[str | None]:
    """Where something is done to a disk."""
    return [several[0].target for several in found.faults if several[0].action is action]


def test_every_place_that_can_be_written_to_becomes_read_only_in_turn() -> None:
    """Not those that are so already; and only a tmpfs with a size is filled."""
    found = everything(scenario_file.parse(MOUNTS))
    assert places(found, FaultAction.READ_ONLY) == ["/kept", "/shared", "/small", "/scratch"]
    assert places(found, FaultAction.FULL) == ["/small"]
    alone = [it.faults[0].target for it in found.standard() if it.faults and it.traffic is None]
    assert set(alone) >= {"/small", "/scratch", "/kept", "/shared"}


def test_of_a_group_they_are_those_of_the_service_that_is_stopped(tmp_path: Path) -> None:
    """Another service may write where it likes."""
    services = {
        "web": {"image": "web", "volumes": ["kept:/kept"], "tmpfs": ["/small:size=1m"]},
        "db": {"image": "db", "volumes": ["data:/data"]},
    }
    (tmp_path / "compose.yaml").write_text(json.dumps({"services": services, "volumes": {"kept": {}, "data": {}}}))
    file = tmp_path / "web.yaml"
    compose = "{compose: {file: compose.yaml, service: web}}"
    file.write_text(f"{{version: 1, name: web, subject: {compose}, ready: {{log: up}}, stop: {{timeouts: [10s]}}}}")
    (scenario,) = discovery.load((file,))
    found = everything(scenario)
    assert sorted(map(str, places(found, FaultAction.READ_ONLY))) == ["/kept", "/small"]
    assert places(found, FaultAction.FULL) == ["/small"]


def test_one_that_cannot_be_written_to_is_found_alone(tmp_path: Path) -> None:
    """Without whatever else was there when it showed."""
    bench = Simulated(lambda it: any(fault.target == "/kept" for fault in it.faults))
    found = search(bench, tmp_path, scenario=scenario_file.parse(MOUNTS), stops=100)
    assert found.finding is not None
    candidate = found.finding.candidate
    assert [(fault.action, fault.target) for fault in candidate.faults] == [(FaultAction.READ_ONLY, "/kept")]
    assert candidate.traffic is None
    assert candidate.moment_ns is None


def test_no_clock_jumps_in_a_search() -> None:
    """What shows it keeps waits of a program that is in order from their end."""
    assert not any(FaultKind.CLOCK in kinds(item) for item in everything(scenario_file.parse(MOUNTS)).standard())


def fate(exits_after_s: float | None, code: int, *faults: Fault) -> Fate:
    """Of a stop with these faults from the stop signal on."""
    exit_ns = None if exits_after_s is None else round(exits_after_s * NS_PER_S)
    seen = stop(Behaviour(exit_ns, code, None), 10 * NS_PER_S, DOCKER, Jitter()).observation
    seen = replace(seen, faults=tuple(FaultRecord(fault, asked_ns=0, begun_ns=0, seen="seen") for fault in faults))
    scenario = Scenario("a", Subject(image="a"))
    result = TrialResult(seen, judge.judge(seen, scenario))
    return exploring.tried(result, Candidate(10 * NS_PER_S, faults=faults), thorough=True).fate


def test_who_cannot_write_and_says_so_by_its_exit_code_is_no_finding() -> None:
    """Nothing else is left to it. A crash, a hang, and a full disk, against which there is something to do, are."""
    assert fate(0.1, 1, READ_ONLY) is Fate.FINE
    assert fate(0.1, 0, READ_ONLY) is Fate.FINE
    assert fate(0.1, 139, READ_ONLY) is Fate.BAD
    assert fate(None, 137, READ_ONLY) is Fate.BAD
    assert fate(0.1, 1, FULL) is Fate.BAD
    assert fate(0.1, 1) is Fate.BAD


SAVES = r"""
import os, signal, sys, time

def end(number, frame):
    while True:
        try:
            with open("/spool/state", "w") as file:
                file.write("saved")
            sys.exit(0)
        except OSError as error:
            print(error.strerror, flush=True)
            if "--once" in sys.argv:
                sys.exit(1)
            time.sleep(0.2)

signal.signal(signal.SIGTERM, end)
print("up", flush=True)
while True:
    time.sleep(0.05)  # a handler that runs just before one long sleep would leave it asleep
"""


@pytest.fixture
def root_near(docker_engine_host: DockerHost) -> None:
    """As what it takes."""
    if not docker_engine_host.root_near:
        pytest.skip("that takes root on the engine's machine")


@pytest.mark.docker
@pytest.mark.long
@pytest.mark.usefixtures("root_near")
@pytest.mark.parametrize(("words", "code"), [([], exit_codes.FAIL), (["--once"], exit_codes.PASS)])
def test_a_program_that_tries_to_write_for_ever_is_found_and_one_that_gives_up_is_not(
    ask: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int
) -> None:
    """In containers with a volume."""
    monkeypatch.chdir(tmp_path)
    scenario: dict[str, Any] = {
        "version": 1,
        "name": "saves",
        "subject": {"image": BASE_IMAGE, "command": ["python3", "-c", SAVES, *words], "volumes": ["kept:/spool"]},
        "ready": {"log": "^up$"},
        "stop": {"timeouts": ["5s"]},
    }
    Path("saves.yaml").write_text(json.dumps(scenario))
    answer = ask("explore", "saves.yaml", "--json", "--seed", "1", "--stops", "20")
    assert answer.code == code, answer
    finding = json.loads(answer.out)["finding"]
    if code == exit_codes.PASS:
        assert finding is None
        return
    assert finding["what"] == "under disk read only /spool before the stop"
    assert (finding["outcome"], finding["failed"]) == ("killed", 5)
