"""Our witness on the engine: the same proof through the API alone, or none and a word why."""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.conductor import pipeline
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.docker import host as docker_host
from stop_harness.engines.docker import own_images, witness, witness_container
from stop_harness.engines.docker.address import Address
from stop_harness.engines.docker.attached_lines import AttachedLines
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.program_container import PROGRAMS
from stop_harness.engines.docker.reaper import OWNER_LABEL, RUN_LABEL, owner
from stop_harness.engines.docker.witness import Witness
from stop_harness.engines.docker.witness_container import Rights, WitnessContainer, WitnessFailed
from stop_harness.engines.docker.witness_lines import (
    Answer,
    Heard,
    Message,
    Missing,
    Named,
    WitnessStarted,
    parse,
)
from stop_harness.linux.process_events import EXITED
from stop_harness.model import Member, Outcome
from stop_harness.scenario import discovery
from stop_harness.trial.perform import Interruption
from tests import group_support
from tests.group_support import LEAVES_A_CHILD, pod, stopped, subject
from tests.silence import Silence
from tests.strategies import DOCKER
from tests.test_docker import BASE_IMAGE
from tests.test_process_evidence import CASES, lost, run

OWN_PROGRAM = PROGRAMS / f"witness-{platform.machine()}"
SHIPPED = Path(__file__).parent.parent / "scenarios"

# ── What it says ─────────────────────────────────────────────────────────────────────────────────────────────────────

LINES: tuple[tuple[bytes, Message], ...] = (
    (b"H 1 acknowledge 0 8388608 6.18.44", WitnessStarted(1, "acknowledge", 0, 8388608, "6.18.44")),
    (
        b"P 100 102 1402355865184 3 102,9 a name, of\xc3\xa9",
        Named(102, 3, (102, 9), "a name, of\u00e9", 100, 1402355865184),
    ),
    (b"N 102 1 102,9,4 sh", Named(102, 1, (102, 9, 4), "sh")),
    (b"A 7 ok", Answer(7, "ok")),
    (b"O", Missing()),
)


@pytest.mark.parametrize(("line", "message"), LINES, ids=[line.decode()[:1] for line, _ in LINES])
def test_each_line_is_read(line: bytes, message: Message) -> None:
    """As `witness.c` writes it; a name may hold anything but the end of a line."""
    assert parse(line) == message


def test_an_event_is_read_with_its_numbers() -> None:
    """And with whether PID 1 was leaving, where that was looked up."""
    killed = parse(b"E 2147483648 1405617665231 1 102 102 9 17 100 100")
    assert isinstance(killed, Heard)
    assert (killed.event.what, killed.event.at_ns, killed.leaving) == (EXITED, 1405617665231, True)
    assert killed.event.numbers == (102, 102, 9, 17, 100, 100)
    forked = parse(b"E 1 5 2 100 100 102 102 0 0")
    assert isinstance(forked, Heard)
    assert forked.leaving is None


def framed(content: bytes, stream: int = 1) -> bytes:
    """As the engine wraps what a container writes."""
    return bytes([stream, 0, 0, 0]) + len(content).to_bytes(4, "big") + content


@given(
    st.lists(st.sampled_from(LINES), max_size=8),
    st.lists(st.integers(0, 400), max_size=8),
    st.lists(st.integers(0, 600), max_size=8),
)
def test_lines_frames_and_pieces_may_end_anywhere(
    spoken: list[tuple[bytes, Message]], frame_ends: list[int], piece_ends: list[int]
) -> None:
    """The engine cuts where it likes, and so does the network: the messages are the same."""
    text = b"".join(line + b"\n" for line, _ in spoken)
    wire = b"".join(framed(piece) for piece in cut(text, frame_ends))
    stream = AttachedLines()
    told = [parse(line) for piece in cut(wire, piece_ends) for line in stream.take(piece)]
    assert told == [message for _, message in spoken]


def cut(content: bytes, ends: list[int]) -> list[bytes]:
    """In pieces that end there."""
    places = [0, *sorted(min(end, len(content)) for end in ends), len(content)]
    return [content[begin:end] for begin, end in itertools.pairwise(places)]


