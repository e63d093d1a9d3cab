"""What tells that a container is ready whose scenario does not say: its health check and its declared ports."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from stop_harness.engines.docker import sdk
from stop_harness.engines.docker.reached import Reached
from stop_harness.linux import listening

DEFAULT_SHELL = ("/bin/sh", "-c")
"""What runs a health check in shell form. Source: Dockerfile reference, HEALTHCHECK and SHELL."""

MOST_PROBED_PORTS = 20
"""Of declared ports that have to be connected to; `EXPOSE 1000-2000` would be a scan."""


def health_test(inspected: Any) -> tuple[str, ...] | None:
    """The command of `Config.Healthcheck`; None where there is none. Exit code 0 means healthy.

    The engine itself runs it for the first time when an interval has passed, half a minute by default. Nobody stops a
    container that much later than it is ready, so it is run in between as well.
    """
    try:
        config = inspected["Config"]
        kind, *words = (config.get("Healthcheck") or {}).get("Test") or ["NONE"]
        if kind == "CMD-SHELL" and words:
            return (*(config.get("Shell") or DEFAULT_SHELL), str(words[0]))
        return tuple(map(str, words)) or None if kind == "CMD" else None
    except sdk.NONSENSE_ERRORS:
        return None


def exposed_ports(inspected: Any) -> tuple[int, ...]:
    """`Config.ExposedPorts`, TCP only: EXPOSE of the image, and what is published."""
    with contextlib.suppress(*sdk.NONSENSE_ERRORS):
        declared = [str(port).partition("/") for port in inspected["Config"].get("ExposedPorts") or ()]
        return tuple(sorted({int(port) for port, _, protocol in declared if protocol in {"", "tcp"}}))
    return ()


def addresses(api: Any, container_id: str) -> tuple[str, ...] | None:
    """Where it listens, by a command in it; None where that cannot be run. Raises the SDK's errors."""
    created = api.exec_create(container_id, ["cat", "/proc/net/tcp", "/proc/net/tcp6"])
    told = bytes(api.exec_start(created["Id"]))
    return listening.addresses(told.decode(errors="replace")) if b"local_address" in told else None


def accepting(reached: Reached, ports: tuple[int, ...]) -> frozenset[int]:
    """Those of the first ports that accept a connection, and keep it."""
    return frozenset(port for port in ports[:MOST_PROBED_PORTS] if _accepts(reached, port))


def _accepts(reached: Reached, port: int) -> bool:
    """An engine's proxy accepts for a container that does not, and then hangs up."""
    from stop_harness.engines.docker.ready_ports import HANG_UP_S  # late: with it comes testcontainers

    try:
        where = (reached.get_container_host_ip(), reached.get_exposed_port(port))
        with socket.create_connection(where, timeout=1) as connection:
            connection.settimeout(HANG_UP_S)
            return connection.recv(1) != b""
    except TimeoutError:
        return True
    except (OSError, LookupError, ValueError, TypeError, ConnectionError):
        return False
