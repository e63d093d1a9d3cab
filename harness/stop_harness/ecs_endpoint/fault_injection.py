"""Network faults of a task, asked for by its own containers: `$ECS_AGENT_URI/fault/v1/…`, as the agent serves it.

Sources: Amazon ECS developer guide, "Amazon ECS fault injection endpoints"; amazon-ecs-agent,
ecs-agent/tmds/handlers/fault/v1. A task may ask whose definition has `enableFaultInjection`. Its packets are disturbed
in its own network namespace, by the means of the faults of a scenario.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from typing import Any

from stop_harness.ecs_endpoint.agent import Run
from stop_harness.ecs_endpoint.containers import ContainerProblem
from stop_harness.ecs_endpoint.state import Endpoint, Json
from stop_harness.linux import disturbance
from stop_harness.linux.disturbance import CannotDisturb, Disturbance, Packets
from stop_harness.model import NS_PER_MS, NS_PER_S

BLACKHOLE, LATENCY, LOSS = "network-blackhole-port", "network-latency", "network-packet-loss"
PATH = re.compile(rf"/api/(?P<id>[^/?]*)/fault/v1/(?P<kind>{BLACKHOLE}|{LATENCY}|{LOSS})/(?P<what>start|stop|status)")
EVERY_NS = 5 * NS_PER_S
"""An endpoint takes one request of a container in this time."""

TRAFFIC_TYPES = ("ingress", "egress")


class FaultRefused(Exception):
    """The answer to a request that is not granted."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class _Wanted:
    """One fault. `key`: by which it is known; there is one latency or loss a task. `disturbance`: None where it is only
    asked about, or ended."""

    key: str
    disturbance: Disturbance | None = None


def serves(target: str) -> bool:
    """Whether a path is one of these."""
    return PATH.fullmatch(target.partition("?")[0]) is not None


def call(endpoints: Iterable[Endpoint], target: str, body: bytes) -> tuple[int, Json]:
    """(status, answer) of a POST."""
    match = PATH.fullmatch(target.partition("?")[0])
    assert match is not None, "serves comes first"
    try:
        for endpoint in endpoints:
            with endpoint.agent.lock:
                run = next((it for it in endpoint.agent.runs.values() if it.agent_id == match["id"]), None)
            if run is not None:
                return 200, {"Status": _answer(endpoint, run, match["kind"], match["what"], body)}
    except FaultRefused as refused:
        return refused.status, {"Error": str(refused)}
    return 404, {"Error": f"unable to lookup container: {match['id']}"}


def _answer(endpoint: Endpoint, run: Run, kind: str, what: str, body: bytes) -> str:
    asked = wanted(kind, what, body)
    document = endpoint.definition(str(run.details["taskDefinitionArn"]), "").document
    if not document.get("enableFaultInjection"):
        raise FaultRefused(400, f"enableFaultInjection is not enabled for task: {run.arn}")
    mode = str(document.get("networkMode") or "bridge")
    if mode == "host":
        raise FaultRefused(400, "host mode would disturb the network of this machine; use awsvpc")
    if mode != "awsvpc":
        raise FaultRefused(400, f"{mode} mode is not supported. Please use either host or awsvpc mode.")
    with run.sharing:
        now_ns, place = endpoint.clock.now_ns(), f"{kind}/{what}"
        if now_ns - run.fault_asked_ns.get(place, -EVERY_NS) < EVERY_NS:
            raise FaultRefused(429, f"{what} {kind}: one request in 5 seconds is taken")
        run.fault_asked_ns[place] = now_ns
        if what == "status":
            return "running" if asked.key in run.faults else "not-running"
        if what == "start":
            _start(endpoint, run, asked)
            return "running"
        undo = run.faults.pop(asked.key, None)
        if undo is not None:
            with contextlib.suppress(CannotDisturb):  # the namespace has gone with the task
                undo()
        return "stopped"


