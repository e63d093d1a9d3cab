"""When a container is stopped whose scenario does not say when it is ready, and what its verdict says of that."""

from __future__ import annotations

import json
import os
import socket
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stop_harness.conductor.request import new_run_id
from stop_harness.engines import dockerfile
from stop_harness.engines.docker.engine import DockerEngine
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.ecs import ready as ecs_ready
from stop_harness.engines.interface import ReadySigns
from stop_harness.engines.process.engine import PidNamespaceEngine
from stop_harness.engines.simulated import Script, SimulatedEngine
from stop_harness.evidence import start_up
from stop_harness.linux import listening
from stop_harness.model import (
    NS_PER_S,
    Looks,
    Observation,
    Outcome,
    ProcessInfo,
    Readiness,
    ReadyBasis,
    ReadyBy,
    Report,
    RunInfo,
    Scenario,
    StopPlan,
    StoredRun,
    Subject,
    TaskDefinition,
    TrafficClient,
    TrafficKind,
    Trial,
)
from stop_harness.renderers import html, junit, markdown, sarif, terminal
from stop_harness.renderers.results import results_json
from stop_harness.report import build
from stop_harness.scenario import scenario_file
from stop_harness.trial import image_ready
from stop_harness.trial.perform import Interruption, perform
from stop_harness.verdict.judge import judge

IMPLIED = Readiness(delay_ns=NS_PER_S, implied=True)
SIGTERM = 1 << 14
BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")


def scenario(subject: Subject | None = None, readiness: Readiness = IMPLIED, timeout_s: int = 30) -> Scenario:
    """One that says nothing of readiness."""
    found = subject or Subject(image="a")
    return Scenario("it", found, readiness=readiness, stop=StopPlan((timeout_s * NS_PER_S,), "SIGTERM"))


def stopped(script: Script, asked: Scenario | None = None) -> Observation:
    """What a simulated trial puts on record."""
    asked = asked or scenario()
    trial = Trial("it@30s#1", asked, asked.stop.timeouts_ns[0], 0, 1)
    return perform(trial, SimulatedEngine({"it": script}), Interruption())


def after_s(seen: Observation) -> float:
    """From the start to readiness."""
    assert seen.ready is not None
    assert seen.ready.after_start_ns is not None
    return seen.ready.after_start_ns / NS_PER_S


def at(moment_s: float) -> int:
    return round(moment_s * NS_PER_S)


BASES = {
    "a health check comes before ports": (
        Script(health_check=at(3), ports=(80,), listens_after_ns=at(9)),
        ReadyBasis(ReadyBy.HEALTH_CHECK),
        (3, 4),
    ),
    "a health check that never succeeds gives way to ports": (
        Script(health_check=at(999), ports=(80,), listens_after_ns=at(2)),
        ReadyBasis(ReadyBy.PORT, ports=(80,), unhealthy=True),
        (30, 31),
    ),
    "a port that listens": (
        Script(ports=(80, 443), listens_after_ns=at(2)),
        ReadyBasis(ReadyBy.PORT, ports=(80, 443)),
        (2, 3),
    ),
    "a port that listens at once: not before 1 s": (
        Script(ports=(80,), listens_after_ns=0),
        ReadyBasis(ReadyBy.PORT, ports=(80,)),
        (1, 1.5),
    ),
    "a port that never listens": (
        Script(ports=(80,), listens_after_ns=None),
        ReadyBasis(ReadyBy.TIME, silent_ports=(80,)),
        (15, 16),
    ),
    "nothing": (Script(), ReadyBasis(ReadyBy.TIME), (1, 1.5)),
    "a handler that is there": (Script(handler_after_ns=0), ReadyBasis(ReadyBy.TIME), (1, 1.5)),
    "a handler that comes": (Script(handler_after_ns=at(2)), ReadyBasis(ReadyBy.HANDLER), (2, 2.5)),
    "a handler that does not come": (Script(handler_after_ns=at(999)), ReadyBasis(ReadyBy.TIME), (5, 5.5)),
    "a port, then its handler": (
        Script(ports=(80,), listens_after_ns=at(1), handler_after_ns=at(3)),
        ReadyBasis(ReadyBy.PORT, ports=(80,)),
        (3, 3.5),
    ),
}


