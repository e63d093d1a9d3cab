"""The docker engine on a real engine: what only an image can show, and bad luck."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from stop_harness.conductor import open_engine, pipeline
from stop_harness.conductor.request import RunOutcome, RunRequest
from stop_harness.engines.docker import host as docker_host
from stop_harness.engines.docker.address import Address
from stop_harness.engines.docker.engine import DockerEngine
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.reaper import OWNER_LABEL, RUN_LABEL, machine, remove_run
from stop_harness.engines.docker.subject import LOG_LIMITS
from stop_harness.errors import BaseImageMissing, BuildError, EngineError, ImageError
from stop_harness.model import (
    NS_PER_S,
    Outcome,
    Preparation,
    Readiness,
    Scenario,
    SigkillEvidence,
    Status,
    StopPlan,
    Subject,
    TrialResult,
)
from stop_harness.scenario.scenario_file import parse
from stop_harness.trial.perform import Interruption
from tests.faults.proxy import FaultyEngine
from tests.silence import Silence

pytestmark = pytest.mark.docker

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")
STOPS_AT_ONCE = ("/bin/sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done")
NEVER_STOPS = ("/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")


def scenario(name: str = "subject", **changes: Any) -> Scenario:
    """A well-behaved container of the base image, ready when it says so."""
    subject = Subject(image=BASE_IMAGE, command=STOPS_AT_ONCE)
    made = Scenario(name, subject, readiness=Readiness(log="^ready$"), stop=StopPlan((5 * NS_PER_S,)))
    return replace(made, **changes)


def command(*words: str, log: str | None = "^ready$", **changes: Any) -> Scenario:
    """A container of the base image with another command."""
    return scenario(subject=Subject(image=BASE_IMAGE, command=words), readiness=Readiness(log=log), **changes)


def run(*scenarios: Scenario, **request: Any) -> RunOutcome:
    """A run on the docker engine without a report directory."""
    asked = RunRequest(scenarios, "test", None, engine="docker", **request)
    return pipeline.run(asked, Silence(), Interruption())


def wait_until(condition: Callable[[], bool], within_s: float, what: str) -> None:
    """Poll with a deadline."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.05)


# ── what only an image can show ──────────────────────────────────────────────────────────────────────────────────────


def test_command_before_the_stop_that_hangs_is_given_up() -> None:
    """After the time of its step, else of readiness; the trial is inconclusive and says which command it was."""
    hangs = Preparation(execute=("sleep", "300"), timeout_ns=NS_PER_S)
    ready = Readiness(log="^ready$", timeout_ns=20 * NS_PER_S)
    began = time.monotonic()
    report = run(
        scenario("hangs", before_stop=(hangs,), readiness=ready),
        scenario("missing", before_stop=(Preparation(execute=("no-such-program",)),), readiness=ready),
        scenario("takes its time", before_stop=(Preparation(execute=("sleep", "0.3")),), readiness=ready),
    ).report
    assert time.monotonic() - began < 240
    hung, missing, well = sorted(report.results, key=lambda item: item.observation.scenario)
    assert hung.verdict.outcome is Outcome.INCONCLUSIVE
    assert "`sleep 300` before the stop had not ended after 1 s" in hung.verdict.reason
    assert "`no-such-program` before the stop exited with code 12" in missing.verdict.reason
    assert well.verdict.outcome is Outcome.GRACEFUL


def test_oom_kill_during_the_stop_is_not_called_sigkill() -> None:
    """An OOM kill gives 137 like the engine's SIGKILL; the engine's flag and the missing kill event tell them apart."""
    grow = 'trap "x=x; while :; do x=\\$x\\$x; done" TERM; echo ready; while :; do sleep 0.1; done'
    hungry = Subject(image=BASE_IMAGE, command=("/bin/sh", "-c", grow), memory_bytes=32 << 20)
    result = run(scenario(subject=hungry, stop=StopPlan((20 * NS_PER_S,)))).report.results[0]
    assert result.verdict.outcome is Outcome.OOM_KILLED, result.verdict.reason
    assert result.observation.record.exit_code == 137
    assert result.verdict.facts.sigkill_evidence is SigkillEvidence.NOT_SENT