@given(st.lists(st.binary(max_size=40) | st.binary(max_size=40).map(framed), max_size=8))
def test_anything_else_is_refused_and_nothing_worse(pieces: list[bytes]) -> None:
    """Whoever answers in its place: ValueError or messages, never another error."""
    stream = AttachedLines()
    with contextlib.suppress(ValueError):
        for piece in pieces:
            for line in stream.take(piece):
                parse(line)


def test_what_it_complains_about_is_kept() -> None:
    """Standard error is the engine's word on why it did not run."""
    stream = AttachedLines()
    assert stream.take(framed(b"exec format error\n", 2) + framed(b"A 1 ok\n")) == [b"A 1 ok"]
    assert stream.complaint == "exec format error\n"


def test_a_line_without_an_end_is_refused() -> None:
    """Nobody fills our memory."""
    stream = AttachedLines()
    assert stream.take(framed(b"x" * 40_000)) == []
    with pytest.raises(ValueError, match="without an end"):
        stream.take(framed(b"x" * 40_000))


# ── The program ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not OWN_PROGRAM.exists(), reason="no witness for this machine"
)
def test_the_program_ends_with_its_input() -> None:
    """And says first how far it came; where the kernel does not answer, which step failed."""
    ended = subprocess.run([OWN_PROGRAM], input=b"", capture_output=True, timeout=10, check=False)
    started = parse(ended.stdout.splitlines()[0])
    assert isinstance(started, WitnessStarted)
    assert ended.returncode == (3 if started.error else 0)


@pytest.mark.namespaces
@pytest.mark.skipif(not OWN_PROGRAM.exists(), reason="no witness for this machine")
def test_the_program_waits_a_second_for_an_answer_that_never_comes() -> None:
    """In a PID namespace of its own the kernel ignores the request without a word."""
    begun = time.monotonic()
    allowed = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]  # who may make a PID namespace
    isolated = ["unshare", *allowed, "--pid", "--fork", "--kill-child", str(OWN_PROGRAM)]
    ended = subprocess.run(isolated, stdin=subprocess.PIPE, capture_output=True, timeout=30, check=False)
    started = parse(ended.stdout.splitlines()[0])
    assert isinstance(started, WitnessStarted)
    assert started.step in {"acknowledge", "bind"}
    assert started.error
    assert time.monotonic() - begun < 20


# ── On a real engine ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def remote(tcp_engine: str, monkeypatch: pytest.MonkeyPatch) -> DockerHost:
    """An engine whose kernel is out of reach, and that runs our witness."""
    monkeypatch.setenv("DOCKER_HOST", tcp_engine)
    host = docker_host.find()
    assert not host.info.proves_lost_processes
    try:
        WitnessContainer.start(host, labels()).close()
    except WitnessFailed as failure:
        pytest.skip(f"this engine has no witness: {failure}")
    return host


def labels() -> dict[str, str]:
    """As every container of a run has them."""
    return {RUN_LABEL: "witness-test", OWNER_LABEL: owner()}


def witnesses(host: DockerHost) -> list[str]:
    """Those that this process has started and that are still there."""
    client = host.connect()
    try:
        found = client.api.containers(all=True, filters={"label": f"{OWNER_LABEL}={owner()}"})
        return [item["Id"] for item in found if str(item["Image"]).startswith("stop-harness/witness")]
    finally:
        client.close()


@contextlib.contextmanager
def listening(host: DockerHost) -> Iterator[Witness]:
    """A witness that is gone afterwards."""
    heard, said = witness.bring(host, labels())
    assert heard is not None, said
    try:
        yield heard
    finally:
        heard.close()


@contextlib.contextmanager
def container(host: DockerHost, *command: str) -> Iterator[tuple[str, int]]:
    """A container and the pid of its PID 1 on the engine's machine."""
    client = host.connect()
    try:
        made = client.containers.run(BASE_IMAGE, list(command), detach=True, labels=labels())
        try:
            made.reload()
            yield str(made.id), int(made.attrs["State"]["Pid"])
        finally:
            made.remove(force=True)
    finally:
        client.close()


