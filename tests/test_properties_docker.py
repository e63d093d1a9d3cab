"""What must be true after a stop, looked at on a real engine: files, ports, the next start, and those beside it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from stop_harness.conductor import pipeline
from stop_harness.conductor.open_engine import open_engine
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.reaper import RUN_LABEL
from stop_harness.model import (
    NS_PER_S,
    CommandProperty,
    Content,
    Expectation,
    FileProperty,
    LogProperty,
    Outcome,
    PortProperty,
    Property,
    PropertyRecord,
    RestartProperty,
    Status,
    TrialResult,
)
from stop_harness.scenario import discovery
from stop_harness.trial.perform import Interruption
from tests import group_support
from tests.free_port import free_port
from tests.group_support import LEAVES, project, service, subject
from tests.silence import Silence

pytestmark = pytest.mark.docker

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")

WRITER = """
import os, signal, socket, sys, time
again = os.path.exists("/data/journal")
print("again" if again else "first", flush=True)
if again and os.environ["MODE"] == "once":
    sys.exit("a journal from before")
journal = open("/data/journal", "a")
if not again:
    os.symlink("journal", "/data/latest")
    os.symlink("/data/latest", "/link")
    os.mkdir("/data/folder")
    with open("/large", "wb") as large:
        large.truncate(17 << 20)
    os.mkfifo("/fifo")
def leave(*_):
    journal.write('{"id": 2}' + ("" if os.environ["MODE"] == "torn" else chr(10)))
    journal.flush()
    os.write(1, b"flushed" + bytes([10]))  # not print: the signal may come while `ready` is being printed
    os._exit(0)
signal.signal(signal.SIGTERM, leave)
journal.write('{"id": 1}' + chr(10))
if os.environ.get("LISTEN"):
    server = socket.create_server(("", int(os.environ["LISTEN"])))
if again:
    time.sleep(0.5)
print("ready", flush=True)
while True:
    time.sleep(0.05)  # not pause(): a signal just before it would wait for the next one
"""


def stopped(folder: Path, mode: str, *asked: Property, rest: str = "", environment: str = "") -> TrialResult:
    """One stop of the writer, whose subject goes on with `rest`."""
    (folder / "writer.py").write_text(WRITER)
    (folder / "s.yaml").write_text(
        f"version: 1\nname: left\nsubject:\n  image: {BASE_IMAGE}\n  command: [python3, -u, /app/writer.py]\n"
        f'  volumes: ["./writer.py:/app/writer.py:ro", "data:/data"]\n'
        f'  environment: {{MODE: {mode}{environment}}}\n{rest}ready: {{log: "^ready$"}}\nstop: {{timeouts: 5s}}\n'
    )
    (scenario,) = discovery.load((folder / "s.yaml",))
    scenario = replace(scenario, expectations=(Expectation(after_stop=asked),))
    done = pipeline.run(RunRequest((scenario,), "test", None, engine="docker"), Silence(), Interruption())
    (result,) = done.report.results
    assert result.verdict.outcome is Outcome.GRACEFUL, (result.verdict.reason, result.observation.problem)
    return result


def found(result: TrialResult) -> list[bool | None]:
    return [record.held for record in result.observation.properties]


def test_files_of_a_container_that_has_ended(tmp_path: Path, docker_engine_host: DockerHost) -> None:
    """In its volume and in its own layer; links are followed, and what is no file has no content."""
    whole = Content(json_lines=True, ends_with_newline=True, equals='{"id": 1}\n{"id": 2}\n')
    result = stopped(
        tmp_path,
        "whole",
        FileProperty("/data/journal", whole),
        FileProperty("/link", whole),
        FileProperty("/data/folder"),
        FileProperty("/data/folder", whole),
        FileProperty("/fifo", whole),
        FileProperty("/data/nothing", exists=False),
        FileProperty("/data/nothing"),
        FileProperty("/large"),
        FileProperty("/large", Content(contains="x")),
        FileProperty("/data/journal/below"),
    )
    assert found(result) == [True, True, True, False, False, True, False, True, None, False], (
        result.observation.properties
    )
    assert result.verdict.status is Status.FAIL


def test_what_was_kept_in_memory_is_not_called_missing(tmp_path: Path, docker_engine_host: DockerHost) -> None:
    """Also behind a link, as Debian's /var/run is one to /run, and where the image has a file at the same place."""
    result = stopped(
        tmp_path,
        "whole",
        FileProperty("/run/lock.pid", exists=False),
        FileProperty("/var/run/lock.pid"),
        FileProperty("/etc/hostname-of-memory/x", exists=False),
        FileProperty("/proc/1/status"),
        FileProperty("/runner", exists=False),
        rest="  tmpfs: [/run, /etc/hostname-of-memory]\n",
    )
    assert found(result) == [None, None, None, None, True], result.observation.properties
    assert result.verdict.status is Status.INCONCLUSIVE
    assert "kept in memory" in result.observation.properties[1].found


