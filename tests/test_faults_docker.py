"""Faults in real containers: each is seen by the program itself, at its time, and gone afterwards.

The program stamps what changes around it with the clock that the harness reads, too. What the record says must hold
whatever the machine is busy with: the change lies between the moment at which the harness began with the fault and the
moment at which it says that the effect was there.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import docker
import pytest

import stop_harness
from stop_harness.api.results import Result
from stop_harness.engines.docker import reaper
from stop_harness.engines.docker.faults import freezer
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.reaper import OWNER_LABEL, RUN_LABEL
from stop_harness.model import FaultRecord
from stop_harness.units import parse_duration

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")

PROGRAM = r"""
import json, os, re, resource, signal, sys, time
watched, drain_s = sys.argv[1], float(sys.argv[2])
ending, held = [], b"x" * (16 << 20) if watched == "held" else b""

def say(what, **more):
    os.write(1, (json.dumps({"t": time.time(), "what": what, **more}) + "\n").encode())

def end(number, frame):
    say("signal", number=number)
    if number == signal.SIGTERM and not ending:
        ending.append(time.monotonic())

def first(*paths):
    for path in paths:
        try:
            with open(path) as file:
                return file.read().strip()
        except OSError:
            continue
    return ""

def disk():
    return "full" if os.statvfs("/data").f_bfree == 0 else "room"

def names():
    return re.sub(r"(?m)^#.*\n?", "", first("/etc/resolv.conf"))[:60]

looks = {
    "cpu": lambda: first("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu.max"),
    "memory": lambda: first("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"),
    "pids": lambda: first("/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/pids.max"),
    "disk": disk,
    "dns": names,
    "fds": lambda: str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    "network": lambda: "there" if "eth" in first("/proc/net/dev") else "gone",
    "exec": lambda: str(os.path.exists("/tmp/made")),
    "nothing": lambda: "",
    "held": lambda: "",
}
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, end)
before, last = looks[watched](), time.time()
say("begin", state=before)
os.write(1, b"up\n")
while not ending or time.monotonic() - ending[0] < drain_s:
    time.sleep(0.002)
    now = time.time()
    if now - last > 0.15:
        say("gap", since=last)
    last = now
    state = looks[watched]()
    if state != before:
        say("state", state=state)
        before = state
