"""Task definitions of Amazon ECS: JSON text → TaskDefinition, and how long stopping such a task may take. Pure.

The JSON is what people have: the input of RegisterTaskDefinition, or what DescribeTaskDefinition prints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from graphlib import TopologicalSorter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from stop_harness.ecs import dependencies, stop_timeouts
from stop_harness.ecs.dependencies import Condition
from stop_harness.ecs.identifiers import is_name
from stop_harness.errors import ScenarioError
from stop_harness.model import TaskContainer, TaskDefinition

TASK_LIMIT_S = 120
"""What the whole task has where capacity is taken back: the notice of Fargate Spot and of EC2 Spot, two minutes."""

TASK_LIMIT_NAME = "the two minutes of a Spot notice"

READ_ONLY = frozenset(
    {
        "taskDefinitionArn",
        "revision",
        "status",
        "requiresAttributes",
        "compatibilities",
        "registeredAt",
        "deregisteredAt",
        "deleteRequestedAt",
        "registeredBy",
        "tags",
    }
)
"""What DescribeTaskDefinition prints and RegisterTaskDefinition does not take, and tags, which cost permissions."""


def _named(text: str) -> str:
    if not is_name(text):
        raise ValueError("1 to 255 letters, digits, hyphens and underscores")
    return text


def _not_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("the name of an image")
    return text


_Name = Annotated[str, AfterValidator(_named)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Dependency(_Part):
    containerName: str
    condition: Literal["START", "COMPLETE", "SUCCESS", "HEALTHY"]


class _Volume(_Part):
    sourceContainer: str


class _Linux(_Part):
    initProcessEnabled: bool | None = None


class _Logging(_Part):
    logDriver: str | None = None


class _Container(_Part):
    name: _Name
    image: Annotated[str, AfterValidator(_not_empty)]
    essential: bool | None = None
    stopTimeout: int | None = None
    dependsOn: list[_Dependency] | None = None
    links: list[str] | None = None
    volumesFrom: list[_Volume] | None = None
    entryPoint: list[str] | None = None
    command: list[str] | None = None
    linuxParameters: _Linux | None = None
    logConfiguration: _Logging | None = None
    portMappings: list[dict[str, Any]] | None = None


class _Document(_Part):
    family: _Name = "task"
    containerDefinitions: Annotated[list[_Container], Field(min_length=1)]
    requiresCompatibilities: list[str] | None = None


def parse(
    text: str, source: str, images: Mapping[str, str] | None = None, agent_stop_timeout: str | None = None
) -> TaskDefinition:
    """The task definition in `text`; `images` replaces images by container name. Raises ScenarioError.

    `agent_stop_timeout`: ECS_CONTAINER_STOP_TIMEOUT of the container instance, None where it is not set.

    Members that AWS leaves empty (`null`) count as left out.
    """
    data = _loaded(text, source)
    if isinstance(data, dict) and isinstance(data.get("taskDefinition"), dict):
        data = data["taskDefinition"]  # as `aws ecs describe-task-definition` prints it
    if isinstance(data, list) and data and all(isinstance(item, dict) and "image" in item for item in data):
        data = {"containerDefinitions": data}  # as `container_definitions` of Terraform has it
    if isinstance(data, dict) and (way_out := _of_cloudformation(data)):
        raise ScenarioError((f"{source}: {way_out}",))
    if not isinstance(data, dict) or "containerDefinitions" not in data:
        raise ScenarioError(
            (
                f"{source}: this is no task definition: `containerDefinitions` is missing. Needed is the JSON that "
                "`aws ecs register-task-definition --cli-input-json` takes or `aws ecs describe-task-definition` "
                "prints.",
            )
        )
    document = {key: value for key, value in data.items() if key not in READ_ONLY}
    try:
        _Document.model_validate(document)
    except ValidationError as error:
        raise ScenarioError(
            tuple(f"{source}: {_key(item['loc'])}: {_explain(item)}" for item in error.errors())
        ) from None
    document.setdefault("family", "task")
    _replace_images(document["containerDefinitions"], images or {}, source)
    return _definition(document, source, agent_stop_timeout)


def _of_cloudformation(data: dict[str, Any]) -> str | None:
    """What to do with a CloudFormation template, whose values only CloudFormation knows; None for anything else."""
    resources = data.get("Resources")
    found = [
        str((item.get("Properties") or {}).get("Family") or name)
        for name, item in (resources.items() if isinstance(resources, dict) else ())
        if isinstance(item, dict) and item.get("Type") == "AWS::ECS::TaskDefinition"
    ]
    if not found:
        return None
    return (
        "this is a CloudFormation template; what its functions give is known once it is deployed. Ask for that: "
        f"aws ecs describe-task-definition --task-definition {found[0]} > task.json, "
        "then: stop-harness check --task-definition task.json"
    )


def _loaded(text: str, source: str) -> Any:
    """Any JSON, without its nulls."""
    try:
        data = _without_nulls(json.loads(text.removeprefix("\ufeff")))
        json.dumps(data, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ScenarioError((f"{source}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}",)) from None
    except RecursionError:
        raise ScenarioError((f"{source}:1:1: nested too deeply; this is not a task definition",)) from None
    except UnicodeEncodeError:
        raise ScenarioError((f"{source}:1:1: half a surrogate pair (\\ud800 to \\udfff) is not text",)) from None
    except ValueError:
        raise ScenarioError((f"{source}:1:1: a number has too many digits",)) from None
    return data


def stop_timeouts_replaced(task: TaskDefinition, stop_timeout_s: int) -> TaskDefinition:
    """The same task with one stop timeout for every container."""
    document = json.loads(task.document)
    for container in document["containerDefinitions"]:
        container["stopTimeout"] = stop_timeout_s
    return _definition(document, task.family)


def longest_chain(task: TaskDefinition) -> tuple[tuple[str, ...], int]:
    """(containers, first to stop first; sum of their stop timeouts in s) of the chain that can take longest.

    Containers that end before others start are not in it.
    """
    timeout_s = {item.name: item.stop_timeout_s for item in task.containers if not item.ends_first}
    waits_for = {item.name: [name for name in item.waits_for if name in timeout_s] for item in task.containers}
    longest: dict[str, tuple[tuple[str, ...], int]] = {}
    for name in TopologicalSorter({name: waits_for[name] for name in timeout_s}).static_order():
        before = max((longest[other] for other in waits_for[name]), key=_sum_s, default=((), 0))
        longest[name] = ((*before[0], name), before[1] + timeout_s[name])
    return max(longest.values(), key=_sum_s, default=((), 0))


def _sum_s(chain: tuple[tuple[str, ...], int]) -> int:
    return chain[1]


def _definition(document: dict[str, Any], source: str, agent_stop_timeout: str | None = None) -> TaskDefinition:
    containers: list[dict[str, Any]] = document["containerDefinitions"]
    try:
        edges = {item["name"]: dependencies.edges(item, containers) for item in containers}
    except ValueError as error:
        raise ScenarioError((f"{source}: containerDefinitions: dependsOn: {error}",)) from None
    graph = {name: [other for other, _ in needed] for name, needed in edges.items()}
    _check_graph(graph, containers, source)
    waits_for = dependencies.stops_after(graph)
    ends_first = {
        other
        for needed in edges.values()
        for other, condition in needed
        if condition in {Condition.COMPLETE, Condition.SUCCESS}
    }
    fargate = stop_timeouts.FARGATE in document.get("requiresCompatibilities", ())
    return TaskDefinition(
        family=document["family"],
        document=json.dumps(document, sort_keys=True),
        fargate=fargate,
        containers=tuple(
            TaskContainer(
                name=item["name"],
                image=item["image"],
                essential=item.get("essential", True),
                waits_for=waits_for[item["name"]],
                stop_timeout_s=stop_timeouts.effective_stop_timeout_s(
                    item.get("stopTimeout"), agent_stop_timeout, fargate=fargate
                ),
                own_stop_timeout_s=item.get("stopTimeout"),
                ends_first=item["name"] in ends_first,
            )
            for item in containers
        ),
    )


def _check_graph(graph: dict[str, list[str]], containers: list[dict[str, Any]], source: str) -> None:
    problems = []
    names = [item["name"] for item in containers]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        problems.append(f"{source}: containerDefinitions: name: {', '.join(twice)}: each name may stand once")
    for name, needed in graph.items():
        problems += [
            f"{source}: containerDefinitions: {name}: depends on {other!r}, which is not a container of this task "
            f"({', '.join(names)})"
            for other in needed
            if other not in graph
        ]
    if not problems and (cycle := dependencies.find_cycle(graph)):
        problems.append(f"{source}: containerDefinitions: dependsOn goes in a circle: {' → '.join(cycle)}")
    if not any(item.get("essential", True) for item in containers):
        problems.append(f"{source}: containerDefinitions: at least one container must be essential")
    if problems:
        raise ScenarioError(tuple(problems))


def _replace_images(containers: list[dict[str, Any]], images: Mapping[str, str], source: str) -> None:
    names = [item["name"] for item in containers]
    if unknown := sorted(images.keys() - set(names)):
        raise ScenarioError(
            (f"{source}: no container of this task is named {', '.join(unknown)}; its containers: {', '.join(names)}",)
        )
    for item in containers:
        item["image"] = images.get(item["name"], item["image"])


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _key(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _explain(detail: Any) -> str:
    if detail["type"] == "missing":
        return "this key is required"
    if detail["type"] == "too_short":
        return "at least one is needed"
    if detail["type"] == "model_type":
        return "an object is needed"
    shown = repr(detail["input"])
    wanted = (
        detail["msg"]
        .removeprefix("Value error, ")
        .removeprefix("Input should be ")
        .removeprefix("a valid ")
        .replace("integer", "whole number")
    )
    return f"{shown if len(shown) <= 60 else shown[:57] + '…'} is not allowed; needed: {wanted}"
