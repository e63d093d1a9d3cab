"""Engine `ecs`: one task from its start to its record, near our own endpoint and far from it, as on AWS."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from stop_harness.ecs_endpoint.containers import ContainerProblem
from stop_harness.ecs_endpoint.simulated_containers import ContainerScript
from stop_harness.model import NS_PER_MS, NS_PER_S, ComplianceStatus, Outcome, Scenario, SigkillEvidence
from tests.ecs_runs import NEVER, after, aws_settings, image, only, run, running, task
from tests.ecs_support import Simulation, simulation
from tests.free_port import free_port

SOON: dict[str, Any] = {"timeout_ns": 300 * NS_PER_MS}

RUNC = "OCI runtime create failed: runc create failed: unable to start container process: "
"""Begins what Docker Engine says of a container whose own command cannot be run (start_failures.json)."""


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings as a user of AWS has them."""
    aws_settings(monkeypatch)


@pytest.fixture
def cluster() -> Iterator[Simulation]:
    """Containers that leave at once."""
    with simulation() as it:
        yield it


def test_the_engines_own_record_is_taken_where_our_endpoint_answers() -> None:
    """SIGKILL is observed, the duration is the container engine's, the stop signal and its source are known."""
    with simulation({"subject": NEVER}) as it:
        result = only(run(it.url, image(timeout_s=20)))
    facts, seen = result.verdict.facts, result.observation
    assert result.verdict.outcome is Outcome.KILLED
    assert facts.sigkill_evidence is SigkillEvidence.OBSERVED
    assert facts.duration_source == "kill event → State.FinishedAt (engine clock)"
    assert facts.shutdown_duration_ns is not None
    assert abs(facts.shutdown_duration_ns - 20 * NS_PER_S) < NS_PER_S
    assert (seen.record.stop_signal, seen.record.stop_signal_source, seen.engine.name) == (15, "default", "ecs")
    assert not seen.engine.remote


# ── Starts that fail ─────────────────────────────────────────────────────────────────────────────────────────────────


def pull(message: str) -> ContainerScript:
    """The engine's answer to a pull."""
    return ContainerScript(pull_problem=ContainerProblem("CannotPullContainerError", message))


def start(message: str) -> ContainerScript:
    """The engine's answer to a start."""
    return ContainerScript(start_problem=ContainerProblem("CannotStartContainerError", message))


@pytest.mark.parametrize(
    ("script", "outcome", "said"),
    [
        (pull("pull access denied"), Outcome.INCONCLUSIVE, "CannotPullContainerError: pull access denied"),
        (
            start(f'{RUNC}exec: "serve": executable file not found in $PATH: unknown'),
            Outcome.NOT_RUNNING,
            'exec: "serve": executable file not found in $PATH',
        ),
        (
            start("error mounting /x: no such file or directory"),
            Outcome.INCONCLUSIVE,
            "error mounting /x: no such file or directory",
        ),
        (
            ContainerScript(runs_for_s=0, exit_code=3),
            Outcome.NOT_RUNNING,
            "had already exited with code 3 before the stop",
        ),
    ],
)
def test_a_start_that_fails_says_why(script: ContainerScript, outcome: Outcome, said: str) -> None:
    """A command that is missing is the subject's mistake; a pull that fails says nothing about it."""
    with simulation({"subject": script}) as it:
        result = only(run(it.url, image(delay_ns=NS_PER_S)))
        assert running(it) == []
    assert result.verdict.outcome is outcome
    assert said in result.verdict.reason


def test_a_container_that_leaves_before_it_is_ready_was_not_running() -> None:
    """It ran, but not until its readiness."""
    with simulation({"subject": ContainerScript(runs_for_s=30, exit_code=1)}) as it:
        result = only(run(it.url, image(log="^ready$", timeout_ns=20 * NS_PER_S)))
    assert (result.verdict.outcome, result.observation.record.exit_code) == (Outcome.NOT_RUNNING, 1)


