"""`stop-task --no-wait` prints what `aws ecs stop-task` prints, byte for byte, and exits as it exits."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stop_harness.ecs_endpoint.simulated_containers import ContainerScript
from tests.ecs_support import Simulation, simulation
from tests.stop_task_support import installed, ours, run_installed, same, theirs
from tests.tls_front import certificate, tls_front

pytestmark = pytest.mark.oracle

FORMATS = ["json", "text", "table", "yaml", "yaml-stream"]
READ: dict[str, Callable[[str], Any]] = {
    "json": json.loads,
    "yaml": yaml.safe_load,
    "yaml-stream": lambda text: yaml.safe_load(text)[0],
}
REASON = 'it\'s "quoted"\nand ünï € 日本 on\ttwo lines: - yes'


class Stopped:
    """An endpoint with tasks that have been stopped, on a clock that does not let it forget them."""

    def __init__(self, it: Simulation) -> None:
        self.url = it.server.url
        self.one = it.run({"name": "app"})
        self.three = it.run(
            {"name": "app", "portMappings": [{"containerPort": 80}]},
            {"name": "stuck", "stopTimeout": 2, "essential": False},
            {
                "name": "slow",
                "memoryReservation": 5,
                "cpu": 10,
                "dependsOn": [{"containerName": "app", "condition": "START"}],
            },
        )
        it.client.stop_task(task=self.one, reason=REASON)
        it.client.stop_task(task=self.three, reason=REASON)
        for arn in (self.one, self.three):
            it.stopped(arn)


@pytest.fixture(scope="module")
def stopped() -> Iterator[Stopped]:
    """StopTask changes nothing about a stopped task: both sides can ask for the same one."""
    scripts = {
        "app": ContainerScript(exit_code=3),
        "stuck": ContainerScript(leaves_after_s=None),
        "slow": ContainerScript(leaves_after_s=0.5),
    }
    with simulation(scripts, speed=1) as it:
        yield Stopped(it)


@pytest.mark.parametrize("output", FORMATS)
def test_a_task_is_printed_the_same(stopped: Stopped, output: str) -> None:
    """The whole answer: nested lists, empty lists, numbers, times, a killed and an unharmed container; in the reason
    quotes, a line break, a tab, characters outside ASCII, what YAML would take for something else.

    Values of any shape: test_stop_task_formats.py.
    """
    said = same("--endpoint-url", stopped.url, "--task", stopped.three, "--output", output)
    assert stopped.three in said
    assert "137" in said
    assert "日本" in said
    if output in READ:
        task = READ[output](said)["task"]
        assert (task["taskArn"], task["stoppedReason"]) == (stopped.three, REASON)


@pytest.mark.parametrize("output", FORMATS)
def test_a_query_is_printed_the_same(stopped: Stopped, output: str) -> None:
    """Colours are asked for, but only a table has them. More queries: test_stop_task_formats.py."""
    query = "task.containers[*].{Name:name,Code:exitCode,None:nope,Bindings:networkBindings}"
    arguments = "--endpoint-url", stopped.url, "--task", stopped.three, "--output", output, "--query", query
    said = same(*arguments, "--color", "on")
    assert ("\033[" in said) is (output == "table")
    if output == "table":
        plain = same(*arguments, "--color", "off")
        assert "\033[" not in plain
        assert re.sub(r"\033\[[0-9;]*m", "", said).split() == plain.split()


@pytest.mark.parametrize("output", ["json", "yaml", "yaml-stream"])
def test_a_query_that_finds_an_empty_object_prints_nothing(stopped: Stopped, output: str) -> None:
    """No `{}`."""
    arguments = "--endpoint-url", stopped.url, "--task", stopped.one, "--output", output, "--query"
    assert same(*arguments, "`{}`") == ""


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/St_Johns"])
def test_times_are_local(stopped: Stopped, zone: str) -> None:
    """ISO 8601 with microseconds and the offset of TZ; by the installed command."""
    arguments = "--endpoint-url", stopped.url, "--task", stopped.one, "--query", "task.createdAt"
    said = theirs(*arguments, TZ=zone)
    assert installed(*arguments, TZ=zone) == said
    assert said.stdout.endswith((b'+05:30"\n', b'-03:30"\n', b'-02:30"\n'))


@pytest.mark.parametrize(
    ("configuration", "code"),
    [
        ("output = yaml\ncli_timestamp_format = wire\n", 0),
        ("output = text\ncli_timestamp_format = iso8601\n", 0),
        ("output = nothing\n", 255),
        ("cli_timestamp_format = nothing\n", 253),
    ],
)
def test_the_configuration_file_counts(stopped: Stopped, tmp_path: Path, configuration: str, code: int) -> None:
    """`output` and `cli_timestamp_format`, and what is wrong with them."""
    file = tmp_path / "config"
    file.write_text("[profile own]\nregion = us-east-1\n" + configuration)
    arguments = "--endpoint-url", stopped.url, "--task", stopped.one, "--query", "task.[createdAt,version]"
    same(
        *arguments,
        "--profile",
        "own",
        "--no-sign-request",
        code=code,
        AWS_CONFIG_FILE=str(file),
        AWS_DEFAULT_REGION="",
    )


def test_the_environment_sets_the_format(stopped: Stopped) -> None:
    """AWS_DEFAULT_OUTPUT, unless --output is given."""
    arguments = "--endpoint-url", stopped.url, "--task", stopped.one, "--query", "task.[version]"
    assert same(*arguments, AWS_DEFAULT_OUTPUT="yaml") == "- 5\n"
    assert same(*arguments, "--output", "text", AWS_DEFAULT_OUTPUT="yaml") == "5\n"


def test_input_files_and_options_over_them(stopped: Stopped, tmp_path: Path) -> None:
    """JSON and YAML, inline and as files; what the command line says wins; files for single options."""
    (tmp_path / "in.json").write_text(json.dumps({"task": stopped.one, "cluster": "nope"}))
    (tmp_path / "in.yaml").write_text(f"# a comment\ntask: {stopped.one}\ncluster: default\nreason: yes\n")
    (tmp_path / "task").write_text(stopped.one)
    rest = "--endpoint-url", stopped.url, "--query", "task.taskArn"
    same("--cli-input-json", f"file://{tmp_path}/in.json", *rest, code=254)
    for arguments in (
        ["--cli-input-json", json.dumps({"task": stopped.one})],
        ["--cli-input-json", f"file://{tmp_path}/in.json", "--cluster", "default"],
        ["--cli-input-yaml", f"file://{tmp_path}/in.yaml"],
        ["--cli-input-yaml", "task: abc\ncluster: default", "--task", stopped.one],
        ["--task", f"file://{tmp_path}/task"],
    ):
        assert json.loads(same(*arguments, *rest)) == stopped.one


@pytest.mark.parametrize("skeleton", [[], ["input"], ["yaml-input"], ["output", "--task", "x"]], ids=str)
def test_skeletons_are_the_same(skeleton: list[str]) -> None:
    """Nothing is sent, and no credentials are needed."""
    same("--generate-cli-skeleton", *skeleton, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")


@pytest.mark.parametrize("output", FORMATS[1:])
def test_the_output_skeleton_in_every_format(output: str) -> None:
    """With a query, too."""
    same("--generate-cli-skeleton", "output", "--task", "x", "--output", output)
    same("--generate-cli-skeleton", "output", "--task", "x", "--output", output, "--query", "task.containers")


REFUSED: list[tuple[int, list[str]]] = [
    (254, ["--task", "0" * 32]),
    (254, ["--task", "abc"]),
    (254, ["--task", "0" * 32, "--cluster", "nope"]),
    (252, ["--cli-input-json", "{}"]),
    (252, ["--cli-input-json", '{"task": 1, "more": 2}']),
    (252, ["--cli-input-json", "{"]),
    (252, ["--cli-input-yaml", "task: [1"]),
    (252, ["--cli-input-yaml", "- 1"]),
    (252, ["--cli-input-yaml", "task: {a: 12:30}"]),
    (252, ["--cli-input-yaml", "task: x", "--cli-input-json", "{}"]),
    (252, ["--cli-input-json", "file:///nonexistent"]),
    (252, ["--task", "x", "--reason", "file:///nonexistent"]),
    (252, ["--task", "x", "--query", "a["]),
    (252, ["--task", "x", "--cli-auto-prompt", "--no-cli-auto-prompt"]),
    (255, ["--task", "x", "--profile", "nope"]),
    (255, ["--task", "x", "--region", "no where"]),
]


@pytest.mark.parametrize(("code", "arguments"), REFUSED, ids=str)
def test_errors_are_told_in_the_same_words(stopped: Stopped, code: int, arguments: list[str]) -> None:
    """On standard error, with the same exit code."""
    same("--endpoint-url", stopped.url, *arguments, code=code)


@pytest.mark.parametrize(
    ("code", "arguments", "environment"),
    [
        (252, ["--task", "x", "--endpoint-url", "nowhere"], {}),
        (253, ["--task", "x"], {"AWS_DEFAULT_REGION": ""}),
        (253, ["--task", "x"], {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}),
        (255, ["--task", "x", "--endpoint-url", "http://127.0.0.1:1"], {}),
    ],
)
def test_what_is_missing_is_told_in_the_same_words(
    code: int, arguments: list[str], environment: dict[str, str]
) -> None:
    """Region, credentials, a server that answers."""
    same(*arguments, code=code, **environment)


def test_a_failing_query_has_the_same_exit_code(stopped: Stopped) -> None:
    """A function that does not exist, and rows that make no table."""
    arguments = "--endpoint-url", stopped.url, "--task", stopped.one, "--query"
    same(*arguments, "task.nope()", code=255)
    for output in ("table", "text"):
        rows = *arguments, "`[{\"a\": 1}, 2]`", "--output", output  # fmt: skip
        assert ours(*rows).code == theirs(*rows).code == 255


@pytest.mark.parametrize(
    "wrong", [[], ["--task"], ["--task", "x", "--nope"], ["--task", "x", "--output", "xml"]], ids=str
)
def test_wrong_command_lines_have_the_same_exit_code(wrong: list[str]) -> None:
    """252, with usage and a last line that says what is wrong."""
    mine, said = ours(*wrong), theirs(*wrong)
    assert mine.code == said.code == 252
    assert mine.stdout == said.stdout == b""
    assert b"Traceback" not in mine.stderr
    assert b"stop-task" in mine.stderr or b"--task" in mine.stderr


@pytest.mark.parametrize("binary_format", ["base64", "raw-in-base64-out"])
def test_no_signature_and_the_options_without_effect(stopped: Stopped, binary_format: str) -> None:
    """Without credentials, and with everything that changes nothing here."""
    idle = f"--no-paginate --no-verify-ssl --no-cli-pager --no-cli-auto-prompt --cli-binary-format {binary_format}"
    timeouts = "--cli-read-timeout 0 --cli-connect-timeout 5 --color auto --no-sign-request"
    arguments = "--endpoint-url", stopped.url, "--task", stopped.one, *idle.split(), *timeouts.split()
    same(*arguments, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")


def test_tls_is_verified_as_there(stopped: Stopped, tmp_path: Path) -> None:
    """--ca-bundle, --no-verify-ssl, and neither; by the installed command, whose evidence goes the same way."""
    public, private = certificate(tmp_path)
    with tls_front(stopped.url, public, private) as url:
        arguments = "--endpoint-url", url, "--task", stopped.one, "--query", "task.stopCode"
        assert same(*arguments, "--ca-bundle", str(public)) == '"UserInitiated"\n'
        said = installed(*arguments, "--no-verify-ssl")  # both warn, each with its own path
        assert (said.stdout, said.code) == (theirs(*arguments, "--no-verify-ssl").stdout, 0)
        theirs_, ours_ = (run(*arguments, AWS_MAX_ATTEMPTS="1") for run in (theirs, ours))
        assert theirs_.code == ours_.code == 255
        assert b"SSL validation failed" in ours_.stderr
        measured = run_installed("--endpoint-url", url, "--task", stopped.three, "--ca-bundle", str(public))
        assert b"stuck      2" in measured.stdout
        assert measured.code == 1


def test_a_running_task_is_asked_to_stop_only_once(stopped: Stopped) -> None:
    """The first answer shows it running, as ECS does; the CLI then sees the same reason."""
    with simulation({"app": ContainerScript(leaves_after_s=20)}, speed=1) as it:
        arn = it.run({"name": "app"})
        first: Any = json.loads(ours("--endpoint-url", it.server.url, "--task", arn, "--reason", REASON).stdout)
        assert (first["task"]["lastStatus"], first["task"]["desiredStatus"]) == ("RUNNING", "STOPPED")
        it.until(arn, lambda task: task["lastStatus"] == "STOPPING")
        assert json.dumps(REASON, ensure_ascii=False) in same("--endpoint-url", it.server.url, "--task", arn)
    del stopped
