"""Task definitions of Amazon ECS: JSON text → TaskDefinition, and what it shows before anything runs. Pure.

The JSON is what people have: the input of RegisterTaskDefinition, or what DescribeTaskDefinition prints. Which
container waits for which is read by the same rules as the local endpoint's (`ecs_endpoint/definitions.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from harness import exec_form
from harness.ecs_endpoint import definitions, grace
from harness.ecs_endpoint.identifiers import is_name
from harness.ecs_endpoint.records import Condition
from harness.errors import ScenarioError
from harness.model import Finding, StaticFinding, TaskContainer, TaskDefinition
from harness.rules import RULES

FARGATE = "FARGATE"

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


def parse(text: str, source: str, images: Mapping[str, str] | None = None) -> TaskDefinition:
    """The task definition in `text`; `images` replaces images by container name. Raises ScenarioError.

    Members that AWS leaves empty (`null`) count as left out.
    """
    data = _loaded(text, source)
    if isinstance(data, dict) and isinstance(data.get("taskDefinition"), dict):
        data = data["taskDefinition"]  # as `aws ecs describe-task-definition` prints it
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
    return _definition(document, source)


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
    known: dict[str, tuple[tuple[str, ...], int]] = {item.name: ((), 0) for item in task.containers if item.ends_first}
    left = [item for item in task.containers if not item.ends_first]
    while left:  # parse() refuses circles, so each turn finds one that all others have stopped for
        free = next(item for item in left if all(name in known for name in item.waits_for))
        before = max((known[name] for name in free.waits_for), key=_sum_s, default=((), 0))
        known[free.name] = ((*before[0], free.name), before[1] + free.stop_timeout_s)
        left.remove(free)
    return max(known.values(), key=_sum_s, default=((), 0))


def _sum_s(chain: tuple[tuple[str, ...], int]) -> int:
    return chain[1]


def findings(scenario: str, task: TaskDefinition) -> tuple[StaticFinding, ...]:
    """What the definition shows before it runs, by rules of `docs/rules.md`."""
    containers = {item["name"]: item for item in json.loads(task.document)["containerDefinitions"]}
    found: list[StaticFinding] = []

    def add(rule: str, message: str, container: str | None = None) -> None:
        found.append(StaticFinding(scenario, Finding(rule, RULES[rule].severity, message), container))

    for container in task.containers:
        name, own_s = container.name, container.own_stop_timeout_s
        allowed = grace.FARGATE_STOP_TIMEOUT_S
        if own_s is not None and own_s <= 0:
            text = f"stopTimeout {own_s} counts as not set, so the default of 30 s applies"
            if own_s < 0:
                text = f"stopTimeout {own_s} is below 0, which ECS refuses"
            add("stop-timeout-out-of-range", text, name)
        elif own_s is not None and task.fargate and own_s not in allowed:
            text = f"stopTimeout {own_s} is outside of {allowed.start} to {allowed.stop - 1} s, which Fargate accepts"
            add("stop-timeout-out-of-range", text, name)
        if container.essential and _is_sidecar(container, task) and _essentials(task) > 1:
            text = f"it serves {_listed(container.waits_for)} and is essential: when it ends, by whatever exit code, "
            add("essential-sidecar", text + "the whole task is stopped; `essential: false` keeps it running", name)
        elif "essential" not in containers[name] and (served := _ports_elsewhere(containers, name)):
            text = f"{_listed(served)} has the ports and this one none, yet it is essential by default: when it ends, "
            add("essential-sidecar", text + "the whole task is stopped; write `essential` to say which is meant", name)
        line = _shell_line(containers[name])
        if line is not None and not (containers[name].get("linuxParameters") or {}).get("initProcessEnabled"):
            text = f"a shell is PID 1 (`{line}`) and passes no signal on, unless it replaces itself; "
            add("init-process-missing", text + "initProcessEnabled is not set", name)
    names, total_s = longest_chain(task)
    if total_s > TASK_LIMIT_S:
        parts = " + ".join(f"{item} {_timeout_of(task, item)} s" for item in names)
        add("chain-exceeds-limit", f"stopping takes up to {total_s} s ({parts}), longer than {TASK_LIMIT_NAME}")
    return tuple(found)


def _definition(document: dict[str, Any], source: str) -> TaskDefinition:
    containers: list[dict[str, Any]] = document["containerDefinitions"]
    try:
        edges = {item["name"]: definitions.edges(item, containers) for item in containers}
    except ValueError as error:
        raise ScenarioError((f"{source}: containerDefinitions: dependsOn: {error}",)) from None
    graph = {name: [other for other, _ in needed] for name, needed in edges.items()}
    _check_graph(graph, containers, source)
    ends_first = {
        other
        for needed in edges.values()
        for other, condition in needed
        if condition in {Condition.COMPLETE, Condition.SUCCESS}
    }
    fargate = FARGATE in document.get("requiresCompatibilities", ())
    return TaskDefinition(
        family=document["family"],
        document=json.dumps(document, sort_keys=True),
        fargate=fargate,
        containers=tuple(
            TaskContainer(
                name=item["name"],
                image=item["image"],
                essential=item.get("essential", True),
                waits_for=tuple(sorted(name for name, needed in graph.items() if item["name"] in needed)),
                stop_timeout_s=grace.effective_stop_timeout_s(item.get("stopTimeout"), None, fargate=fargate),
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
    if not problems and (cycle := definitions.find_cycle(graph)):
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


def _is_sidecar(container: TaskContainer, task: TaskDefinition) -> bool:
    """Others depend on it, and it depends on none of them: a proxy, a log router, an agent."""
    serves = any(other.essential for other in task.containers if other.name in container.waits_for)
    return serves and not any(container.name in other.waits_for for other in task.containers)


def _ports_elsewhere(containers: dict[str, dict[str, Any]], name: str) -> tuple[str, ...]:
    """The containers that publish ports, if this one publishes none and none of them waits for it."""
    published = tuple(other for other, item in containers.items() if item.get("portMappings"))
    return () if name in published else published


def _essentials(task: TaskDefinition) -> int:
    return sum(container.essential for container in task.containers)


def _shell_line(container: dict[str, Any]) -> str | None:
    """The line that a shell as PID 1 waits for; None where there is no shell, or it hands over by `exec`."""
    words = (*(container.get("entryPoint") or ()), *(container.get("command") or ()))
    line = exec_form.shell_line(tuple(words))
    firsts = [command.split()[0] for command in exec_form.commands(line or "")]
    return None if not firsts or firsts[-1] == "exec" or "trap" in firsts else line


def _timeout_of(task: TaskDefinition, name: str) -> int:
    return next(item.stop_timeout_s for item in task.containers if item.name == name)


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


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