@pytest.mark.parametrize(("script", "basis", "between_s"), BASES.values(), ids=BASES)
def test_the_first_sign_tells_when_it_is_ready(
    script: Script, basis: ReadyBasis, between_s: tuple[float, float]
) -> None:
    """And the record says which, and how long after the start that was."""
    seen = stopped(script)
    assert seen.ready is not None
    assert replace(seen.ready, after_start_ns=None) == basis
    assert between_s[0] <= after_s(seen) < between_s[1]


@pytest.mark.parametrize(
    "readiness", [Readiness(delay_ns=at(1)), Readiness(log="up"), Readiness(delay_ns=0), Readiness(handler=True)]
)
def test_a_scenario_that_says_when_it_is_ready_is_believed(readiness: Readiness) -> None:
    """No port is waited for, and no finding says that nothing tells."""
    script = Script(ports=(80,), listens_after_ns=None, log="up\n", handler_after_ns=0)
    seen = stopped(script, scenario(readiness=readiness))
    assert seen.ready is not None
    assert seen.ready.by is ReadyBy.CONDITIONS
    assert "ready-unknown" not in {item.rule for item in judge(seen, scenario()).findings}


@pytest.mark.parametrize(
    ("ready", "implied"),
    [("", True), ("ready: {timeout: 5s}\n", True), ("ready: {delay: 1s}\n", False), ("ready: {tcp: 80}\n", False)],
)
def test_a_scenario_says_nothing_without_a_condition_and_a_delay(ready: str, implied: bool) -> None:
    """`timeout` alone is no condition."""
    text = f"version: 1\nname: it\nsubject: {{image: a}}\n{ready}"
    assert scenario_file.parse(text).readiness.implied is implied


def test_a_timeout_of_ones_own_ends_the_wait_for_ports() -> None:
    """Not sooner than it says."""
    seen = stopped(Script(ports=(80,), listens_after_ns=None), scenario(readiness=replace(IMPLIED, timeout_ns=at(4))))
    assert 4 <= after_s(seen) < 5


def test_ports_of_traffic_are_waited_for_as_declared_ones_are() -> None:
    """Whoever sends requests to a port needs somebody there."""
    client = TrafficClient(TrafficKind.IDLE, 80)
    asked = replace(scenario(), traffic=(client,))
    subject = SimulatedEngine({"it": Script(ports=(), listens_after_ns=None)}).start(Trial("t", asked, 0, 0, 1))
    basis = image_ready.wait(Trial("t", asked, 0, 0, 1), subject)
    assert (basis.by, basis.silent_ports) == (ReadyBy.TIME, (80,))


def test_one_that_exits_while_it_is_waited_for_was_not_running() -> None:
    """At once, not after the patience."""
    seen = stopped(Script(ports=(80,), listens_after_ns=None, runs_for_ns=at(2)))
    assert judge(seen, scenario()).outcome is Outcome.NOT_RUNNING


moments = st.none() | st.integers(0, 60 * NS_PER_S)


@given(moments, moments, moments, st.sampled_from(((), (80,), (80, 443))))
@settings(max_examples=60, deadline=None)
def test_whatever_comes_when_the_wait_ends(
    health: int | None, listens: int | None, handler: int | None, ports: tuple[int, ...]
) -> None:
    """Never before 1 s, always within the timeouts together, and with a basis that holds by then."""
    script = Script(health_check=health, ports=ports, listens_after_ns=listens, handler_after_ns=handler)
    seen = stopped(script)
    assert seen.problem is None
    assert 1 <= after_s(seen) < 32
    assert seen.ready is not None
    if seen.ready.by is ReadyBy.HEALTH_CHECK:
        assert (health or 0) <= at(after_s(seen))
    if seen.ready.by is ReadyBy.PORT:
        assert listens is not None
        assert listens <= at(after_s(seen))
        assert not seen.ready.silent_ports


