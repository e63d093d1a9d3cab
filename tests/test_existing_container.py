"""Containers that somebody else started are stopped, judged as any other, and left where they are."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

import stop_harness
from stop_harness.engines.docker import reaper
from stop_harness.engines.docker.calls import Calls
from stop_harness.engines.docker.container import ContainerLife
from stop_harness.engines.docker.engine import DockerEngine
from stop_harness.engines.docker.events import EventStream
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.reaper import OWNER_LABEL, RUN_LABEL, machine
from stop_harness.evidence import stop_sequence
from stop_harness.evidence.forecast import Expected
from stop_harness.linux import proc
from stop_harness.model import (
    DIE_EVENT,
    NS_PER_MS,
    NS_PER_S,
    Clock,
    Event,
    EventKind,
    ExistingContainer,
    Readiness,
    ReadyBy,
    Scenario,
    StopPlan,
    StopRecord,
    Subject,
)
from stop_harness.plan import trials
from stop_harness.trial import perform
from tests.own_runs import COMMAND
from tests.reports_factory import realistic_report
from tests.test_cli import Answer, ask

__all__ = ["ask"]  # a fixture

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")
SECRET = "correct-horse-battery"

LEAVES = "trap 'echo leaves; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
IGNORES = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
IGNORES_ALONE = '$SIG{TERM} = "IGNORE"; $| = 1; print "ready\\n"; sleep 100 while 1;'
LEAVES_CHILD = """
$| = 1;
if (!fork) { $SIG{TERM} = sub { sleep 100 }; sleep 100 while 1 }
$SIG{TERM} = sub { exit 0 };
select undef, undef, undef, 0.3;
print "ready\\n"; sleep 100 while 1;
"""
DROPS_REQUESTS = """
use IO::Socket::INET; $| = 1;
$SIG{TERM} = sub { exit 0 };
my $server = IO::Socket::INET->new(LocalPort => 8000, Listen => 50, ReuseAddr => 1) or die;
print "ready\\n"; my @held;
while (1) { my $client = $server->accept or next; push @held, $client; }
"""

Start = Callable[..., Any]


@pytest.fixture(scope="module")
def client(docker_engine_host: DockerHost) -> Iterator[docker.DockerClient]:
    """The SDK."""
    found = docker_engine_host.connect()
    yield found
    found.close()


@pytest.fixture
def start(client: docker.DockerClient) -> Iterator[Start]:
    """Starts a container of nobody's as `docker run --detach` does, and waits until it says that it is ready."""
    made = []

    def begin(script: str | list[str], **settings: Any) -> Any:
        name = f"existing-{uuid.uuid4().hex[:8]}"
        command = ["/bin/sh", "-c", script] if isinstance(script, str) else script
        created = client.containers.create(BASE_IMAGE, command, name=name, **settings)
        made.append(created)
        created.start()
        next(line for line in created.logs(stream=True, follow=True) if b"ready" in line)
        created.reload()
        return created

    yield begin
    for container in made:
        try:
            container.remove(force=True, v=True)
        except docker.errors.NotFound:
            continue
        except docker.errors.APIError:  # it is removed at this moment
            continue


def command_line(*words: str) -> subprocess.CompletedProcess[str]:
    """`stop-harness check` as a user runs it."""
    return subprocess.run([COMMAND, "check", *words], capture_output=True, text=True, check=False, timeout=120)


# ── What is stopped, and what becomes of it ──────────────────────────────────────────────────────────────────────────