# ── Readiness ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def served() -> Iterator[int]:
    """A port of this machine that answers HTTP; scripted containers publish a port under its own number."""

    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """`/ok` is there, nothing else."""
            self.send_response(200 if self.path == "/ok" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Hello)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def test_readiness_by_log() -> None:
    """Of the only container, or of any of a task."""
    scripts = {"subject": ContainerScript(output="booting\nready\n"), "side": ContainerScript(output="side up\n")}
    with simulation(scripts) as it:
        assert only(run(it.url, image(log="^ready$"))).verdict.outcome is Outcome.GRACEFUL
        scenario = task({"name": "app"}, {"name": "side"}, log="side up")
        assert only(run(it.url, scenario)).verdict.outcome is Outcome.GRACEFUL
        late = only(run(it.url, image(log="^never$", **SOON)))
        assert running(it) == []
    assert late.verdict.outcome is Outcome.INCONCLUSIVE
    assert late.verdict.reason.startswith("not ready after 0.3 s: waited for log line matching '^never$'; ")


def test_readiness_by_port_and_by_http(cluster: Simulation, served: int) -> None:
    """Ports that readiness needs are published without being asked for."""
    assert only(run(cluster.url, image(tcp_port=served))).verdict.outcome is Outcome.GRACEFUL
    assert only(run(cluster.url, image(http_port=served, http_path="/ok"))).verdict.outcome is Outcome.GRACEFUL
    bad = only(run(cluster.url, image(http_port=served, http_path="/no", **SOON)))
    assert bad.verdict.reason.startswith(f"not ready after 0.3 s: waited for GET /no at port {served}; ")
    closed = free_port()
    late = only(run(cluster.url, image(tcp_port=closed, **SOON)))
    assert late.verdict.reason.startswith(f"not ready after 0.3 s: waited for port {closed}; ")
    assert running(cluster) == []


def checked() -> Scenario:
    """A task whose container has a health check."""
    container = {"name": "app", "healthCheck": {"command": ["CMD", "true"]}}
    return task(container, healthcheck=True, timeout_ns=1500 * NS_PER_MS)


def test_readiness_by_health_check() -> None:
    """Healthy in time, never healthy, and gone before it was."""
    with simulation() as it:
        assert only(run(it.url, checked())).verdict.outcome is Outcome.GRACEFUL
    with simulation({"app": ContainerScript(healthy_after_s=None)}) as it:
        late = only(run(it.url, checked()))
        assert running(it) == []
    assert late.verdict.outcome is Outcome.INCONCLUSIVE
    assert late.verdict.reason.startswith("not ready after 1.5 s: waited for its health check; ")
    with simulation({"app": ContainerScript(healthy_after_s=3000, runs_for_s=20, exit_code=4)}) as it:
        gone = only(run(it.url, checked()))
    assert (gone.verdict.outcome, gone.observation.record.exit_code) == (Outcome.NOT_RUNNING, 4)


# ── Whole tasks ──────────────────────────────────────────────────────────────────────────────────────────────────────

CHAIN = (
    {"name": "app", "stopTimeout": 60, "dependsOn": after("proxy")},
    {"name": "proxy", "essential": False, "stopTimeout": 20, "dependsOn": after("router")},
    {"name": "router", "essential": False, "stopTimeout": 50},
)