say("end")
"""


@dataclass(frozen=True)
class Stopped:
    """One stop under one fault, and what the program in it saw: `at_s` after its stop signal."""

    result: Result
    seen: tuple[dict[str, Any], ...]

    @property
    def fault(self) -> FaultRecord:
        """What the harness has on record of it."""
        (record,) = self.result.stops[0].record.observation.faults
        return record

    def at_s(self, what: str) -> list[float]:
        """When the program saw something, seconds after the stop signal reached it."""
        zero = next(item["t"] for item in self.seen if item["what"] == "signal" and item["number"] == 15)
        return [item["t"] - zero for item in self.seen if item["what"] == what]


@pytest.fixture(autouse=True)
def nothing_is_left(docker_engine_host: DockerHost) -> Iterator[None]:
    """No container of these runs outlives its test."""
    if docker_engine_host.podman:
        pytest.skip("Podman does nothing else to a container that it stops; see test_faults_before_the_stop.py")
    yield
    client: docker.DockerClient = docker_engine_host.connect()
    left = client.api.containers(all=True, filters={"label": OWNER_LABEL, "name": "faults"})
    client.close()
    assert not left


def stop_under(
    fault: str | None, watched: str = "nothing", drain_s: float = 1.0, program: str = PROGRAM, **more: Any
) -> Stopped:
    """Check the program under one fault."""
    command = ["python3", "-c", program, watched, str(drain_s)]
    given: dict[str, Any] = {"timeouts": ["10s"], **more}
    result = stop_harness.check(
        image=BASE_IMAGE,
        command=command,
        ready_log="^up$",
        tmpfs=["/data:size=2m"],
        faults=[] if fault is None else [fault],
        **given,
    )
    log = result.stops[0].record.observation.looks.logs.text
    return Stopped(result, tuple(json.loads(line) for line in log.splitlines() if line.startswith("{")))


STATES = [
    ("cpu=0.2", "cpu", "20000"),
    ("memory=64MiB", "memory", str(64 * 1024**2)),
    ("pids=7", "pids", "7"),
    ("disk=full:/data", "disk", "full"),
    ("dns=dead", "dns", "nameserver 192.0.2.1"),
    ("fds=9", "fds", "9"),
    ("network=cut", "network", "gone"),
]


@pytest.mark.parametrize(("fault", "watched", "state"), STATES, ids=[row[1] for row in STATES])
def test_a_fault_is_seen_from_inside_at_its_time_and_is_gone_afterwards(fault: str, watched: str, state: str) -> None:
    """The change lies where the record says, and after its length everything is as it was."""
    stopped = stop_under(f"{fault}@300ms:400ms", watched, drain_s=2.5)
    record = stopped.fault
    assert record.problem is None, record
    assert record.asked_ns is not None
    assert record.begun_ns is not None
    assert record.ended_ns is not None
    changes = [item for item in stopped.seen if item["what"] == "state"]
    assert state in changes[0]["state"]
    assert changes[-1]["state"] == stopped.seen[0]["state"]
    begun_s, ended_s = stopped.at_s("state")[0], stopped.at_s("state")[-1]
    assert record.asked_ns / 1e9 - 0.15 <= begun_s <= record.begun_ns / 1e9 + 0.15
    assert begun_s < ended_s <= record.ended_ns / 1e9 + 0.15
    assert record.asked_ns >= parse_duration("300ms")
    assert stopped.result.outcome == "graceful"


def test_a_fault_before_the_stop_is_there_when_the_signal_comes() -> None:
    """Its effect was seen before the stop was called, with and without an offset."""
    for moment in ("before", "-400ms"):
        stopped = stop_under(f"cpu=0.3@{moment}", "cpu", drain_s=0.2)
        assert stopped.at_s("state")[0] < 0
        assert stopped.fault.begun_ns is not None
        assert stopped.fault.begun_ns < 0
    assert stopped.at_s("state")[0] <= -0.3


def test_a_pause_in_the_drain_is_a_gap_and_the_stop_goes_on_after_it() -> None:
    """The program misses just that time; the engine's own record of it does not count as somebody else's."""
    stopped = stop_under("pause@200ms:500ms", drain_s=1.0)
    gaps = [item["t"] - item["since"] for item in stopped.seen if item["what"] == "gap"]
    assert max(gaps) == pytest.approx(0.5, abs=0.4)
    assert stopped.result.outcome == "graceful"
    assert [event.kind.value for event in stopped.fault.events] == ["paused", "unpaused"]


def test_a_pause_until_the_end_is_its_own_cause() -> None:
    """SIGKILL at the stop timeout; nobody is told that the program is too slow."""
    stopped = stop_under("pause@100ms", drain_s=0.5, timeouts=["1s"])
    assert (stopped.result.outcome, stopped.result.cause) == ("killed", "halted-by-fault")


def test_a_freeze_across_the_stop_signal_keeps_the_handler_from_running() -> None:
    """Also SIGTERM is taken only once it is over. Needs root."""
    if os.geteuid() != 0:
        pytest.skip("the kernel's freezer needs root")
    stopped = stop_under("pause@before:700ms", drain_s=0.1)
    assert stopped.result.outcome == "graceful"
    taken_s = stopped.result.stops[0].shutdown_duration_s
    assert taken_s is not None
    assert taken_s >= 0.6


@pytest.mark.parametrize(("name", "number"), [("SIGTERM", 15), ("SIGINT", 2), ("SIGHUP", 1)])
def test_a_second_signal_reaches_the_program_and_is_nobody_elses(name: str, number: int) -> None:
    """It is in the record of the fault, not in that of the stop."""
    stopped = stop_under(f"signal={name}@300ms", drain_s=1.0)
    taken = [item["number"] for item in stopped.seen if item["what"] == "signal"]
    assert taken == [15, number]
    assert stopped.result.outcome == "graceful"
    assert [event.signal for event in stopped.fault.events] == [number]


def test_a_signal_shortly_before_the_stop_is_no_part_of_it() -> None:
    """SIGINT, then SIGTERM, as a terminal that is closed."""
    stopped = stop_under("signal=SIGINT@-300ms", drain_s=0.3)
    assert [item["number"] for item in stopped.seen if item["what"] == "signal"] == [2, 15]
    assert stopped.result.outcome == "graceful"
    duration_s = stopped.result.stops[0].shutdown_duration_s
    assert duration_s is not None
    assert 0.25 < duration_s < 5


def test_a_kill_in_the_middle_of_a_stop_is_the_faults_and_not_the_timeouts() -> None:
    """Killed, with a rule and a cause of its own."""
    stopped = stop_under("stop=kill@300ms", drain_s=3.0)
    assert (stopped.result.outcome, stopped.result.cause) == ("killed", "killed-by-fault")
    assert "killed-by-fault" in [finding.rule for finding in stopped.result.stops[0].findings]


def test_a_second_stop_call_sends_its_signal_and_the_stop_is_judged() -> None:
    """As `docker stop` twice."""
    stopped = stop_under("stop=again@300ms", drain_s=1.0)
    assert [item["number"] for item in stopped.seen if item["what"] == "signal"] == [15, 15]
    assert stopped.result.outcome == "graceful"


def test_a_stop_whose_client_goes_away_runs_to_its_end_and_is_judged() -> None:
    """The engine sends no second signal and no early SIGKILL; how it ended is on record as ever."""
    stopped = stop_under("stop=client_gone@300ms", drain_s=1.0)
    assert stopped.fault.problem is None
    assert stopped.fault.seen == "the connection of the stop call is closed"
    assert [item["number"] for item in stopped.seen if item["what"] == "signal"] == [15]
    assert stopped.result.outcome == "graceful"
    assert stopped.result.stops[0].shutdown_duration_s == pytest.approx(1.0, abs=0.5)


def test_a_stop_whose_client_goes_away_still_ends_by_sigkill_at_its_timeout() -> None:
    """The engine's own, which is nobody else's."""
    stopped = stop_under("stop=client_gone@with", drain_s=20.0, timeouts=["1s"])
    assert stopped.fault.problem is None
    assert stopped.result.outcome == "killed"
    assert stopped.result.cause != "killed-by-fault"


def test_a_removal_in_the_middle_of_a_stop_is_a_kill_by_the_fault() -> None:
    """The engine's events tell the end of a container that is gone."""
    stopped = stop_under("stop=remove@300ms", drain_s=5.0)
    assert stopped.fault.problem is None
    assert stopped.fault.seen == "kill event, and it is removed"
    assert (stopped.result.outcome, stopped.result.cause) == ("killed", "killed-by-fault")
    seen = stopped.result.stops[0].record.observation
    assert seen.record.exit_code == 137
    assert seen.looks.logs.text == (
        "(the log could not be read: the container was removed by the fault `stop: remove` during the trial)"
    )


