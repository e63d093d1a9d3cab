"""`stop.after` as a range: `{from: 0s, to: 2s, steps: 9}` or `{from: 0s, to: 2s, every: 250ms}` → moments. Pure."""

from __future__ import annotations

from typing import Any

from stop_harness import units
from stop_harness.model import NS_PER_MS

KEYS = ("from", "to", "steps", "every")
MAX_MOMENTS = 200

SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "Moments from `from` to `to`, both included: `steps` of them, or one `every` so often.",
    "properties": {
        "from": {"type": ["string", "integer"], "default": 0},
        "to": {"type": ["string", "integer"]},
        "steps": {"type": "integer", "minimum": 2, "maximum": MAX_MOMENTS},
        "every": {"type": ["string", "integer"]},
    },
    "required": ["to"],
    "oneOf": [{"required": ["steps"]}, {"required": ["every"]}],
    "additionalProperties": False,
}


def expand(value: object) -> object:
    """A range as its moments, each a text that reads as a duration; anything else as it is.

    Raises ValueError, with what is allowed.
    """
    if not isinstance(value, dict):
        return value
    unknown = [str(key) for key in value if key not in KEYS]
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r} of a range; allowed: {', '.join(KEYS)}")
    if "to" not in value or ("steps" in value) == ("every" in value):
        raise ValueError("a range has `to` and one of `steps` and `every`, such as {from: 0s, to: 2s, steps: 9}")
    first, last = _duration(value, "from"), _duration(value, "to")
    if last <= first:
        raise ValueError("`to` is not later than `from`")
    found = [round(moment / NS_PER_MS) for moment in _moments(value, first, last)]
    if len(set(found)) < len(found):
        raise ValueError("moments of a range are at least 1ms apart")
    return [f"{moment}ms" for moment in found]


def _moments(value: dict[Any, Any], first: int, last: int) -> list[int]:
    if "steps" in value:
        steps = value["steps"]
        if isinstance(steps, bool) or not isinstance(steps, int) or not 2 <= steps <= MAX_MOMENTS:
            raise ValueError(f"`steps` is a whole number from 2 to {MAX_MOMENTS}")
        return [first + (last - first) * step // (steps - 1) for step in range(steps)]
    every = _duration(value, "every")
    if every < NS_PER_MS or (last - first) // every >= MAX_MOMENTS:
        raise ValueError(f"`every` is at least 1ms and gives at most {MAX_MOMENTS} moments")
    return list(range(first, last + 1, every))


def _duration(value: dict[Any, Any], key: str) -> int:
    given = value.get(key, 0)
    if isinstance(given, bool) or not isinstance(given, str | int) or (isinstance(given, int) and given > 0):
        raise ValueError(f"`{key}` is a duration, such as 500ms or 2s")
    return units.parse_duration(str(given))