def eventually(condition: Callable[[], bool], within_s: float) -> bool:
    """Whether it becomes true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.long
@pytest.mark.alone  # a listener that gets no CPU has a gap in its record, and then rightly proves nothing
@pytest.mark.docker
def test_a_witness_proves_what_root_proves_on_the_same_machine(remote: DockerHost) -> None:
    """Through the API alone: who was killed, by whom, and that nobody was."""
    results = run({name: case[0] for name, case in CASES.items()}, witness=True)
    for name, (_, outcome, expected) in CASES.items():
        (result,) = results[name]
        assert result.verdict.outcome is outcome, f"{name}: {result.verdict.reason}"
        assert any(
            "user 65534, no capability" in text or "NET_ADMIN" in text for text in result.observation.engine.caveats
        )
        if expected is not None:
            assert lost(result.observation) == expected, name
    assert witnesses(remote) == []


@pytest.mark.docker
@pytest.mark.usefixtures("remote")
def test_the_two_lessons_that_hide_a_loss_are_lossy_and_proved() -> None:
    """Without a witness neither passes; with one both are what they are as root."""
    lessons = discovery.load((SHIPPED / "10-init-hides-lost-work.yaml", SHIPPED / "11-leaves-child-behind.yaml"))
    for with_witness in (False, True):
        request = RunRequest(lessons, "lessons", None, engine="docker", witness=with_witness)
        results = pipeline.run(request, Silence(), Interruption()).report.results
        outcomes = {result.observation.scenario: result.verdict.outcome for result in results}
        assert Outcome.GRACEFUL not in outcomes.values()
        if with_witness:
            assert set(outcomes.values()) == {Outcome.LOSSY}
            assert all(result.observation.record.lost_processes for result in results)


@pytest.mark.docker
@pytest.mark.usefixtures("remote")
def test_containers_of_a_task_have_a_witness_too() -> None:
    """The endpoint of our own brings it to the same engine."""
    (task,) = discovery.load((SHIPPED / "23-task-in-reverse-order.yaml",))
    request = RunRequest((task,), "task", None, engine="docker", witness=True)
    (result,) = pipeline.run(request, Silence(), Interruption()).report.results
    assert result.verdict.outcome is Outcome.GRACEFUL
    assert result.observation.engine.proves_lost_processes
    assert result.observation.task is not None
    stopped = [item for item in result.observation.task.containers if not item.record.exited_before_stop]
    assert {item.record.lost_processes for item in stopped} == {()}


@pytest.mark.docker
@pytest.mark.usefixtures("remote")
@pytest.mark.long
def test_in_a_shared_pid_namespace_it_tells_containers_apart_by_their_cgroups() -> None:
    """Nobody is PID 1 there but the pause program, to which goes what loses its parent."""
    members = Member("app", subject(LEAVES_A_CHILD)), Member("agent", subject())
    result = stopped(pod(*members, pid=True), own=True, witness=True)
    lost = {name: group_support.container(result, name).record.lost_processes for name in ("app", "agent")}
    assert lost["agent"] == ()
    assert lost["app"] is not None
    assert [text.partition(" (PID")[0] for text in lost["app"]] == ["python3"]
    assert result.verdict.outcome is Outcome.LOSSY, result.verdict.reason


@pytest.mark.docker
def test_a_pid_that_is_something_else_there_proves_nothing(remote: DockerHost) -> None:
    """Another container's, one of the machine's own, or nobody's."""
    with listening(remote) as heard, container(remote, "sleep", "60") as (name, pid_one):
        assert heard.watch(pid_one, container_id="f" * 64) is None
        assert heard.watch(os.getpid(), container_id=name) is None
        assert heard.watch(0, container_id=name) is None
        watch = heard.watch(pid_one, container_id=name)
        assert watch is not None
        watch.abandon()