# ── The verdict ──────────────────────────────────────────────────────────────────────────────────────────────────────


def program(caught: int = 0, pid: int = 1, parent: int = 0, command: str = "python3 app.py") -> ProcessInfo:
    """One that sleeps."""
    return ProcessInfo(pid, parent, command, caught, 0, 0, 0, "S", "do_poll")


TIME = ReadyBasis(ReadyBy.TIME, at(5))
KILLED = stopped(Script(leaves_after_ns=None, lost_processes=None))


def killed(before: ProcessInfo, then: ProcessInfo, ready: ReadyBasis | None = TIME) -> Observation:
    """A stop that ended in SIGKILL, by its looks at the stop and shortly before the stop timeout."""
    return replace(KILLED, looks=Looks(before=(before,), late=(before,), at_timeout=(then,)), ready=ready)


def test_a_handler_that_came_after_the_stop_makes_it_too_early() -> None:
    """By time alone nobody was ready, so that "killed" would be said of the start."""
    verdict = judge(killed(program(command="/bin/sh start.sh"), program(SIGTERM)), scenario())
    assert (verdict.outcome, verdict.findings[0].rule) == (Outcome.INCONCLUSIVE, "stopped-too-early")
    assert verdict.reason == (
        "stopped 5 s after its start, when `python3 app.py` had no handler for SIGTERM yet; it had one later, so say "
        "when it is ready: `--ready-log`, `--ready-tcp`, `--ready-delay`, or `ready` in a scenario"
    )


@pytest.mark.parametrize(
    "seen",
    [
        killed(program(), program(SIGTERM), ReadyBasis(ReadyBy.CONDITIONS, at(5))),
        killed(program(), program(SIGTERM), None),
        killed(program(), program()),
        killed(program(SIGTERM), program(SIGTERM)),
        killed(program(), program(SIGTERM, pid=9)),
    ],
    ids=["the scenario says when", "an old record", "no handler ever", "the handler was there", "another process"],
)
def test_any_other_stop_that_ends_in_sigkill_is_killed(seen: Observation) -> None:
    """A late handler is the container's where its scenario said that it was ready."""
    assert judge(seen, scenario()).outcome is Outcome.KILLED


TAKERS = {
    "a handler": (program(SIGTERM), True),
    "no handler": (program(), False),
    "blocked while it waits": (replace(program(), blocked=SIGTERM), True),
    "blocked while it works": (replace(program(), blocked=SIGTERM, state="R"), False),
    "a shell that forks": (replace(program(command="bash start.sh"), blocked=SIGTERM), False),
    "a shell with a trap": (program(SIGTERM, command="bash start.sh"), True),
    "sigwait": (replace(program(), waits_in="do_sigtimedwait"), True),
}


@pytest.mark.parametrize(("process", "takes"), TAKERS.values(), ids=TAKERS)
def test_who_takes_a_signal(process: ProcessInfo, takes: bool) -> None:
    """Not whoever keeps it blocked for a moment, as shells do; and where nobody can be seen no look helps."""
    assert start_up.takes((process,), 15) is takes
    assert start_up.takes((), 15)
    assert start_up.takes((process,), None)


def test_a_stop_that_was_too_early_is_performed_once_more() -> None:
    """Not before the handler was there, and only once."""
    trial = Trial("it", scenario(), at(30), 0, 1)
    early = killed(program(), program(SIGTERM))
    later = image_ready.later(trial, early)
    assert later is not None
    assert later.scenario.readiness.delay_ns == at(36)
    assert image_ready.later(later, early) is None
    assert image_ready.later(trial, killed(program(), program())) is None
    seen = stopped(Script(handler_after_ns=at(20)), later.scenario)
    assert seen.ready is not None
    assert (seen.ready.by, after_s(seen) >= 36) == (ReadyBy.HANDLER, True)


