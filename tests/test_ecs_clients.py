"""AWS CLI v2 with every option of `aws ecs stop-task`, and boto3 with its equivalents, against the ECS endpoint.

The containers are simulated: what is tried here is what clients send and how they read the answers.
tests/test_ecs_docker.py has real ones; that the CLI can print the answers in every format is proved beside what
`stop-harness stop-task` prints (tests/test_stop_task.py).
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import SSLError

from stop_harness.ecs_endpoint.simulated_containers import ContainerScript
from tests import aws_cli
from tests.ecs_support import CREDENTIALS, Simulation, simulation
from tests.tls_front import certificate, tls_front

APP: dict[str, Any] = {"name": "app", "stopTimeout": 100_000}
REASON = "a 'reason' with \"quotes\" and ümlauts"
CLOSED = "http://127.0.0.1:1"
"""Nobody answers there."""

USAGE, CONFIGURATION, SERVICE, OTHER = 252, 253, 254, 255
"""Exit codes of AWS CLI v2."""


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    """An endpoint whose tasks drain for ever."""
    with simulation({"app": ContainerScript(leaves_after_s=None)}) as it:
        yield it


@pytest.fixture(scope="module")
def arn(running: Simulation) -> str:
    """A task that stops, again and again."""
    arn = running.run(APP)
    running.client.stop_task(task=arn, reason=REASON)
    return arn


class Stop:
    """`aws ecs stop-task` against one endpoint."""

    def __init__(self, home: Path, url: str, arn: str) -> None:
        self.home, self.url, self.arn = home, url, arn

    def __call__(
        self, *options: str, code: int = 0, variables: Mapping[str, str] = aws_cli.NOTHING
    ) -> subprocess.CompletedProcess[str]:
        """With --endpoint-url and --task."""
        return self.bare("--endpoint-url", self.url, "--task", self.arn, *options, code=code, variables=variables)

    def bare(
        self, *options: str, code: int = 0, variables: Mapping[str, str] = aws_cli.NOTHING
    ) -> subprocess.CompletedProcess[str]:
        """With these options only."""
        return aws_cli.aws(self.home, "stop-task", *options, code=code, variables=variables)


@pytest.fixture
def stop(tmp_path: Path, running: Simulation, arn: str) -> Stop:
    """The command."""
    return Stop(tmp_path, running.url, arn)


def test_requests_come_from_json_and_yaml_and_the_command_line_wins(running: Simulation, tmp_path: Path) -> None:
    """--cli-input-json, --cli-input-yaml, as text and as file://; --cluster, --task, --reason over them."""
    running.client.create_cluster(clusterName="blue")
    running.register(APP)
    tasks = running.client.run_task(taskDefinition="web", cluster="blue", count=4)["tasks"]
    ids = [task["taskArn"].rpartition("/")[2] for task in tasks]
    file = tmp_path / "stop.yaml"
    file.write_text(yaml.safe_dump({"cluster": "default", "task": ids[2], "reason": "overridden"}), encoding="utf-8")
    commands = (
        ("--cli-input-json", json.dumps({"cluster": "blue", "task": ids[0], "reason": REASON})),
        ("--cli-input-yaml", yaml.safe_dump({"cluster": "blue", "task": ids[1], "reason": REASON})),
        ("--cli-input-yaml", f"file://{file}", "--cluster", "blue", "--reason", REASON),
        (
            "--cli-input-json",
            json.dumps({"reason": "overridden"}),
            "--reason=" + REASON,
            "--cluster=blue",
            "--task",
            ids[3],
        ),
    )
    for task_id, command in zip(ids, commands, strict=True):
        done = aws_cli.aws(tmp_path, "stop-task", *command, "--endpoint-url", running.url)
        task = json.loads(done.stdout)["task"]
        assert task["taskArn"].endswith(f"/blue/{task_id}")
        assert task["stoppedReason"] == REASON