@pytest.mark.docker
@pytest.mark.parametrize("way", ["tls_engine", "ssh_engine"])
def test_it_is_heard_through_an_encrypted_connection(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Both directions of one stream, which TLS and ssh each carry in their own way."""
    address: Address = request.getfixturevalue(way)
    host = docker_host.probe(address)
    with listening(host) as heard, container(host, "sh", "-c", "sleep 60 & sleep 60 & wait") as (name, pid_one):
        client = host.connect()
        try:
            assert eventually(lambda: len(client.api.top(name)["Processes"]) == 3, 10)
            watch = heard.watch(pid_one, container_id=name)
            assert watch is not None
            client.api.kill(name)
            found = watch.lost()
        finally:
            client.close()
    assert found is not None
    assert [re.sub(r"\d+", "N", text) for text in found] == ["sleep (PID N)"] * 2


@pytest.mark.long
@pytest.mark.docker
def test_an_engine_in_a_namespace_of_its_own_gets_no_answer(engine_in_a_vm: Address) -> None:
    """Not the machine's first PID namespace, whatever the container is given: no claim, and why."""
    host = docker_host.probe(engine_in_a_vm)
    heard, said = witness.bring(host, labels())
    assert heard is None
    assert "does not answer" in said
    assert "NET_ADMIN" in said


@pytest.mark.docker
def test_a_witness_that_is_gone_leaves_no_claim(remote: DockerHost) -> None:
    """Somebody removed it, or the connection broke: the stops in flight are not proved, nor any later one."""
    with listening(remote) as heard, container(remote, "sh", "-c", "sleep 60 & wait") as (name, pid_one):
        watch = heard.watch(pid_one, container_id=name)
        assert watch is not None
        assert eventually(lambda: bool(watch.processes), 10)
        client = remote.connect()
        try:
            client.api.remove_container(witnesses(remote)[0], force=True)
            assert watch.lost() is None
            later = heard.watch(pid_one, container_id=name)
            assert later is None or not later.complete
        finally:
            client.close()


@pytest.mark.docker
@pytest.mark.long
def test_a_witness_that_fell_behind_claims_nothing(remote: DockerHost) -> None:
    """The kernel drops what does not fit its buffer, and the witness says so."""
    with listening(remote) as heard, container(remote, "sleep", "600") as (name, pid_one):
        watch = heard.watch(pid_one, container_id=name)
        assert watch is not None
        client = remote.connect()
        try:
            mine = witnesses(remote)[0]
            client.api.pause(mine)
            assert heard.started is not None
            forks = heard.started.buffer_bytes // 1200  # two events each, and the kernel charges 0.8 KB for one
            subprocess.run(["sh", "-c", f"i=0; while [ $i -lt {forks} ]; do (:); i=$((i+1)); done"], check=True)
            client.api.unpause(mine)
            client.api.kill(name)
            assert watch.lost() is None
        finally:
            client.close()


@pytest.mark.docker
def test_nothing_is_left_of_a_harness_that_was_killed(remote: DockerHost) -> None:
    """It ends with its input, though nobody else cleans up."""
    program = (
        "import sys, time\n"
        "from stop_harness.engines.docker import host, witness\n"
        f"heard, said = witness.bring(host.find(), {labels()!r})\n"
        "print(said, flush=True)\n"
        "time.sleep(600)\n"
    )
    harness = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert harness.stdout is not None
    assert "stop-harness/witness" in harness.stdout.readline()
    assert len(witnesses(remote)) == 1
    harness.send_signal(signal.SIGKILL)
    harness.wait()
    harness.stdout.close()
    assert eventually(lambda: witnesses(remote) == [], 20)


@pytest.mark.docker
def test_a_refusal_is_said_and_the_run_goes_on(remote: DockerHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the engine's own words; nothing is proved and nothing is left."""
    monkeypatch.setattr(witness_container, "LADDER", (Rights("65534", ("NO_SUCH_CAPABILITY",)),))
    results = run({"a pool of workers": CASES["a pool of workers"][0]}, witness=True)
    (result,) = results["a pool of workers"]
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert result.observation.record.lost_processes is None
    (said,) = [text for text in result.observation.engine.caveats if text.startswith("witness: ")]
    assert "none, so that lost processes are not proved" in said
    assert "NO_SUCH_CAPABILITY" in said
    assert witnesses(remote) == []


@pytest.mark.docker
def test_an_engine_that_has_no_program_for_it_is_told_so(remote: DockerHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any architecture but two."""
    monkeypatch.setattr(own_images, "MACHINE_OF_ARCHITECTURE", {})
    heard, said = witness.bring(remote, labels())
    assert heard is None
    assert "architecture" in said


def test_an_engine_that_is_gone_is_a_word_not_an_error() -> None:
    """Between finding it and bringing the witness."""
    host = DockerHost(Address("tcp://127.0.0.1:1"), "1.41", DOCKER, local=False, same_kernel=False, podman=False)
    heard, said = witness.bring(host, labels())
    assert heard is None
    assert said.startswith("none")
