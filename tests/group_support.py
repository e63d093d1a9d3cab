"""Groups of small containers for tests: a Python program in each, that leaves a while after its stop signal."""

from __future__ import annotations

import os
from signal import SIGKILL
from typing import Any

from stop_harness.conductor import pipeline
from stop_harness.conductor.request import RunOutcome, RunRequest
from stop_harness.model import (
    NS_PER_S,
    Attachment,
    Clock,
    ContainerRecord,
    ContainerSettings,
    EventKind,
    Group,
    GroupKind,
    GroupNetwork,
    Member,
    Readiness,
    Scenario,
    SharedNamespaces,
    StopPlan,
    Subject,
    TrialResult,
)
from stop_harness.trial.perform import Interruption
from tests.silence import Silence

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")

LEAVES = """
import os, signal, sys, time
def on_stop(*_):
    time.sleep(float(os.environ.get("DRAIN", "0")))
    os._exit(int(os.environ.get("CODE", "0")))
signal.signal(signal.SIGTERM, on_stop)
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""

IGNORES = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True)\n" + (
    "while True: time.sleep(0.05)"
)


LEAVES_A_CHILD = f"import subprocess; subprocess.Popen(['python3', '-c', {'while True: pass'!r}])\n" + LEAVES
"""It does not wait for the child, which is at work."""


def subject(code: str = LEAVES, *, settings: ContainerSettings | None = None, **environment: str) -> Subject:
    """What a member runs: this program."""
    return Subject(
        image=BASE_IMAGE,
        entrypoint=(),
        command=("python3", "-u", "-c", code),
        environment=tuple(environment.items()),
        settings=settings or ContainerSettings(),
    )


def service(name: str, what: Subject | None = None, *, aliases: tuple[str, ...] = (), **fields: Any) -> Member:
    """A service in the project's only network."""
    return Member(name, what or subject(), networks=(Attachment("default", aliases),), **fields)


def project(*members: Member, stopped: str | None = None, **fields: Any) -> Group:
    """A Compose project."""
    networks = fields.pop("networks", (GroupNetwork("default"),))
    return Group(GroupKind.COMPOSE, "shop", members, stopped=stopped, networks=networks, **fields)


def scenario(group: Group, *, timeout_s: int = 5, own: bool = False, **fields: Any) -> Scenario:
    """One stop of this group. A whole group is ready when what is declared about it says so: nothing, hence a look."""
    ready = Readiness(log="^ready$") if group.stopped is not None else Readiness(implied=True, delay_ns=NS_PER_S // 2)
    stop = StopPlan((timeout_s * NS_PER_S,), own_timeouts=own)
    return Scenario("group", Subject(group=group), **{"readiness": ready, "stop": stop, **fields})


def run(*scenarios: Scenario, witness: bool = False) -> RunOutcome:
    """On the docker engine, without a report directory."""
    request = RunRequest(scenarios, "test", None, engine="docker", witness=witness)
    return pipeline.run(request, Silence(), Interruption())


def stopped(group: Group, *, witness: bool = False, **fields: Any) -> TrialResult:
    """The result of the only trial."""
    (result,) = run(scenario(group, **fields), witness=witness).report.results
    return result


def pod(*members: Member, grace_s: int = 5, pid: bool = False, about: str | None = None, **fields: Any) -> Group:
    """A pod of these containers."""
    shared = SharedNamespaces(pid=pid)
    return Group(GroupKind.POD, "web", members, stopped=about, grace_ns=grace_s * NS_PER_S, shared=shared, **fields)


def container(result: TrialResult, name: str) -> ContainerRecord:
    """One container of a group that was stopped as a whole."""
    assert result.observation.task is not None, result.observation.problem
    return next(item for item in result.observation.task.containers if item.name == name)


def moment(record: ContainerRecord, kind: EventKind, signal: int | None = None) -> int:
    """Of its first such event by the engine's clock, in nanoseconds. Podman reports no signals: there the stop call
    stands for the stop signal, and the exit for SIGKILL, by the wall clock that it shares with us."""
    events = [event for event in record.record.events if event.clock is Clock.ENGINE]
    if kind is EventKind.SIGNAL_SENT and all(event.kind is not kind for event in events):
        kind, signal = (EventKind.EXITED if signal == SIGKILL else EventKind.STOP_REQUESTED), None
    return min(event.at_ns for event in events if event.kind is kind and (signal is None or event.signal == signal))