def test_a_chain_is_stopped_in_order_and_judged_by_container() -> None:
    """The app drains, the proxy is killed at its own timeout, the router leaves under an init."""
    scripts = {
        "app": ContainerScript(leaves_after_s=40),
        "proxy": NEVER,
        "router": ContainerScript(leaves_after_s=1, exit_code=143),
    }
    with simulation(scripts) as it:
        done = run(it.url, task(*CHAIN))
    result = only(done)
    by_name = {item.name: item for item in result.verdict.containers}
    outcomes = {name: item.outcome for name, item in by_name.items()}
    assert outcomes == {"app": Outcome.GRACEFUL, "proxy": Outcome.KILLED, "router": Outcome.GRACEFUL}
    assert by_name["proxy"].facts.sigkill_evidence is SigkillEvidence.OBSERVED
    assert result.verdict.outcome is Outcome.KILLED
    (stop,) = done.report.tasks
    assert [share.name for share in stop.containers] == ["app", "proxy", "router"]
    first, second, third = (share.signalled_after_ns or 0 for share in stop.containers)
    assert first == 0
    assert 40 * NS_PER_S <= second <= third - 20 * NS_PER_S
    assert stop.total_ns is not None
    assert stop.total_ns >= 61 * NS_PER_S
    assert (stop.fix_first, stop.chain, stop.worst_case_ns) == ("proxy", ("app", "proxy", "router"), 130 * NS_PER_S)
    assert {row.status for row in done.report.compliance} == {ComplianceStatus.NON_COMPLIANT}
    assert [item.finding.rule for item in done.report.static_findings] == ["chain-exceeds-limit"]


def test_an_init_container_is_left_out_of_the_stop() -> None:
    """It had ended long before; the rest is judged without it."""
    scenario = task(
        {"name": "migrate", "essential": False},
        {"name": "app", "dependsOn": [{"containerName": "migrate", "condition": "SUCCESS"}]},
        delay_ns=300 * NS_PER_MS,
    )
    with simulation({"migrate": ContainerScript(runs_for_s=1), "app": ContainerScript(leaves_after_s=2)}) as it:
        done = run(it.url, scenario)
    result = only(done)
    assert result.verdict.outcome is Outcome.GRACEFUL
    assert [item.name for item in result.verdict.containers] == ["app"]
    shares = [(share.name, share.outcome) for share in done.report.tasks[0].containers]
    assert shares == [("migrate", None), ("app", Outcome.GRACEFUL)]


@pytest.mark.parametrize(("code", "outcome"), [(0, Outcome.GRACEFUL), (1, Outcome.CRASHED)])
def test_a_container_that_leaves_before_its_turn_needs_no_signal(code: int, outcome: Outcome) -> None:
    """The router exits by itself while the app still drains: its exit code counts, and there is no doubt."""
    containers = (
        {"name": "app", "stopTimeout": 600, "links": ["router"]},
        {"name": "router", "essential": False},
    )
    scripts = {"app": ContainerScript(leaves_after_s=500), "router": ContainerScript(runs_for_s=300, exit_code=code)}
    with simulation(scripts) as it:
        result = only(run(it.url, task(*containers)))
    (found,) = [item for item in result.verdict.containers if item.name == "router"]
    assert found.outcome is outcome, found.reason
    assert result.verdict.outcome is outcome


def test_an_essential_container_that_leaves_before_the_stop_ends_the_task() -> None:
    """Then there is nothing to stop."""
    scenario = task({"name": "app"}, {"name": "side"}, delay_ns=5 * NS_PER_S)
    with simulation({"side": ContainerScript(runs_for_s=50)}) as it:
        result = only(run(it.url, scenario))
    assert result.verdict.outcome is Outcome.NOT_RUNNING


def test_a_container_that_never_ran_is_left_out() -> None:
    """The agent's synthetic exit code 143 of a container that could not start is nobody's."""
    scenario = task(
        {"name": "app"},
        {"name": "init", "essential": False},
        {"name": "helper", "essential": False, "dependsOn": [{"containerName": "init", "condition": "SUCCESS"}]},
        delay_ns=500 * NS_PER_MS,
    )
    with simulation({"init": ContainerScript(runs_for_s=1, exit_code=1)}) as it:
        done = run(it.url, scenario)
    assert [item.name for item in only(done).verdict.containers] == ["app"]
    reasons = {share.name: share.reason for share in done.report.tasks[0].containers if share.outcome is None}
    assert reasons == {"init": "it had ended with exit code 1 before the stop", "helper": "it never ran"}


