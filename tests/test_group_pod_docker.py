"""Pods on a real engine: what their containers share, and that they are stopped as a kubelet stops them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stop_harness.conductor import preview
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.docker.host import DockerHost
from stop_harness.errors import UsageError
from stop_harness.evidence.forecast import Expected, Forecast
from stop_harness.model import (
    NS_PER_S,
    EventKind,
    Group,
    Hook,
    HookKind,
    Member,
    Outcome,
    Probe,
    ProbeKind,
    Readiness,
    Role,
    TrafficClient,
    TrafficKind,
    TrialResult,
)
from stop_harness.trial.perform import Interruption
from tests.group_support import IGNORES, LEAVES, LEAVES_A_CHILD, container, moment, pod, scenario, stopped, subject
from tests.silence import Silence

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
    if task.begun_ns is None:
        pytest.skip("this engine has a clock of its own: when the deletion began by it, nobody knows")
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
            grace_s=60,
        )
    )
    assert result.verdict.outcome is Outcome.GRACEFUL, (result.verdict.reason, result.observation.problem)
    app, logs, proxy = (container(result, name) for name in ("app", "logs", "proxy"))
    assert moment(app, EventKind.EXITED) < moment(logs, EventKind.SIGNAL_SENT)
    assert moment(logs, EventKind.EXITED) < moment(proxy, EventKind.SIGNAL_SENT)
    assert logs.stop_timeout_ns <= 58 * NS_PER_S
    assert not container(result, "migrate").had_to_be_stopped


def test_in_a_shared_pid_namespace_the_stop_signal_ends_what_has_no_handler(docker_engine_host: DockerHost) -> None:
    """It is not PID 1 there: exit code 143, and no SIGKILL."""
    result = run(pod(Member("app", subject(NO_HANDLER)), pid=True))
    app = container(result, "app")
    assert app.record.exit_code == 143
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason


def test_in_a_shared_pid_namespace_each_container_answers_for_its_own(docker_engine_host: DockerHost) -> None:
    """They are told apart by their cgroups: who leaves a child behind has lost it, and the others have not."""
    if not docker_engine_host.info.proves_lost_processes:
        pytest.skip("nobody hears the kernel of this engine")
    result = run(pod(Member("app", subject(LEAVES_A_CHILD)), Member("agent", subject()), pid=True))
    lost = {name: container(result, name).record.lost_processes for name in ("app", "agent")}
    assert lost["agent"] == ()
    assert lost["app"] is not None
    assert [text.partition(" (PID")[0] for text in lost["app"]] == ["python3"]
    for name in lost:  # not the pause program, nor what is another container's
        table = container(result, name).looks.before
        assert table is not None
        assert all(process.command.startswith("python3") for process in table)
        assert not any(process.is_pid1 for process in table)
    assert result.verdict.outcome is Outcome.LOSSY, result.verdict.reason


def test_a_container_that_leaves_during_its_hook_left_gracefully(docker_engine_host: DockerHost) -> None:
    """`nginx -s quit` as a hook: the stop finds nothing more to stop."""
    quits = exec_hook("sh", "-c", "kill -TERM 1; sleep 1")
    result = run(pod(Member("app", subject(), before_stop=quits)))
    seen = docker_engine_host.info.proves_lost_processes  # else nobody knows of other processes that went with PID 1
    assert result.verdict.outcome is (Outcome.GRACEFUL if seen else Outcome.INCONCLUSIVE), (
        result.verdict.reason,
        result.verdict.findings,
    )
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
        pytest.param(Hook(HookKind.INVALID), True, marks=pytest.mark.long),
        pytest.param(Hook(HookKind.HTTP, port=1), True, marks=pytest.mark.long),
        (Hook(HookKind.SLEEP, sleep_ns=NS_PER_S), False),
    ],
)
def test_a_hook_that_fails_keeps_nobody_back(docker_engine_host: DockerHost, hook: Hook, *, ignored: bool) -> None:
    """The stop signal comes at once, and that is said."""
    result = run(pod(Member("app", subject(), before_stop=(hook,))))
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
    assert ("hook-ignored" in {finding.rule for finding in result.verdict.containers[0].findings}) is ignored


def test_the_stop_of_a_named_container_of_a_pod_is_foreseen(docker_engine_host: DockerHost) -> None:
    """It is looked at in the pod, with its own stop signal; without a name nobody knows which of them is meant."""
    silent = NO_HANDLER.replace("print('ready')", "")
    group = pod(Member("app", subject(silent)), Member("good", subject()))
    with pytest.raises(UsageError, match="name one CONTAINER of app, good"):
        forecast_of(group)
    assert forecast_of(replace(group, stopped="app")).expected is Expected.KILLED
    assert forecast_of(replace(group, stopped="good", grace_ns=NS_PER_S)).expected is Expected.STOPS


def forecast_of(group: Group) -> Forecast:
    """Without a stop."""
    ready = scenario(group, own=True, readiness=Readiness(log="^ready$"))
    wanted = RunRequest((ready,), "test", None, engine="docker")
    return preview.forecast_stop(wanted, Silence(), Interruption())


SERVES = """
import http.server, os, signal, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == '/cut':
            self.server.cut.set()
        elif self.server.cut.wait(0.7):
            return self.connection.close()
        self.send_response(200); self.send_header('Content-Length', '2'); self.end_headers(); self.wfile.write(b'ok')
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
server = Server(('', 8000), Handler)
server.cut = threading.Event()
def on_stop(*_):
    if os.environ.get('DRAINS'):
        threading.Thread(target=server.shutdown).start()
    else:
        os._exit(0)
