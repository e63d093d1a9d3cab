"""By what a container counted as ready to be stopped."""

from __future__ import annotations

from enum import StrEnum

from stop_harness.records import dataclass


class ReadyBy(StrEnum):
    """What told that the container was ready. All but the first apply where the scenario has no `ready` of its own."""

    CONDITIONS = "conditions"
    """What the scenario asks for: its conditions, or its delay."""
    HEALTH_CHECK = "health_check"
    """The health check of its image, Compose service or task definition succeeded."""
    PORT = "port"
    """It listened: at a port that was declared (EXPOSE, `ports`, `portMappings`, traffic), or at one that was seen."""
    HANDLER = "handler"
    """Nothing was declared; it had no handler for the stop signal at first, and then it had one."""
    FOUND = "found"
    """Nothing told, but it had been running for longer than anybody waits for a start."""
    TIME = "time"
    """Nothing told. It was stopped a while after its start, ready or not."""


@dataclass(frozen=True, slots=True)
class ReadyBasis:
    """By what the container counted as ready.

    `after_start_ns`: from the return of the start to readiness, on the harness's clock; of a container that ran before,
    from its start by the engine's. `ports`: where it listened
    then, as far as that was looked for. `silent_ports`: declared ports at which nobody listened for as long as was
    waited. `unhealthy`: it has a health check, which did not succeed for as long as was waited.
    """

    by: ReadyBy
    after_start_ns: int | None = None
    ports: tuple[int, ...] = ()
    silent_ports: tuple[int, ...] = ()
    unhealthy: bool = False
