"""`stop-task` follows a task to STOPPED and says how each container took it, and how that is known."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stop_harness.cli import main
from stop_harness.cli.stop_task import Refusal
from stop_harness.ecs_client import follow
from stop_harness.ecs_endpoint.simulated_containers import ContainerScript
from tests import aws_cli
from tests.ecs_support import Simulation, simulation
from tests.stop_task_support import NO_HOME, on_a_terminal

SCRIPTS = {
    "stuck": ContainerScript(leaves_after_s=None),
    "slow": ContainerScript(leaves_after_s=3),
    "fails": ContainerScript(exit_code=9),
    "hungry": ContainerScript(exit_code=1, oom_killed=True),
    "brief": ContainerScript(runs_for_s=0.1),
    "leaky": ContainerScript(lost_processes=("worker",)),
}


def run(url: str, *arguments: str, **variables: str) -> Result:
    """`stop-harness stop-task`, in this process."""
    cleared: dict[str, str | None] = dict.fromkeys(os.environ)
    environment = {**cleared, **aws_cli.environment(NO_HOME, variables)}
    return CliRunner(env=environment).invoke(main.cli, ["stop-task", "--endpoint-url", url, *arguments])


@pytest.fixture
def ours() -> Iterator[Simulation]:
    """`ecs serve` over scripted containers, a hundred times as fast as the wall."""
    with simulation(SCRIPTS) as it:
        yield it


def last_paragraph(text: str) -> str:
    """The verdict, on one line."""
    return " ".join(text.rsplit("\n\n", maxsplit=1)[-1].split())


def test_a_killed_container_is_told_with_the_engines_evidence(ours: Simulation) -> None:
    """Duration, stop timeout, exit code, SIGKILL observed, and a sentence."""
    arn = ours.run({"name": "stuck", "stopTimeout": 20}, {"name": "slow", "essential": False})
    result = run(ours.server.url, "--task", arn, "--reason", "why not")
    assert result.exit_code == 1, result.output
    assert re.search(r"^stuck +2\d[.\d]* s +20 s +137 +observed$", result.stdout, re.MULTILINE), result.stdout
    assert re.search(r"^slow +\d[.\d]* s +30 s +0 +not sent$", result.stdout, re.MULTILINE), result.stdout
    told = " ".join(result.stdout.split())
    assert "killed: stuck: still running 20 s after SIGTERM; ended by SIGKILL (observed: kill event" in told
    assert f"task {arn.rpartition('/')[2]}: 2 containers, asked to stop" in result.stderr
    assert "stuck STOPPED (137)" in result.stderr
    assert ours.task(arn)["stoppedReason"] == "why not"


@pytest.mark.parametrize(
    ("containers", "code", "sentence"),
    [
        (["app"], 0, r"graceful: app: exited with code 0, .* after SIGTERM\."),
        (["app", "slow"], 0, r"graceful: every container exited by itself in [\d.]+ s\."),
        (["app", "fails"], 1, r"crashed: fails: exited with code 9, .* after SIGTERM, which is not accepted\."),
        (["hungry", "app"], 1, r"oom killed: hungry: the OOM killer struck during the stop; exit code 1, .*\."),
        (["leaky", "app"], 1, r"lossy: leaky: exited with code 0, .*, but SIGKILL ended worker\."),
        (
            ["stuck", "fails"],
            1,
            r"crashed: fails: exited with code 9, .*; stuck: still running 30 s after .*\.",
        ),
    ],
)
def test_the_verdict_is_one_sentence_and_an_exit_code(
    ours: Simulation, containers: list[str], code: int, sentence: str
) -> None:
    """The worst container decides and is named first; others that failed are named after it."""
    arn = ours.run(*({"name": name} for name in containers))
    result = run(ours.server.url, "--task", arn)
    assert result.exit_code == code
    assert re.fullmatch(sentence, last_paragraph(result.stdout)), result.stdout


def test_a_container_that_had_ended_counts_for_nothing(ours: Simulation) -> None:
    """An initialising container is no part of the stop, and a task of nothing else is inconclusive."""
    arn = ours.run({"name": "brief", "essential": False}, {"name": "app"})
    ours.until(arn, lambda it: it["containers"][0]["lastStatus"] == "STOPPED")
    result = run(ours.server.url, "--task", arn)
    assert result.exit_code == 0
    assert last_paragraph(result.stdout).startswith("graceful: app: exited with code 0")
    gone = ours.run({"name": "brief"}, wait=False)
    ours.stopped(gone)
    result = run(ours.server.url, "--task", gone)
    assert result.exit_code == 3
    assert last_paragraph(result.stdout) == "nothing was stopped: the task was already gone before the stop."
    assert "its stopCode is EssentialContainerExited" in " ".join(result.stdout.split())


@pytest.mark.parametrize("arguments", [["--output", "json"], ["--query", "@"]], ids=str)
def test_with_a_format_the_final_task_is_on_standard_output(ours: Simulation, arguments: list[str]) -> None:
    """Nothing else there: the verdict goes to standard error, the exit code stays."""
    arn = ours.run({"name": "stuck", "stopTimeout": 2})
    result = run(ours.server.url, "--task", arn, *arguments)
    task = json.loads(result.stdout)["task"]
    assert (task["taskArn"], task["lastStatus"], task["containers"][0]["exitCode"]) == (arn, "STOPPED", 137)
    assert "killed: stuck: still running" in result.stderr
    assert result.exit_code == 1


def test_the_configured_format_alone_asks_for_no_task(ours: Simulation) -> None:
    """AWS_DEFAULT_OUTPUT is for scripts with --query; a person gets the verdict."""
    arn = ours.run({"name": "app"})
    assert "graceful" in run(ours.server.url, "--task", arn, AWS_DEFAULT_OUTPUT="text").stdout
    answer = run(ours.server.url, "--task", arn, "--query", "task.lastStatus", AWS_DEFAULT_OUTPUT="text")
    assert answer.stdout == "STOPPED\n"


def test_colour_where_it_is_wanted(ours: Simulation) -> None:
    """On a terminal or with --color on, and nowhere else."""
    arn = ours.run({"name": "app"})
    assert "\033" not in run(ours.server.url, "--task", arn).output
    assert "\033[32mgraceful" in run(ours.server.url, "--task", arn, "--color", "on").stdout


def test_a_terminal_sees_the_task_stop() -> None:
    """One line that is written over and over, and taken away in the end."""
    with simulation({"app": ContainerScript(leaves_after_s=3)}, speed=1) as it:
        arn = it.run({"name": "app"})
        seen = on_a_terminal("--endpoint-url", it.server.url, "--task", arn)
    assert re.search(r"\r\033\[KSTOPPING for \d s: app RUNNING", seen), seen
    assert "\r\033[Kcontainer  took" in seen
    assert "\033[32mgraceful: app: exited with code 0" in seen


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--task", "abc"], 2),
        (["--task", "0" * 32, "--cluster", "nope"], 2),
        ([], 2),
        (["--task", "x", "--query", "["], 2),
    ],
)
def test_refusals_have_the_exit_codes_of_the_project(ours: Simulation, arguments: list[str], code: int) -> None:
    """ECS's words without its blank line, and no traceback."""
    error = run(ours.server.url, *arguments).exception
    assert isinstance(error, Refusal)
    assert error.exit_code == code


