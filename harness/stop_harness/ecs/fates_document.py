"""What became of a container's processes, as `stop-harness ecs serve` tells it beside ECS's API. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

from stop_harness.model import ProcessFate, ReceivedSignal, SignalDisposition


def as_json(fates: tuple[ProcessFate, ...] | None) -> list[dict[str, Any]] | None:
    """Times in nanoseconds before the end of PID 1; None where nobody could look."""
    return None if fates is None else [dataclasses.asdict(fate) for fate in fates]


def of_json(told: Any) -> tuple[ProcessFate, ...] | None:
    """The other way; None also for what another version tells in another form."""
    if not isinstance(told, list):
        return None
    try:
        return tuple(_fate(dict(item)) for item in told)
    except (KeyError, TypeError, ValueError):
        return None


def _fate(item: dict[str, Any]) -> ProcessFate:
    handling, signals = item.pop("handling"), item.pop("signals")
    return ProcessFate(
        **item,
        handling=None if handling is None else SignalDisposition(handling),
        signals=None if signals is None else tuple(ReceivedSignal(**each) for each in signals),
    )
