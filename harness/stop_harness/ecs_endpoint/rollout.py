"""How a service replaces its tasks: how many to start, which to stop. Pure.

ECS keeps the number of running tasks between minimumHealthyPercent (rounded up) and maximumPercent (rounded down) of
the desired count while a deployment goes on (API reference, DeploymentConfiguration).
"""

from __future__ import annotations

from dataclasses import dataclass

MINIMUM_HEALTHY_PERCENT = 100
MAXIMUM_PERCENT = 200


@dataclass(frozen=True)
class ServiceTask:
    """A task of a service that is not to stop yet.

    `new`: of the deployment that is wanted, and on an instance that stays. `ready`: RUNNING, and not UNHEALTHY or still
    unknown. `protected`: it is not taken.
    """

    id: str
    new: bool
    ready: bool
    protected: bool = False


@dataclass(frozen=True)
class Move:
    """What to do now."""

    start: int = 0
    stop: tuple[str, ...] = ()


def next_move(
    desired: int,
    members: tuple[ServiceTask, ...],
    *,
    minimum_percent: int = MINIMUM_HEALTHY_PERCENT,
    maximum_percent: int = MAXIMUM_PERCENT,
) -> Move:
    """Members oldest first. Old tasks go before new ones, unready before ready, oldest before younger."""
    most = max(desired * maximum_percent // 100, desired if maximum_percent >= 100 else 0)
    least = -(-desired * minimum_percent // 100)
    new = [member for member in members if member.new]
    old = [member for member in members if not member.new]
    surplus = sorted((it for it in new if not it.protected), key=lambda it: it.ready)[: max(0, len(new) - desired)]
    candidates = [*sorted((it for it in old if not it.protected), key=lambda it: it.ready), *surplus]
    ready, stop = sum(member.ready for member in members), []
    for member in candidates:
        if member.ready and ready <= least:
            break
        ready -= member.ready
        stop.append(member.id)
    room = most - (len(members) - len(stop))
    return Move(max(0, min(desired - len(new), room)), tuple(stop))
