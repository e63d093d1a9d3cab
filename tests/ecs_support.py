"""Endpoints for the tests, and boto3 clients that check every answer against botocore's own model."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.validate import ParamValidator

from stop_harness.ecs_endpoint.server import EcsServer
from stop_harness.ecs_endpoint.simulated_containers import ContainerScript, FastClock, SimulatedContainers
from stop_harness.ecs_endpoint.state import Endpoint, EndpointSettings

CREDENTIALS = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
SPEED = 100


class Simulation:
    """A server over scripted containers, with a client."""

    def __init__(
        self,
        scripts: dict[str, ContainerScript],
        settings: EndpointSettings | None = None,
        speed: float = SPEED,
        host: str = "127.0.0.1",
        token: str | None = None,
    ) -> None:
        self.clock = FastClock(speed)
        self.containers = SimulatedContainers(scripts, self.clock)
        self.server = EcsServer(Endpoint(self.containers, self.clock, settings), host, token=token)
        self.url = self.server.url
        self.client = client(self.url)

    def register(self, *containers: dict[str, Any], family: str = "web", **more: Any) -> str:
        """A task definition's ARN; containers get an image of their name and some memory."""
        full = [{"image": item["name"], "memory": 10, **item} for item in containers]
        answer = self.client.register_task_definition(family=family, containerDefinitions=full, **more)
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    def run(self, *containers: dict[str, Any], wait: bool = True, family: str = "web", **more: Any) -> str:
        """A running task's ARN."""
        definition = self.register(*containers, family=family)
        arn = self.client.run_task(taskDefinition=definition, **more)["tasks"][0]["taskArn"]
        if wait:
            self.until(arn, lambda it: it["lastStatus"] == "RUNNING")
        return str(arn)

    def task(self, arn: str, **more: Any) -> dict[str, Any]:
        """As DescribeTasks shows it."""
        return dict(self.client.describe_tasks(tasks=[arn], **more)["tasks"][0])

    def until(self, arn: str, condition: Callable[[dict[str, Any]], bool], patience_s: float = 60) -> dict[str, Any]:
        """The task once a condition holds."""
        return dict(until(lambda: self.task(arn), condition, patience_s))

    def stopped(self, arn: str) -> dict[str, Any]:
        """The task once it is STOPPED."""
        return self.until(arn, lambda it: it["lastStatus"] == "STOPPED")


@contextmanager
def simulation(
    scripts: dict[str, ContainerScript] | None = None,
    settings: EndpointSettings | None = None,
    speed: float = SPEED,
    host: str = "127.0.0.1",
    token: str | None = None,
) -> Iterator[Simulation]:
    """A server that is closed afterwards."""
    made = Simulation(scripts or {}, settings, speed=speed, host=host, token=token)
    try:
        yield made
    finally:
        made.server.close()


def until(look: Callable[[], Any], condition: Callable[[Any], bool], patience_s: float = 60) -> Any:
    """What is seen once a condition holds; fails after the deadline."""
    deadline = time.monotonic() + patience_s
    while not condition(seen := look()):
        assert time.monotonic() < deadline, f"still {seen}"
        time.sleep(0.01)
    return seen


def hears(ecs: Any, arn: str, *names: str, patience_s: float = 60) -> None:
    """Wait until each of a task's containers has written `ready`: its shell may have no trap yet when it is RUNNING."""
    for name in names:
        url = f"{ecs.meta.endpoint_url}/stop-harness/tasks/{arn}/logs?container={name}"

        def log(url: str = url) -> str:
            with urllib.request.urlopen(url, timeout=patience_s) as answer:
                return str(json.load(answer)["text"])

        until(log, lambda text: "ready\n" in text, patience_s)


def client(url: str) -> Any:
    """boto3's client, without retries, validating what it gets."""
    config = Config(retries={"total_max_attempts": 1}, max_pool_connections=120)
    made = _session().client("ecs", endpoint_url=url, config=config)
    made.meta.events.register("after-call.ecs", _validate)
    return made


@cache
def _session() -> Any:
    return boto3.session.Session(**CREDENTIALS)


def _validate(parsed: dict[str, Any], model: Any, **_: Any) -> None:
    """Answers must fit the operation's output shape."""
    if "Error" not in parsed:
        answer = {key: value for key, value in parsed.items() if key != "ResponseMetadata"}
        report = ParamValidator().validate(answer, model.output_shape)
        assert not report.has_errors(), report.generate_report()
        assert parsed["ResponseMetadata"]["RequestId"]
