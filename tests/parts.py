"""An observation, or a container of a task, with something else in its parts."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, TypeVar

from stop_harness.model import ContainerRecord, Derivation, Looks, Observation, StopRecord

Whole = TypeVar("Whole", Observation, ContainerRecord)

PARTS = {"record": StopRecord, "looks": Looks, "derivation": Derivation}


def changed(seen: Whole, **changes: Any) -> Whole:
    """`replace`, but a field of a part is given by its own name: `changed(seen, exit_code=1, problem=None)`."""
    for part, kind in PARTS.items():
        names = {field.name for field in fields(kind)} & changes.keys()
        if names:
            seen = replace(seen, **{part: replace(getattr(seen, part), **{name: changes.pop(name) for name in names})})
    return replace(seen, **changes)
