"""`$NAME` and `${NAME:-default}` in Compose files and files of variables. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from stop_harness.errors import UsageError

_VARIABLE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)(?:(:?[-?+])([^}]*))?\})")


def substituted(text: str, environment: Mapping[str, str], unset: list[str] | None = None) -> str:
    """The text with the variables' values; `$$` is a dollar sign. `unset` gets the names of those that are not set and
    have no default. Raises UsageError for `${NAME:?text}` without one."""
    return _VARIABLE.sub(lambda match: _value(match, environment, unset), text)


def _value(match: re.Match[str], environment: Mapping[str, str], unset: list[str] | None) -> str:
    if match[0] == "$$":
        return "$"
    name, operator, text = match[1] or match[2], match[3] or "", match[4] or ""
    found = environment.get(name)
    there = found is not None and not (operator.startswith(":") and not found)
    if operator.endswith("+"):
        return text if there else ""
    if there:
        return str(found)
    if operator.endswith("?"):
        raise UsageError(f"variable {name} is needed: {text or 'it is not set'}")
    if unset is not None and not operator:
        unset.append(name)
    return text
