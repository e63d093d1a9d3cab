"""Values of a template that only its deployment brings: which of them a stop can be measured without. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stop_harness.ecs import api_members
from stop_harness.ecs.cloudformation import Later
from stop_harness.ecs.task_forms import FoundTask
from stop_harness.model import NotApplied, Outcome

_ANY = tuple(outcome for outcome in Outcome if outcome is not Outcome.INCONCLUSIVE)

_OF_NO_CONSEQUENCE = frozenset(
    "logConfiguration secrets dockerLabels repositoryCredentials environmentFiles firelensConfiguration".split()
)
"""Members of a container that are not applied anyway (`unapplied` says so), or change nothing about a stop."""

_NAMES = frozenset({"name", "dependsOn", "links", "volumesFrom"})
"""Members without which it is not known who depends on whom."""


def problems(found: FoundTask, images: Mapping[str, str], *, to_look_at: bool) -> Iterator[str]:
    """What must be known before anything can be stopped, or, `to_look_at`, before anything can be said of it. `images`
    are given by container name."""
    for item in found.later:
        if item.path[:1] != ("containerDefinitions",):
            continue
        name, member = _container(found, item), _member(item)
        if member == "image" and name not in images and not to_look_at:
            what = f"{item.shown} is another in each account" if item.assumed else _known(item.shown)
            yield f"{found.where(item.path)}: image of {name}: {what}: --task-image {name}=IMAGE{_or_given(item)}"
        elif not item.assumed and (member in _NAMES or _is_no_text(item, member)):
            yield f"{found.where(item.path)}: {member} of {name}: {_known(item.shown)}{_or_given(item, ': ')}"


def not_applied(found: FoundTask) -> tuple[NotApplied, ...]:
    """What a program runs without: its variables, arguments, user."""
    made = {}
    for item in found.later:
        member = _member(item)
        if item.assumed or item.path[:1] != ("containerDefinitions",):
            continue
        if member in {"", "image"} | _NAMES | _OF_NO_CONSEQUENCE or _is_no_text(item, member):
            continue
        what = f"containerDefinitions ({_container(found, item)}).{member}{_variable(found, item)}"
        made[what] = NotApplied(what, f"{_known(item.shown)}{_or_given(item, '; give it: ')}", _ANY)
    return tuple(made.values())


def _known(shown: str) -> str:
    return f"its value is known only once the template is deployed ({shown})"


def _or_given(item: Later, before: str = ", or ") -> str:
    return f"{before}--parameter {item.name}=VALUE" if item.name else ""


def _container(found: FoundTask, item: Later) -> str:
    at = item.path[1] if len(item.path) > 1 else 0
    containers = found.document.get("containerDefinitions")
    one = containers[at] if isinstance(containers, list) and isinstance(at, int) and at < len(containers) else None
    return str(one.get("name", at)) if isinstance(one, dict) else str(at)


def _member(item: Later) -> str:
    return str(item.path[2]) if len(item.path) > 2 else ""


def _variable(found: FoundTask, item: Later) -> str:
    """` (DB_HOST)` of a variable."""
    value: Any = found.document
    for part in item.path[:4]:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return ""
    return f" ({value['name']})" if isinstance(value, dict) and "name" in value else ""


def _is_no_text(item: Later, member: str) -> bool:
    """A number or a truth, for which no text can stand."""
    shape, kind = "ContainerDefinition", ""
    for part in item.path[2:]:
        if isinstance(part, str):
            _, kind = api_members.SHAPES.get(shape, {}).get(api_members.plain(part), ("", "str"))
            shape = kind.removesuffix("[]")
    return shape in {"int", "bool"}