signal.signal(signal.SIGTERM, on_stop)
print('ready', flush=True)
server.serve_forever()
server.server_close()
"""
CUTS = "import time, urllib.request as u; u.urlopen('http://127.0.0.1:8000/cut'); time.sleep(1)"
"""An answer takes 0.7 s. At its stop it drains or leaves at once; `/cut` ends without an answer what is under way."""


@pytest.mark.parametrize(
    ("hook", "drains", "outcome", "rule"),
    [
        (Hook(HookKind.SLEEP, sleep_ns=1_600_000_000), "1", Outcome.GRACEFUL, None),
        (Hook(HookKind.SLEEP, sleep_ns=1_600_000_000), "", Outcome.LOSSY, "lost-request"),
        pytest.param(
            Hook(HookKind.EXEC, ("python3", "-c", CUTS)), "1", Outcome.LOSSY, "lost-request", marks=pytest.mark.long
        ),
    ],
)
def test_requests_go_on_through_the_hook_before_the_stop(
    docker_engine_host: DockerHost, hook: Hook, drains: str, outcome: Outcome, rule: str | None
) -> None:
    """As they do in a cluster: the stop signal finds some in flight, and those that the hook itself cuts are lost."""
    web = Member("web", replace(subject(SERVES, DRAINS=drains), ports=((8000, None),)), before_stop=(hook,))
    client = TrafficClient(TrafficKind.HTTP, 8000, clients=4)
    result = stopped(pod(web, grace_s=10), own=True, traffic=(client,))
    assert result.verdict.outcome is outcome, result.verdict.reason
    traffic = result.observation.traffic
    assert traffic is not None
    assert traffic.missing == ()
    assert "no-request-in-flight" not in {item.rule for item in result.verdict.findings}
    assert rule is None or result.verdict.findings[0].rule == rule
    if hook.kind is HookKind.SLEEP:
        assert traffic.hooks_took_ns > NS_PER_S
        assert all((item.sent_at_ns or 0) < 0 < (item.ended_at_ns or 0) for item in traffic.requests)
    else:
        assert any((item.ended_at_ns or 0) < 0 for item in traffic.requests)