NOTES = {
    ReadyBasis(ReadyBy.TIME, at(1)): "stopped 1 s after its start, by time: nothing says when it is ready (`ready`, a "
    "health check, EXPOSE); a later stop might",
    ReadyBasis(ReadyBy.HANDLER, at(2.018)): "stopped 2.01 s after its start, when it had its handler: nothing says",
    ReadyBasis(ReadyBy.TIME, at(15), silent_ports=(80, 81)): "by time: nobody listened at the declared ports 80, 81; a",
    ReadyBasis(ReadyBy.PORT, at(5), (81,), (80,)): "listened at port 81; nobody listened at the declared port 80; a",
    ReadyBasis(ReadyBy.TIME, None, unhealthy=True): "stopped, by time: its health check did not succeed; a later",
    ReadyBasis(ReadyBy.PORT, at(2), (80,)): None,
    ReadyBasis(ReadyBy.HEALTH_CHECK, at(2)): None,
    ReadyBasis(ReadyBy.CONDITIONS, at(2)): None,
}


@pytest.mark.parametrize(("basis", "text"), NOTES.items())
def test_a_doubt_whether_it_was_ready_is_a_note(basis: ReadyBasis, text: str | None) -> None:
    """With what a later stop might change; it changes no outcome, and where it was ready there is none."""
    seen = replace(stopped(Script()), ready=basis)
    verdict = judge(seen, scenario())
    assert verdict.outcome is Outcome.GRACEFUL
    found = [item.message for item in verdict.findings if item.rule == "ready-unknown"]
    assert (found == []) is (text is None)
    assert text is None or text in found[0]


FORMATS: dict[str, Callable[[Report], str]] = {
    "terminal": lambda report: terminal.check_verdict(report, width=400),
    "html": lambda report: html.render(report, {}),
    "markdown": markdown.render,
    "json": results_json.render,
    "junit": junit.render,
    "sarif": sarif.render,
}


def reported(seen: Observation) -> Report:
    """A report of one stop."""
    run = RunInfo("r", "it", "2026-11-28T12:00:00.000+00:00", seen.engine, "0", "machine", 2, ())
    return build.build(StoredRun(run, (scenario(),), (seen,), 1), (judge(seen, scenario()),))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_by_what_it_was_stopped(name: str) -> None:
    """Where nothing told, in the same clause."""
    text = FORMATS[name](reported(replace(stopped(Script()), ready=TIME)))
    assert "topped 5 s after its start, by time: nothing says when it is ready" in text


def test_the_basis_is_a_field_of_its_own_in_json_and_junit() -> None:
    """So that nobody has to read the sentence."""
    report = reported(replace(stopped(Script()), ready=ReadyBasis(ReadyBy.PORT, at(2), (80,))))
    (trial,) = json.loads(results_json.render(report))["trials"]
    assert trial["ready_basis"] == {
        "by": "port",
        "after_start_s": 2.0,
        "ports": [80],
        "silent_ports": [],
        "unhealthy": False,
        "sentence": "ready 2 s after its start, when it listened at port 80",
    }
    properties = ET.fromstring(junit.render(report)).iter("property")
    told = {item.get("name", "").rpartition(".")[2]: item.get("value") for item in properties}
    assert told["ready_basis"] == "port: ready 2 s after its start, when it listened at port 80"
    assert "ready  2 s after its start, when it listened at port 80." in terminal.check_verdict(report, width=120)


# ── What is declared ─────────────────────────────────────────────────────────────────────────────────────────────────

DECLARATIONS = [
    ("EXPOSE 80", (80,), None),
    ("EXPOSE 80/tcp 53/udp 443\nEXPOSE 80 8000-8002", (80, 443, 8000, 8001, 8002), None),
    ("ARG PORT=7000\nEXPOSE $PORT", (7000,), None),
    ("EXPOSE what 70000-70001", (), None),
    ("HEALTHCHECK CMD curl -f http://localhost", (), ("/bin/sh", "-c", "curl -f http://localhost")),
    ('HEALTHCHECK --interval=5s --timeout=3s CMD ["/check", "it"]', (), ("/check", "it")),
    ("HEALTHCHECK CMD true\nHEALTHCHECK NONE", (), None),
    ("HEALTHCHECK", (), None),
]