def test_a_process_is_halted_by_its_command_line_and_goes_on_afterwards() -> None:
    """SIGSTOP from outside, which PID 1 cannot refuse."""
    stopped = stop_under("process=stop:python3@200ms:500ms", drain_s=1.0)
    assert max(item["t"] - item["since"] for item in stopped.seen if item["what"] == "gap") > 0.3
    assert stopped.result.outcome == "graceful"


def test_what_a_dead_harness_left_frozen_is_removed(docker_engine_host: DockerHost) -> None:
    """The engine itself waits for ever for the end of what is frozen behind its back while it stops it."""
    client: docker.DockerClient = docker_engine_host.connect()
    run_id = f"frozen-{os.getpid()}"
    made = client.containers.run(
        BASE_IMAGE, ["sleep", "100"], detach=True, labels={RUN_LABEL: run_id, OWNER_LABEL: "nowhere/1/1"}
    )
    made.reload()
    found = freezer.file_of(made.attrs["State"]["Pid"])
    if found is None or os.geteuid() != 0 or not os.access(found[0], os.W_OK):
        made.remove(force=True)
        pytest.skip("the kernel's freezer needs root on the engine's machine")
    path, frozen, _ = found
    with open(path, "w") as file:
        file.write(frozen)
    assert reaper.remove_run(docker_engine_host.address, run_id, networks=False) == (1, [])
    assert not client.api.containers(all=True, filters={"label": f"{RUN_LABEL}={run_id}"})
    client.close()


WITH_CHILD = """
import signal, subprocess, sys, time
code = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(100)"
child = subprocess.Popen([sys.executable, "-c", code, "the-worker"])
def end(*_):
    child.wait()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
while True:
    time.sleep(1)
"""


def test_nobody_lost_the_process_that_a_fault_has_killed() -> None:
    """A program that copes with the death of its worker stops gracefully."""
    result = stop_harness.check(
        image=BASE_IMAGE,
        command=["python3", "-c", WITH_CHILD],
        ready_log="^up$",
        timeouts=["10s"],
        faults=["process=kill:the-worker$@200ms"],
    )
    (stop,) = result.stops
    (record,) = stop.record.observation.faults
    assert (record.problem, len(record.killed)) == (None, 1)
    assert (stop.outcome, stop.record.observation.record.lost_processes or ()) == ("graceful", ())


def test_the_death_of_pid_1_by_a_fault_is_the_faults() -> None:
    """Past the engine, so that no event tells of it."""
    stopped = stop_under("process=kill:python3@200ms", drain_s=3.0)
    assert (stopped.result.outcome, stopped.result.cause) == ("killed", "killed-by-fault")


