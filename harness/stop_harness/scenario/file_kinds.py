"""What a file of a folder is, by its text: a scenario, one that was meant to be, or somebody else's. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import yaml

_VERSION = re.compile(r"^version\s*:", re.MULTILINE)
_WORTH_A_LOOK = re.compile(r"\b(version|subject)\b")
_MEANT = re.compile(r"""^[ \t]*["']?subject["']?[ \t]*:""", re.MULTILINE)
_FLOW = re.compile(r"\s*(---\s*)?[\[{]")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

OURS = frozenset({"ready", "stop", "expect", "traffic", "before_stop"})
"""Keys of scenarios; one of them beside `subject` makes a file one that was meant."""


@dataclass(frozen=True)
class FileKind:
    """`why_not`: why a file that looks like a scenario is none; empty for every other. `was_meant`: it says what to
    stop, so that leaving it out is no choice of the user's."""

    is_scenario: bool = False
    why_not: str = ""
    was_meant: bool = False


def kind_of(text: str | None) -> FileKind:
    """Of the text of a *.yaml file; None where it could not be read, which is said when it is read again."""
    if text is None:
        return FileKind(is_scenario=True)
    lines = (line.strip() for line in text.splitlines())
    if all(line in {"", "---", "..."} or line.startswith("#") for line in lines):
        return FileKind(why_not="the file is empty")
    if not _WORTH_A_LOOK.search(text):
        return FileKind()
    keys, problem = top_keys(without_tabs(text))
    if "services" in keys:
        return FileKind()
    if _VERSION.search(text) or {"version", "subject"} <= keys:
        return FileKind(is_scenario=True)
    if problem and _MEANT.search(text):
        return FileKind(why_not=f"not valid YAML: {problem}", was_meant=True)
    if "subject" in keys and ("name" in keys or OURS & keys):
        return FileKind(why_not="it has no `version:`; a scenario begins with `version: 1`", was_meant=True)
    return FileKind()


def top_keys(text: str) -> tuple[frozenset[str], str]:
    """The keys of the mapping that a text is, as far as it can be read, and why no further; empty: all of it."""
    keys, depth, wants_key = set(), 0, True
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                depth += 1
                continue
            if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                depth -= 1
            if depth == 1 and isinstance(event, yaml.ScalarEvent) and wants_key:
                keys.add(event.value)
            if depth == 1:  # a key, then its value, whatever that is
                wants_key = not wants_key
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line if mark is not None else 0
        tabs = "\t" in next(iter(text.splitlines()[line : line + 1]), "")
        hint = "; indent with spaces, YAML allows no tabs there" if tabs else ""
        return frozenset(keys), f"line {line + 1}: {error.problem}{hint}"
    except (yaml.YAMLError, RecursionError) as error:
        return frozenset(keys), " ".join(str(error).split())
    return frozenset(keys), ""


def without_tabs(text: str) -> str:
    """A scenario in JSON form, whose tabs YAML would refuse, with a space for each; any other text as it is.

    JSON has no tabs within its texts, so nothing changes and nothing moves."""
    if "\t" not in text or not _FLOW.match(text):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text.replace("\t", " ")


def other_format(text: str, file: str) -> str | None:
    """What a file is that is no scenario, and which command takes it; None for a scenario, or what nobody knows."""
    if re.search(r"^subject\s*:", text, re.MULTILINE):
        return None  # a scenario, whatever else is in it
    keys, _ = top_keys(without_tabs(text))
    if "subject" in keys:
        return None
    if "services" in keys or re.search(r"^services\s*:", text, re.MULTILINE):
        return (
            "this is a Compose file, not a scenario; to stop one of its services: "
            f"stop-harness check --compose {file} SERVICE{_services(text)}"
        )
    if re.search(r'"containerDefinitions"\s*:', text) or "containerDefinitions" in keys:
        return (
            "this is a task definition, not a scenario; to stop its containers: "
            f"stop-harness check --task-definition {file}"
        )
    if re.match(r"\s*\[\s*\{", text) and re.search(r'"image"\s*:', text):
        return (
            "these are container definitions of a task, not a scenario; to stop its containers: "
            f"stop-harness check --task-definition {file}"
        )
    if "Resources" in keys and "AWS::ECS::TaskDefinition" in text:
        return (
            "this is a CloudFormation template, not a scenario; once it is deployed: aws ecs describe-task-definition "
            "--task-definition FAMILY > task.json, then: stop-harness check --task-definition task.json"
        )
    return None


def _services(text: str) -> str:
    """Their names, where the file can be read."""
    try:
        found = yaml.load(text, Loader=_LOADER)  # nosec B506 # a safe loader
        names = [str(name) for name in found["services"]]
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    return f"; its services: {', '.join(names[:10])}" if names else ""