def test_skeletons_make_no_request_and_the_input_skeleton_is_a_request(stop: Stop) -> None:
    """--generate-cli-skeleton, input, yaml-input and output; what input prints can be filled in and sent."""
    nowhere = ("--endpoint-url", CLOSED, "--generate-cli-skeleton")
    commands = ((), ("yaml-input",), ("output", "--task", stop.arn))
    plain, in_yaml, output = (stop.bare(*nowhere, *command).stdout for command in commands)
    skeleton = json.loads(plain)
    assert skeleton.keys() == yaml.safe_load(in_yaml).keys() == {"cluster", "task", "reason"}
    assert "stoppedReason" in json.loads(output)["task"]
    filled = json.dumps({**skeleton, "cluster": "default", "task": stop.arn})
    sent = stop.bare("--endpoint-url", stop.url, "--cli-input-json", filled, "--query", "task.taskArn", "--output=text")
    assert sent.stdout == f"{stop.arn}\n"


def test_profiles_regions_and_signatures(stop: Stop) -> None:
    """--profile, --region, --no-sign-request, --debug: whatever is signed, and nothing at all, is served, by the region
    that it is signed for."""
    (stop.home / "config").write_text("[profile local]\nregion = eu-west-3\noutput = text\n", encoding="utf-8")
    (stop.home / "credentials").write_text(
        "[local]\naws_access_key_id = AKIALOCAL\naws_secret_access_key = s\n", encoding="utf-8"
    )
    nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_DEFAULT_REGION": ""}
    profile = ("--profile", "local", "--query", "task.stopCode", "--debug")
    signed = stop(*profile, code=SERVICE, variables=nobody)
    assert "Identifier is for region us-east-1. Your region is eu-west-3" in signed.stderr
    assert re.search(r"Credential=AKIALOCAL/\d+/eu-west-3/ecs/aws4_request", signed.stderr)
    there = stop(*profile, "--region", "us-east-1", variables=nobody)
    assert there.stdout == "UserInitiated\n"
    assert "/us-east-1/ecs/aws4_request" in there.stderr
    unsigned = stop("--no-sign-request", "--region", "us-east-1", "--debug", variables=nobody)
    assert "UserInitiated" in unsigned.stdout
    assert "Credential=" not in unsigned.stderr
    assert "Unable to locate credentials" in stop("--region", "us-east-1", code=CONFIGURATION, variables=nobody).stderr


def test_timeouts_are_never_reached_because_the_answer_comes_at_once(stop: Stop) -> None:
    """--cli-read-timeout and --cli-connect-timeout of seconds, for a task that drains for longer; 0 means none."""
    assert "UserInitiated" in stop("--cli-read-timeout", "5", "--cli-connect-timeout", "5").stdout
    assert "UserInitiated" in stop("--cli-read-timeout", "0", "--cli-connect-timeout", "0").stdout
    nobody = stop.bare("--endpoint-url", CLOSED, "--task", stop.arn, code=OTHER, variables={"AWS_MAX_ATTEMPTS": "1"})
    assert "Could not connect to the endpoint URL" in nobody.stderr


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")  # that is what --no-verify-ssl asks for
def test_tls_is_verified_unless_told_otherwise(stop: Stop, tmp_path: Path) -> None:
    """--ca-bundle, --no-verify-ssl, for the CLI and for boto3, through a TLS proxy before the endpoint."""
    public, private = certificate(tmp_path)
    with tls_front(stop.url, public, private) as url:
        https = ("--endpoint-url", url, "--task", stop.arn, "--query", "task.stopCode", "--output", "text")
        assert stop.bare(*https, "--ca-bundle", str(public)).stdout == "UserInitiated\n"
        assert stop.bare(*https, "--no-verify-ssl").stdout == "UserInitiated\n"
        assert "SSL validation failed" in stop.bare(*https, code=OTHER, variables={"AWS_MAX_ATTEMPTS": "1"}).stderr
        config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=5)
        for verify in (str(public), False):
            client = boto3.client("ecs", endpoint_url=url, verify=verify, config=config, **CREDENTIALS)
            assert client.stop_task(task=stop.arn)["task"]["stopCode"] == "UserInitiated"
        with pytest.raises(SSLError):
            boto3.client("ecs", endpoint_url=url, config=config, **CREDENTIALS).stop_task(task=stop.arn)


