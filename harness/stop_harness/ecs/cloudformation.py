"""Templates of CloudFormation and SAM: what their functions give for one resource, as far as that is known before it is
deployed. Pure.

Source: AWS CloudFormation Template Reference, intrinsic functions, conditions, pseudo parameters.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stop_harness.ecs.api_members import plain
from stop_harness.ecs.task_text import Path, TaskText

ASSUMED = {
    "AWS::AccountId": "123456789012",
    "AWS::Region": "us-east-1",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "stack",
    "AWS::StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/stack/local",
    "AWS::NotificationARNs": [],
}
"""Pseudo parameters whose values an account has; these stand for them."""

SURE = frozenset({"AWS::Partition", "AWS::URLSuffix", "AWS::NotificationARNs"})
"""Those of them that are the same in every account outside of China and GovCloud."""

_LATER = frozenset({"Fn::ImportValue", "Fn::GetAZs", "Fn::Cidr", "Fn::Transform"})
"""Functions whose values only the account knows."""

_VARIABLE = re.compile(r"\$\{(!?)([^}]*)\}")
_DYNAMIC = re.compile(r"\{\{resolve:[^}]+\}\}")
_NOTHING = object()
"""What `AWS::NoValue` gives: the member is left out."""

MOST_DEPTH = 100
"""Functions within conditions within functions; one that names itself has no end."""


@dataclass(frozen=True)
class Later:
    """A value that is known only once the template is deployed, or in the account it is deployed to.

    `path`: in what was resolved. `name`: what `--parameter` gives it by; empty: it cannot be given. `shown`: the
    function, for people. `assumed`: a value of every account stands for it, such as a region.
    """

    path: Path
    name: str
    shown: str
    assumed: bool = False


class Unresolved(Exception):
    """A function that cannot be applied, and the path where it stands."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path, self.message = path, message


