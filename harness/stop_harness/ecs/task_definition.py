"""Task definitions of Amazon ECS: text → TaskDefinition, and how long stopping such a task may take. Pure.

The text is what people have, in any of the forms of `task_forms`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from graphlib import TopologicalSorter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from stop_harness.ecs import dependencies, known_later, stop_timeouts, task_forms
from stop_harness.ecs.dependencies import Condition
from stop_harness.ecs.identifiers import is_name
from stop_harness.ecs.task_forms import AS_IT_STANDS, FoundTask, TaskChoice
from stop_harness.errors import ScenarioError
from stop_harness.model import NotApplied, TaskContainer, TaskDefinition

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


Where = Callable[[tuple[str | int, ...]], str]
"""Path in a task definition → file, line and column."""

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
    networkMode: Literal["bridge", "host", "awsvpc", "none"] | None = None
    pidMode: Literal["host", "task"] | None = None
    ipcMode: Literal["host", "task", "none"] | None = None


def parse(
    text: str, source: str, images: Mapping[str, str] | None = None, agent_stop_timeout: str | None = None
) -> TaskDefinition:
    """The task definition in `text`; `images` replaces images by container name. Raises ScenarioError.

    `agent_stop_timeout`: ECS_CONTAINER_STOP_TIMEOUT of the container instance, None where it is not set.

    Members that AWS leaves empty (`null`) count as left out.
    """
    return read(text, source, images or {}, agent_stop_timeout=agent_stop_timeout)[0]


def read(
    text: str,
    source: str,
    images: Mapping[str, str],
    chosen: TaskChoice = AS_IT_STANDS,
    agent_stop_timeout: str | None = None,
) -> tuple[TaskDefinition, tuple[NotApplied, ...]]:
    """The same, of several the one that is chosen; and what of it is known only once its template is deployed."""
    found = task_forms.found(text, source, chosen)
    if problems := tuple(known_later.problems(found, images, to_look_at=chosen.to_look_at)):
        raise ScenarioError(problems)
    document = {key: value for key, value in found.document.items() if key not in READ_ONLY}
    try:
        _Document.model_validate(document)
    except ValidationError as error:
        raise ScenarioError(
            tuple(f"{found.where(item['loc'])}: {_key(item['loc'])}: {_explain(item)}" for item in error.errors())
        ) from None
    document.setdefault("family", "task")
    document["containerDefinitions"] = [dict(item) for item in document["containerDefinitions"]]
    _replace_images(document["containerDefinitions"], images, source)
    if not chosen.to_look_at:
        _refuse_placeholders(document["containerDefinitions"], found)
    return _definition(document, found.where, agent_stop_timeout), known_later.not_applied(found)


def _refuse_placeholders(containers: list[dict[str, Any]], found: FoundTask) -> None:
    """Images that a pipeline has yet to fill in: `<IMAGE1_NAME>` of CodeDeploy, `${TAG}`, `{{ image }}`."""
    problems = tuple(
        f"{found.where(('containerDefinitions', at, 'image'))}: image of {item['name']}: {item['image']!r} has a "
        f"placeholder that nobody filled in: --task-image {item['name']}=IMAGE"
        for at, item in enumerate(containers)
        if _PLACEHOLDER.search(item["image"])
    )
    if problems:
        raise ScenarioError(problems)


_PLACEHOLDER = re.compile(r"[<>{}$]")
"""Signs that no reference to an image has."""


def stop_timeouts_replaced(task: TaskDefinition, stop_timeout_s: int) -> TaskDefinition:
    """The same task with one stop timeout for every container."""
    document = json.loads(task.document)
    for container in document["containerDefinitions"]:
        container["stopTimeout"] = stop_timeout_s
    return _definition(document, lambda _: task.family)


def container_changed(task: TaskDefinition, name: str, members: Mapping[str, Any]) -> TaskDefinition:
    """The same task with these members in one container's definition."""
    document = json.loads(task.document)
    for container in document["containerDefinitions"]:
        if container["name"] == name:
            container.update(members)
    return _definition(document, lambda _: task.family)


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


def _definition(document: dict[str, Any], where: Where, agent_stop_timeout: str | None = None) -> TaskDefinition:
    containers: list[dict[str, Any]] = document["containerDefinitions"]
    try:
        edges = {item["name"]: dependencies.edges(item, containers) for item in containers}
    except ValueError as error:
        raise ScenarioError(
            (f"{where(('containerDefinitions',))}: containerDefinitions: dependsOn: {error}",)
        ) from None
    graph = {name: [other for other, _ in needed] for name, needed in edges.items()}
    _check_graph(graph, containers, where)
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


def _check_graph(graph: dict[str, list[str]], containers: list[dict[str, Any]], where: Where) -> None:
    names = [item["name"] for item in containers]

    def problem(name: str, text: str) -> str:
        at = len(names) - 1 - names[::-1].index(name)  # of two with one name, the second
        return f"{where(('containerDefinitions', at))}: containerDefinitions: {text}"

    twice = sorted({name for name in names if names.count(name) > 1})
    problems = [problem(name, f"name: {name}: each name may stand once") for name in twice]
    for name, needed in graph.items():
        problems += [
            problem(name, f"{name}: depends on {other!r}, which is not a container of this task ({', '.join(names)})")
            for other in needed
            if other not in graph
        ]
    if not problems and (cycle := dependencies.find_cycle(graph)):
        problems.append(problem(cycle[0], f"dependsOn goes in a circle: {' → '.join(cycle)}"))
    if not any(item.get("essential", True) for item in containers):
        problems.append(problem(names[0], "at least one container must be essential"))
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