@pytest.mark.parametrize(("lines", "ports", "test"), DECLARATIONS)
def test_a_dockerfile_declares_ports_and_a_health_check(
    lines: str, ports: tuple[int, ...], test: tuple[str, ...] | None
) -> None:
    """For the engine that has no images; what no build takes declares nothing."""
    found = dockerfile.read(f"FROM a\n{lines}\n")
    assert (found.ports, found.health_test) == (ports, test)


def test_a_task_declares_health_checks_and_the_ports_of_each_container() -> None:
    """Ports count where they can be connected to."""
    containers = [
        {"name": "a", "portMappings": [{"containerPort": 80}, {"containerPort": 53, "protocol": "udp"}]},
        {"name": "b", "portMappings": [{"containerPort": 90, "protocol": "tcp"}, {"containerPort": 91}]},
        {"name": "c", "healthCheck": {"command": ["CMD", "true"], "interval": 10, "startPeriod": 5}},
    ]
    task = TaskDefinition("f", json.dumps({"containerDefinitions": containers}), ())
    assert ecs_ready.signs(task, reached=True) == ReadySigns(True, at(25), ((80,), (90, 91)))
    assert ecs_ready.signs(task, reached=False).ports == ()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_the_kernel_tells_where_a_process_listens() -> None:
    """On any address, and of this process only what it has open itself."""
    before = listening.ports(os.getpid(), (os.getpid(),)) or frozenset()
    with socket.create_server(("127.0.0.1", 0)) as one, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # not listening
        found = listening.ports(os.getpid(), (os.getpid(),))
        assert found is not None
        assert found - before == {one.getsockname()[1]}
        assert one.getsockname()[1] not in (listening.ports(os.getpid(), ()) or ())


# ── Real engines ─────────────────────────────────────────────────────────────────────────────────────────────────────

LATE = """
import signal, socket, sys, time
time.sleep({loads_s})
{listen}
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("up", flush=True)
while True:
    time.sleep(0.05)  # a handler that runs just before one long sleep would leave it asleep
"""
LISTENS = "server = socket.create_server(('127.0.0.1', 0)); print(server.getsockname()[1], flush=True)"


def on_processes(folder: Path, code: str, timeout_s: int = 10, declared: str = "") -> Observation:
    """A trial of this Python code on the engine `process`."""
    (folder / "Dockerfile").write_text(f"FROM scratch\n{declared}\n")
    subject = Subject(build_directory=str(folder), command=(sys.executable, "-c", code))
    engine = PidNamespaceEngine(new_run_id())
    try:
        asked = scenario(subject, timeout_s=timeout_s)
        return perform(Trial("t", asked, at(timeout_s), 0, 1), engine, Interruption())
    finally:
        engine.close()


@pytest.mark.namespaces
def test_a_handler_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    """No `ready`, nothing declared: the process table tells that nobody would take the signal yet."""
    seen = on_processes(tmp_path, LATE.format(loads_s=2, listen=""))
    assert seen.ready is not None
    assert (seen.ready.by, seen.record.exit_code) == (ReadyBy.HANDLER, 0)


LOADS = """
import signal, sys, time
loaded = []
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0 if loaded else 5))
while time.process_time() < 1.5: pass
loaded.append(1)
while True:
    time.sleep(0.05)  # a handler that runs just before one long sleep would leave it asleep
"""


@pytest.mark.namespaces
def test_who_computes_from_the_start_on_is_given_time_to_load(tmp_path: Path) -> None:
    """It has a handler from its first moment, as the runtimes of Go, Ruby and Node.js have."""
    seen = on_processes(tmp_path, LOADS)
    assert seen.ready is not None
    busy_machine = after_s(seen) >= 5  # where 1.5 s of CPU time take longer than it is watched
    assert (seen.ready.by, after_s(seen) >= 1.5) == (ReadyBy.TIME, True)
    assert seen.record.exit_code == 0 or busy_machine


