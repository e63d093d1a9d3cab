"""Pods on a real engine: what their containers share, and that they are stopped as a kubelet stops them."""

from __future__ import annotations

from typing import Any

import pytest

from stop_harness.engines.docker.host import DockerHost
from stop_harness.model import (
    NS_PER_S,
    EventKind,
    Group,
    GroupKind,
    Hook,
    HookKind,
    Member,
    Outcome,
    Probe,
    ProbeKind,
    Role,
    SharedNamespaces,
    TrialResult,
)
from tests.group_support import IGNORES, LEAVES, container, moment, stopped, subject

pytestmark = pytest.mark.docker

LISTENS = "import socket; s = socket.create_server(('127.0.0.1', 7000))\n" + LEAVES
CONNECTS = (
    """import socket, time
while True:
    try: socket.create_connection(('127.0.0.1', 7000)); break
    except ConnectionRefusedError: time.sleep(0.05)
print('met')
"""
    + LEAVES
)
NO_HANDLER = "import time; print('ready')\nwhile True: time.sleep(0.05)"


def pod(*members: Member, grace_s: int = 5, pid: bool = False, about: str | None = None, **fields: Any) -> Group:
    """A pod of these containers."""
    shared = SharedNamespaces(pid=pid)
    return Group(GroupKind.POD, "web", members, stopped=about, grace_ns=grace_s * NS_PER_S, shared=shared, **fields)


def run(group: Group) -> TrialResult:
    """Stopped whole, with its own grace period."""
    return stopped(group, own=True)


def exec_hook(*command: str) -> tuple[Hook, ...]:
    """One that runs this."""
    return (Hook(HookKind.EXEC, command),)


def signalled_s(result: TrialResult, name: str, signal: int = 15) -> float:
    """How long after the deletion of the pod a container got a signal."""
    task = result.observation.task
    assert task is not None
    assert task.begun_ns is not None
    return (moment(container(result, name), EventKind.SIGNAL_SENT, signal) - task.begun_ns) / NS_PER_S


def test_containers_meet_on_localhost_and_a_hook_takes_its_time_from_the_grace_period(
    docker_engine_host: DockerHost,
) -> None:
    """preStop of 3 s and a grace period of 5 s: SIGTERM after 3 s, and two seconds for the stop."""
    result = run(
        pod(
            Member("server", subject(LISTENS)),
            Member("client", subject(CONNECTS), before_stop=exec_hook("sleep", "3")),
        )
    )
    assert result.verdict.outcome is Outcome.GRACEFUL, (result.verdict.reason, result.observation.problem)
    server, client = container(result, "server"), container(result, "client")
    assert "met" in client.looks.logs.text
    assert (server.stop_timeout_ns, client.stop_timeout_ns) == (5 * NS_PER_S, 2 * NS_PER_S)
    assert signalled_s(result, "client") >= max(3, signalled_s(result, "server"))
    (hook,) = client.hooks
    assert not hook.cut_off
    assert hook.reason == ""
    assert result.verdict.facts.shutdown_duration_ns is not None
    assert result.verdict.facts.shutdown_duration_ns >= 3 * NS_PER_S


def test_a_hook_that_never_ends_leaves_two_seconds(docker_engine_host: DockerHost) -> None:
    """The stop signal comes when the grace period is over, and SIGKILL two seconds later."""
    result = run(pod(Member("app", subject(IGNORES), before_stop=exec_hook("sleep", "600")), grace_s=2))
    assert result.verdict.outcome is Outcome.KILLED, result.verdict.reason
    app = container(result, "app")
    assert app.stop_timeout_ns == 2 * NS_PER_S
    assert app.hooks[0].cut_off
    stopped_s, killed_s = signalled_s(result, "app"), signalled_s(result, "app", 9)
    assert 2 <= stopped_s < 60
    assert 1.9 <= killed_s - stopped_s < 60
    assert "hook-outlasts-grace" in {finding.rule for finding in result.verdict.containers[0].findings}


def test_sidecars_go_after_the_main_containers_in_reverse_order(docker_engine_host: DockerHost) -> None:
    """An init container has ended by then; what waits for its turn spends the same grace period."""
    result = run(
        pod(
            Member("migrate", subject("print('done')"), role=Role.INIT),
            Member("proxy", subject(), role=Role.SIDECAR, started=Probe(ProbeKind.EXEC, ("true",))),
            Member("logs", subject(), role=Role.SIDECAR),
            Member("app", subject(DRAIN="2"), ready=Probe(ProbeKind.EXEC, ("true",))),
            grace_s=10,
        )
    )
    assert result.verdict.outcome is Outcome.GRACEFUL, (result.verdict.reason, result.observation.problem)
    app, logs, proxy = (container(result, name) for name in ("app", "logs", "proxy"))
    assert moment(app, EventKind.EXITED) < moment(logs, EventKind.SIGNAL_SENT)
    assert moment(logs, EventKind.EXITED) < moment(proxy, EventKind.SIGNAL_SENT)
    assert logs.stop_timeout_ns <= 8 * NS_PER_S
    assert not container(result, "migrate").had_to_be_stopped


def test_in_a_shared_pid_namespace_the_stop_signal_ends_what_has_no_handler(docker_engine_host: DockerHost) -> None:
    """It is not PID 1 there: exit code 143, and no SIGKILL."""
    result = run(pod(Member("app", subject(NO_HANDLER)), pid=True))
    app = container(result, "app")
    assert app.record.exit_code == 143
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason


def test_a_container_that_leaves_during_its_hook_left_gracefully(docker_engine_host: DockerHost) -> None:
    """`nginx -s quit` as a hook: the stop finds nothing more to stop."""
    quits = exec_hook("sh", "-c", "kill -TERM 1; sleep 1")
    result = run(pod(Member("app", subject(), before_stop=quits)))
    assert result.verdict.outcome is Outcome.GRACEFUL, (result.verdict.reason, result.verdict.findings)
    assert container(result, "app").record.exit_code == 0


def test_a_trial_about_one_container_of_a_pod_has_its_verdict(docker_engine_host: DockerHost) -> None:
    """The pod is stopped whole all the same, and what became of the others is said."""
    members = Member("app", subject()), Member("agent", subject(IGNORES))
    result = run(pod(*members, grace_s=2, about="app"))
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
    assert "beside it agent killed" in result.verdict.reason


@pytest.mark.parametrize(
    ("hook", "ignored"),
    [
        (Hook(HookKind.EXEC, ("no-such-program",)), True),
        (Hook(HookKind.INVALID), True),
        (Hook(HookKind.HTTP, port=1), True),
        (Hook(HookKind.SLEEP, sleep_ns=NS_PER_S), False),
    ],
)
def test_a_hook_that_fails_keeps_nobody_back(docker_engine_host: DockerHost, hook: Hook, *, ignored: bool) -> None:
    """The stop signal comes at once, and that is said."""
    result = run(pod(Member("app", subject(), before_stop=(hook,))))
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
    assert ("hook-ignored" in {finding.rule for finding in result.verdict.containers[0].findings}) is ignored
