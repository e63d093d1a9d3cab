"""The forms in which people have task definitions → the members of RegisterTaskDefinition. Pure.

- what RegisterTaskDefinition takes and DescribeTaskDefinition prints, as JSON or YAML, alone or in a list;
- container definitions alone, as Terraform's `container_definitions` has them, also as the text that Terraform renders;
- Terraform's own record: `terraform show -json` of a plan or a state, and a state file;
- templates of CloudFormation and SAM, also as the CDK synthesizes them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from stop_harness.ecs import api_members, cloudformation
from stop_harness.ecs.api_members import plain
from stop_harness.ecs.cloudformation import Later
from stop_harness.ecs.task_text import Path, TaskText
from stop_harness.errors import ScenarioError

Json = dict[str, Any]

RESOURCE = "AWS::ECS::TaskDefinition"
TERRAFORM = "aws_ecs_task_definition"
_DEFINITIONS = "containerdefinitions"

_HCL = re.compile(rf'resource\s+"{TERRAFORM}"')
_HCL_WAY_OUT = (
    "this is Terraform's own language; give what it makes of it: terraform plan -out plan, "
    "terraform show -json plan > plan.json, then: stop-harness check --task-definition plan.json"
)

NEEDED = (
    "Needed is what `aws ecs register-task-definition --cli-input-json` takes or `aws ecs describe-task-definition` "
    "prints, a list of container definitions, a template of CloudFormation or SAM with an AWS::ECS::TaskDefinition, or "
    "what `terraform show -json` prints."
)


@dataclass(frozen=True)
class FoundTask:
    """One task definition of a file. `names`: what it can be chosen by, the best first. `path`: where it stands.

    `document`: in the API's names. `where`: path in it → file, line and column. `later`: what of it is known only once
    its template is deployed.
    """

    names: tuple[str, ...]
    path: Path
    document: Json
    where: Callable[[Path], str]
    later: tuple[Later, ...] = ()


WrittenOut = tuple[tuple[str, ...], Path, Json]
"""Names of a task definition, where it stands, and what stands there."""


@dataclass(frozen=True)
class TaskChoice:
    """What the user says beside the file: `name` of one of several task definitions; values of a template's
    `parameters`. `to_look_at`: nothing of it is to be run, so that images may be unknown."""

    name: str | None = None
    parameters: tuple[tuple[str, str], ...] = ()
    to_look_at: bool = False


AS_IT_STANDS = TaskChoice()


def found(written: str, source: str, chosen: TaskChoice) -> FoundTask:
    """The task definition of a file; of several the one that is chosen. Raises ScenarioError."""
    text = _text(written, source)
    if _is_template(text):
        return _of_template(text, chosen)
    if chosen.parameters:
        raise ScenarioError((f"{text.source}: --parameter goes with a template of CloudFormation; this is none",))
    written_out = _written_out(text)
    names, path, value = _pick([(item[0], item) for item in written_out], chosen.name, text)
    return _in_api_names(names, path, value, text)


def names(written: str, source: str, parameters: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """What each task definition of a file can be chosen by. Raises ScenarioError where there is none."""
    text = _text(written, source)
    if _is_template(text):
        template = cloudformation.Template(text, dict(parameters))
        with _said_for_people(template):
            return tuple(_created(template))
    return tuple(item[0][0] for item in _written_out(text))


def _text(written: str, source: str) -> TaskText:
    if _HCL.search(written) and written.lstrip()[:1] not in {"{", "["}:
        raise ScenarioError((f"{source}:1:1: {_HCL_WAY_OUT}",))
    text = TaskText(written, source)
    if isinstance(text.data, str) and text.data.lstrip()[:1] in {"[", "{"}:
        return TaskText(text.data, source, rendered=True)  # as `terraform output` prints what `jsonencode` made
    return text


def _is_template(text: TaskText) -> bool:
    return isinstance(text.data, dict) and isinstance(text.data.get("Resources"), dict)


def _written_out(text: TaskText) -> tuple[WrittenOut, ...]:
    """Those of a file without functions. Raises ScenarioError where there is none."""
    found = tuple(_terraform(text.data)) or tuple(_alone(text.data))
    if not found:
        raise ScenarioError((f"{text.where(())}: {_why_none(text)}",))
    return found


def _pick(candidates: list[tuple[tuple[str, ...], Any]], name: str | None, text: TaskText) -> Any:
    """The one that is named, or the only one. Raises ScenarioError."""
    listed = ", ".join(names[0] for names, _ in candidates)
    if name is not None:
        chosen = [item for names, item in candidates if name in names]
        if not chosen:
            raise ScenarioError((f"{text.source}: no task definition here is named {name!r}; there is: {listed}",))
        return chosen[-1]
    if len(candidates) > 1:
        how = "name one: --task-name NAME, or `task_name` in a scenario"
        raise ScenarioError((f"{text.source}: {len(candidates)} task definitions: {listed}; {how}",))
    return candidates[0][1]


# ── Forms without functions ──────────────────────────────────────────────────────────────────────────────────────────


def _alone(data: Any, path: Path = (), number: int = 0) -> Iterator[WrittenOut]:
    """What the API takes and prints, one or a list of them; a list of container definitions."""
    if isinstance(data, list) and data and all(_is_container(item) for item in data):
        yield ("task",), path, {"containerDefinitions": data}
    elif isinstance(data, list) and not path:
        for at, item in enumerate(data):
            yield from _alone(item, (at,), at + 1) if isinstance(item, dict) else ()
    elif isinstance(data, dict):
        inner = _member(data, "taskdefinition")
        if isinstance(inner, dict):
            yield from _alone(inner, (*path, "taskDefinition"), number)
        elif _member(data, _DEFINITIONS) is not None:
            yield _names(data, number), path, data
        elif _is_container(data) and len(data) > 2:
            yield ("task",), path, {"containerDefinitions": [data]}


def _names(data: Json, number: int = 0) -> tuple[str, ...]:
    """Its family, with its revision where it has one, else its place in the list."""
    family, revision = _member(data, "family"), _member(data, "revision")
    if not isinstance(family, str):
        return (f"#{number}",) if number else ("task",)
    return (family,) if revision is None else (f"{family}:{revision}", family)


def _member(data: Json, name: str) -> Any:
    return next((value for key, value in data.items() if plain(key) == name), None)


def _is_container(item: Any) -> bool:
    """A name and an image, not quite as imagedefinitions.json has them."""
    return isinstance(item, dict) and "image" in {plain(key) for key in item}


def _terraform(data: Any) -> Iterator[WrittenOut]:
    """Resources of a plan or a state."""
    if not isinstance(data, dict):
        return
    for top in ("planned_values", "values"):
        if isinstance(part := data.get(top), dict) and isinstance(root := part.get("root_module"), dict):
            yield from _module(root, (top, "root_module"))
            return
    if not isinstance(data.get("resources"), list) or "terraform_version" not in data:
        return
    for at, item in enumerate(data["resources"]):  # a state file
        if isinstance(item, dict) and item.get("type") == TERRAFORM and isinstance(item.get("instances"), list):
            for number, instance in enumerate(item["instances"]):
                values = instance.get("attributes") if isinstance(instance, dict) else None
                if isinstance(values, dict):
                    path = ("resources", at, "instances", number, "attributes")
                    yield (f"{TERRAFORM}.{item.get('name')}", *_names(values)), path, values


def _module(module: Json, path: Path) -> Iterator[WrittenOut]:
    """Its own resources, then those of the modules below."""
    for at, item in enumerate(module.get("resources") or ()):
        if isinstance(item, dict) and item.get("type") == TERRAFORM and isinstance(values := item.get("values"), dict):
            names = (str(item.get("address") or item.get("name")), *_names(values))
            yield names, (*path, "resources", at, "values"), values
    for at, item in enumerate(module.get("child_modules") or ()):
        if isinstance(item, dict):
            yield from _module(item, (*path, "child_modules", at))


def _in_api_names(names: tuple[str, ...], path: Path, value: Json, text: TaskText) -> FoundTask:
    """The members of one that is written out, whoever's names they have."""
    containers = _member(value, _DEFINITIONS)
    above = _at(text.data, path) is not value  # which is made here then, of container definitions alone

    def where(inner: Path) -> str:
        return text.where((*path, *inner[above:]))

    from_terraform = "container_definitions" in value
    if containers is None:
        why = "the plan does not know its container_definitions yet; give the state once it is applied"
        raise ScenarioError((f"{where(())}: {names[0]}: {why}",))
    if isinstance(containers, str):  # as Terraform has them, and who copies it from there
        key = next(key for key in value if plain(key) == _DEFINITIONS)
        value = {**value, key: TaskText(containers, f"{where((key,))}: {key}", rendered=True).data}
    if from_terraform or not _is_written_as_the_api(value):
        document = api_members.as_the_api_has_it(value)
        if from_terraform:
            known = {name for name, _ in api_members.SHAPES[api_members.TASK_DEFINITION].values()}
            document = {key: item for key, item in document.items() if key in known and item not in ("", [], {})}
    else:
        document = value
    return FoundTask(names, path, document, where)