@pytest.mark.namespaces
def test_a_port_on_the_loopback_alone_tells_as_well(tmp_path: Path) -> None:
    """It was declared under another number; the kernel shows where it listens, among all programs of this machine."""
    seen = on_processes(tmp_path, LATE.format(loads_s=1, listen=LISTENS), declared="EXPOSE 1")
    assert seen.ready is not None
    listened = int(seen.looks.logs.text.split()[0])
    assert (seen.ready.by, seen.ready.ports, seen.ready.silent_ports) == (ReadyBy.PORT, (listened,), (1,))
    assert seen.record.exit_code == 0


@pytest.mark.namespaces
def test_a_health_check_of_a_dockerfile_is_run(tmp_path: Path) -> None:
    """Beside the program, on its files."""
    up = tmp_path / "up"
    code = f"open({str(up)!r}, 'w')"
    seen = on_processes(tmp_path, LATE.format(loads_s=2, listen=code), declared=f"HEALTHCHECK CMD test -e {up}")
    assert seen.ready is not None
    assert (seen.ready.by, seen.record.exit_code) == (ReadyBy.HEALTH_CHECK, 0)


@pytest.mark.long
@pytest.mark.namespaces
def test_a_stop_that_met_the_start_up_is_repeated_when_the_handler_is_there(tmp_path: Path) -> None:
    """Stopped after 5 s; the handler came after 7 s; the second container is stopped later, and is graceful."""
    seen = on_processes(tmp_path, LATE.format(loads_s=7, listen=""), timeout_s=5)
    assert seen.ready is not None
    assert (seen.ready.by, seen.record.exit_code, after_s(seen) >= 10) == (ReadyBy.HANDLER, 0, True)


PERL = """perl -e 'use IO::Socket::INET; $| = 1; sleep 2;
my $server = IO::Socket::INET->new(LocalPort => {port}, Listen => 5, ReuseAddr => 1) or die;
$SIG{{TERM}} = sub {{ exit 0 }}; open(my $up, ">", "/tmp/up"); sleep 60 while 1'"""


@pytest.mark.docker
@pytest.mark.parametrize(
    ("declared", "by", "ports"),
    [
        ("EXPOSE 8080", ReadyBy.PORT, (8080,)),
        ("HEALTHCHECK CMD test -e /tmp/up", ReadyBy.HEALTH_CHECK, ()),
        pytest.param("", ReadyBy.HANDLER, (), marks=pytest.mark.long),  # as on the engine `process`, above
    ],
    ids=["a port", "a health check", "nothing"],
)
def test_docker_goes_by_what_the_image_says(
    declared: str, by: ReadyBy, ports: tuple[int, ...], tmp_path: Path, docker_engine_host: DockerHost
) -> None:
    """A start script, then a program that loads for 2 s: graceful whatever is declared, and not stopped before."""
    (tmp_path / "start.sh").write_text(f"#!/bin/sh\nexec {PERL.format(port=8080)}\n")
    (tmp_path / "start.sh").chmod(0o755)
    text = f'FROM {BASE_IMAGE}\nCOPY start.sh /start.sh\n{declared}\nENTRYPOINT ["/start.sh"]\n'
    (tmp_path / "Dockerfile").write_text(text)
    asked = scenario(Subject(build_directory=str(tmp_path)))
    engine = DockerEngine(new_run_id(), host=docker_engine_host)  # of its own: whoever closes a run removes all of it
    try:
        engine.prepare((asked,), lambda _what, _state: None)
        seen = perform(Trial("t", asked, at(20), 0, 1), engine, Interruption())
    finally:
        engine.close()
    assert seen.ready is not None
    assert (seen.ready.by, seen.ready.ports, seen.record.exit_code) == (by, ports, 0)
    assert after_s(seen) >= 1.5


def test_the_clause_names_what_a_later_stop_might_change() -> None:
    """For every outcome of a stop; of what was no stop, nothing."""
    seen = replace(KILLED, ready=TIME)
    said = {outcome: start_up.doubt(seen, outcome) for outcome in Outcome}
    assert {outcome for outcome, text in said.items() if text is None} == {
        Outcome.OOM_KILLED,
        Outcome.NOT_RUNNING,
        Outcome.INCONCLUSIVE,
    }