@pytest.mark.docker
def test_a_running_container_is_stopped_judged_and_kept(start: Start) -> None:
    """With its log, its stop signal and its exit code; it stays where it is, and gets no labels of ours."""
    container = start(LEAVES, environment={"PASSWORD": SECRET}, stop_signal="SIGTERM")
    result = stop_harness.check(container.name)
    result.assert_graceful()
    stop = result.stops[0]
    assert (stop.outcome, stop.exit_code, stop.stop_timeout_s) == ("graceful", 0, 30)
    assert stop.record.observation.record.stop_signal_source == "container"
    assert stop.record.observation.looks.before, "its processes were looked at before the stop"
    assert "leaves" in stop.record.observation.looks.logs.text
    container.reload()
    assert (container.status, container.attrs["State"]["ExitCode"]) == ("exited", 0)
    assert not {OWNER_LABEL, RUN_LABEL} & container.labels.keys()
    assert any("it stays stopped" in note for note in result.notes)
    assert str(result).startswith(f"✔ graceful: container {container.name} ({BASE_IMAGE}) exited within")


@pytest.mark.docker
def test_its_own_stop_timeout_applies_and_the_cause_is_found(client: docker.DockerClient, start: Start) -> None:
    """`--stop-timeout` of whoever started it; a program that ignores SIGTERM is named as in a container of ours."""
    created = client.api.create_container(BASE_IMAGE, ["perl", "-e", IGNORES_ALONE], stop_timeout=2)
    container = client.containers.get(created["Id"])
    try:
        container.start()
        next(line for line in container.logs(stream=True, follow=True) if b"ready" in line)
        result = stop_harness.check(container=str(container.short_id))
        stop = result.stops[0]
        assert (stop.stop_timeout_s, stop.outcome, stop.cause) == (2, "killed", "signal-ignored")
        assert stop.sigkill == "observed"
    finally:
        container.remove(force=True)


@pytest.mark.docker
def test_processes_that_sigkill_ends_silently_are_found(start: Start, docker_engine_host: DockerHost) -> None:
    """They lived before the harness came; the verdict is that on a fresh container."""
    if not docker_engine_host.info.proves_lost_processes:
        pytest.skip("nobody is told here how processes end")
    result = stop_harness.check(start(["perl", "-e", LEAVES_CHILD]))
    assert result.outcome == "lossy"
    assert result.stops[0].record.observation.record.lost_processes
    fresh = stop_harness.check(image=BASE_IMAGE, command=["perl", "-e", LEAVES_CHILD], ready_log="ready")
    assert (fresh.outcome, fresh.cause) == (result.outcome, result.cause)


@pytest.mark.docker
@pytest.mark.parametrize(("script", "code", "outcome"), [(LEAVES, 0, "graceful"), (IGNORES, 137, "killed")])
def test_of_one_that_the_engine_removes_at_its_end_all_is_known(
    client: docker.DockerClient, start: Start, script: str, code: int, outcome: str
) -> None:
    """`--rm`: its exit code comes from the engine's events, its log was followed, and it is gone."""
    container = start(script, auto_remove=True)
    result = stop_harness.check(container, timeouts=[1])
    stop = result.stops[0]
    assert (stop.outcome, stop.exit_code) == (outcome, code)
    assert "ready" in stop.record.observation.looks.logs.text
    assert any("removes it then" in note for note in result.notes)
    with pytest.raises(docker.errors.NotFound):
        until_gone(client, container.id)