def test_half_a_line_and_what_was_written_since_the_stop(tmp_path: Path, docker_engine_host: DockerHost) -> None:
    """The excerpt ends where the file does; lines from before the stop do not count."""
    result = stopped(
        tmp_path,
        "torn",
        FileProperty("/data/journal", Content(ends_with_newline=True)),
        LogProperty("^flushed$"),
        LogProperty("^ready$"),
        LogProperty("Traceback", written=False),
    )
    assert found(result) == [False, True, False, True], result.observation.properties
    assert result.observation.properties[0].excerpt.endswith('{"id": 2}')


def test_a_published_port_is_free_again_and_the_next_start_has_it(
    tmp_path: Path, docker_engine_host: DockerHost
) -> None:
    """Restarted it writes `ready` anew: the line from before the stop is not taken for it. A command sees its files."""
    result = stopped(
        tmp_path,
        "whole",
        PortProperty(7000),
        RestartProperty(20 * NS_PER_S),
        CommandProperty(("cat", "/data/journal"), content=Content(matches='^{"id": 2}$')),
        CommandProperty(("sh", "-c", "echo of; echo no >&2; exit 3"), exit_code=3, content=Content(equals="of\n")),
        CommandProperty(("no-such-program",)),
        CommandProperty(("sleep", "60"), timeout_ns=NS_PER_S // 2),
        rest=f"  ports: {{7000: {free_port()}}}\n",
        environment=', LISTEN: "7000"',
    )
    assert found(result) == [True, True, True, True, None, None], result.observation.properties
    took = result.observation.properties[1].found.split()[1]
    assert float(took) > 0.5, took


def test_a_next_start_that_fails(tmp_path: Path, docker_engine_host: DockerHost) -> None:
    """It exits before it is ready, and nothing can be run in it then."""
    result = stopped(tmp_path, "once", RestartProperty(20 * NS_PER_S), CommandProperty(("true",)))
    assert found(result) == [False, None], result.observation.properties
    assert "exited with code 1 before it was ready" in result.observation.properties[0].found


def test_a_port_of_the_machine_that_somebody_has(
    tmp_path: Path, docker_engine_host: DockerHost, client: docker.DockerClient
) -> None:
    """In the network of the engine's machine, where another container listens at the same port."""
    port = free_port()
    other = client.containers.run(
        BASE_IMAGE,
        ["python3", "-c", f"import socket, time\ns = socket.create_server(('', {port}))\ntime.sleep(600)"],
        network_mode="host",
        detach=True,
        labels={RUN_LABEL: "expect-test"},
    )
    try:
        result = stopped(tmp_path, "whole", PortProperty(port), rest="  network: host\n")
        assert found(result) == [False], result.observation.properties
    finally:
        other.remove(force=True)


def test_a_port_that_only_the_container_has_is_refused(docker_engine_host: DockerHost) -> None:
    """Before anything starts, with what would be looked at."""
    asked = group_support.scenario(project(service("web"), service("db"), stopped="web"))
    asked = replace(asked, expectations=(Expectation(after_stop=(PortProperty(7000),)),))
    engine = open_engine("docker", "expect-test").engine
    try:
        assert "the container has this port for itself" in (engine.cannot_run(asked) or "")
    finally:
        engine.close()


STORE = "open('/stored', 'w').write('order 7\\n')\n" + LEAVES


def test_what_stands_in_a_dependency(docker_engine_host: DockerHost) -> None:
    """By a command in it and by its own file, while it runs on; the stopped one gets ready again among the others."""
    group = project(service("web"), service("db", subject(STORE)), stopped="web")
    asked = (
        CommandProperty(("cat", "/stored"), "db", content=Content(equals="order 7\n")),
        CommandProperty(("cat", "/missing"), "db"),
        FileProperty("/stored", Content(contains="order 7"), container="db"),
        FileProperty("/stored"),
        RestartProperty(20 * NS_PER_S),
    )
    result = group_support.stopped(group, expectations=(Expectation(after_stop=asked),))
    assert found(result) == [True, False, True, False, True], result.observation.properties


def test_a_whole_group_shows_the_files_and_logs_of_each(docker_engine_host: DockerHost) -> None:
    """By its name."""
    says = LEAVES.replace("    time.sleep", "    print('bye', flush=True)\n    time.sleep")
    group = project(service("web", subject(says)), service("db", subject(STORE)))
    asked: tuple[Property, ...] = (
        FileProperty("/stored", Content(contains="order 7"), container="db"),
        LogProperty("^bye$", container="web"),
        LogProperty("^bye$", container="db"),
    )
    result = group_support.stopped(group, expectations=(Expectation(after_stop=asked),))
    records: tuple[PropertyRecord, ...] = result.observation.properties
    # Podman tells of no signal, and when lines were written in whole seconds.
    logs = [None, None] if docker_engine_host.podman else [True, False]
    assert [record.held for record in records] == [True, *logs], records
