"""Which processes a stop took down with it: the kernel's record, what is left without it, and no false claim."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stop_harness.conductor import pipeline
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.docker import host as docker_host
from stop_harness.engines.docker import listed_processes
from stop_harness.engines.docker.host import DockerHost
from stop_harness.linux import proc, process_connector, process_events
from stop_harness.linux.process_connector import ProcessConnector
from stop_harness.linux.process_events import EXITED, FORKED, ProcessEventSocket, parse
from stop_harness.model import (
    NS_PER_S,
    Clock,
    DoctorLine,
    EventKind,
    Expectation,
    Observation,
    Outcome,
    ProcessInfo,
    Readiness,
    Scenario,
    StopPlan,
    Subject,
    TrialResult,
)
from stop_harness.scenario import check_options
from stop_harness.signals import SIGTERM
from stop_harness.trial.perform import Interruption
from stop_harness.verdict import judge
from tests.parts import changed
from tests.silence import Silence
from tests.strategies import DOCKER, Behaviour, Jitter, stop

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")
PROVED = replace(DOCKER, proves_lost_processes=True)
STOCK_BUFFER_BYTES = 212_992
"""net.core.rmem_max of a kernel as it comes."""

needs_connector = pytest.mark.skipif(
    process_events.unavailable() is not None, reason=process_events.unavailable() or "available"
)

# ── The kernel's datagrams, as recorded on Linux 6.18, x86-64 ────────────────────────────────────────────────────────

FORK = bytes.fromhex(
    "4c00000003000000230100000000000001000000010000002301000000000000280000000100000001000000d37bbc4098040000"
    "fb580000fb58000024590000245900000000000000000000"
)
EXIT = bytes.fromhex(
    "4c00000003000000250100000000000001000000010000002501000000000000280000000000008001000000d03ad14098040000"
    "24590000245900000000000011000000fb580000fb580000"
)


def test_a_recorded_fork_is_read() -> None:
    """Parent, child, CPU, sequence number and the kernel's time."""
    event = parse(FORK)
    assert (event.what, event.sequence, event.cpu, event.at_ns) == (FORKED, 291, 1, 5051967634387)
    assert event.numbers[:4] == (22779, 22779, 22820, 22820)


def test_a_recorded_exit_is_read() -> None:
    """Thread, process, wait status, signal to the parent, parent."""
    event = parse(b"\0" * 128 + EXIT, 128)
    assert (event.what, event.sequence) == (EXITED, 293)
    assert event.numbers == (22820, 22820, 0, 17, 22779, 22779)


# ── Suspicion, where the kernel cannot be asked ──────────────────────────────────────────────────────────────────────

TERM = 1 << (SIGTERM - 1)
PID_ONE = ProcessInfo(100, 1, "/sbin/docker-init -- sh -c 'python3 app.py; true'", TERM, 0, 0)
SHELL = ProcessInfo(101, 100, "sh -c python3 app.py; true", 0, 0, 0)
APP = ProcessInfo(102, 101, "python3 app.py", TERM, 0, 0)


def suspects(*looks: tuple[float, tuple[ProcessInfo, ...]], left_s: float) -> tuple[str, ...]:
    """The suspects of a stop whose signal was sent at 0 s."""
    timed = [(int(at_s * NS_PER_S), table) for at_s, table in looks]
    return listed_processes.suspected(timed, SIGTERM, 0, int(left_s * NS_PER_S))


def test_who_is_left_by_its_parent_is_suspected() -> None:
    """A shell under an init dies of the signal, the init leaves, and nobody told the program."""
    assert suspects((-0.1, (PID_ONE, SHELL, APP)), left_s=0.1) == ("python (PID on the host 102)",)
    orphan = replace(APP, parent_pid=100)
    looks = (-0.1, (PID_ONE, SHELL, APP)), (0.3, (PID_ONE, orphan))
    assert suspects(*looks, left_s=0.5) == ("python (PID on the host 102)",)


