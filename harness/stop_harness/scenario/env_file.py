"""Files of `KEY=VALUE` lines, as Compose and `docker run --env-file` take them → pairs. Pure."""

from __future__ import annotations

import io
from collections.abc import Mapping

from stop_harness.errors import ScenarioError, UsageError
from stop_harness.scenario import variables


def pairs(text: str, source: str, environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The variables of a file, in its order. `KEY` without a value takes the caller's and is left out where there is
    none; `$NAME` and `${NAME}` stand for earlier variables or the caller's, except in single quotes, as in Compose.

    Raises ScenarioError with every line that is no assignment.
    """
    from dotenv.parser import parse_stream  # late: few scenarios have such files

    found: dict[str, str] = {}
    problems = []
    for binding in parse_stream(io.StringIO(text)):
        place = f"{source}:{_first_line(binding.original.string, binding.original.line)}:1"
        if binding.error or (binding.key is not None and not binding.key.strip()):
            problems.append(f"{place}: not of the form KEY=VALUE")
        elif binding.key is not None and binding.value is None:
            if binding.key in environment:
                found[binding.key] = environment[binding.key]
        elif binding.key is not None and binding.value is not None:
            literal = binding.original.string.partition("=")[2].lstrip().startswith("'")
            known = {**found, **environment}  # the caller's word counts (compose-go, dotenv/godotenv.go)
            try:
                found[binding.key] = binding.value if literal else variables.substituted(binding.value, known)
            except UsageError as error:
                problems.append(f"{place}: {error}")
    if problems:
        raise ScenarioError(tuple(problems))
    return tuple(found.items())


def raw_pairs(text: str, _source: str, environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The same of a file whose values are taken as they stand, quotes and all, as `format: raw` and `docker run
    --env-file` do; a line that begins with # says nothing."""
    lines = (line.lstrip() for line in text.splitlines())
    found = (line.partition("=") for line in lines if line and not line.startswith("#"))
    pairs = ((key, value if sign else environment.get(key)) for key, sign, value in found)
    return tuple((key, value) for key, value in pairs if value is not None)


def _first_line(text: str, line: int) -> int:
    """The parser counts from the empty lines before an assignment."""
    return line + len(text) - len(text.lstrip("\n"))