def _at(data: Any, path: Path) -> Any:
    for part in path:
        data = _member(data, plain(part)) if isinstance(part, str) else data[part]
    return data


def _is_written_as_the_api(value: Json) -> bool:
    containers = value.get("containerDefinitions")
    if not isinstance(containers, list):
        return "containerDefinitions" in value
    return all(not isinstance(item, dict) or {"name", "image"} & item.keys() for item in containers)


def _why_none(text: TaskText) -> str:
    """What to do about a file that holds no task definition."""
    data = text.data
    if isinstance(data, list) and data and all(isinstance(item, dict) and "imageUri" in item for item in data):
        images = " ".join(f"--task-image {item.get('name')}={item['imageUri']}" for item in data[:3])
        return (
            "these are image definitions of CodePipeline; they name images only. Take the task definition that they "
            f"belong to, and: stop-harness check --task-definition FILE {images}"
        )
    return f"this is no task definition: `containerDefinitions` is missing. {NEEDED}"


# ── Templates ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _of_template(text: TaskText, chosen: TaskChoice) -> FoundTask:
    """The resource that is chosen, with its functions applied. Raises ScenarioError."""
    template = cloudformation.Template(text, dict(chosen.parameters))
    with _said_for_people(template):
        made = _created(template)
        named = [(tuple(filter(None, (name, _family(item)))), name) for name, item in made.items()]
        name = _pick(named, chosen.name, text)
        template.later.clear()
        path: Path = ("Resources", name, "Properties")
        properties = template.resolved(made[name].get("Properties") or {}, path)
    _refuse_unknown(template)
    document = api_members.as_the_api_has_it(properties)
    if not isinstance(document, dict) or not document.get("containerDefinitions"):
        raise ScenarioError((f"{text.where(path)}: {name}: `ContainerDefinitions` is missing",))
    later = tuple(replace(item, path=_api_path(item.path)) for item in template.later)
    if "family" not in document or any(item.path[:1] == ("family",) for item in later):
        document["family"] = re.sub("[^a-zA-Z0-9_-]", "-", name)[:255]
    return FoundTask((name,), path, document, template.where, later)