# ── As on AWS ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def far() -> Iterator[Simulation]:
    """A cluster that tells nothing beside ECS's own API, in real time."""
    scripts = {
        "kills": NEVER,
        "subject": NEVER,
        "init": ContainerScript(leaves_after_s=0.1, exit_code=143),
        "early": ContainerScript(leaves_after_s=0.1, exit_code=137),
        "app": ContainerScript(leaves_after_s=1.2),
    }
    with simulation(scripts, speed=1, host="127.0.0.2") as it:
        yield it


def test_on_a_cluster_like_aws_sigkill_is_inferred(far: Simulation) -> None:
    """By exit code 137 at the stop timeout; the duration names ECS's own stamps, and nothing of the inside is known."""
    result = only(run(far.url, image(timeout_s=2)))
    facts, seen = result.verdict.facts, result.observation
    assert result.verdict.outcome is Outcome.KILLED
    assert facts.sigkill_evidence is SigkillEvidence.INFERRED
    assert facts.duration_source == "stoppingAt → executionStoppedAt (ecs clock)"
    assert facts.duration_error_ns is None
    assert (seen.engine.product, seen.engine.remote, seen.engine.observes_sigkill) == ("Amazon ECS", True, False)
    assert (seen.record.stop_signal, seen.record.stop_signal_source) == (15, "assumed")
    assert (seen.looks.before, seen.record.lost_processes, seen.looks.logs.text) == (None, None, "")


def test_on_a_cluster_like_aws_containers_are_timed_by_polling(far: Simulation) -> None:
    """Each from when those it waits for were seen to be gone; 143 under an init is accepted, and
    137 at once may be anybody's SIGKILL."""
    scenario = task(
        {"name": "app", "stopTimeout": 5, "dependsOn": after("kills")},
        {"name": "kills", "stopTimeout": 2, "essential": False, "dependsOn": after("init")},
        {"name": "init", "essential": False, "linuxParameters": {"initProcessEnabled": True}},
        {"name": "early", "essential": False, "stopTimeout": 120},
    )
    done = run(far.url, scenario)
    result = only(done)
    by_name = {item.name: item for item in result.verdict.containers}
    assert {name: item.outcome for name, item in by_name.items()} == {
        "app": Outcome.GRACEFUL,
        "kills": Outcome.KILLED,
        "init": Outcome.GRACEFUL,
        "early": Outcome.INCONCLUSIVE,
    }, result.verdict.reason
    assert by_name["kills"].facts.sigkill_evidence is SigkillEvidence.INFERRED
    assert by_name["early"].facts.sigkill_evidence is SigkillEvidence.NOT_SENT
    by_polling = "StopTask call → DescribeTasks every 1 s (harness clock)"
    for name, item in by_name.items():
        own_stamps = name == "app"  # executionStoppedAt is the end of the only essential container
        by_ecs = "stoppingAt → executionStoppedAt (ecs clock)"
        assert item.facts.duration_source == (by_ecs if own_stamps else by_polling)
    record = result.observation.task
    assert record is not None
    for container in record.containers:
        assert (container.looks.before, container.record.lost_processes, container.looks.logs.text) == (None, None, "")
        assert {str(event.kind) for event in container.record.events} == {"stop_requested", "exited"}
    (stop,) = done.report.tasks
    assert [share.name for share in stop.containers if share.name != "early"] == ["app", "kills", "init"]


def test_on_a_cluster_like_aws_output_and_ports_are_out_of_reach(far: Simulation) -> None:
    """The scenarios are skipped, with what to do instead."""
    done = run(far.url, image("logs", log="ready"), image("ports", tcp_port=80))
    assert done.report.results == ()
    assert {skipped.reason for skipped in done.report.skipped} == {
        "neither output nor ports of a container can be reached through ECS; use `ready: {delay: …}`"
    }
