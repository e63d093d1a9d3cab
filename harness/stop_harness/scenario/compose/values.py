"""Values of Compose in the form that a scenario has for them. Most are the same. Pure.

A reader gives None for a value that says nothing, and `Refused` for one that only several containers together can have.
Compose takes numbers and truth values as texts, too, as a variable gives them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Refused:
    """A value that is not applied. `why`: what that may change, empty where the key says it."""

    value: str
    why: str = ""


def read(key: str, value: Any) -> Any:
    """The value of a scenario's key; one of a wrong shape as it is, for the scenario's own messages."""
    try:
        return _READERS[key](value) if key in _READERS else value
    except (TypeError, ValueError, AttributeError, KeyError):
        return value


def are_mounts(value: Any) -> bool:
    """Whether it was read as mounts in the long form."""
    return isinstance(value, list) and all(isinstance(item, dict) and "type" in item for item in value)


def boolean(value: Any) -> Any:
    """`"true"` as a variable gives it; anything else as it is, for the scenario's own messages."""
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


MOST_PORTS = 20
"""Of a service's ports; `9000-9999` says no more about when it is ready than its first ones."""


def container_ports(value: Any) -> list[int]:
    """TCP ports of the container in `ports` or `expose`: `80`, `8080:80/tcp`, `127.0.0.1:8080-8081:80-81`, or the long
    form. Who publishes them where is nobody's business here: any free port of the engine does."""
    found: list[int] = []
    for item in listed(value):
        long = isinstance(item, dict)
        port, _, protocol = str(item.get("target") if long else item).rpartition(":")[2].partition("/")
        if (str(item.get("protocol") or "tcp") if long else protocol or "tcp") == "tcp":
            first, _, last = port.partition("-")
            found += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(found))[:MOST_PORTS]


@dataclass(frozen=True)
class Published:
    """One port of `ports`, as Compose publishes it. `host_port` empty: any free one; a range: one of it."""

    host: str
    host_port: str
    port: str
    protocol: str

    def collides(self, other: Published) -> bool:
        """Whether both want the same port of the same address."""
        anywhere = {"", "0.0.0.0", "::"}  # nosec B104 # only compared
        same_place = self.host == other.host or bool({self.host, other.host} & anywhere)
        alike = (self.host_port, self.protocol) == (other.host_port, other.protocol)
        return alike and self.host_port.isdigit() and self.host_port != "0" and same_place


def published(item: Any) -> list[Published]:
    """What one item of `ports` publishes, each port of a range by itself. Raises ValueError."""
    if isinstance(item, dict):
        host, port = str(item.get("host_ip") or ""), str(item.get("target"))
        return [Published(host, str(item.get("published") or ""), port, str(item.get("protocol") or "tcp"))]
    rest, _, protocol = str(item).partition("/")
    rest, _, inside = rest.rpartition(":")
    host, _, outside = rest.rpartition(":")
    ports, host_ports = _range(inside), _range(outside) if outside else [""]
    if len(host_ports) == 1:
        host_ports *= len(ports)
    elif len(host_ports) != len(ports):
        host_ports = [outside] * len(ports)
    pairs = zip(host_ports, ports, strict=True)
    return [Published(host.strip("[]"), out, port, protocol or "tcp") for out, port in pairs]


def _range(text: str) -> list[str]:
    first, _, last = text.partition("-")
    return [str(port) for port in range(int(first), int(last or first) + 1)][:MOST_RANGE]


MOST_RANGE = 65_536


def _number(value: Any) -> Any:
    """0 is no limit."""
    return (int(value) if isinstance(value, str) and re.fullmatch(r"-?\d+", value) else value) or None


def listed(value: Any) -> list[Any]:
    """A list, of one where one was given."""
    return list(value) if isinstance(value, list) else [] if value is None else [value]


def _cpus(value: Any) -> Any:
    return None if float(value) == 0 else value


def _namespace(value: Any) -> Any:
    """Of the engine's machine, or none; that of another service is joined, see `group`."""
    text = str(value)
    if text.startswith("container:"):
        return Refused(text, "it has a namespace of its own instead: another PID 1, or another network, may be stopped")
    return None if text.startswith("service:") else text


def _mounts(value: Any) -> list[dict[str, Any]]:
    """Short and long forms in the long one."""
    return [_mount(item) for item in value]


def _mount(item: Any) -> dict[str, Any]:
    if isinstance(item, dict):
        long = {key: item.get(key) for key in ("type", "source", "target")}
        long["read_only"] = boolean(item.get("read_only")) or False
        if isinstance(item.get("bind"), dict):
            long["bind"] = item["bind"]
        tmpfs = item.get("tmpfs") or {}
        long.update({key: tmpfs[key] for key in ("size", "mode") if tmpfs.get(key) is not None})
        return {key: value for key, value in long.items() if value is not None}
    source, _, rest = str(item).partition(":")
    if not rest:
        return {"type": "volume", "target": source}
    target, _, flags = rest.partition(":")
    kind = "bind" if source.startswith((".", "/", "~")) else "volume"
    return {"type": kind, "source": source, "target": target, "read_only": "ro" in flags.split(",")}


def _ulimits(value: dict[str, Any]) -> dict[str, Any]:
    def number(limit: Any) -> Any:
        return int(limit) if isinstance(limit, str) else limit

    return {
        name: {key: number(part) for key, part in limit.items()} if isinstance(limit, dict) else number(limit)
        for name, limit in value.items()
    }


def _health_check(value: dict[str, Any]) -> dict[str, Any]:
    """Without `start_interval`, which only shortens the time until it is ready."""
    known = ("test", "interval", "timeout", "start_period", "retries", "disable")
    found = {key: value[key] for key in known if value.get(key) is not None}
    found.update({key: _number(found[key]) for key in ("retries",) if key in found})
    found.update({key: boolean(found[key]) for key in ("disable",) if key in found})
    return {key: item for key, item in found.items() if item is not None}


def _hosts(value: Any) -> Any:
    """A name may have several addresses, of which the last counts."""
    if not isinstance(value, dict):
        return value
    return {name: item[-1] if isinstance(item, list) and item else item for name, item in value.items()}


_READERS: dict[str, Callable[[Any], Any]] = {
    "tty": boolean,
    "stdin_open": boolean,
    "read_only": boolean,
    "privileged": boolean,
    "env_file": listed,
    "tmpfs": listed,
    "volumes": _mounts,
    "ulimits": _ulimits,
    "cpus": _cpus,
    "cpu_shares": _number,
    "memory_swap": _number,
    "pid": _namespace,
    "ipc": _namespace,
    "network": _namespace,
    "healthcheck": _health_check,
    "extra_hosts": _hosts,
}
"""By the key of a scenario; all others are written alike."""
