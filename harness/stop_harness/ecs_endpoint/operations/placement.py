"""On which capacity tasks run: a launch type, or a capacity provider of a strategy. Pure."""

from __future__ import annotations

from stop_harness.ecs.stop_timeouts import FARGATE
from stop_harness.ecs_endpoint.errors import invalid_parameter
from stop_harness.ecs_endpoint.state import Json

OF_FARGATE = frozenset({FARGATE, "FARGATE_SPOT"})

MOST_PROVIDERS = 20
"""In a strategy; Amazon ECS API, RunTask."""


def placed(request: Json, count: int, default: list[Json] | None = None) -> list[Json]:
    """`launchType` and `capacityProviderName` of each task. A provider that is not Fargate's stands for instances.
    `default`: the cluster's strategy, which applies where the request has neither a launch type nor a strategy.

    First each provider's `base`, then by `weight`. Raises InvalidParameterException for what ECS refuses.
    """
    strategy: list[Json] = request.get("capacityProviderStrategy") or []
    if not strategy and not request.get("launchType"):
        strategy = default or []
    if not strategy:
        return [{}] * count
    _check(strategy, request)
    names = [str(item["capacityProvider"]) for item in strategy]
    given = dict.fromkeys(names, 0)
    base = {str(item["capacityProvider"]): int(item.get("base", 0)) for item in strategy}
    # One alone needs no weight.
    weights = {str(item["capacityProvider"]): int(item.get("weight", 0)) or len(names) == 1 for item in strategy}
    result = []
    for _ in range(count):
        lacking = (name for name in names if given[name] < base[name])
        name = next(lacking, "") or min(
            (name for name in names if weights[name]), key=lambda name: (given[name] - base[name] + 1) / weights[name]
        )
        given[name] += 1
        result.append({"launchType": FARGATE if name in OF_FARGATE else "EC2", "capacityProviderName": name})
    return result


def _check(strategy: list[Json], request: Json) -> None:
    if request.get("launchType"):
        raise invalid_parameter(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again."
        )
    if len(strategy) > MOST_PROVIDERS:
        raise invalid_parameter(f"A capacity provider strategy can contain a maximum of {MOST_PROVIDERS} providers.")
    names = [item["capacityProvider"] for item in strategy]
    if len(set(names)) != len(names):
        raise invalid_parameter("A capacity provider strategy cannot contain duplicate capacity providers.")
    if len({name in OF_FARGATE for name in names}) > 1:
        raise invalid_parameter(
            "The specified capacity provider strategy cannot contain a mix of capacity providers of Fargate and others."
        )
    if sum(item.get("base", 0) > 0 for item in strategy) > 1:
        raise invalid_parameter("Only one capacity provider in a strategy can have a base that is greater than 0.")
    if len(names) > 1 and not any(item.get("weight", 0) for item in strategy):
        raise invalid_parameter("At least one capacity provider in a strategy needs a weight that is greater than 0.")