def test_prompts_and_pagers_on_a_terminal(stop: Stop) -> None:
    """--cli-auto-prompt asks before it calls, --no-cli-auto-prompt does not; --no-cli-pager keeps the pager away."""
    answer = ("--endpoint-url", stop.url, "--task", stop.arn, "--query", "task.stopCode", "--output", "text")
    paged = {"AWS_PAGER": "sed s/^/PAGED:/"}
    prompted = aws_cli.aws_on_a_terminal(
        stop.home, "stop-task", *answer, "--cli-auto-prompt", keys=b"\r", variables=paged
    )
    assert "Execute Command" in prompted
    assert "PAGED:UserInitiated" in prompted
    straight = ("stop-task", *answer, "--no-cli-pager", "--no-cli-auto-prompt")
    assert (
        aws_cli.aws_on_a_terminal(stop.home, *straight, variables={"AWS_CLI_AUTO_PROMPT": "on", **paged})
        == "UserInitiated\r\n"
    )


def test_version_and_usage_errors_need_no_endpoint(stop: Stop) -> None:
    """--version; a missing --task, an unknown option, and both inputs at once are refused before anything is sent."""
    assert stop.bare("--version").stdout.startswith("aws-cli/2.")
    wrong = ((), ("--task", stop.arn, "--nope"), ("--cli-input-json", "{}", "--cli-input-yaml", "{}"))
    for words, command in zip(("--task", "--nope", "cli-input"), wrong, strict=True):
        assert words in stop.bare("--endpoint-url", CLOSED, *command, code=USAGE).stderr


def test_the_services_errors_reach_the_terminal(stop: Stop) -> None:
    """Exit code 254, with the name and the text of the error."""
    told = stop("--cluster", "nope", code=SERVICE).stderr
    assert "(ClusterNotFoundException)" in told
    assert "Cluster not found." in told


def test_lists_are_paged_unless_told_otherwise(running: Simulation, tmp_path: Path) -> None:
    """--no-paginate shows one page and its token; without it the client fetches them all. boto3's paginator too."""
    running.client.create_cluster(clusterName="paged")
    running.register(APP)
    running.client.run_task(taskDefinition="web", cluster="paged", count=5)
    lists = ("list-tasks", "--cluster", "paged", "--endpoint-url", running.url)
    one = json.loads(aws_cli.aws(tmp_path, *lists, "--no-paginate", "--max-results", "2").stdout)
    assert (len(one["taskArns"]), bool(one["nextToken"])) == (2, True)
    every = json.loads(aws_cli.aws(tmp_path, *lists, "--page-size", "2").stdout)
    pages = running.client.get_paginator("list_tasks").paginate(cluster="paged", PaginationConfig={"PageSize": 2})
    assert pages.build_full_result()["taskArns"] == every["taskArns"]
    assert len(set(every["taskArns"])) == 5


def test_the_waiters_of_the_command_line(tmp_path: Path) -> None:
    """tasks-running and tasks-stopped, and tasks-running of a task that has ended."""
    with simulation({"app": ContainerScript(leaves_after_s=10)}) as it:
        arn = it.run({"name": "app"})
        wait = ("--tasks", arn, "--endpoint-url", it.url)
        assert aws_cli.aws(tmp_path, "wait", "tasks-running", *wait).stdout == ""
        aws_cli.aws(tmp_path, "stop-task", "--task", arn, "--endpoint-url", it.url)
        it.stopped(arn)
        assert aws_cli.aws(tmp_path, "wait", "tasks-stopped", *wait).stdout == ""
        failed = aws_cli.aws(tmp_path, "wait", "tasks-running", *wait, code=OTHER).stderr
        assert "Waiter TasksRunning failed" in failed


def test_boto3_with_the_equivalent_options(running: Simulation, arn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another region, no signature, short time-outs, the environment's endpoint: the same answers."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", running.url)
    config = Config(signature_version=UNSIGNED, connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 1})
    client = boto3.client("ecs", region_name="eu-west-3", config=config)
    task = client.stop_task(cluster="default", task=arn, reason="again")["task"]
    assert (task["taskArn"], task["stoppedReason"]) == (arn, REASON)
    assert client.meta.region_name == "eu-west-3"
