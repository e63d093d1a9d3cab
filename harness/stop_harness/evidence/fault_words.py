"""Faults in words: what is asked for, and what it came to. Pure."""

from __future__ import annotations

from stop_harness import units
from stop_harness.model import Fault, FaultAction, FaultKind, FaultRecord, When
from stop_harness.wording import one_line, signed_seconds

_BYTES = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))


def what(fault: Fault) -> str:
    """`cpu 0.2`, `network latency 200ms`, `process stop 'worker'`: without its moment."""
    value = _amount(fault)
    if fault.command:
        value = f"`{one_line(' '.join(fault.command))}`"
    elif fault.target is not None:
        value = one_line(fault.target)
    elif fault.signal is not None:
        value = fault.signal
    elif fault.kind is FaultKind.SIGNAL:
        value = "of the stop again"
    plain = {FaultAction.LIMIT, FaultAction.JUMP, FaultAction.RUN}
    plain |= {FaultAction.SEND} if fault.kind is FaultKind.SIGNAL else set()
    action = "" if fault.action in plain or str(fault.action) == str(fault.kind) else str(fault.action)
    if fault.kind is FaultKind.PROCESS and fault.action is FaultAction.SEND:
        action = str(fault.signal)
    if fault.kind is FaultKind.DEPENDENCY and fault.action is FaultAction.LATENCY:
        action, value = "slow", f"{value} by {_amount(fault)} each way"
    port = f"of port {fault.port}" if fault.port is not None else ""
    return " ".join(part for part in (str(fault.kind), action.replace("_", " "), value, port) if part)


def when(fault: Fault) -> str:
    """`before the stop`, `2s before the stop`, `with the stop`, `500ms after the stop signal`, `at the line 'bye'`."""
    moment = fault.moment
    begin = {
        When.BEFORE: "before the stop",
        When.WITH: "with the stop",
        When.AFTER: "after the stop signal",
        When.LOG: f"at the line {one_line(moment.log or '')!r}",
    }[moment.when]
    offset = f"{units.format_duration(moment.offset_ns)} " if moment.offset_ns else ""
    length = f" for {units.format_duration(fault.for_ns)}" if fault.for_ns is not None else ""
    return f"{offset}{begin}{length}"


def asked(fault: Fault) -> str:
    """`cpu 0.2 with the stop for 5s`."""
    return f"{what(fault)} {when(fault)}"


def course(record: FaultRecord) -> str:
    """What it came to, with measured times: `cpu 0.2 from 0.02 s after the stop signal to 1.2 s`."""
    name = what(record.fault)
    if record.begun_ns is None:
        return f"{name} was not there: {record.problem or 'nobody knows why'}"
    if record.fault.is_deed:
        return f"{name} at {signed_seconds(record.begun_ns)}"
    return f"{name} {lasted(record)}"


def lasted(record: FaultRecord) -> str:
    """From when until when a fault was there that lasts: `from +0.020 s to +1.200 s`."""
    assert record.begun_ns is not None
    until = "until the end" if record.ended_ns is None else f"to {signed_seconds(record.ended_ns)}"
    return f"from {signed_seconds(record.begun_ns)} {until}"


def _amount(fault: Fault) -> str:
    value = fault.amount
    if value is None:
        return ""
    if fault.action is FaultAction.JUMP:
        return f"{'-' if value < 0 else '+'}{units.format_duration(round(abs(value)))}"
    if fault.action in {FaultAction.LATENCY, FaultAction.LATE}:
        return units.format_duration(round(value))
    if fault.action is FaultAction.LOSS:
        return f"{value:.0%}"
    if fault.action is FaultAction.BANDWIDTH:
        return f"{value / 1000:g} kbit/s"
    if fault.kind is FaultKind.MEMORY:
        size, unit = next(((size, unit) for size, unit in _BYTES if value >= size), (1, "B"))
        return f"{value / size:g} {unit}"
    return f"{value:g}"