def test_who_may_have_been_waited_for_is_not_suspected() -> None:
    """Workers with a handler under a parent with a handler; PID 1 alone; and a look that is too old."""
    worker = replace(APP, parent_pid=100)
    assert suspects((-0.1, (PID_ONE, worker)), (0.3, (PID_ONE, worker)), left_s=0.5) == ()
    assert suspects((-0.1, (PID_ONE,)), left_s=0.1) == ()
    assert suspects((-0.1, (PID_ONE, SHELL, APP)), left_s=5) == ()
    assert suspects(left_s=5) == ()


def test_who_is_deaf_and_still_there_is_suspected() -> None:
    """Nobody passed the signal on, or it would be gone."""
    sleeper = ProcessInfo(103, 100, "sleep 100", 0, 0, 0)
    assert suspects((-0.1, (PID_ONE, sleeper)), left_s=0.1) == ()
    assert suspects((0.3, (PID_ONE, sleeper)), left_s=0.5) == ("sleep (PID on the host 103)",)


@pytest.mark.parametrize(
    "rows",
    [
        (["1", "0", "1", "0", "0", "4000", "0", "Ss", "do_sys_poll", "a b  c\td"],),
        (["1 0 1 0 0 4000 0 Ss do_sys_poll a b  c\td"],),
        (
            ["1 0 1 0 0 4000 0 Ss do_sys_poll a b  c\td"],
            [f"9 0 1 0 0 0 0 R - ps -eo {listed_processes.PS_COLUMNS}"],
        ),
    ],
    ids=["Docker", "Podman", "Podman's own ps"],
)
def test_rows_of_top_are_read(rows: tuple[list[str], ...]) -> None:
    """As a list or as one string; a command keeps what it is made of."""
    table = listed_processes.table({"Processes": rows})
    assert table is not None
    assert [(row.pid, row.caught, row.state, row.command) for row in table] == [(1, 0x4000, "S", "a b  c\td")]


@pytest.mark.parametrize("rows", [None, [], [["?"]], [["x"] * 10], [["1"] * 9]])
def test_a_table_that_cannot_be_read_is_none(rows: list[list[str]] | None) -> None:
    """The container died under the look, or its `ps` has other columns."""
    assert listed_processes.table({"Processes": rows}) is None


def test_a_health_check_in_flight_is_nobodys_loss() -> None:
    """It was started from outside; what PID 1 started stays, its zombies do not."""
    probe, shell = ProcessInfo(90, 50, "curl localhost", 0, 0, 0), replace(SHELL, state="Z")
    assert listed_processes.below_pid_one((probe, PID_ONE, SHELL, APP), 100) == (PID_ONE, SHELL, APP)
    assert listed_processes.below_pid_one((probe, PID_ONE, shell), 100) == (PID_ONE,)
    inside = (replace(PID_ONE, pid=1, parent_pid=0), probe)
    assert listed_processes.below_pid_one(inside, 4711) == inside[:1]
    assert listed_processes.below_pid_one((probe,), 100) == (probe,)