def test_a_command_runs_when_a_line_is_written() -> None:
    """The line that the program writes on the stop signal."""
    stopped = stop_under('exec=touch /tmp/made@log:"number": 15', "exec", drain_s=1.5)
    assert stopped.fault.problem is None
    assert stopped.at_s("state")[0] >= 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("signal=SIGHUP@5s", "the stop was over before its moment came"),
        ("process=kill:nobody-has-this@100ms", "no process matches 'nobody-has-this'; there are: python3"),
        ("exec=false@100ms", "`false` exited with code 1"),
        ("exec=true@log:never-written", "no line that matches 'never-written' was written during the stop"),
        ("memory=6MiB@100ms", "unable to set memory limit"),
    ],
    ids=["too late", "no such process", "command fails", "no such line", "refused by the engine"],
)
def test_a_fault_that_did_not_come_about_leaves_the_stop_undecided(fault: str, said: str) -> None:
    """Never a pass: inconclusive, with the reason."""
    if fault.startswith("memory") and not os.path.exists("/sys/fs/cgroup/memory"):
        pytest.skip("cgroup v2 takes a limit below what is in use, and kills")
    stopped = stop_under(fault, "held" if fault.startswith("memory") else "nothing", drain_s=0.5)
    verdict = stopped.result.stops[0]
    assert (verdict.outcome, verdict.findings[0].rule) == ("inconclusive", "fault-not-applied")
    assert said in verdict.reason


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("disk=full:/var", "/var is no tmpfs with a size"),
        ("dependency=kill:db", "a single container has no other beside it"),
        ("clock=1h", "libfaketime shows a program another one, and is not in this image"),
        ("stop=restart_engine", "everybody else's containers are on the engine, too"),
    ],
)
def test_what_cannot_be_made_is_said_before_anything_starts(fault: str, said: str) -> None:
    """Nothing is stopped, and nothing passes."""
    result = stop_harness.check(image=BASE_IMAGE, command=["sleep", "100"], faults=[fault], timeouts=["1s"])
    assert not result.stops
    assert said in " ".join(str(result).split())


def test_an_undisturbed_stop_has_nothing_of_faults_in_it() -> None:
    """No record, no note, and nothing of them is imported."""
    stopped = stop_under(None, drain_s=0.1)
    assert stopped.result.stops[0].record.observation.faults == ()
    assert "under-fault" not in [finding.rule for finding in stopped.result.stops[0].findings]


SPIN = r"""
import json, os, signal, sys, time
ending, drain_s = [], float(sys.argv[2])

def say(what, **more):
    os.write(1, (json.dumps({"t": time.time(), "what": what, **more}) + "\n").encode())

def end(number, frame):
    say("signal", number=number)
    ending.append(time.monotonic())

signal.signal(signal.SIGTERM, end)
os.write(1, b"up\n")
while not ending or time.monotonic() - ending[0] < drain_s:
    wall, used = time.time(), time.process_time()
    while time.time() - wall < 0.1:
        pass
    say("share", begun=wall, share=(time.process_time() - used) / (time.time() - wall))
"""


@pytest.mark.long
@pytest.mark.alone
def test_busy_loops_beside_it_take_its_cpu_time_and_are_gone_afterwards() -> None:
    """On every core one with twenty times its share: a program that never sleeps gets a third of its time at most."""
    loops = os.cpu_count() or 1
    stopped = stop_under(f"cpu=load:{loops}@1s:2s", "spin", drain_s=6.0, program=SPIN)
    record = stopped.fault
    assert record.problem is None, record
    assert record.begun_ns is not None
    assert record.ended_ns is not None
    zero = next(item["t"] for item in stopped.seen if item["what"] == "signal")
    shares: dict[bool, list[float]] = {True: [], False: []}
    for item in stopped.seen:
        if item["what"] == "share" and item["t"] - zero > 0:
            begun_s, ended_s = record.begun_ns / 1e9, record.ended_ns / 1e9
            shares[begun_s <= item["begun"] - zero and item["t"] - zero <= ended_s].append(item["share"])
    assert statistics.median(shares[True]) < statistics.median(shares[False]) / 3
    assert record.asked_ns is not None
    assert record.asked_ns >= parse_duration("1s")
    assert stopped.result.outcome == "graceful"


def test_a_kill_of_the_first_process_by_its_command_line_is_the_faults() -> None:
    """By kill(2), of which the engine tells nothing: nobody else is looked for."""
    stopped = stop_under("process=kill:python3@300ms", drain_s=5.0)
    assert stopped.fault.problem is None
    assert (stopped.result.outcome, stopped.result.cause) == ("killed", "killed-by-fault")
