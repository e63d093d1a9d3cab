"""Faults on the process engine: seen by the program itself, at their time, and gone afterwards."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import stop_harness
from stop_harness.api.results import Result
from stop_harness.cli.main import cli
from stop_harness.experiments import remedies
from stop_harness.model import FaultRecord

pytestmark = [pytest.mark.namespaces, pytest.mark.skipif(sys.platform != "linux", reason="/proc tells")]

PROGRAM = r"""
import json, os, resource, signal, sys, time
ending = []

def say(what, **more):
    os.write(1, (json.dumps({"t": time.time(), "what": what, **more}) + "\n").encode())

def end(number, frame):
    say("signal", number=number)
    if number == signal.SIGTERM and not ending:
        ending.append(time.monotonic())

if os.fork() == 0:
    os.execvp(sys.executable, [sys.executable, "-c", "import time\nwhile True: time.sleep(1)", "the-worker"])
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, end)
before, last = resource.getrlimit(resource.RLIMIT_NOFILE)[0], time.time()
os.write(1, b"up\n")
while not ending or time.monotonic() - ending[0] < float(sys.argv[1]):
    time.sleep(0.002)
    now = time.time()
    if now - last > 0.15:
        say("gap", since=last)
    last = now
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != before:
        say("limit", limit=limit, was=before)
        before = limit
    try:
        if os.waitpid(-1, os.WNOHANG)[0]:
            say("worker is gone")
    except ChildProcessError:
        pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a program and a Dockerfile."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "app.py").write_text(PROGRAM)
    return tmp_path


def stop_under(project: Path, fault: str, drain_s: float = 2.0) -> tuple[Result, list[dict[str, Any]]]:
    """The stop, and what the program wrote."""
    result = stop_harness.check(
        build=str(project),
        command=[sys.executable, str(project / "app.py"), str(drain_s)],
        engine="process",
        ready_log="^up$",
        faults=[fault],
        timeouts=["10s"],
    )
    log = result.stops[0].record.observation.looks.logs.text if result.stops else ""
    return result, [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def made(result: Result) -> FaultRecord:
    """The fault, which was there."""
    (record,) = result.stops[0].record.observation.faults
    assert record.problem is None, record
    return record


def test_a_second_signal_comes_after_the_stop_signal_and_is_taken(project: Path) -> None:
    """At its moment, counted from the signal that the waiting parent sent."""
    result, seen = stop_under(project, "signal=SIGHUP@300ms")
    assert [item["number"] for item in seen if item["what"] == "signal"] == [15, 1]
    first, second = (item["t"] for item in seen if item["what"] == "signal")
    asked_ns = made(result).asked_ns
    assert asked_ns is not None
    assert asked_ns >= 300_000_000
    assert second - first == pytest.approx(asked_ns / 1e9, abs=0.3)


def test_a_halted_process_goes_on_afterwards(project: Path) -> None:
    """PID 1 itself, which cannot refuse."""
    result, seen = stop_under(project, r"process=stop:app\.py@200ms:500ms")
    made(result)
    assert max(item["t"] - item["since"] for item in seen if item["what"] == "gap") > 0.3
    assert result.stops[0].record.observation.record.exit_code == 0


def test_a_process_is_killed_by_its_command_line(project: Path) -> None:
    """The worker, and nobody else."""
    result, seen = stop_under(project, "process=kill:the-worker@200ms")
    assert made(result).seen == "1 process gone, by /proc"
    assert "worker is gone" in [item["what"] for item in seen]


def test_a_kill_of_the_first_process_is_the_faults(project: Path) -> None:
    """Not somebody else's, and not the stop timeout's."""
    result, _ = stop_under(project, "signal=SIGKILL@200ms", drain_s=5.0)
    assert (result.outcome, result.cause) == ("killed", "killed-by-fault")


def test_descriptors_are_short_for_a_time(project: Path) -> None:
    """The soft limit, and back."""
    result, seen = stop_under(project, "fds=9@200ms:400ms")
    assert made(result).ended_ns is not None
    limits = [(item["was"], item["limit"]) for item in seen if item["what"] == "limit"]
    assert limits[0][1] == limits[1][0] == 9
    assert limits[1][1] == limits[0][0]


@pytest.mark.parametrize("fault", ["signal=SIGSTOP@50ms", "signal=SIGKILL@50ms"])
def test_where_the_fault_itself_is_the_cause_no_change_is_offered(
    project: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is changed about the container, such a stop ends so."""
    program = [sys.executable, str(project / "app.py"), "3"]
    asked = ["check", "--engine", "process", "--build", str(project), "--ready-log", "^up$", "--timeout", "1s"]
    with pytest.raises(SystemExit) as ended:
        cli([*asked, "--fault", fault, "--", *program])
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 1
    assert "by-fault]" in said
    assert "mend it and check again; no change of its stop helps." in said
    assert "--try-fixes" not in said
    result, _ = stop_under(project, fault, drain_s=12.0)
    assert not any(map(remedies.may_be_cured, (stop.record for stop in result.stops)))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("cpu=0.2", "the process engine makes faults of fds, process, signal alone; this one needs a container engine"),
        ("signal=SIGHUP@log:bye", "the process engine knows of no line when it is written"),
    ],
)
def test_what_this_engine_cannot_make_is_said_before_anything_starts(project: Path, fault: str, said: str) -> None:
    """With the kinds that it can."""
    result, _ = stop_under(project, fault)
    assert not result.stops
    assert said in " ".join(str(result).split())


def test_a_pattern_that_matches_nobody_leaves_the_stop_undecided(project: Path) -> None:
    """With the command lines that are there."""
    result, _ = stop_under(project, "process=kill:nobody-has-this@100ms", drain_s=0.5)
    assert result.outcome == "inconclusive"
    assert "no process matches 'nobody-has-this'" in result.stops[0].reason
