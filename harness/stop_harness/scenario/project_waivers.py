"""`[[tool.stop-harness.waivers]]` of pyproject.toml. Pure."""

from __future__ import annotations

import re

from pydantic import Field, TypeAdapter, ValidationError

from stop_harness.errors import ScenarioError
from stop_harness.model import Waiver
from stop_harness.scenario.scenario_file import explained
from stop_harness.scenario.waivers import WaiverSection, Words


class ProjectWaiverSection(WaiverSection):
    """One of pyproject.toml, which says of which scenario it is."""

    scenario: Words | None = Field(None, description="Name of a scenario, or a pattern with * and ?. Default: any.")


_HEADER = re.compile(r"^\s*\[\[\s*tool\s*\.\s*[\"']?stop-harness[\"']?\s*\.\s*[\"']?waivers[\"']?\s*\]\]", re.MULTILINE)
_KEY = re.compile(r"^\s*[\"']?waivers[\"']?\s*=", re.MULTILINE)


def of_project(given: object, text: str, file: str) -> tuple[Waiver, ...]:
    """The `waivers` of `[tool.stop-harness]`, in their order. `text`: all of the file, for the lines.

    Raises ScenarioError with every mistake found.
    """
    if not isinstance(given, list):
        line = _lines(text, 1)[0]
        raise ScenarioError((f"{file}:{line}: waivers: a list is needed: [[tool.stop-harness.waivers]]",))
    lines = _lines(text, len(given))
    try:
        sections = TypeAdapter(list[ProjectWaiverSection]).validate_python(given)
    except ValidationError as error:
        problems = []
        for detail in error.errors():
            index, *rest = detail["loc"]
            at = lines[int(index)]
            key = next((part for part in reversed(rest) if isinstance(part, str) and part != "[key]"), None)
            said = explained(detail, ProjectWaiverSection, f"waivers.{key}" if key else "waivers")
            problems.append(f"{file}:{_key_line(text, at, key)}: {said}")
        raise ScenarioError(tuple(problems)) from None
    return tuple(
        section.made(f"{file}:{line}", section.scenario) for section, line in zip(sections, lines, strict=True)
    )


def _lines(text: str, number: int) -> list[int]:
    """Where each waiver begins: at its header or, written as a list, where that begins."""
    found = [_line_of(text, item.start()) for item in _HEADER.finditer(text)]
    if len(found) == number:
        return found
    listed = _KEY.search(text)
    return [_line_of(text, listed.start()) if listed else 1] * number


def _line_of(text: str, offset: int) -> int:
    """`\\s*` may have begun on an empty line before."""
    return text.count("\n", 0, offset) + 1 + len(text[offset:]) - len(text[offset:].lstrip("\n"))


def _key_line(text: str, header: int, key: str | None) -> int:
    """The line of a key below its header; the header's where the key is not there."""
    for number, line in enumerate(text.splitlines()[header:], start=header + 1):
        if line.lstrip().startswith("["):
            break
        if key is not None and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return header
