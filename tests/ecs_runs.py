"""Runs of the pipeline on engine `ecs`, for the tests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stop_harness.conductor import open_engine, pipeline
from stop_harness.conductor.request import RunOutcome, RunRequest
from stop_harness.ecs import task_definition
from stop_harness.ecs_endpoint.simulated_containers import ContainerScript
from stop_harness.engines.ecs.api import EcsSettings
from stop_harness.engines.ecs.engine import EcsEngine
from stop_harness.model import NS_PER_S, Readiness, Scenario, StopPlan, Subject, TrialResult
from stop_harness.trial.perform import Interruption
from tests.ecs_support import CREDENTIALS, Simulation
from tests.silence import Silence

NEVER = ContainerScript(leaves_after_s=None)


def aws_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the AWS CLI's users have them in the environment."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv({"region_name": "AWS_DEFAULT_REGION"}.get(name, name.upper()), value)


def image(name: str = "web", timeout_s: int = 30, repeat: int = 1, **ready: Any) -> Scenario:
    """A scenario of one image, with conditions of its readiness."""
    stop = StopPlan((timeout_s * NS_PER_S,))
    return Scenario(name, Subject(image="subject"), readiness=Readiness(**ready), stop=stop, repeat=repeat)


def task(*containers: dict[str, Any], **ready: Any) -> Scenario:
    """A scenario of a task definition with its own stop timeouts."""
    full = [{"image": item["name"], "memory": 64, **item} for item in containers]
    found = task_definition.parse(json.dumps({"containerDefinitions": full}), "web.json")
    stop = StopPlan((task_definition.longest_chain(found)[1] * NS_PER_S,), own_timeouts=True)
    return Scenario("task", Subject(task_file="web.json", task=found), readiness=Readiness(**ready), stop=stop)


def after(name: str) -> list[dict[str, str]]:
    """dependsOn."""
    return [{"containerName": name, "condition": "START"}]


def run(
    url: str,
    *scenarios: Scenario,
    jobs: str = "auto",
    heard: Silence | None = None,
    interruption: Interruption | None = None,
    settings: EcsSettings | None = None,
    fast: bool = False,
) -> RunOutcome:
    """A whole run on the cluster at `url`."""
    wanted = settings or EcsSettings(endpoint_url=url)
    return pipeline.run(
        RunRequest(scenarios, "test", None, jobs=jobs, engine="ecs", fast=fast),
        heard or Silence(),
        interruption or Interruption(),
        lambda _name, run_id: open_engine.Chosen(EcsEngine(run_id, wanted)),
    )


def only(done: RunOutcome) -> TrialResult:
    """The result of a run of one trial."""
    (result,) = done.report.results
    return result


def running(it: Simulation) -> list[str]:
    """Tasks that nobody has stopped."""
    return list(it.client.list_tasks()["taskArns"])
