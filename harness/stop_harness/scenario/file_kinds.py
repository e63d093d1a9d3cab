"""What a file of a folder is, by its text: a scenario, one that was meant to be, or somebody else's. Pure."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass

import yaml

_VERSION = re.compile(r"^version\s*:", re.MULTILINE)
_WORTH_A_LOOK = re.compile(r"\b(version|subject)\b")
_MEANT = re.compile(r"""^[ \t]*["']?subject["']?[ \t]*:""", re.MULTILINE)
_FLOW = re.compile(r"\s*(---\s*)?[\[{]")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_MEANT_ANYWHERE = re.compile(r"""\bsubject["']?[ \t]*:""")

A_LIST = "it is a list; a file holds one scenario, so put each item into a file of its own"

_DEFINITIONS = re.compile(r"container_?definitions|AWS::ECS::TaskDefinition", re.IGNORECASE)
_IMAGE = re.compile(r"""\bimage\\?["']?\s*:""", re.IGNORECASE)

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
    """Of the text of a *.yaml or *.yml file; None where it could not be read, which is said when it is read again."""
    if text is None:
        return FileKind(is_scenario=True)
    lines = (line.strip() for line in text.splitlines())
    if all(line in {"", "---", "..."} or line.startswith("#") for line in lines):
        return FileKind(why_not="the file is empty")
    if not _WORTH_A_LOOK.search(text):
        return FileKind()
    top = _top_of(without_tabs(text))
    keys, problem = top.keys, top.problem
    if "services" in keys:
        return FileKind()
    if top.is_list:
        return FileKind(why_not=A_LIST, was_meant=True) if top.was_meant else FileKind()
    if _VERSION.search(text) or {"version", "subject"} <= keys:
        return FileKind(is_scenario=True)
    if problem and _MEANT.search(text):
        return FileKind(why_not=f"not valid YAML: {problem}", was_meant=True)
    if "subject" in keys and ("name" in keys or OURS & keys):
        return FileKind(why_not="it has no `version:`; a scenario begins with `version: 1`", was_meant=True)
    return FileKind()


def kind_elsewhere(text: str | None, ending: str) -> FileKind:
    """Of the text of a file with an ending that folders are not searched for, as `.json`."""
    if text is None or not _MEANT_ANYWHERE.search(text):
        return FileKind()
    kind = kind_of(text)
    if not _top_of(without_tabs(text)).was_meant:
        return FileKind()
    if not kind.is_scenario:
        return kind
    why_not = f"its name ends with {ending}, and folders are searched for .yaml and .yml; rename it, or name the file"
    return FileKind(why_not=why_not, was_meant=True)


def says_version_and_subject(text: str) -> bool:
    """Whether a text is a scenario so plainly that it is one wherever it lies, among files of any program's.

    Others have a version and a subject, too: of a scenario the subject has keys of its own, or other keys of ours stand
    beside it. One that cannot be read to its end is judged by its lines.
    """
    top = _top_of(without_tabs(text))
    if top.is_list or "services" in top.keys:
        return False
    if top.problem and _VERSION.search(text) and _MEANT.search(text):
        return True
    return {"version", "subject"} <= top.keys and (top.has_subject or bool(OURS & top.keys))


def top_keys(text: str) -> frozenset[str]:
    """The keys of the mapping that a text is, as far as it can be read."""
    top = _top_of(text)
    return frozenset() if top.is_list else top.keys


@dataclass(frozen=True)
class _Top:
    """The `keys` of the mapping that a text is, or of all mappings of the list that it is; whether `subject` has keys
    of its own; the `problem` because of which it could not be read further, empty: all of it was."""

    keys: frozenset[str]
    is_list: bool
    has_subject: bool
    problem: str = ""

    @property
    def was_meant(self) -> bool:
        """Whether they are a scenario's; `name` and a text as `subject` are words of others, too."""
        return self.has_subject and ("name" in self.keys or bool(OURS & self.keys))


def _top_of(text: str) -> _Top:
    keys, depth, wants_key, is_list, has_subject, last = set[str](), 0, True, False, False, ""
    problem = ""
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                is_mapping = isinstance(event, yaml.MappingStartEvent)
                is_list = is_list or (depth == 0 and not is_mapping)
                has_subject = has_subject or (is_mapping and depth == 1 + is_list and last == "subject")
                depth += 1
                continue
            if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                depth -= 1
            if depth != 1 + is_list:
                wants_key = wants_key or depth < 1 + is_list
                continue
            last = event.value if isinstance(event, yaml.ScalarEvent) and wants_key else ""
            keys |= {last} - {""}
            wants_key = not wants_key  # a key, then its value, whatever that is
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line if mark is not None else 0
        tabs = "\t" in next(iter(text.splitlines()[line : line + 1]), "")
        hint = "; indent with spaces, YAML allows no tabs there" if tabs else ""
        problem = f"line {line + 1}: {error.problem}{hint}"
    except (yaml.YAMLError, RecursionError) as error:
        problem = " ".join(str(error).split())
    return _Top(frozenset(keys), is_list, has_subject, problem)


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
    keys, shown = top_keys(without_tabs(text)), shlex.quote(str(file))
    if "subject" in keys:
        return None
    if is_manifest(text):
        return (
            "this is a Kubernetes manifest, not a scenario; to stop its pod: "
            f"stop-harness check --kubernetes {shown} (and stop-harness validate {shown} reads it)"
        )
    if "services" in keys or re.search(r"^services\s*:", text, re.MULTILINE):
        return (
            "this is a Compose file, not a scenario; to stop one of its services: "
            f"stop-harness check --compose {shown} SERVICE{_services(text)}"
        )
    if (what := task_definition(text)) is not None:
        return f"{what}, not a scenario; to stop its containers: stop-harness check --task-definition {shown}"
    return None


def task_definition(text: str) -> str | None:
    """`this is a task definition`, in which form; None for anything else."""
    if _DEFINITIONS.search(text) is None and _IMAGE.search(text) is None:
        return None
    top = _top_of(without_tabs(text))
    if "services" in top.keys or "subject" in top.keys:
        return None
    if "AWS::ECS::TaskDefinition" in text and "Resources" in top.keys:
        return "this is a CloudFormation template with a task definition"
    if "aws_ecs_task_definition" in text:
        return "this is a task definition as Terraform has it"
    plain = {key.replace("_", "").lower() for key in top.keys}
    if {"containerdefinitions", "taskdefinition"} & plain or re.search(r'"containerDefinitions"\s*:', text):
        return "this is a task definition"
    is_text = re.match(r'\s*"\s*[\[{]', text) is not None
    if (top.is_list and {"name", "image"} <= plain) or (is_text and _IMAGE.search(text)):
        return "these are container definitions of a task"
    return None


_API_VERSION = re.compile(r"""^["'{ \t]*apiVersion["']?[ \t]*:""", re.MULTILINE)
_KIND = re.compile(r"""^["'{ \t]*kind["']?[ \t]*:""", re.MULTILINE)


def is_manifest(text: str) -> bool:
    """Whether a text is a manifest of Kubernetes, also one that is a template still."""
    return bool(_API_VERSION.search(text) and _KIND.search(text))


def meant_as_manifest(text: str) -> bool:
    """Whether a file that may be broken was meant as a manifest, and its mistakes are one's. Scenarios, Compose
    files and task definitions may speak of Kubernetes somewhere within."""
    if not is_manifest(text) or re.search(r"^(subject|services)\s*:", text, re.MULTILINE):
        return False
    return not {"subject", "services"} & top_keys(without_tabs(text)) and task_definition(text) is None


def _services(text: str) -> str:
    """Their names, where the file can be read."""
    try:
        found = yaml.load(text, Loader=_LOADER)  # nosec B506 # a safe loader
        names = [str(name) for name in found["services"]]
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    return f"; its services: {', '.join(names[:10])}" if names else ""