def until_gone(client: docker.DockerClient, container_id: str) -> None:
    """Raises NotFound as soon as the engine has removed it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        client.containers.get(container_id)
        time.sleep(0.1)


@pytest.mark.docker
def test_what_is_removed_before_anybody_can_look_is_known_by_its_events(
    client: docker.DockerClient, start: Start, docker_engine_host: DockerHost
) -> None:
    """Exit code and time of its `die` event, once `inspect` knows nothing any more."""
    container = start("trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done", auto_remove=True)
    events = EventStream(docker_engine_host, container=[container.id])
    try:
        life = ContainerLife(
            container.id,
            docker_engine_host,
            client.api,
            calls=Calls(docker_engine_host.url, 60),
            events=events,
            ending=threading.Event(),
            watches=None,
            auto_remove=True,
        )
        assert life.state().running
        before_ns = time.time_ns()
        life.follow_stop()
        life.stop(20)
        with pytest.raises(docker.errors.NotFound):
            until_gone(client, container.id)
        end = life.end()
    finally:
        events.close()
    assert (end.state.exited, end.state.exit_code, end.state.oom_killed) == (True, 7, False)
    assert end.state.end_source == DIE_EVENT
    assert end.state.finished_at_ns is not None
    if docker_engine_host.same_kernel:
        assert before_ns <= end.state.finished_at_ns <= time.time_ns()


@pytest.mark.docker
def test_a_restart_policy_does_not_start_it_again(start: Start) -> None:
    """The engine takes our stop for what it is, one that somebody asked for."""
    container = start(LEAVES, restart_policy={"Name": "always"})
    stop_harness.check(container).assert_graceful()
    container.reload()
    assert container.status == "exited"


@pytest.mark.docker
def test_requests_in_flight_are_lost_or_not(start: Start) -> None:
    """Traffic is sent where it is asked for."""
    container = start(["perl", "-e", DROPS_REQUESTS])
    result = stop_harness.check(container, traffic_http="8000/")
    assert result.outcome == "lossy"
    assert "request" in result.reason


@pytest.mark.docker
def test_one_in_the_network_of_another_is_reached_there(start: Start) -> None:
    """As a debugger's container, or one of a pod."""
    other = start(LEAVES)
    container = start(["perl", "-e", DROPS_REQUESTS], network_mode=f"container:{other.id}")
    result = stop_harness.check(container, traffic_http="8000/")
    assert result.outcome == "lossy"
    assert "request" in result.reason
    other.reload()
    assert other.status == "running"


@pytest.mark.docker
def test_an_engine_elsewhere_is_asked_by_its_own_client(start: Start, tcp_engine: str) -> None:
    """A container of the docker SDK is stopped on the engine that its client speaks to, without its kernel."""
    far = docker.DockerClient(base_url=tcp_engine)
    try:
        result = stop_harness.check(far.containers.get(start(LEAVES).id))
        assert result.record.run.engine.host == tcp_engine
        assert result.stops[0].exit_code == 0
        assert result.stops[0].outcome in {"graceful", "inconclusive"}, "nobody saw how other processes ended"
    finally:
        far.close()


@pytest.mark.docker
def test_a_forecast_stops_nothing(start: Start) -> None:
    """`--predict` looks at the process table of the container as it runs."""
    container = start(IGNORES)
    with pytest.raises(stop_harness.UsageError, match="restart does not go with predict"):
        stop_harness.predict(container=container.name, restart=True)
    with pytest.raises(stop_harness.UsageError, match="it is about starts"):
        stop_harness.sweep_start(container=container.name)
    forecast = stop_harness.predict(container=container.name)
    assert forecast.expected is Expected.KILLED
    container.reload()
    assert container.status == "running"


@pytest.mark.docker
def test_one_that_has_long_been_running_is_ready(start: Start, docker_engine_host: DockerHost) -> None:
    """Nobody waits for the start of a container that is older than any start takes."""
    container = start(LEAVES)
    time.sleep(0.5)  # five times as long as the scenario lets a start take
    existing = ExistingContainer(container.id, container.name)
    scenario = Scenario(
        "old",
        Subject(image=BASE_IMAGE, container=existing),
        readiness=Readiness(implied=True, delay_ns=NS_PER_S, timeout_ns=100 * NS_PER_MS),
        stop=StopPlan((5 * NS_PER_S,)),
    )
    engine = DockerEngine(uuid.uuid4().hex, host=docker_engine_host)
    engine.prepare((scenario,), lambda _what, _state: None)
    try:
        seen = perform.perform(trials.expand((scenario,)).trials[0], engine, perform.Interruption())
    finally:
        assert engine.close() == ()
    assert seen.problem is None
    assert seen.ready is not None
    assert seen.ready.by is ReadyBy.FOUND
    assert seen.record.exit_code == 0


