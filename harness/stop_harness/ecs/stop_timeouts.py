"""Which stop timeout applies to a container. Pure.

`stopTimeout` of the container, else `ECS_CONTAINER_STOP_TIMEOUT` of the instance, else 30 s; with every odd value as
the ECS agent reads it (agent/config/parse.go, agent/config/config.go, agent/engine/docker_task_engine.go:2740).
"""

from __future__ import annotations

import re

NS_PER_S = 1_000_000_000

AGENT_VARIABLE = "ECS_CONTAINER_STOP_TIMEOUT"
"""Environment of the ECS agent on a container instance."""

DEFAULT_STOP_TIMEOUT_S = 30
"""agent/config/config.go:67; the same on Fargate."""

MINIMUM_STOP_TIMEOUT_NS = NS_PER_S
"""agent/config/config.go:109: a smaller value that is not zero is raised to this."""

FARGATE = "FARGATE"
"""How a task definition asks for Fargate, in `requiresCompatibilities`."""

FARGATE_STOP_TIMEOUT_S = range(2, 121)
"""What Fargate accepts; botocore's model, ContainerDefinition.stopTimeout."""

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, micro sign
    "μs": 1_000,  # U+03BC, Greek letter mu
    "ms": 1_000_000,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
}
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)(?![a-zµμ])")
_GO_MAX_NS = 2**63 - 1


def parse_go_duration(text: str) -> int:
    """Nanoseconds of a Go duration (`1h30m`, `-1.5m`, `.5s`, `0`). Raises ValueError as `time.ParseDuration` fails."""
    error = ValueError(f"time: invalid duration {text[:80]!r}")
    negative, rest = text.startswith("-"), text[1:] if text[:1] in {"-", "+"} else text
    if rest == "0":
        return 0
    total, position = 0, 0
    while position < len(rest):
        match = _PART.match(rest, position)
        if match is None or not (match[1] or match[2]) or len(match[0]) > 40:
            raise error
        whole, decimals = match[1] or "", match[2] or ""
        # Go drops what is finer than a nanosecond, part by part.
        total += int(whole + decimals) * _UNITS_NS[match[3]] // 10 ** len(decimals)
        position = match.end()
    if not rest or total > _GO_MAX_NS + negative:
        raise error
    return -total if negative else total


def agent_stop_timeout_s(value: str | None) -> int:
    """Seconds that Docker gets for `ECS_CONTAINER_STOP_TIMEOUT`; None or anything unreadable is the default."""
    try:
        duration_ns = parse_go_duration(value or "")
    except ValueError:
        return DEFAULT_STOP_TIMEOUT_S
    if duration_ns == 0:  # the agent merges its default into every zero value
        return DEFAULT_STOP_TIMEOUT_S
    return max(duration_ns, MINIMUM_STOP_TIMEOUT_NS) // NS_PER_S


def agent_warning(value: str | None) -> str | None:
    """What the agent logs of a value that it does not take as it is, with what applies instead; None for any other."""
    try:
        duration_ns = parse_go_duration(value or "0")
    except ValueError as error:
        return (
            f"{AGENT_VARIABLE}={(value or '')[:80]!r}: could not parse the duration ({error}); as with the ECS agent, "
            f"{DEFAULT_STOP_TIMEOUT_S} s apply. Give a number and a unit, such as 45s or 1m30s"
        )
    if duration_ns and duration_ns < MINIMUM_STOP_TIMEOUT_NS:
        return f"{AGENT_VARIABLE}={value!r}: less than a second; as with the ECS agent, 1 s applies"
    return None


def effective_stop_timeout_s(stop_timeout_s: int | None, agent_value: str | None, *, fargate: bool) -> int:
    """The `t` of the engine's stop call. 0 and less mean "not set"; Fargate has no agent to configure."""
    if stop_timeout_s is not None and stop_timeout_s > 0:
        return stop_timeout_s
    return DEFAULT_STOP_TIMEOUT_S if fargate else agent_stop_timeout_s(agent_value)


def format_go_duration(seconds: int) -> str:
    """As Go prints it: `30s`, `2m30s`, `1h0m0s`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"