def _family(resource: Json) -> str | None:
    """Where it is written out."""
    properties = resource.get("Properties")
    family = properties.get("Family") if isinstance(properties, dict) else None
    return family if isinstance(family, str) else None


def _created(template: cloudformation.Template) -> dict[str, Json]:
    """The task definitions whose conditions hold. Raises ScenarioError where none is left."""
    resources = {
        name: item
        for name, item in template.part("Resources").items()
        if isinstance(item, dict) and item.get("Type") == RESOURCE
    }
    where = template.text.where(("Resources",))
    if not resources:
        loops = ", ".join(key for key in template.part("Resources") if key.startswith("Fn::"))
        more = f"; {loops} is not followed, give the template as it is processed" if loops else ""
        raise ScenarioError((f"{where}: no resource of this template is an {RESOURCE}{more}",))
    made = {name: item for name, item in resources.items() if template.created(item, name)}
    if not made and not template.missing:
        conditions = ", ".join(f"{name} if {item['Condition']}" for name, item in resources.items())
        raise ScenarioError((f"{where}: no task definition is created with these parameters ({conditions})",))
    return made or resources


@contextlib.contextmanager
def _said_for_people(template: cloudformation.Template) -> Iterator[None]:
    """Raises ScenarioError for what cannot be resolved; parameters that are missing come first, for they explain it."""
    try:
        yield
    except cloudformation.Unresolved as error:
        _refuse_missing(template)
        raise ScenarioError((f"{template.text.where(error.path)}: {error.message}",)) from None
    _refuse_missing(template)


def _refuse_missing(template: cloudformation.Template) -> None:
    """Raises ScenarioError with every parameter that the task needs and nobody gave."""
    if template.missing:
        raise ScenarioError(
            tuple(
                f"{template.text.where(('Parameters', name))}: parameter {name} has no default and is not given: "
                f"--parameter {name}=VALUE, or `parameters` in a scenario"
                for name in template.missing
            )
        )


def _refuse_unknown(template: cloudformation.Template) -> None:
    parameters, resources = template.part("Parameters"), template.part("Resources")
    known = {*parameters, *resources, *cloudformation.ASSUMED, *template.used}
    unknown = [name for name in template.given if name not in known and name.partition(".")[0] not in resources]
    if unknown:
        listed = f"; its parameters: {', '.join(parameters)}" if parameters else ", which has none"
        raise ScenarioError((f"{template.text.source}: {', '.join(unknown)} is no parameter of this template{listed}",))


def _api_path(path: Path) -> Path:
    """A path in the names of CloudFormation → in those of the API."""
    made: list[str | int] = []
    shape = api_members.TASK_DEFINITION
    for part in path:
        if isinstance(part, int):
            made.append(part)
            continue
        name, kind = api_members.SHAPES.get(shape, {}).get(plain(part), (part, "str"))
        made.append(name)
        shape = kind.removesuffix("[]")
    return tuple(made)
