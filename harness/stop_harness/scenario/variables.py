"""`$NAME` and `${NAME:-default}` in Compose files and files of variables. Pure.

The forms are those of the Compose specification, 12-interpolation.md; what is none of them stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from stop_harness.errors import UsageError

_BEGIN = re.compile(r"\$(?:(?P<escaped>\$)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<brace>\{))")
_IN_BRACES = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<operator>:?[-?+])?")


def substituted(text: str, environment: Mapping[str, str], unset: list[str] | None = None) -> str:
    """The text with the variables' values; `$$` is a dollar sign. `unset` gets the names of those that are not set and
    have no default. Raises UsageError for `${NAME:?text}` without one, and for `${` with anything else behind it."""
    result, at = "", 0
    while match := _BEGIN.search(text, at):
        result += text[at : match.start()]
        at = match.end()
        if match["escaped"]:
            result += "$"
        elif match["name"]:
            result += _value(match["name"], "", "", environment, unset)
        else:
            end = _closing(text, at)
            inside = _IN_BRACES.match(text, at, end) if end < len(text) else None
            if inside is None or (inside["operator"] is None and inside.end() != end):
                raise UsageError(
                    f"{text[match.start() : end + 1][:60]!r} is no variable; write $$ where a dollar sign is meant"
                )
            operator, argument = inside["operator"] or "", text[inside.end() : end]
            result += _value(inside["name"], operator, argument, environment, unset)
            at = end + 1
    return result + text[at:]


def _closing(text: str, start: int) -> int:
    """Where the brace ends that was opened before `start`; others within belong to variables of a default."""
    depth = 1
    for at in range(start, len(text)):
        if text[at] == "{" and text[at - 1] == "$":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return at
    return len(text)


def _value(name: str, operator: str, argument: str, environment: Mapping[str, str], unset: list[str] | None) -> str:
    found = environment.get(name)
    there = found is not None and not (operator.startswith(":") and not found)
    if operator.endswith("+"):
        return substituted(argument, environment, unset) if there else ""
    if there:
        return str(found)
    if operator.endswith("?"):
        said = substituted(argument, environment, unset)
        raise UsageError(f"variable {name} is needed: {said or 'it is not set'}")
    if unset is not None and not operator:
        unset.append(name)
    return substituted(argument, environment, unset)