def test_an_endpoint_that_does_not_answer_is_4() -> None:
    """As for an engine; and so is one that answers something else."""
    error = run("http://127.0.0.1:1", "--task", "0" * 32).exception
    assert isinstance(error, Refusal)
    assert error.exit_code == 4
    with amazon([], {}) as url:
        error = run(url, "--task", ARN).exception
    assert isinstance(error, Refusal)
    assert error.exit_code == 4
    assert "names no task" in str(error)


@pytest.mark.parametrize(
    "arguments",
    [["--query", "task.nope()"], ["--profile", "nope"], ["--cli-auto-prompt"], ["--output", "xml"]],
    ids=str,
)
def test_mistakes_of_the_user_are_2(ours: Simulation, arguments: list[str]) -> None:
    """A query that fails, a profile that is not there, questions without a terminal."""
    arn = ours.run({"name": "app"})
    result = run(ours.server.url, "--task", arn, *arguments)
    assert (result.exception.exit_code if isinstance(result.exception, Refusal) else result.exit_code) == 2


# ── Amazon's ECS: another endpoint, that tells what ECS tells ────────────────────────────────────────────────────────


T0 = 1_800_000_000.0
ARN = "arn:aws:ecs:us-east-1:123456789012:task/default/" + "a" * 32


def task(last: str, *containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A Task of the API."""
    known = {"taskArn": ARN, "taskDefinitionArn": "web:1", "lastStatus": last, "stoppingAt": T0, "startedAt": T0 - 60}
    return {**known, "stopCode": "UserInitiated", "containers": list(containers), **more}


def container(name: str, code: int | None = None, **more: Any) -> dict[str, Any]:
    """One that runs, or ended with `code`."""
    known = {"name": name, "runtimeId": f"{name}-1", **more}
    if code is None:
        return {"lastStatus": "RUNNING", **known}
    return {"lastStatus": "STOPPED", "exitCode": code, **known}


@contextmanager
def amazon(definition: list[dict[str, Any]] | None, *looks: Any) -> Iterator[str]:
    """A server whose tasks are as scripted: the first look answers StopTask and what comes before it, the others
    DescribeTasks, the last one for ever. A number is an HTTP status with an error, None a task that ECS forgot."""
    left, stopped = list(looks), [False]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            operation = self.headers["X-Amz-Target"].rpartition(".")[2]
            status: int = 200
            answer: dict[str, Any] = {}
            if operation == "DescribeTaskDefinition":
                answer = {"taskDefinition": {"containerDefinitions": definition}}
                if definition is None:
                    status, answer = 400, {"__type": "AccessDeniedException", "message": "no"}
            else:
                stopped[0] = stopped[0] or operation == "StopTask"
                look = left.pop(0) if len(left) > 1 and stopped[0] else left[0]
                if isinstance(look, int):
                    status, answer = look, {"__type": "AccessDeniedException", "message": "no"}
                elif operation == "StopTask":
                    answer = {"task": look}
                else:
                    answer = {"tasks": [look] if look else [], "failures": []}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            raise AssertionError("nobody but our own endpoint is asked for evidence")

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def at(seconds: float) -> dict[str, float]:
    """The two times of the end."""
    return {"executionStoppedAt": T0 + seconds, "stoppedAt": T0 + seconds + 1}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often: the scripted server has no limit."""
    monkeypatch.setattr(follow, "POLL_S", 0.05)
    monkeypatch.setattr(follow, "UNREACHABLE_PATIENCE_S", 3.0)


RUNNING = task("RUNNING", container("app"))


def test_sigkill_at_the_stop_timeout_is_inferred_from_what_ecs_tells() -> None:
    """137, and executionStoppedAt at the stop timeout: two clocks, said so; no duration of a container."""
    definition = [{"name": "app", "stopTimeout": 10}]
    with amazon(definition, RUNNING, RUNNING, task("STOPPED", container("app", 137), **at(10.2))) as url:
        result = run(url, "--task", ARN)
    assert result.exit_code == 1, result.output
    told = " ".join(result.stdout.split())
    assert "137 inferred" in told
    assert "killed: app: still running 10 s after the stop signal; ended by SIGKILL (inferred: exit code 137" in told
    assert "The task took 11.2 s from stoppingAt to stoppedAt, by the clock of ECS." in told
    assert "10.2 s after stoppingAt (executionStoppedAt): two clocks" in told
    assert "seen stopped" in told
    assert " took " not in told.replace("The task took", "")


@pytest.mark.parametrize(
    ("definition", "end", "sigkill"),
    [
        ([{"name": "app", "stopTimeout": 10}], at(4), "not sent"),
        ([{"name": "app"}], at(12), "unknown"),
        ([{"name": "app", "stopTimeout": 10, "essential": False}], at(12), "not sent"),
        ([{"name": "app", "stopTimeout": 10}, {"name": "web", "links": ["app:a"]}], at(12), "not sent"),
        ([{"name": "app", "stopTimeout": 10}], {}, "not sent"),
        (None, at(40), "unknown"),
    ],
    ids=["too early", "default timeout", "not essential", "held back", "no time", "no definition"],
)
def test_137_that_is_not_seen_at_the_stop_timeout_is_inconclusive(
    definition: list[dict[str, Any]] | None, end: Any, sigkill: str
) -> None:
    """Somebody's SIGKILL, the OOM killer, a code of the program's own: nobody is accused of it. Polling saw the end at
    once, so that the stop timeout of 10 s was not over; which one applied is not always known."""
    with amazon(definition, RUNNING, task("STOPPED", container("app", 137), **end)) as url:
        result = run(url, "--task", ARN)
    assert result.exit_code == 3
    assert result.stdout.splitlines()[1].endswith(f"137        {sigkill}")
    assert last_paragraph(result.stdout).startswith("inconclusive: app: exit code 137")
    assert ("ecs:DescribeTaskDefinition" in result.stdout) == (definition is None)


def test_a_load_balancers_time_is_not_taken_for_the_containers() -> None:
    """DEACTIVATING comes before the stop signal."""
    ended = task("STOPPED", container("app", 137), **at(60))
    looks = RUNNING, task("DEACTIVATING", container("app")), ended
    with amazon([{"name": "app", "stopTimeout": 10}], *looks) as url:
        result = run(url, "--task", ARN)
    assert result.exit_code == 3
    assert "inferred" not in result.stdout
    assert "(DEACTIVATING)" in result.stdout


@pytest.mark.parametrize(
    ("it", "code", "words"),
    [
        (container("app", 0), 0, "graceful: app: exited with code 0"),
        (container("app", 143), 0, "graceful"),
        (
            container("app", 1),
            1,
            "crashed: app: exited with code 1, 1 s after the stop signal",
        ),
        (
            container("app", 131),
            3,
            "orderly only if that is its image's STOPSIGNAL",
        ),
        (container("app", 137, reason="OutOfMemoryError: Container killed due to memory usage"), 1, "oom killed"),
        ({"name": "app", "lastStatus": "STOPPED", "runtimeId": "r"}, 3, "inconclusive: app: no exit was recorded"),
        ({"name": "app", "lastStatus": "STOPPED"}, 3, "nothing was stopped"),
    ],
)
def test_exit_codes_that_ecs_tells(it: dict[str, Any], code: int, words: str) -> None:
    """Orderly, faulty, or not to be told."""
    with amazon([{"name": "app"}], RUNNING, task("STOPPED", it, **at(1))) as url:
        result = run(url, "--task", ARN, "--output", "json")
    assert result.exit_code == code
    assert words in " ".join(result.stderr.split())
    assert "observed" not in result.stderr


@pytest.mark.parametrize("look", [None, 400], ids=["forgotten", "denied"])
def test_a_stop_that_cannot_be_followed_is_inconclusive(look: int | None) -> None:
    """The task was told to stop all the same."""
    with amazon([], RUNNING, look) as url:
        result = run(url, "--task", ARN)
    assert result.exit_code == 3
    assert "inconclusive: " in result.stderr
    assert result.stdout == ""


def test_a_moment_out_of_reach_is_bridged_and_a_long_one_is_4() -> None:
    """A failure of ECS is tried again, for a minute."""
    with amazon([{"name": "app"}], RUNNING, *[500] * 3, task("STOPPED", container("app", 0), **at(1))) as url:
        assert run(url, "--task", ARN, AWS_MAX_ATTEMPTS="1").exit_code == 0
    with amazon([], RUNNING, 500) as url:
        error = run(url, "--task", ARN, AWS_MAX_ATTEMPTS="1").exception
    assert isinstance(error, Refusal)
    assert error.exit_code == 4


@pytest.mark.parametrize("style", ["wire", "iso8601"])
def test_times_are_read_in_either_form(tmp_path: Path, style: str) -> None:
    """cli_timestamp_format changes what is printed, not what is measured."""
    (tmp_path / "config").write_text(f"[default]\ncli_timestamp_format = {style}\n")
    with amazon([{"name": "app"}], RUNNING, task("STOPPED", container("app", 0), **at(1.25))) as url:
        result = run(url, "--task", ARN, AWS_CONFIG_FILE=str(tmp_path / "config"))
    assert "The task took 2.25 s" in result.stdout


def test_ctrl_c_ends_the_following_and_not_the_stop() -> None:
    """Exit code 130, and a line that says so."""
    command = [str(Path(sys.executable).parent / "stop-harness"), "stop-task", "--task", ARN, "--endpoint-url"]
    with amazon([{"name": "app"}], RUNNING) as url:
        process = subprocess.Popen(
            [*command, url],
            env=aws_cli.environment(NO_HOME, {}),
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert "asked to stop" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert "the task goes on stopping" in stderr


def test_what_the_endpoint_does_not_emulate_is_said_with_the_verdict(ours: Simulation) -> None:
    """And where the outcome may be another with it, there is none."""
    arn = ours.run({"name": "app", "secrets": [{"name": "TOKEN", "valueFrom": "arn:aws:ssm:x"}]})
    result = run(ours.server.url, "--task", arn)
    assert result.exit_code == 3, result.output
    told = " ".join(result.stdout.split())
    assert (
        "Not emulated: containerDefinitions (app).secrets: variables that it may need to start and to log off." in told
    )
    assert last_paragraph(result.stdout).startswith("inconclusive: ")