def test_a_gap_in_the_record_is_never_graceful() -> None:
    """Not knowing is a doubt, whether a proof has a gap or there was none; for PID 1 alone it is none."""

    stopped = stop(Behaviour(NS_PER_S // 10, 0), 10 * NS_PER_S, PROVED, Jitter()).observation

    def outcome(**changes: Any) -> Outcome:
        observation = changed(stopped, **changes)
        return judge.judge(observation, Scenario("any", Subject(image="any"))).outcome

    assert outcome(lost_processes=()) is Outcome.GRACEFUL
    assert outcome(lost_processes=("python3 (PID 7)",)) is Outcome.LOSSY
    assert outcome(lost_processes=None) is Outcome.INCONCLUSIVE
    assert outcome(lost_processes=None, before=(PID_ONE,)) is Outcome.GRACEFUL
    assert outcome(lost_processes=None, engine=DOCKER) is Outcome.INCONCLUSIVE


def test_doctor_says_whether_silent_kills_are_proved() -> None:
    """One line for each engine."""
    assert "when PID 1 exits: proved" in check_options.describe_engine(DoctorLine("docker", PROVED, ""))
    assert "when PID 1 exits: not proved" in check_options.describe_engine(DoctorLine("docker", DOCKER, ""))


def test_doctor_says_where_a_witness_would_help() -> None:
    """On a container engine without proof, unless it is rootless: no kernel answers from there."""
    assert "--witness" in check_options.describe_engine(DoctorLine("docker", DOCKER, ""))
    assert "--witness" not in check_options.describe_engine(DoctorLine("docker", PROVED, ""))
    assert "--witness" not in check_options.describe_engine(
        DoctorLine("docker", replace(DOCKER, caveats=("rootless: …",)), "")
    )
    assert "--witness" not in check_options.describe_engine(DoctorLine("process", DOCKER, ""))


# ── The listener itself ──────────────────────────────────────────────────────────────────────────────────────────────


@needs_connector
def test_a_process_that_is_no_pid_one_is_not_watched() -> None:
    """A pid that means something else here proves nothing: another kernel's container, or one that is gone."""
    with contextlib.closing(ProcessConnector()) as connector:
        assert connector.watch(os.getpid()) is None
        assert connector.watch(0) is None


POLLS = """
import os, select, socket, sys
pipe, kind = os.pipe(), sys.argv[1]
held = socket.socket() if kind == "a socket" else None
polls = select.poll()
polls.register(pipe[0], select.POLLIN)
print("ready", flush=True)
polls.poll(60_000 if kind == "a time limit" else None)
"""


@pytest.mark.parametrize(("holds", "polling"), [("nothing else", 1), ("a socket", 0), ("a time limit", 0)])
def test_who_polls_for_ever_and_for_nobody_is_known(holds: str, polling: int) -> None:
    """Without a time limit, and without a descriptor by which somebody outside could wake it."""
    words = ["python3", "-c", POLLS, holds]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as waits:
        try:
            assert waits.stdout is not None
            assert waits.stdout.readline() == "ready\n"
            deadline = time.monotonic() + 30
            while "poll" not in proc.text_of(waits.pid, "wchan") and time.monotonic() < deadline:
                time.sleep(0.01)
            assert proc.waiting(waits.pid).polling_threads == polling
        finally:
            waits.kill()


@needs_connector
def test_lost_events_are_noticed() -> None:
    """The kernel drops what does not fit the buffer, and says so: then nothing is claimed."""
    with contextlib.closing(ProcessEventSocket()) as listener:
        _shrink(listener)
        for _ in range(50):
            subprocess.run(["true"], check=True)
        with pytest.raises(OSError, match="No buffer space"):
            listener.read()


@needs_connector
@pytest.mark.namespaces
def test_a_watch_that_missed_events_answers_none() -> None:
    """Also for a container that took nobody down."""
    as_user = ["--user", "--map-root-user"] if os.geteuid() else []
    pid_one = subprocess.Popen(["unshare", *as_user, "--pid", "--fork", "--kill-child", "sleep", "60"])
    try:
        with contextlib.closing(ProcessConnector()) as connector:
            watch = connector.watch(_only_child(pid_one.pid), jobs=False)
            assert watch is not None
            _shrink(connector._listener)
            with connector._changed:  # the thread cannot read on
                for _ in range(600):
                    subprocess.run(["true"], check=True)
            pid_one.kill()
            assert watch.lost() is None
    finally:
        pid_one.kill()
        pid_one.wait()


def _shrink(listener: ProcessEventSocket) -> None:
    """Room for a handful of events."""
    listener._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)


def _only_child(pid: int) -> int:
    """The container's first process under `unshare`, once it runs its program."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    deadline = time.monotonic() + 10
    while not path.read_text().split():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int(path.read_text().split()[0])


# ── On a real engine ─────────────────────────────────────────────────────────────────────────────────────────────────

SLOW = "$|=1; $SIG{TERM}=sub{sleep 1; exit 0}; print qq(ready\\n); sleep 1 while 1"
DEAF = "$SIG{TERM}=q(IGNORE); print qq(ready\\n); sleep 1 while 1"
PREFORK = (
    "$SIG{TERM}=sub{sleep 1; exit 0}; my @k; for(1..4){my $p=fork; if(!$p){sleep 1 while 1} push @k,$p} "
    "$SIG{TERM}=sub{kill TERM=>@k; 1 while wait>0; exit 0}; $|=1; print qq(ready\\n); sleep 1 while 1"
)
SUPERVISOR = (
    "$|=1; my $p; $SIG{TERM}=sub{kill TERM=>$p; sleep 1; kill KILL=>$p; waitpid($p,0); "
    f"select(undef,undef,undef,0.05); exit 0}}; $p=fork; if(!$p){{{DEAF}}} sleep 1 while 1"
)
FORKS_AT_THE_STOP = (
    "$|=1; $SIG{TERM}=sub{if(!fork){exec qw(perl -e), q(1 while 1)} select(undef,undef,undef,0.2); exit 0}; "
    "print qq(ready\\n); sleep 1 while 1"
)
SIGNALS_THE_GROUP = "my $p=fork; if(!$p){setpgrp; exec @ARGV} $SIG{TERM}=sub{kill TERM=>-$p}; waitpid($p,0)"
HAS_A_JOB = (
    "$|=1; $SIG{TERM}=sub{$stop=1}; my $j=fork; if(!$j){exec qw(sh -c), qq(sleep $ARGV[0]; echo finished)} "
    "print qq(ready\n); select(undef,undef,undef,0.1) until $stop; waitpid($j,0); "
    "print qq(job ended by signal ), $?&127, qq(\n); exit 0"
)
WAITS_IN_A_SLEEP = (
    "trap 'exit 0' TERM; while :; do sleep 30 & until read -r c </proc/$!/comm && [ $c = sleep ]; do :; done; "
    "echo ready; wait; done"
)
"""Ready once there is a sleep that the stop can end; one of a second would be over now and then just then."""
BY_ANOTHER = ", by another process of the container N ms before PID N exited"


def subject(*command: str, init: bool = False) -> Subject:
    """A container of the base image."""
    return Subject(image=BASE_IMAGE, command=command, init=init)


CASES: dict[str, tuple[Subject, Outcome, tuple[str, ...] | None]] = {
    "a shell under an init": (
        subject("sh", "-c", f"perl -e '{SLOW}'; true", init=True),
        Outcome.LOSSY,
        ("perl (PID N)",),
    ),
    "a trap that waits for nobody": (
        subject("sh", "-c", f"trap 'exit 0' TERM; perl -e '{SLOW}' & wait"),
        Outcome.LOSSY,
        ("perl (PID N)",),
    ),
    "a script that waits in a sleep": (
        subject("sh", "-c", WAITS_IN_A_SLEEP),
        Outcome.GRACEFUL,
        ("sleep (PID N)",),
    ),
    "PID 1 waits for its child": (
        subject("sh", "-c", f"trap 'kill $c; wait $c; exit 0' TERM; perl -e '{SLOW}' & c=$!; wait"),
        Outcome.GRACEFUL,
        (),
    ),
    "a pool of workers": (subject("perl", "-e", PREFORK), Outcome.GRACEFUL, ()),
    "a supervisor that loses patience": (
        subject("perl", "-e", SUPERVISOR),
        Outcome.LOSSY,
        ("perl (PID N)" + BY_ANOTHER,),
    ),
    "a job ended by the group's signal": (
        subject("perl", "-e", SIGNALS_THE_GROUP, "perl", "-e", HAS_A_JOB, "60"),
        Outcome.LOSSY,
        (),
    ),
    "a job that is waited for": (subject("perl", "-e", HAS_A_JOB, "2"), Outcome.GRACEFUL, ()),
    "killed at the stop timeout": (subject("sh", "-c", "echo ready; sleep 100; true"), Outcome.KILLED, None),
    "forked during the stop": (subject("perl", "-e", FORKS_AT_THE_STOP), Outcome.LOSSY, ("perl (PID N)",)),
}


def scenario_name(name: str) -> str:
    """Of a case."""
    return re.sub("[^a-z0-9]+", "-", name.lower())


def run(
    cases: dict[str, Subject], repeat: int = 1, jobs: str = "auto", *, witness: bool = False
) -> dict[str, list[TrialResult]]:
    """Stop each, and sort the results."""
    any_of = (Expectation(outcomes=(Outcome.GRACEFUL, Outcome.LOSSY, Outcome.KILLED)),)
    scenarios = tuple(
        Scenario(
            scenario_name(name),
            asked,
            readiness=Readiness(log="^ready$", timeout_ns=60 * NS_PER_S),
            stop=StopPlan((4 * NS_PER_S,)),
            repeat=repeat,
            expectations=any_of,
        )
        for name, asked in cases.items()
    )
    request = RunRequest(scenarios, "test", None, engine="docker", jobs=jobs, witness=witness)
    results = pipeline.run(request, Silence(), Interruption()).report.results
    return {
        name: [result for result in results if result.observation.scenario == scenario_name(name)] for name in cases
    }


def lost(observation: Observation) -> tuple[str, ...] | None:
    """Without the numbers."""
    if observation.record.lost_processes is None:
        return None
    return tuple(re.sub(r"\d+", "N", text) for text in observation.record.lost_processes)


@pytest.fixture
def proving_engine(docker_engine_host: DockerHost) -> DockerHost:
    """An engine on this kernel, which lets us listen."""
    if not docker_engine_host.info.proves_lost_processes:
        pytest.skip(f"silent SIGKILLs cannot be proved here: {docker_engine_host.info.caveats}")
    return docker_engine_host


@pytest.mark.alone  # a listener that gets no CPU has a gap in its record, and then rightly proves nothing
@pytest.mark.docker
@pytest.mark.usefixtures("proving_engine")
def test_the_kernel_proves_who_was_killed_and_that_nobody_was() -> None:
    """By the teardown or by a supervisor, with the pid as inside; never a process that ended by itself."""
    results = run({name: case[0] for name, case in CASES.items()})
    for name, (_, outcome, expected) in CASES.items():
        (result,) = results[name]
        assert result.verdict.outcome is outcome, f"{name}: {result.verdict.reason}"
        if expected is not None:
            assert lost(result.observation) == expected, name
            assert not result.observation.record.suspected_processes


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.docker
@pytest.mark.usefixtures("proving_engine")
@pytest.mark.parametrize(
    "buffer_bytes", [process_events.RECEIVE_BUFFER_BYTES, STOCK_BUFFER_BYTES], ids=["root", "user"]
)
def test_many_stops_on_a_busy_machine_never_come_out_wrong(buffer_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty at once beside loops that do nothing but fork: an answer is right, or there is none; also with the buffer
    that the kernel grants to a user who is not root."""
    monkeypatch.setattr(process_events, "RECEIVE_BUFFER_BYTES", buffer_bytes)
    names = ("a shell under an init", "PID 1 waits for its child")
    storm = [subprocess.Popen(["sh", "-c", "while :; do /bin/true; done"]) for _ in range(2)]
    try:
        results = run({name: CASES[name][0] for name in names}, repeat=10, jobs="20")
    finally:
        for process in storm:
            process.kill()
            process.wait()
    for name in names:
        _, outcome, expected = CASES[name]
        assert {lost(result.observation) for result in results[name]} <= {expected, None}
        allowed = {outcome, Outcome.INCONCLUSIVE, Outcome.KILLED}  # killed: a busy machine may take longer than 4 s
        assert {result.verdict.outcome for result in results[name]} <= allowed


@pytest.mark.docker
@pytest.mark.usefixtures("proving_engine")
def test_a_health_check_in_flight_is_not_lost_work(tmp_path: Path) -> None:
    """The engine started it, and it ends with the container by design."""
    (tmp_path / "Dockerfile").write_text(
        f"FROM {BASE_IMAGE}\nHEALTHCHECK --interval=1s --timeout=60s CMD touch /begun; sleep 50\n"
        """CMD ["sh", "-c", "trap 'exit 0' TERM; until [ -e /begun ]; do sleep 0.1; done; echo ready; """
        """while :; do sleep 0.1; done"]\n"""
    )
    (result,) = run({"health": Subject(build_directory=str(tmp_path))})["health"]
    assert any("sleep 50" in process.command for process in result.observation.looks.before or ())
    assert (result.verdict.outcome, result.observation.record.lost_processes) == (Outcome.GRACEFUL, ())


def check_suspect(seen: Observation) -> None:
    """The program below the shell; nobody where the machine was so busy that the look came too long before the end.

    And the shell itself where that busy machine had not yet let it end.
    """
    at_ns = {event.kind: event.at_ns for event in seen.record.events if event.clock is Clock.HARNESS}
    prompt = at_ns[EventKind.STOP_RETURNED] - at_ns[EventKind.STOP_REQUESTED] < listed_processes.JUST_BEFORE_NS // 2
    found = [re.sub(r" \(PID on the host \d+\)$", "", suspect) for suspect in seen.record.suspected_processes]
    assert found in (["perl"], ["sh", "perl"]) or not (prompt or found), found


@pytest.mark.docker
def test_an_engine_without_its_kernel_only_suspects(tcp_engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/engines.md, "Not seen": nothing is proved, so nothing passes that had company; one shape leaves no doubt."""
    monkeypatch.setenv("DOCKER_HOST", tcp_engine)
    host = docker_host.find()
    assert (host.local, host.info.proves_lost_processes) == (False, False)
    names = ("a shell under an init", "PID 1 waits for its child", "a pool of workers")
    results = run({name: CASES[name][0] for name in names})
    seen = {name: results[name][0] for name in names}
    assert {result.observation.record.lost_processes for result in seen.values()} == {None}
    outcomes = {name: result.verdict.outcome for name, result in seen.items()}
    assert outcomes == dict(zip(names, (Outcome.LOSSY, Outcome.INCONCLUSIVE, Outcome.INCONCLUSIVE), strict=True))
    assert "suspected, not proved" in seen[names[0]].verdict.reason
    check_suspect(seen[names[0]].observation)
    assert {finding.rule for name in names[1:] for finding in seen[name].verdict.findings} == {"not-witnessed"}
    assert not any(seen[name].observation.record.suspected_processes for name in names[1:])


@pytest.mark.docker
def test_an_engine_that_may_not_listen_only_suspects(
    docker_engine_host: DockerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without root the same as without the kernel, and doctor says why."""

    def refused() -> ProcessEventSocket:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(process_events, "ProcessEventSocket", refused)
    monkeypatch.setattr(process_connector, "ProcessEventSocket", refused)
    host = docker_host.probe(docker_engine_host.address)
    assert not host.info.proves_lost_processes
    if host.local:
        assert any("Operation not permitted" in caveat for caveat in host.info.caveats)
    monkeypatch.setenv("DOCKER_HOST", docker_engine_host.url)
    name = "a shell under an init"
    (result,) = run({name: CASES[name][0]})[name]
    assert (result.verdict.outcome, result.observation.record.lost_processes) == (Outcome.LOSSY, None)
    check_suspect(result.observation)