class Template:
    """One template with the parameters that the user gives.

    `later`: values found that are not known yet. `missing`: parameters that have no value, each with where it is used.
    `used`: names of given values that were asked for.
    """

    def __init__(self, text: TaskText, given: Mapping[str, str]) -> None:
        self.text, self.given = text, given
        self.later: list[Later] = []
        self.missing: dict[str, Path] = {}
        self.used: set[str] = set()
        self._origin: dict[tuple[str, ...], Path] = {}
        self._out: Path = ()
        self._depth = 0

    def part(self, name: str) -> dict[str, Any]:
        """A section such as `Resources`; empty where it is missing."""
        found = self.text.data.get(name)
        return found if isinstance(found, dict) else {}

    def where(self, path: Path) -> str:
        """Where a value of what was resolved is written."""
        for end in range(len(path), -1, -1):
            origin = self._origin.get(_key(path[:end]))
            if origin is not None:
                return self.text.where((*origin, *path[end:]))
        return self.text.where(path)

    def resolved(self, value: Any, path: Path) -> Any:
        """The value with every function applied; raises Unresolved. What it is later found by begins at ()."""
        self._out = ()
        made = self._value(value, path, ())
        return None if made is _NOTHING else made

    def created(self, resource: Mapping[str, Any], name: str) -> bool:
        """Whether its condition holds; raises Unresolved."""
        condition = resource.get("Condition")
        return not isinstance(condition, str) or self._condition(condition, ("Resources", name, "Condition"))

    # ── Values ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _value(self, value: Any, path: Path, out: Path) -> Any:
        self._depth += 1
        try:
            if self._depth > MOST_DEPTH:
                raise Unresolved(path, "functions within functions without end")
            self._origin[_key(out)] = path
            before, self._out = self._out, out
            made = self._made(value, path, out)
            self._out = before
            return made
        finally:
            self._depth -= 1

    def _made(self, value: Any, path: Path, out: Path) -> Any:
        if isinstance(value, str):
            return self._dynamic(value)
        if isinstance(value, list):
            kept: list[Any] = []
            for at, item in enumerate(value):
                made = self._value(item, (*path, at), (*out, len(kept)))
                kept += [] if made is _NOTHING else [made]
            return kept
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (key, inner), *_ = value.items()
            if key in _FUNCTIONS:
                return _FUNCTIONS[key](self, inner, (*path, key))
            if key in _LATER:
                return self._not_yet(self._name_of(key, inner, (*path, key)), f"{key} {_short(inner)}")
            if key.startswith("Fn::"):
                raise Unresolved(path, f"{key} is no function that can be applied here")
        pairs = ((key, self._value(item, (*path, key), (*out, key))) for key, item in value.items())
        return {key: item for key, item in pairs if item is not _NOTHING}

    def _dynamic(self, value: str) -> str:
        for found in _DYNAMIC.findall(value):
            self._not_yet("", found)
        return value

    def _not_yet(self, name: str, shown: str) -> str:
        """The value that the user gives for it, else one that stands for it."""
        if name in self.given:
            self.used.add(name)
            return self.given[name]
        self.later.append(Later(self._out, name, shown))
        return name or shown

    def _name_of(self, key: str, inner: Any, path: Path) -> str:
        if key != "Fn::ImportValue":
            return ""
        made = self._value(inner, path, self._out)
        return made if isinstance(made, str) else ""

    # ── Names ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _ref(self, name: Any, path: Path) -> Any:
        if not isinstance(name, str):
            raise Unresolved(path, "Ref takes the name of a parameter or of a resource")
        if name == "AWS::NoValue":
            return _NOTHING
        if name in self.part("Parameters"):
            return self._parameter(name, path)
        if name in ASSUMED:
            if name in self.given:
                self.used.add(name)
                return self.given[name]
            if name not in SURE:
                self.later.append(Later(self._out, name, name, assumed=True))
            return ASSUMED[name]
        if name in self.part("Resources"):
            return self._not_yet(name, f"Ref {name}")
        raise Unresolved(path, f"{name} is neither a parameter nor a resource of this template")

    def _parameter(self, name: str, path: Path) -> Any:
        declared = self.part("Parameters")[name]
        declared = declared if isinstance(declared, dict) else {}
        kind = str(declared.get("Type", "String"))
        self.used.add(name)
        if name in self.given:
            value: Any = self.given[name]
        elif kind.startswith("AWS::SSM::Parameter::"):
            shown = f"parameter {declared.get('Default', name)} of Systems Manager"
            return self._not_yet(name, shown)
        elif "Default" in declared:
            value = declared["Default"]
        else:
            self.missing.setdefault(name, path)
            return ""
        self._check(name, value, declared)
        if kind == "CommaDelimitedList" or kind.startswith(("List<", "AWS::SSM::Parameter::Value<List<")):
            return [item.strip() for item in _as_text(value).split(",")]
        return value

    def _check(self, name: str, value: Any, declared: Mapping[str, Any]) -> None:
        allowed = declared.get("AllowedValues")
        if isinstance(allowed, list) and _as_text(value) not in {_as_text(item) for item in allowed}:
            listed = ", ".join(map(_as_text, allowed))
            raise Unresolved(("Parameters", name), f"{name}: {_as_text(value)!r} is not allowed; allowed: {listed}")
        if declared.get("Type") == "Number" and not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", _as_text(value)):
            raise Unresolved(("Parameters", name), f"{name}: {_as_text(value)!r} is not a number")

    def _get_att(self, value: Any, path: Path) -> Any:
        parts = value.split(".", 1) if isinstance(value, str) else value
        if not isinstance(parts, list) or len(parts) != 2 or not isinstance(parts[0], str):
            raise Unresolved(path, "Fn::GetAtt takes a resource and one of its attributes")
        if parts[0] not in self.part("Resources"):
            raise Unresolved(path, f"{parts[0]} is no resource of this template")
        name = f"{parts[0]}.{_as_text(self._value(parts[1], (*path, 1), self._out))}"
        return self._not_yet(name, f"Fn::GetAtt {name}")

    def _find_in_map(self, value: Any, path: Path) -> Any:
        if not isinstance(value, list) or len(value) < 3:
            raise Unresolved(path, "Fn::FindInMap takes a mapping, a top key and a second key")
        keys = [_as_text(self._value(item, (*path, at), self._out)) for at, item in enumerate(value[:3])]
        found: Any = self.part("Mappings")
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if found is not None:
            return found
        if len(value) > 3 and isinstance(value[3], dict) and "DefaultValue" in value[3]:
            return self._value(value[3]["DefaultValue"], (*path, 3, "DefaultValue"), self._out)
        raise Unresolved(path, f"the mappings have no {' → '.join(keys)}")

    # ── Text and lists ───────────────────────────────────────────────────────────────────────────────────────────────

    def _sub(self, value: Any, path: Path) -> Any:
        text, own = (value[0], value[1]) if isinstance(value, list) and len(value) == 2 else (value, {})
        if not isinstance(text, str) or not isinstance(own, dict):
            raise Unresolved(path, "Fn::Sub takes a text, or a text and a mapping of names")

        def replaced(found: re.Match[str]) -> str:
            name = found[2].strip()
            if found[1]:
                return "${" + found[2] + "}"  # `${!Literal}`
            if name in own:
                return _as_text(self._value(own[name], (*path, 1, name), self._out))
            is_attribute = "." in name
            return _as_text(self._get_att(name, path) if is_attribute else self._ref(name, path))

        return self._dynamic(_VARIABLE.sub(replaced, text))

    def _join(self, value: Any, path: Path) -> Any:
        sign, items = self._pair(value, path, "Fn::Join takes a delimiter and a list")
        if not isinstance(items, list):
            raise Unresolved(path, "Fn::Join takes a delimiter and a list")
        return _as_text(sign).join(map(_as_text, items))

    def _split(self, value: Any, path: Path) -> Any:
        sign, text = self._pair(value, path, "Fn::Split takes a delimiter and a text")
        if not sign or not isinstance(sign, str):
            raise Unresolved(path, "Fn::Split takes a delimiter and a text")
        return _as_text(text).split(sign)

    def _select(self, value: Any, path: Path) -> Any:
        at, items = self._pair(value, path, "Fn::Select takes a number and a list")
        number = int(_as_text(at)) if re.fullmatch("[0-9]{1,6}", _as_text(at)) else None
        if number is None or not isinstance(items, list):
            # What is not known yet has no items: the whole stands for one of them.
            if self.later and self.later[-1].path == self._out and isinstance(items, str):
                return items
            raise Unresolved(path, "Fn::Select takes a number and a list")
        if number >= len(items):
            raise Unresolved(path, f"Fn::Select: the list has {len(items)} items and none at {number}")
        return items[number]

    def _pair(self, value: Any, path: Path, said: str) -> tuple[Any, Any]:
        if not isinstance(value, list) or len(value) != 2:
            raise Unresolved(path, said)
        one, other = (self._value(item, (*path, at), self._out) for at, item in enumerate(value))
        return one, other

    def _base64(self, value: Any, path: Path) -> Any:
        return base64.b64encode(_as_text(self._value(value, path, self._out)).encode()).decode()

    def _length(self, value: Any, path: Path) -> Any:
        made = self._value(value, path, self._out)
        if not isinstance(made, list):
            raise Unresolved(path, "Fn::Length takes a list")
        return len(made)

    def _to_json(self, value: Any, path: Path) -> Any:
        return json.dumps(self._value(value, path, self._out))

    # ── Conditions ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _if(self, value: Any, path: Path) -> Any:
        if not isinstance(value, list) or len(value) != 3 or not isinstance(value[0], str):
            raise Unresolved(path, "Fn::If takes the name of a condition and two values")
        at = 1 if self._condition(value[0], (*path, 0)) else 2
        return self._value(value[at], (*path, at), self._out)

    def _condition(self, name: Any, path: Path) -> bool:
        conditions = self.part("Conditions")
        if not isinstance(name, str) or name not in conditions:
            raise Unresolved(path, f"{name} is no condition of this template")
        return self._truth(conditions[name], ("Conditions", name))

    def _truth(self, value: Any, path: Path) -> bool:
        if isinstance(value, dict) and value.keys() == {"Condition"}:
            return self._condition(value["Condition"], (*path, "Condition"))
        made = self._value(value, path, self._out)
        if isinstance(made, bool) or _as_text(made).lower() in {"true", "false"}:
            return made is True or _as_text(made).lower() == "true"
        raise Unresolved(path, "a condition is Fn::Equals, Fn::And, Fn::Or, Fn::Not or Condition")

    def _equals(self, value: Any, path: Path) -> Any:
        one, other = self._pair(value, path, "Fn::Equals takes two values")
        return (_as_text(one) if not isinstance(one, list) else one) == (
            _as_text(other) if not isinstance(other, list) else other
        )

    def _truths(self, value: Any, path: Path) -> list[bool]:
        if not isinstance(value, list) or not value:
            raise Unresolved(path, "a list of conditions is needed")
        return [self._truth(item, (*path, at)) for at, item in enumerate(value)]


_FUNCTIONS: dict[str, Callable[[Template, Any, Path], Any]] = {
    "Ref": Template._ref,
    "Fn::GetAtt": Template._get_att,
    "Fn::Sub": Template._sub,
    "Fn::Join": Template._join,
    "Fn::Split": Template._split,
    "Fn::Select": Template._select,
    "Fn::FindInMap": Template._find_in_map,
    "Fn::Base64": Template._base64,
    "Fn::Length": Template._length,
    "Fn::ToJsonString": Template._to_json,
    "Fn::If": Template._if,
    "Fn::Equals": Template._equals,
    "Fn::And": lambda it, value, path: all(it._truths(value, path)),
    "Fn::Or": lambda it, value, path: any(it._truths(value, path)),
    "Fn::Not": lambda it, value, path: not all(it._truths(value, path)),
}


def _key(path: Path) -> tuple[str, ...]:
    return tuple(map(plain, path))


def _as_text(value: Any) -> str:
    """As CloudFormation writes a value into a text."""
    if value is _NOTHING:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, dict | list) else str(value)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"