LIMIT = """
import glob
files = glob.glob('/sys/fs/cgroup/pids/pids.max') + glob.glob('/sys/fs/cgroup/pids.max')
print('limit', open(files[0]).read().strip(), flush=True)
import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit()); print('ready', flush=True)
while True: time.sleep(0.05)
"""


@pytest.mark.parametrize(("key", "limit"), [("", "4096"), (", pids_limit: 50", "50"), (", pids_limit: -1", "max")])
def test_a_subject_may_have_so_many_processes(key: str, limit: str) -> None:
    """By default 4096; what its scenario says; no limit. As the container's own cgroup has it."""
    text = f"version: 1\nname: limited\nsubject: {{image: '{BASE_IMAGE}'{key}}}\nready: {{log: ^ready$}}\n"
    parsed = parse(text)
    parsed = replace(parsed, subject=replace(parsed.subject, command=("python3", "-c", LIMIT)))
    result = run(parsed).report.results[0]
    assert result.observation.looks.logs.text.splitlines()[0] == f"limit {limit}"
    assert result.verdict.outcome is Outcome.GRACEFUL


def test_init_makes_an_unhandled_signal_end_the_container() -> None:
    """Under an init PID 1 passes the signal on, and the default action ends the child: 143."""
    subject = Subject(image=BASE_IMAGE, command=("sleep", "60"), init=True)
    result = run(scenario(subject=subject, readiness=Readiness(delay_ns=NS_PER_S // 2))).report.results[0]
    assert (result.verdict.outcome, result.observation.record.exit_code) == (Outcome.GRACEFUL, 143)


def test_stop_signal_of_the_image_applies_and_the_scenario_overrides_it(
    tmp_path: Path, client: docker.DockerClient
) -> None:
    """STOPSIGNAL of the image is sent and named as the source; `stop.signal` replaces it."""
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE_IMAGE}\nSTOPSIGNAL SIGUSR2\n")
    trap = ("/bin/sh", "-c", "trap 'exit 0' USR2; trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done")
    image = scenario("image", subject=Subject(build_directory=str(tmp_path), command=trap))
    asked = replace(image, name="asked", stop=StopPlan((5 * NS_PER_S,), signal="SIGUSR1"))
    results = {result.observation.scenario: result.observation.record for result in run(image, asked).report.results}
    assert (results["image"].exit_code, results["image"].stop_signal_source) == (0, "image")
    assert (results["asked"].exit_code, results["asked"].stop_signal_source) == (9, "scenario")


def test_readiness_by_tcp_and_http_waits_for_the_server(tmp_path: Path) -> None:
    """A port counts as open only when the program itself listens, not when the engine's proxy does."""
    serve = (
        "use IO::Socket::INET; $|=1; $SIG{TERM}=sub{exit 0}; sleep 1; "
        "my $s=IO::Socket::INET->new(Listen=>9,LocalPort=>8000,ReuseAddr=>1) or die; print qq(listening\\n); "
        "while(1){my $c=$s->accept or next; sysread($c,my $b,999); "
        "print $c qq(HTTP/1.0 200 OK\\r\\n\\r\\nhi); close $c}"
    )
    subject = Subject(image=BASE_IMAGE, command=("perl", "-e", serve))
    by_tcp = scenario("tcp", subject=subject, readiness=Readiness(tcp_port=8000))
    by_http = scenario("http", subject=subject, readiness=Readiness(http_port=8000))
    for result in run(by_tcp, by_http).report.results:
        assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
        assert "listening" in result.observation.looks.logs.text


SAYS_WHAT_IT_SETS = """
import sys

def heard(event, arguments):
    if event in ("os.putenv", "os.unsetenv"):
        print("environment:", arguments[0].decode(), file=sys.stderr)

sys.addaudithook(heard)
from stop_harness.cli.main import main

main()
"""


def test_our_own_environment_names_no_engine(docker_engine_host: DockerHost, tmp_path: Path) -> None:
    """The engine of a docker context and the way past the user's proxy are handed over in our own calls: other code in
    this process, such as a test suite's, keeps the engine and the proxy that its user chose."""
    folder = tmp_path / "contexts" / "meta" / hashlib.sha256(b"chosen").hexdigest()
    folder.mkdir(parents=True)
    endpoint = {"docker": {"Host": docker_engine_host.url}}
    (folder / "meta.json").write_text(json.dumps({"Name": "chosen", "Metadata": {}, "Endpoints": endpoint}))
    server = ["python3", "-u", "-m", "http.server", "8000"]
    subject = {"image": BASE_IMAGE, "command": server, "init": True}
    file = tmp_path / "server.yaml"
    file.write_text(json.dumps({"version": 1, "name": "server", "subject": subject, "ready": {"http": {"port": 8000}}}))
    chosen = {"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "chosen", "http_proxy": "http://127.0.0.1:1"}
    inherited = {name: value for name, value in os.environ.items() if name != "DOCKER_HOST"}
    ended = subprocess.run(
        [sys.executable, "-c", SAYS_WHAT_IT_SETS, "run", str(file), "--report-dir", str(tmp_path / "reports")],
        env={**inherited, **chosen},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    written = {line.partition(": ")[2] for line in ended.stderr.splitlines() if line.startswith("environment: ")}
    assert {name for name in written if not name.startswith("OPENBLAS_")} == set()  # numpy's, and ours for numpy


@pytest.mark.alone
@pytest.mark.long
def test_what_one_long_stop_tells_is_what_each_shorter_stop_does() -> None:
    """Two drains of 2 s, a good and a bad end, and no end at all: performed at 1, 3 and 5 s, and derived from 5 s."""
    drains = "trap 'sleep 2; exit {code}' TERM; echo ready; while :; do sleep 0.1; done"
    timeouts = StopPlan((1 * NS_PER_S, 3 * NS_PER_S, 5 * NS_PER_S))
    subjects = (
        command("/bin/sh", "-c", drains.format(code=0), name="well", stop=timeouts),
        command("/bin/sh", "-c", drains.format(code=3), name="badly", stop=timeouts),
        command(*NEVER_STOPS, name="never", stop=timeouts),
    )
    performed, derived = (run(*subjects, infer=infer).report.results for infer in (False, True))
    assert len(derived) == 9
    for real, other in zip(performed, derived, strict=True):
        assert other.observation.trial_id == real.observation.trial_id
        assert (other.verdict.outcome, other.verdict.status) == (real.verdict.outcome, real.verdict.status)
        assert (other.observation.derivation.derived_from is None) == (
            other.observation.stop_timeout_ns == 5 * NS_PER_S
        )
        if other.observation.derivation.derived_from is not None and real.verdict.outcome is Outcome.KILLED:
            assert real.verdict.facts.sigkill_evidence is SigkillEvidence.OBSERVED
            assert other.verdict.facts.sigkill_evidence is SigkillEvidence.INFERRED
    outcomes = {item.observation.trial_id: item.verdict.outcome for item in derived}
    assert outcomes["well@1s#1"] is Outcome.KILLED
    assert outcomes["well@3s#1"] is outcomes["well@5s#1"] is Outcome.GRACEFUL
    assert outcomes["badly@3s#1"] is Outcome.CRASHED


# ── images ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_unchanged_folder_is_built_once_and_a_changed_one_again(tmp_path: Path, client: docker.DockerClient) -> None:
    """The image's name is made of all it depends on: the same folder is not built again, a changed file is."""
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE_IMAGE}\nCOPY note /note\n")
    (tmp_path / "note").write_text(str(time.time_ns()))
    subject = Subject(build_directory=str(tmp_path), command=STOPS_AT_ONCE)

    def builds() -> list[tuple[str, str]]:
        listener = Silence()
        request = RunRequest((scenario(subject=subject),), "test", None, engine="docker")
        pipeline.run(request, listener, Interruption())
        return [item for item in listener.preparations if item[1] == "building"]

    assert len(builds()) == 1
    assert builds() == []
    (tmp_path / "note").write_text(str(time.time_ns()))
    assert len(builds()) == 1


def test_folder_that_changes_during_a_run_changes_nothing_in_it(tmp_path: Path) -> None:
    """One run stops one program: what was built at its beginning, also where the Dockerfile is another one meanwhile,
    or gone."""
    file = tmp_path / "Dockerfile"
    file.write_text(f"FROM {BASE_IMAGE}\nLABEL stamp={time.time_ns()}\n")

    class Changing(Silence):
        """Changes the file after the first trial and removes it after the second."""

        def ended(self, result: TrialResult) -> None:
            """Keep it."""
            super().ended(result)
            if len(self.results) == 1:
                file.write_text("FROM stop-harness.invalid/no-base:1\n")
            else:
                file.unlink(missing_ok=True)

    asked = scenario(subject=Subject(build_directory=str(tmp_path), command=STOPS_AT_ONCE), repeat=3)
    request = RunRequest((asked,), "test", None, engine="docker", jobs="1")
    done = pipeline.run(request, Changing(), Interruption())
    assert [item.verdict.outcome for item in done.report.results] == [Outcome.GRACEFUL] * 3


def test_dockerfile_that_does_not_build_shows_the_end_of_its_log(tmp_path: Path) -> None:
    """The message holds the last lines of the build log, and nothing was started."""
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE_IMAGE}\nRUN echo the-clue && exit 3\n")
    with pytest.raises(BuildError, match="the-clue"):
        run(scenario(subject=Subject(build_directory=str(tmp_path))))


def test_image_that_does_not_exist_is_named() -> None:
    """An image that is neither there nor can be pulled is a mistake of the scenario."""
    with pytest.raises(ImageError, match="no-such-image"):
        run(scenario(subject=Subject(image="stop-harness.invalid/no-such-image:1")))


def test_missing_base_image_is_an_error_with_advice_and_auto_falls_back(tmp_path: Path) -> None:
    """`--engine docker` says how to make a base image; `auto` says why and uses the embedded engine."""
    (tmp_path / "Dockerfile").write_text('FROM stop-harness.invalid/no-base:1\nCMD ["sleep", "60"]\n')
    subject = Subject(build_directory=str(tmp_path))
    made = scenario(subject=subject, readiness=Readiness(delay_ns=NS_PER_S // 10), stop=StopPlan((0,)))
    with pytest.raises(BaseImageMissing, match="mmdebstrap"):
        run(made)
    listener = Silence()
    outcome = pipeline.run(RunRequest((made,), "test", None), listener, Interruption())
    assert outcome.report.run.engine.name == "process"
    assert "no-base" in listener.notes[0]


# ── bad luck ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_container_that_never_becomes_ready_is_inconclusive_with_its_log() -> None:
    """Not ready in time says nothing about the stop; the end of the log shows what it was doing."""
    stuck = replace(
        command("/bin/sh", "-c", "echo still-loading; sleep 60"),
        readiness=Readiness(log="^ready$", timeout_ns=NS_PER_S),
    )
    result = run(stuck).report.results[0]
    assert result.verdict.status is Status.INCONCLUSIVE
    assert "still-loading" in result.verdict.reason


def test_port_already_taken_is_inconclusive_and_says_which() -> None:
    """A fixed host port that somebody else holds keeps the container from starting."""
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = int(taken.getsockname()[1])
        subject = Subject(image=BASE_IMAGE, command=STOPS_AT_ONCE, ports=((80, port),))
        result = run(scenario(subject=subject)).report.results[0]
    assert result.verdict.status is Status.INCONCLUSIVE
    assert str(port) in result.verdict.reason


@pytest.mark.parametrize(("words", "code"), [(("no-such-command",), 127), (("/etc/passwd",), 126)])
def test_command_that_cannot_run_is_not_running(words: tuple[str, ...], code: int) -> None:
    """A missing or non-executable command never ran; the exit code a shell would give is on record."""
    result = run(command(*words, log=None)).report.results[0]
    assert (result.verdict.outcome, result.observation.record.exit_code) == (Outcome.NOT_RUNNING, code)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("head -c 20000000 /dev/urandom", marks=pytest.mark.long),
        "head -c 100000000 /dev/zero | tr '\\0' x",
        "printf '<script>alert(1)</script>\\033[31mred\\000\\377'",
    ],
)
def test_any_output_is_kept_small_and_never_breaks_a_report(tmp_path: Path, words: str) -> None:
    """20 MB of binary, one line of 100 MB, markup and escape codes: the log tail is small, the report whole."""
    noisy = command("/bin/sh", "-c", f"trap 'exit 0' TERM; {words}; echo; echo ready; while :; do sleep 0.1; done")
    request = RunRequest((noisy,), "noisy", tmp_path, engine="docker")
    outcome = pipeline.run(request, Silence(), Interruption())
    assert outcome.directory is not None
    assert outcome.report.results[0].verdict.outcome is Outcome.GRACEFUL, outcome.report.results[0].verdict.reason
    assert len(outcome.report.results[0].observation.looks.logs.text) <= LOG_LIMITS.keep_bytes
    assert "<script>alert(1)" not in (outcome.directory / "report.html").read_text()
    assert sum(path.stat().st_size for path in outcome.directory.rglob("*") if path.is_file()) < 2_000_000


def test_what_did_not_pass_is_kept_and_named(client: docker.DockerClient) -> None:
    """`--keep`: the container of a failed trial is there after the run, that of a passed one is not."""
    heard = Silence()
    bad = command(*NEVER_STOPS, name="bad", stop=StopPlan((NS_PER_S,)))
    scenarios = (bad, command(*STOPS_AT_ONCE, name="good"))
    pipeline.run(RunRequest(scenarios, "test", None, engine="docker", keep=True), heard, Interruption())
    (note,) = [text for text in heard.notes if " is kept: " in text]
    said = re.fullmatch(r"bad@1s#1: container (\w{12}) is kept: `(?:docker|podman) logs \1`.*", note)
    assert said is not None, note
    kept = client.containers.get(said[1])
    try:
        assert kept.status == "exited"
        same = client.containers.list(all=True, filters={"label": f"{RUN_LABEL}={kept.labels[RUN_LABEL]}"})
        assert [item.id for item in same] == [kept.id]
    finally:
        kept.remove(force=True, v=True)


def test_container_removed_by_somebody_else_is_inconclusive(client: docker.DockerClient) -> None:
    """A container that vanishes during its trial says nothing about its stop."""

    class Thief(Silence):
        def step(self, running: Any, step: str) -> None:
            if step == "stopping":
                threading.Timer(0.5, remove).start()

    def remove() -> None:
        for item in client.api.containers(filters={"label": OWNER_LABEL}):
            if f"/{os.getpid()}/" in item["Labels"][OWNER_LABEL]:
                client.api.remove_container(item["Id"], force=True)

    request = RunRequest((command(*NEVER_STOPS, stop=StopPlan((20 * NS_PER_S,))),), "test", None, engine="docker")
    result = pipeline.run(request, Thief(), Interruption()).report.results[0]
    assert result.verdict.outcome is Outcome.INCONCLUSIVE, result.verdict.reason


def test_engine_that_dies_in_the_middle_leaves_a_whole_journal(
    tmp_path: Path, docker_engine_host: DockerHost, client: docker.DockerClient
) -> None:
    """Trials in flight become inconclusive, trials that had ended keep their verdict, and the run ends by itself."""
    with FaultyEngine(docker_engine_host.url, tmp_path / "engine.sock") as proxy:
        host = docker_host.probe(Address(proxy.url))
        early = scenario("early")
        late = command(*NEVER_STOPS, stop=StopPlan((20 * NS_PER_S,)), name="late")

        class Cutter(Silence):
            def ended(self, result: Any) -> None:
                super().ended(result)
                if result.observation.scenario == "early":
                    proxy.cut()

        run_ids: list[str] = []

        def opener(_name: str, run_id: str) -> open_engine.Chosen:
            run_ids.append(run_id)
            return open_engine.Chosen(DockerEngine(run_id, host=host))

        request = RunRequest((early, late), "dies", tmp_path / "reports", jobs="2")
        try:
            outcome = pipeline.run(request, Cutter(), Interruption(), opener)
        finally:
            remove_run(docker_engine_host.address, run_ids[0])
    outcomes = {result.observation.scenario: result.verdict.outcome for result in outcome.report.results}
    reasons = [result.verdict.reason for result in outcome.report.results]
    assert outcomes == {"early": Outcome.GRACEFUL, "late": Outcome.INCONCLUSIVE}, reasons
    assert outcome.directory is not None
    lines = (outcome.directory / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line)["verdict"]["outcome"] for line in lines] == ["graceful", "inconclusive"]


def test_no_engine_is_an_error_that_names_what_was_tried() -> None:
    """Without an engine the message says where it looked and what to do."""
    with pytest.raises(EngineError, match=r"no Docker or Podman engine answers:\n.*nowhere\.sock"):
        docker_host.find({docker_host.SOCKETS_VARIABLE: "/nowhere.sock"})


# ── nothing is left behind ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def slow_run(tmp_path: Path, client: docker.DockerClient) -> Iterator[tuple[subprocess.Popen[str], Callable[[], int]]]:
    """A harness of its own, with two trials that take a minute, and a count of its containers."""
    file = tmp_path / "slow.yaml"
    words = json.dumps(NEVER_STOPS)
    file.write_text(
        f"version: 1\nname: slow\nsubject: {{image: '{BASE_IMAGE}', command: {words}}}\n"
        "ready: {log: ^ready$}\nstop: {timeouts: [60s, 61s]}\n"
    )
    arguments = ["run", str(file), "--engine", "docker", "--report-dir", str(tmp_path / "reports")]
    harness = subprocess.Popen(
        [sys.executable, "-m", "stop_harness", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

    def count() -> int:
        items = client.api.containers(all=True, filters={"label": OWNER_LABEL})
        return sum(f"/{harness.pid}/" in item["Labels"][OWNER_LABEL] for item in items)

    wait_until(lambda: count() == 2, 90, "two containers")
    yield harness, count
    harness.kill()
    harness.wait()
    if harness.stderr is not None:
        harness.stderr.close()


REMOVED_WITHIN_S = 60
"""A quiet machine needs one or two; how long the engine takes for a removal is not what is asked."""

SlowRun = tuple[subprocess.Popen[str], Callable[[], int]]


def test_kill_9_of_the_harness_leaves_no_container(slow_run: SlowRun) -> None:
    """Seconds after `kill -9` of the harness no container of its run is left."""
    harness, count = slow_run
    harness.kill()
    wait_until(lambda: count() == 0, REMOVED_WITHIN_S, "no container")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_interrupt_ends_cleanly_with_a_whole_journal(
    slow_run: SlowRun, tmp_path: Path, number: signal.Signals
) -> None:
    """The first Ctrl-C (or SIGTERM) removes everything, keeps the journal, writes the report, and exits with 130."""
    harness, count = slow_run
    harness.send_signal(number)
    assert harness.wait(timeout=60) == 130
    assert count() == 0
    (journal,) = (tmp_path / "reports").glob("2*/trials.jsonl")
    assert [json.loads(line)["verdict"]["outcome"] for line in journal.read_text().splitlines()] == ["inconclusive"] * 2
    assert (journal.parent / "report.html").exists()


def test_second_interrupt_leaves_at_once_and_the_reaper_cleans_up(slow_run: SlowRun) -> None:
    """The second Ctrl-C does not wait; the containers are gone all the same."""
    harness, count = slow_run
    harness.send_signal(signal.SIGINT)
    harness.send_signal(signal.SIGINT)
    assert harness.wait(timeout=60) == 130
    wait_until(lambda: count() == 0, REMOVED_WITHIN_S, "no container")


@pytest.mark.alone  # it removes every container of a dead harness, those too that another test has just killed
def test_clean_removes_what_a_dead_harness_left_and_spares_the_living(
    client: docker.DockerClient, docker_engine_host: DockerHost
) -> None:
    """`clean` looks at the owner in the label: a container of a process that is gone goes, ours stays."""

    def container(owner: str) -> Any:
        labels = {RUN_LABEL: "test-clean", OWNER_LABEL: owner}
        return client.containers.create(BASE_IMAGE, command=["sleep", "60"], labels=labels)

    node = machine()
    with open(f"/proc/{os.getpid()}/stat", encoding="ascii") as file:
        started = file.read().rpartition(")")[2].split()[19]
    dead = container(f"{node}/{os.getpid()}/1")
    living = container(f"{node}/{os.getpid()}/{started}")
    try:
        removed, problems = remove_run(docker_engine_host.address, None, keep_living=True)
        assert problems == []
        assert removed >= 1
        left = _ours(client, f"{RUN_LABEL}=test-clean")
        assert left == {living.id}
        assert dead.id not in left
    finally:
        living.remove(force=True)


def _ours(client: docker.DockerClient, label: str = RUN_LABEL) -> set[str]:
    """Ids of the containers that carry a label; unlike the SDK's list it does not look at each again."""
    return {str(item["Id"]) for item in client.api.containers(all=True, filters={"label": label})}
