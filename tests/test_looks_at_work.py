"""What /proc tells of processes at a stop: clients that they hold, scripts that loop; and the causes that follow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stop_harness.conductor import pipeline
from stop_harness.conductor.request import RunRequest
from stop_harness.linux import at_work
from stop_harness.model import (
    NS_PER_S,
    ContainerSettings,
    Outcome,
    Preparation,
    Readiness,
    Scenario,
    StopPlan,
    Subject,
    TrialResult,
)
from stop_harness.trial.perform import Interruption
from tests.silence import Silence
from tests.test_docker import BASE_IMAGE

SESSIONS = """
import os, signal, socket, sys
listener = socket.create_server(("127.0.0.1", 5000))
def leave(*_):
    print("received a smart shutdown request", flush=True)
    listener.close()
    os.waitpid(session, 0)
    sys.exit(0)
print("ready", flush=True)
connection, _ = listener.accept()
session = os.fork()
if session == 0:
    connection.recv(100)
    os._exit(0)
connection.close()
signal.signal(signal.SIGTERM, leave)
print("serving", flush=True)
while True: signal.pause()
"""
CLIENT = """
import socket, time
held = socket.create_connection(("127.0.0.1", 5000))
time.sleep(60)
"""
OTHER_USER = """
setpriv --reuid=33 --clear-groups python3 -u -c '
import signal
signal.signal(signal.SIGTERM, lambda *_: exit(0))
print("ready", flush=True)
while True: signal.pause()' & p=$!
trap 'kill -TERM $p; wait $p' TERM
wait $p; wait $p
"""


def scenario(name: str, *command: str, **changes: object) -> Scenario:
    """Killed after 3 s."""
    subject = Subject(image=BASE_IMAGE, command=command, settings=changes.pop("settings", ContainerSettings()))  # type: ignore[arg-type]
    ready = Readiness(log="^ready$", timeout_ns=30 * NS_PER_S)
    return Scenario(name, subject, readiness=ready, stop=StopPlan((3 * NS_PER_S,)), **changes)  # type: ignore[arg-type]


def performed(*scenarios: Scenario) -> dict[str, TrialResult]:
    """By name."""
    request = RunRequest(scenarios, "causes", None, engine="docker")
    done = pipeline.run(request, Silence(), Interruption())
    return {item.observation.scenario: item for item in done.report.results}


@pytest.mark.docker
def test_a_client_that_nobody_here_holds_and_a_capability_that_is_missing_are_causes() -> None:
    """One is inside the container, beside the server that waits for it to leave. The other lets a shell signal a
    process of another user; what to set is said for each platform."""
    client = Preparation(execute=("sh", "-c", 'python3 -c "$0" & ', CLIENT))
    results = performed(
        scenario("sessions", "python3", "-u", "-c", SESSIONS, before_stop=(client, Preparation(log="^serving$"))),
        scenario("capability", "bash", "-c", OTHER_USER, settings=ContainerSettings(cap_drop=("KILL",))),
    )
    assert {item.verdict.outcome for item in results.values()} == {Outcome.KILLED}
    sessions, capability = results["sessions"].verdict.cause, results["capability"].verdict.cause
    assert sessions is not None
    looked = results["sessions"].observation.looks.late
    if looked and looked[0].clients is not None:  # as root on the engine's machine
        assert sessions.id == "waits-for-clients", sessions
        assert "still served a client" in sessions.evidence
    assert capability is not None
    assert capability.id == "signal-not-permitted", capability
    said = capability.advice[0].lines
    assert "cap_add: [KILL]" in said
    assert '"linuxParameters": {"capabilities"' in said
    assert "securityContext: {capabilities" in said


COUNTS = """
import os, socket
from stop_harness.linux import at_work
def clients(): return at_work.clients([os.getpid()])[os.getpid()]
listener = socket.create_server(("127.0.0.1", 0))
before = clients()
opened = socket.create_connection(listener.getsockname())
accepted, _ = listener.accept()
tcp = clients()
path = "\\0stop-harness-%d" % os.getpid()
local = socket.socket(socket.AF_UNIX); local.bind(path); local.listen()
other = socket.socket(socket.AF_UNIX); other.connect(path)
taken, _ = local.accept()
print(before, tcp, clients())
"""


def test_clients_are_told_from_what_a_process_has_opened_itself() -> None:
    """By TCP and by Unix sockets; each connection has both its ends in this process, of which one counts."""
    done = subprocess.run([sys.executable, "-c", COUNTS], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["0", "1", "2"]


@pytest.mark.parametrize("shell", ["bash", "dash"])
@pytest.mark.parametrize(
    ("script", "loops"),
    [
        ("while :; do sleep 1; done", True),
        ("read line\nfor ((;;)); do sleep 1; done", True),
        ("i=0\nwhile [ $i -lt 30 ]; do i=$((i+1)); read line; done", False),
        ("# meanwhile true\nread line\necho done", False),
    ],
)
def test_a_script_that_a_shell_runs_from_a_file_is_read(tmp_path: Path, shell: str, script: str, loops: bool) -> None:
    """Shells keep it open while they run it."""
    file = tmp_path / "script"
    file.write_text(f"echo ready\n{script}\n")
    with subprocess.Popen([shell, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        try:
            assert at_work.look([running.pid], frozenset({running.pid}))[running.pid].loops is loops
        finally:
            running.kill()


def test_a_shell_without_a_script_and_another_program_loop_unknown() -> None:
    """`sh -c` has its text in the command line."""
    for command in (["sh", "-c", "echo ready; read line; :"], ["cat"]):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
            try:
                assert running.stdout is not None
                if command[0] == "sh":
                    assert running.stdout.readline() == b"ready\n"
                assert at_work.look([running.pid], frozenset({running.pid}))[running.pid].loops is None
            finally:
                running.kill()