def _start(endpoint: Endpoint, run: Run, asked: _Wanted) -> None:
    if asked.key.startswith(BLACKHOLE):
        if asked.key in run.faults:
            return
    else:
        for key, name in ((LATENCY, "latency"), (LOSS, "packet loss")):
            if key in run.faults:
                raise FaultRefused(409, f"There is already one network {name} fault running")
    try:
        alone = next((it.runtime_id for it in run.live.values() if it.exit is None), "")
        assert asked.disturbance is not None, "it is to be started"
        run.faults[asked.key] = endpoint.agent.containers.disturb(run.group_id or alone, asked.disturbance)
    except (ContainerProblem, CannotDisturb) as error:
        raise FaultRefused(500, str(error)) from None


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def wanted(kind: str, what: str, body: bytes) -> _Wanted:
    """What a body asks for. Only a black hole says which one it is when it ends."""
    if kind != BLACKHOLE and what != "start":
        return _Wanted(kind)
    if not body.strip():
        raise FaultRefused(400, "required request body is missing")
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise FaultRefused(400, "the request body is no JSON object")
    if kind == BLACKHOLE:
        return _blackhole(asked)
    if kind == LATENCY:
        delay_ns = _number(asked, "DelayMilliseconds", 2**32) * NS_PER_MS
        jitter_ns = _number(asked, "JitterMilliseconds", 2**32) * NS_PER_MS
        course = disturbance.late(delay_ns, jitter_ns)
    else:
        course = disturbance.lossy(_number(asked, "LossPercent", 100, least=1) / 100)
    only = tuple(Packets(leaves=True, destination=it) for it in _sources(asked, "Sources", required=True))
    but = tuple(Packets(leaves=True, destination=it) for it in _sources(asked, "SourcesToFilter"))
    return _Wanted(kind, Disturbance(course, only, but))


def _blackhole(asked: dict[str, Any]) -> _Wanted:
    """Also on the loopback."""
    port = _number(asked, "Port", 65535)
    protocol, traffic = _word(asked, "Protocol", ("tcp", "udp")), _word(asked, "TrafficType", TRAFFIC_TYPES)
    leaves = traffic == "egress"
    all_of_it = Packets(leaves, loopback=True, protocol=protocol, to_port=port)
    but = tuple(
        replace(all_of_it, destination=it) if leaves else replace(all_of_it, source=it)
        for it in _sources(asked, "SourcesToFilter")
    )
    return _Wanted(f"{BLACKHOLE} {traffic}-{protocol}-{port}", Disturbance(disturbance.lossy(1.0), (all_of_it,), but))


def _number(asked: dict[str, Any], name: str, most: int, *, least: int = 0) -> int:
    value = asked.get(name)
    if value is None:
        raise FaultRefused(400, f"required parameter {name} is missing")
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise FaultRefused(400, f"invalid value {value} for parameter {name}")
    return value


def _word(asked: dict[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    value = asked.get(name)
    if not value:
        raise FaultRefused(400, f"required parameter {name} is missing")
    if value not in allowed:
        raise FaultRefused(400, f"invalid value {value} for parameter {name}")
    return str(value)


def _sources(asked: dict[str, Any], name: str, *, required: bool = False) -> tuple[IPv4Network, ...]:
    """Addresses and networks. Those of IPv6 match nothing: tasks have no such address here."""
    values = asked.get(name) or []
    if required and not values:
        raise FaultRefused(400, f"required parameter {name} is missing")
    if not isinstance(values, list):
        raise FaultRefused(400, f"invalid value {values} for parameter {name}")
    found: list[IPv4Network] = []
    for value in values:
        try:
            network = ipaddress.ip_network(value, strict=False)
        except (ValueError, TypeError):
            raise FaultRefused(400, f"invalid value {value} for parameter {name}") from None
        found += [network] if isinstance(network, IPv4Network) else []
    return tuple(found)