# ── Results ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.docker
def test_every_report_names_it_and_hides_its_values(start: Start, tmp_path: Path) -> None:
    """Name and image stand in JSON, HTML and JUnit; what it was given as environment stands nowhere."""
    script = "trap 'exit 0' TERM; echo ready $PASSWORD; while :; do sleep 0.1; done"
    container = start(script, environment={"PASSWORD": SECRET})
    done = command_line("--container", container.name, "--report-dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"stops container {container.name} ({BASE_IMAGE}); it stays stopped" in done.stderr
    (folder,) = (path for path in tmp_path.iterdir() if not path.is_symlink())
    scenario = json.loads((folder / "results.json").read_text())["scenarios"][0]
    assert (scenario["image"], scenario["container"]["name"]) == (BASE_IMAGE, container.name)
    assert scenario["container"]["id"] == container.id
    named = re.compile(rf"{container.name}\b.*{re.escape(BASE_IMAGE)}")
    for file in ("report.html", "junit.xml"):
        assert named.search((folder / file).read_text()), file
    written = "".join(path.read_text() for path in folder.rglob("*") if path.is_file())
    assert SECRET not in written + done.stdout + done.stderr
    again = stop_harness.read_run(folder)
    assert again.outcome == "graceful"


def test_the_exit_that_only_its_event_tells_is_that_much_less_exact() -> None:
    """The `die` event is late, and the duration says so."""
    seen = realistic_report().results[0].observation
    events = (
        Event(EventKind.SIGNAL_SENT, NS_PER_S, Clock.ENGINE, "kill event", signal.SIGTERM),
        Event(EventKind.EXITED, 2 * NS_PER_S, Clock.ENGINE, DIE_EVENT),
    )
    record = StopRecord(events=events, exit_code=0, stop_signal=signal.SIGTERM)
    facts = stop_sequence.facts(replace(seen, record=record))
    assert facts.shutdown_duration_ns == NS_PER_S
    assert facts.duration_error_ns == stop_sequence.DIE_EVENT_LATE_NS


# ── What Python code calls a container ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def without_ryuk(monkeypatch: pytest.MonkeyPatch) -> None:
    """testcontainers' own reaper is an image of a registry."""
    from testcontainers.core.config import testcontainers_config

    monkeypatch.setattr(testcontainers_config, "ryuk_disabled", True)


@pytest.mark.docker
@pytest.mark.usefixtures("without_ryuk")
def test_a_container_of_testcontainers_is_stopped_by_the_real_stop_path() -> None:
    """In its `with` block, whose end removes it as always."""
    from testcontainers.core.container import DockerContainer

    with DockerContainer(BASE_IMAGE).with_command(["/bin/sh", "-c", LEAVES]) as container:
        inner = container.get_wrapped_container()
        result = stop_harness.check(container, within=10)
        result.assert_graceful()
        inner.reload()
        assert inner.status == "exited"
        assert result.stops[0].exit_code == 0
    with pytest.raises(docker.errors.NotFound):
        inner.reload()


@pytest.mark.docker
@pytest.mark.usefixtures("without_ryuk")
def test_one_that_was_not_started_is_told() -> None:
    """It has no container yet."""
    from testcontainers.core.container import DockerContainer

    with pytest.raises(stop_harness.UsageError, match=r"was not started.*start\(\)"):
        stop_harness.check(DockerContainer(BASE_IMAGE))


@pytest.mark.parametrize("wrong", [7, object(), b"web"])
def test_what_is_no_container_is_refused(wrong: Any) -> None:
    """With what is one."""
    with pytest.raises(stop_harness.UsageError, match="it is a name, an id, or a container of testcontainers"):
        stop_harness.check(wrong)


def test_one_container_is_given_once() -> None:
    """By position or by keyword."""
    with pytest.raises(stop_harness.UsageError, match="takes one container"):
        stop_harness.check("web", container="web")


# ── Bad input ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ready-log", "up"], "--ready-log does not go with --container: it is about the start of a container"),
        (["--ready-log", "up"], "with --restart it would be started again"),
        (["--restart", "--env", "A=1"], "--env does not go with --container"),
        (["--env", "A=1"], "--env does not go with --container"),
        (["--volume", "/a:/b"], "--volume does not go with --container"),
        (["--signal", "SIGINT"], "the stop signal was chosen when it was started"),
        (["--try-fixes"], "stop-harness check IMAGE --try-fixes"),
        (["--build", "."], "--build DIR and --container NAME together"),
        (["nginx"], "IMAGE and --container NAME together"),
        (["--timeout", "1s", "--timeout", "2s"], "--timeout asks for several stops"),
        (["--repeat", "3"], "--repeat asks for several stops"),
        (["--until-sure"], "--until-sure asks for several stops"),
        (["--engine", "process"], "--engine process does not go with --container"),
        (["--", "sleep", "1"], "a command does not go with --container"),
        (["--kubernetes", "web.yaml", "app"], "which container of the pod is meant: app or --container web?"),
    ],
)
def test_options_of_a_start_are_refused(
    ask: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    """Before any engine is asked, with the option's name."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    answer = ask("check", "--container", "web", *options)
    assert answer.code == 2
    assert said in " ".join(answer.err.split())


@pytest.mark.parametrize("name", ["", "a b", "../x", "-web"])
def test_a_name_that_no_container_can_have_is_refused(
    ask: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """No engine is asked."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    answer = ask("check", f"--container={name}")
    assert answer.code == 2
    assert "is no name or id of a container" in answer.err


@pytest.mark.docker
def test_an_unknown_name_suggests_those_that_are_near(start: Start) -> None:
    """Of the containers that run."""
    name = start(LEAVES).name
    with pytest.raises(stop_harness.UsageError, match=f"there is no container '{name[:-1]}'; did you mean.*'{name}'"):
        stop_harness.check(name[:-1])


@pytest.mark.docker
def test_an_id_that_several_begin_with_is_told(client: docker.DockerClient, start: Start) -> None:
    """Seventeen containers have at least two whose ids begin alike, by sixteen first digits."""
    created = [client.api.create_container(BASE_IMAGE, ["true"])["Id"] for _ in range(17)]
    try:
        first = sorted(item[0] for item in created)
        shared = next(digit for digit in first if first.count(digit) > 1)
        with pytest.raises(stop_harness.UsageError, match=f"several containers have an id that begins with '{shared}'"):
            stop_harness.check(shared)
    finally:
        for item in created:
            client.api.remove_container(item)


@pytest.mark.docker
def test_what_does_not_run_or_is_paused_is_refused(client: docker.DockerClient, start: Start) -> None:
    """With what to do; it is left as it is."""
    container = start(LEAVES)
    container.pause()
    with pytest.raises(stop_harness.UsageError, match=f"is paused.*`docker unpause {container.name}`"):
        stop_harness.check(container)
    container.unpause()
    container.stop()
    with pytest.raises(stop_harness.UsageError, match=f"ended with exit code 0; `docker start {container.name}`"):
        stop_harness.check(container)
    created = client.containers.get(client.api.create_container(BASE_IMAGE, ["true"])["Id"])
    try:
        with pytest.raises(stop_harness.UsageError, match="it was never started"):
            stop_harness.check(created)
    finally:
        created.remove()


@pytest.mark.docker
def test_one_that_does_not_stay_up_is_refused(client: docker.DockerClient) -> None:
    """Its restart policy starts it again and again, with longer and longer pauses."""
    container = client.containers.run(
        BASE_IMAGE, ["/bin/sh", "-c", "exit 3"], detach=True, restart_policy={"Name": "always"}
    )
    try:

        def pauses() -> bool:
            container.reload()
            state = container.attrs["State"]
            return bool(state["Restarting"] and container.attrs["RestartCount"] > 5)

        until(pauses)
        with pytest.raises(stop_harness.UsageError, match="does not stay up: it ended with exit code 3"):
            stop_harness.check(container)
    finally:
        container.remove(force=True)


@pytest.mark.docker
def test_a_container_of_the_harness_itself_is_refused(start: Start) -> None:
    """Its run stops and removes it."""
    container = start(LEAVES, labels={OWNER_LABEL: f"{machine()}/{os.getpid()}/", RUN_LABEL: "R1"})
    with pytest.raises(stop_harness.UsageError, match="belongs to run R1 of stop-harness"):
        stop_harness.check(container)
    container.reload()
    assert container.status == "running"


@pytest.mark.docker
def test_the_container_that_the_harness_runs_in_is_known(start: Start, client: docker.DockerClient) -> None:
    """By what the engine mounts into it; no other container is, and from outside none is."""
    container, other = start(LEAVES), start(LEAVES)
    inside = container.exec_run(["cat", "/proc/self/mountinfo"]).output.decode()
    assert proc.is_in_container(container.id, inside)
    assert not proc.is_in_container(other.id, inside)
    assert not proc.is_own_container(container.id)


@pytest.mark.docker
def test_who_starts_another_one_in_its_place_is_told(start: Start) -> None:
    """A task of Amazon ECS is its agent's."""
    container = start(LEAVES, labels={"com.amazonaws.ecs.task-arn": "arn:aws:ecs:eu-west-1:1:task/c/1"})
    result = stop_harness.check(container)
    assert any("Amazon ECS may start another one in its place" in note for note in result.notes)


# ── Ends that nobody planned ─────────────────────────────────────────────────────────────────────────────────────────


def stopping(name: str, *options: str, **environment: str) -> subprocess.Popen[str]:
    """A check that has told the engine to stop."""
    return subprocess.Popen(
        [COMMAND, "check", "--container", name, "--timeout", "4s", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def until(holds: Callable[[], bool], patience_s: float = 60) -> None:
    """Wait until it does."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.05)


SAYS_STOPPING = "trap 'echo stopping' TERM; echo ready; while :; do sleep 0.1; done"


@pytest.mark.docker
def test_ctrl_c_leaves_the_container_and_says_how_it_stands(start: Start) -> None:
    """The engine's stop goes on; nobody kills or removes what is not ours."""
    container = start(SAYS_STOPPING)
    process = stopping(container.name)
    until(lambda: b"stopping" in container.logs())
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(f"container {container.name} (still runs: the engine was told to stop it|has ended)", said)
    assert container.wait(timeout=60)["StatusCode"] == 137
    container.reload()
    assert container.status == "exited"


@pytest.mark.docker
def test_kill_9_leaves_nothing_but_the_container(start: Start, client: docker.DockerClient, tcp_engine: str) -> None:
    """The engine carries out the stop that it was told, and the witness that we had brought is gone."""
    container = start(SAYS_STOPPING)
    process = stopping(container.name, "--witness", DOCKER_HOST=tcp_engine)
    owner = f"/{process.pid}/"

    def ours() -> list[str]:
        labelled = client.api.containers(all=True, filters={"label": OWNER_LABEL})
        return [item["Id"] for item in labelled if owner in item["Labels"][OWNER_LABEL]]

    until(lambda: b"stopping" in container.logs())
    assert ours()
    process.kill()
    process.communicate(timeout=60)
    assert container.wait(timeout=60)["StatusCode"] == 137
    until(lambda: not ours())
    container.reload()
    assert container.status == "exited"


# ── Started again ────────────────────────────────────────────────────────────────────────────────────────────────────


def running_again(container: Any, before: str) -> Callable[[], bool]:
    """Whether it runs, and was started later than before."""

    def holds() -> bool:
        container.reload()
        state = container.attrs["State"]
        return bool(state["Running"] and state["StartedAt"] != before)

    return holds


@pytest.mark.docker
def test_several_stops_of_one_container_that_is_started_again(start: Start) -> None:
    """One after the other, each on record with its own exit; the same container runs afterwards."""
    container = start(LEAVES)
    before = container.attrs["State"]["StartedAt"]
    result = stop_harness.check(container, restart=True, timeouts=[2, 5], repeat=2, ready_log="ready")
    result.assert_graceful()
    assert [stop.stop_timeout_s for stop in result.stops] == [2, 2, 5, 5]
    assert all(stop.exit_code == 0 and stop.shutdown_duration_s is not None for stop in result.stops)
    assert container.logs().count(b"leaves") == 4
    assert running_again(container, before)()
    assert any("it is started again after each stop" in note for note in result.notes)


@pytest.mark.docker
@pytest.mark.long
def test_a_stop_that_needs_sigkill_is_started_again_too(start: Start) -> None:
    """Whatever its stop came to."""
    container = start(IGNORES)
    before = container.attrs["State"]["StartedAt"]
    result = stop_harness.check(container, restart=True, timeouts=[1], repeat=2)
    assert [stop.outcome for stop in result.stops] == ["killed", "killed"]
    assert running_again(container, before)()


@pytest.mark.docker
def test_one_that_the_engine_removes_cannot_be_started_again(start: Start) -> None:
    """It is told before the stop, and the container runs on."""
    container = start(LEAVES, auto_remove=True)
    with pytest.raises(stop_harness.UsageError, match=r"AutoRemove.*restart comes too late"):
        stop_harness.check(container, restart=True)
    container.reload()
    assert container.status == "running"


@pytest.mark.docker
def test_one_that_cannot_be_started_again_is_told(start: Start, docker_engine_host: DockerHost, tmp_path: Path) -> None:
    """The folder that it needs is gone: exit code 4, beside a verdict that stands."""
    if not docker_engine_host.same_kernel:
        pytest.skip("the engine may have other folders")
    folder = tmp_path / "given"
    folder.mkdir()
    container = start(LEAVES, mounts=[docker.types.Mount("/given", str(folder), type="bind")])
    folder.rmdir()
    result = stop_harness.check(container, restart=True, timeouts=[5])
    assert result.outcome == "graceful"
    assert result.exit_code == 4
    (problem,) = result.problems
    assert f"container {container.name} could not be started again" in problem
    assert str(folder) in problem, "the engine's own words"


@pytest.mark.docker
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_promise_outlives_the_harness(start: Start, number: int) -> None:
    """Ctrl-C and `kill -9` in the middle of a stop: a helper starts it again once the stop is over."""
    container = start(SAYS_STOPPING)
    before = container.attrs["State"]["StartedAt"]
    process = stopping(container.name, "--restart")
    until(lambda: b"stopping" in container.logs())
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    until(running_again(container, before))
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert f"container {container.name} was told to stop; a helper starts it again" in said
    time.sleep(1)
    assert running_again(container, before)(), "it stays up"


def test_what_is_owed_is_what_was_not_paid() -> None:
    """Of several stops of one container only the last one counts."""
    assert reaper.owed("owed a 2.0\nowed b 3\npaid a\nowed c 1.5\npaid c\nowed c 4\ndone") == {"b": 3.0, "c": 4.0}


@pytest.mark.docker
def test_the_helper_starts_what_was_stopped_and_nothing_else(
    start: Start, docker_engine_host: DockerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for a stop as long as one may take; where none came, or the container is gone, it leaves."""
    monkeypatch.setattr(reaper, "CALL_LIMIT_S", 2.0)
    container = start(LEAVES)
    before = container.attrs["State"]["StartedAt"]
    reaper.start_again(docker_engine_host.address, uuid.uuid4().hex, 600)
    reaper.start_again(docker_engine_host.address, container.id, 0)
    assert not running_again(container, before)()
    container.stop()
    reaper.start_again(docker_engine_host.address, container.id, 600)
    assert running_again(container, before)()
