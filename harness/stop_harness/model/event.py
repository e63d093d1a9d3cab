"""What happened, step by step, and who stamped it."""

from __future__ import annotations

from enum import StrEnum

from stop_harness.records import dataclass


class Clock(StrEnum):
    """Who stamped an event. Both ends of a duration come from one clock."""

    ENGINE = "engine"
    """Wall clock of the engine's machine, ns since the epoch."""
    KERNEL = "kernel"
    """CLOCK_MONOTONIC, by the kernel itself or by the process that waits for PID 1."""
    ECS = "ecs"
    """Amazon ECS's own stamps: the service's clock and the agent's, which need not agree."""
    HARNESS = "harness"
    """CLOCK_MONOTONIC of the harness; late by the way to the engine and back."""
    VIRTUAL = "virtual"
    """The simulated engine's clock."""


class EventKind(StrEnum):
    """Steps of one trial."""

    STARTED = "started"
    READY = "ready"
    STOP_REQUESTED = "stop_requested"
    SIGNAL_SENT = "signal_sent"
    OOM = "oom"
    PAUSED = "paused"
    UNPAUSED = "unpaused"
    EXITED = "exited"
    STOP_RETURNED = "stop_returned"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, stamped by one clock.

    `source` names the engine's own record ("kill event timeNano", "State.FinishedAt"). `signal` is set on
    `signal_sent`. The same step may stand in the timeline once per source.
    """

    kind: EventKind
    at_ns: int
    clock: Clock
    source: str
    signal: int | None = None
