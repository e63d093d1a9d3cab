"""What the ECS endpoint tells beside the API: what it is, the measured stop, logs and process tables."""

from __future__ import annotations

import dataclasses
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from stop_harness import __version__
from stop_harness.ecs_endpoint.simulated_containers import ContainerScript
from stop_harness.model import ProcessInfo
from tests.ecs_support import Simulation, simulation

APP: dict[str, Any] = {"name": "app", "stopTimeout": 5, "command": ["serve", "--now"]}
SIDE: dict[str, Any] = {
    "name": "side",
    "essential": False,
    "links": ["app"],
    "dependsOn": [{"containerName": "app", "condition": "START"}],
}


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    """One server for all."""
    scripts = {
        "app": ContainerScript(leaves_after_s=None, output="up\nbusy\n"),
        "side": ContainerScript(leaves_after_s=2),
    }
    with simulation(scripts) as it:
        yield it


def get(it: Simulation, path: str) -> Any:
    """A resource below /stop-harness/."""
    with urllib.request.urlopen(f"{it.server.url}/stop-harness/{path}", timeout=20) as answer:
        return json.load(answer)


def refusal(it: Simulation, path: str) -> tuple[int, str]:
    """Status and message of a refused GET."""
    with pytest.raises(urllib.error.HTTPError) as error:
        get(it, path)
    told = json.load(error.value)
    error.value.close()
    assert told["__type"]
    return error.value.code, told["message"]


def task_id(arn: str) -> str:
    """The last part."""
    return arn.rpartition("/")[2]


def test_the_endpoint_says_what_it_is(running: Simulation) -> None:
    """A client can tell it from AWS, and what the engine behind it proves."""
    told = get(running, "info")
    assert (told["product"], told["version"]) == ("stop-harness", __version__)
    proved = {"observes_sigkill", "proves_lost_processes", "reports_oom", "stops_at_once", "caveats"}
    does = {"limits_groups", "shares_memory"}
    assert told["engine"].keys() == {"name", "product", "version", "host", *proved, *does}


def test_the_evidence_names_what_a_judge_needs(running: Simulation) -> None:
    """Order, timeouts and signals of each container; exact nanoseconds beside the seconds."""
    arn = running.run(APP, SIDE)
    before = {item["name"]: item for item in get(running, f"tasks/{task_id(arn)}")["containers"]}
    assert before["app"]["configuredStopSignal"] == "SIGTERM"
    assert before["app"]["configuredStopSignalSource"] == "default"
    assert {before["app"][key] for key in ("stopCalledAtNs", "stopSignalAtNs", "sigkillAtNs", "exitedAtNs")} == {None}
    running.client.stop_task(task=arn)
    running.stopped(arn)
    told = {item["name"]: item for item in get(running, f"tasks/{task_id(arn)}")["containers"]}
    app, side = told["app"], told["side"]
    assert (app["essential"], app["dependsOn"], app["ran"], app["reason"]) == (True, [], True, None)
    assert (side["essential"], side["dependsOn"], side["stopTimeoutSeconds"]) == (False, ["app"], 30)
    assert (app["stopSignal"], app["stopSignalNumber"], app["sigkill"], app["exitCode"]) == (
        "SIGTERM",
        15,
        "observed",
        137,
    )
    assert side["exitedAtNs"] <= app["stopCalledAtNs"] <= app["stopSignalAtNs"]
    assert app["sigkillAtNs"] <= app["exitedAtNs"]
    assert app["exitedAt"] == app["exitedAtNs"] / 1_000_000_000
    assert [event["atNs"] for event in app["events"]] == [app["stopSignalAtNs"], app["sigkillAtNs"]]
    assert app["recordComplete"] is True


def test_a_container_that_never_ran_says_so() -> None:
    """With the agent's reason and its synthetic exit code."""
    with simulation({"init": ContainerScript(runs_for_s=0, exit_code=1)}) as it:
        arn = it.run(
            {"name": "init", "essential": False},
            {"name": "app", "dependsOn": [{"containerName": "init", "condition": "SUCCESS"}]},
            wait=False,
        )
        it.stopped(arn)
        app = get(it, f"tasks/{task_id(arn)}")["containers"][1]
        assert (app["ran"], app["exitCode"], app["runtimeId"], app["dependsOn"]) == (False, 143, None, ["init"])
        assert app["reason"].startswith("CannotStartContainerError: dependency graph")
        assert get(it, f"tasks/{task_id(arn)}/logs?container=app") == {"text": "", "truncated": False}
        assert get(it, f"tasks/{task_id(arn)}/processes") == {"init": None, "app": None}


def test_logs_are_of_one_container_of_the_task(running: Simulation) -> None:
    """Its name may be left out where there is one only; another name is refused with those that there are."""
    alone, both = task_id(running.run(APP)), task_id(running.run(APP, SIDE))
    assert get(running, f"tasks/{alone}/logs") == {"text": "up\nbusy\n", "truncated": False}
    assert get(running, f"tasks/{both}/logs?container=app")["text"] == "up\nbusy\n"
    for query in ("", "?container=nope", "?container=app&container=side", "?container=", "?other=app"):
        status, message = refusal(running, f"tasks/{both}/logs{query}")
        assert (status, "app, side" in message) == (400, True), query


def test_processes_have_the_fields_of_the_record(running: Simulation) -> None:
    """`model.ProcessInfo`, by container; null once it has ended."""
    arn = running.run(APP)
    (pid_one,) = get(running, f"tasks/{task_id(arn)}/processes")["app"]
    assert pid_one.keys() == {field.name for field in dataclasses.fields(ProcessInfo)}
    assert ProcessInfo(**pid_one).command == "serve --now"
    running.client.stop_task(task=arn)
    running.stopped(arn)
    assert get(running, f"tasks/{task_id(arn)}/processes") == {"app": None}


def test_a_task_is_found_by_its_arn_too(running: Simulation) -> None:
    """As it is, or percent-encoded."""
    arn = running.run(APP)
    assert get(running, f"tasks/{arn}")["taskArn"] == arn
    assert get(running, f"tasks/{arn}/logs")["text"] == "up\nbusy\n"
    assert get(running, f"tasks/{quote(arn, safe='')}/processes")["app"]


@pytest.mark.parametrize(
    "path",
    [
        "", "info/", "tasks", "tasks/", "tasks/nope", "tasks/nope/logs", "tasks/nope/processes", "tasks/a/b/c",
        "tasks/%0a%00", "tasks/..%2f..%2fetc%2fpasswd", "tasks/../info", "//info", "tasks/x/LOGS", "%", "tasks/[::1",
        "tasks/" + "a" * 60_000, "tasks/x/logs?" + "&".join(["container=a"] * 50), "tasks/%ff%fe",
    ],
)  # fmt: skip
def test_paths_that_lead_nowhere_are_a_clients_mistake(running: Simulation, path: str) -> None:
    """4xx in ECS's form."""
    assert refusal(running, path)[0] in {400, 404, 414}
