"""Faults and clients as a scenario file has them: the other way round than `faults` and `traffic` read them. Pure."""

from __future__ import annotations

from typing import Any

from stop_harness import units
from stop_harness.model import Exchange, Fault, FaultAction, FaultKind, FaultMoment, TrafficClient, TrafficKind, When
from stop_harness.scenario.faults import PLAIN

_TIMES = frozenset({FaultAction.LATENCY, FaultAction.LATE, FaultAction.JUMP})
_WHOLE = frozenset({FaultKind.FDS, FaultKind.PIDS})


def fault(item: Fault) -> dict[str, Any]:
    """An entry of `faults`."""
    data: dict[str, Any] = {item.kind.value: _value(item), "at": _moment(item.moment)}
    return data | ({} if item.for_ns is None else {"for": units.format_duration(item.for_ns)})


def _value(item: Fault) -> Any:
    if item.kind is FaultKind.EXEC:
        return list(item.command)
    if item.kind is FaultKind.PAUSE:
        return True
    if item.kind is FaultKind.PROCESS and item.action is FaultAction.SEND:
        return {"signal": item.signal, "match": item.target}
    if item.kind is FaultKind.DEPENDENCY and item.action is FaultAction.LATENCY:
        return {"slow": item.target, "latency": _amount(item)}
    value: Any = item.target if item.target is not None else item.signal
    if item.amount is not None:
        value = _amount(item)
    port = {} if item.port is None else {"port": item.port}
    if value is None:
        return {item.action.value: True, **port} if port else item.action.value
    return value if PLAIN.get(item.kind) is item.action else {item.action.value: value, **port}


def _amount(item: Fault) -> Any:
    amount = item.amount or 0
    if item.action in _TIMES:
        return units.format_duration(round(amount))
    if item.action is FaultAction.BANDWIDTH:
        return f"{round(amount)}bit"
    if item.kind is FaultKind.MEMORY:
        return f"{round(amount)}b"
    return round(amount) if item.kind in _WHOLE or item.action is FaultAction.LOAD else amount


def _moment(moment: FaultMoment) -> Any:
    if moment.when is When.LOG:
        return {"log": moment.log}
    if not moment.offset_ns:
        return moment.when.value
    return ("-" if moment.when is When.BEFORE else "") + units.format_duration(moment.offset_ns)


# ── clients ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def traffic(clients: tuple[TrafficClient, ...]) -> dict[str, Any]:
    """The section `traffic`, straight to the container."""
    found: dict[str, Any] = {}
    for item in clients:
        found.setdefault(item.kind.value, []).append(_client(item))
    return {kind: several[0] if len(several) == 1 else several for kind, several in found.items()}


def _client(item: TrafficClient) -> dict[str, Any]:
    """What differs from a client that the file says nothing of."""
    usual = TrafficClient(item.kind, item.port)
    data: dict[str, Any] = {"port": item.port}
    plain = {"path": item.path, "clients": item.clients, "tls": item.tls, "verify": item.verify}
    data |= {key: value for key, value in plain.items() if value != getattr(usual, key)}
    times = {"timeout": "timeout_ns", "think": "think_ns", "lead": "lead_ns", "every": "every_ns"}
    data |= {
        key: units.format_duration(getattr(item, name))
        for key, name in times.items()
        if getattr(item, name) != getattr(usual, name)
    }
    data |= {"headers": dict(item.headers)} if item.headers else {}
    if item.kind is TrafficKind.GRPC:
        return data | ({"message": _bytes(item.body)} if item.body else {})
    data |= {"method": item.method} if item.method != usual.method else {}
    data |= {"body": _bytes(item.body)} if item.body is not None else {}
    if item.kind is TrafficKind.WEBSOCKET and item.exchanges:
        return data | _exchange(item.exchanges[0])
    return data | ({"exchanges": [_exchange(step) for step in item.exchanges]} if item.exchanges else {})


def _exchange(step: Exchange) -> dict[str, Any]:
    both = {"send": step.send, "expect": step.expect}
    return {key: _bytes(value) for key, value in both.items() if value is not None}


def _bytes(value: bytes | None) -> dict[str, str]:
    return {"hex": (value or b"").hex()}
