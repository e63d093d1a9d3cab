"""Hooks of a container in a group, and the probes of a pod: performed from here, as Compose and a kubelet do it.

Sources: Compose, pkg/compose/hook.go; kubelet, pkg/kubelet/lifecycle/handlers.go and pkg/kubelet/prober/prober.go.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time

from stop_harness.engines.docker import grpc_probe
from stop_harness.engines.docker.subject import DockerSubject
from stop_harness.errors import EngineError
from stop_harness.model import NS_PER_S, Hook, HookKind, HookRecord, Probe, ProbeKind

HOOK_PATIENCE_NS = 600 * NS_PER_S
"""For a hook without a budget. Compose itself waits for ever."""

SUCCESS = range(200, 400)
"""Of an HTTP probe. Source: kubernetes.io, "Configure Liveness, Readiness and Startup Probes"."""


def perform(hook: Hook, subject: DockerSubject, budget_ns: int, stopped: threading.Event) -> HookRecord:
    """What became of it. One that lasts longer than `budget_ns` is left to itself; `stopped` ends a wait."""
    began_ns = time.monotonic_ns()
    failed, ended = "", True
    if hook.kind is HookKind.EXEC:
        settings = {
            "environment": dict(hook.environment) or None,
            "user": hook.user or "",
            "privileged": hook.privileged,
            "workdir": hook.working_directory,
        }
        try:
            code = subject.run(hook.command, budget_ns, **settings)
            ended, failed = code is not None, f"it exited with code {code}" if code else ""
        except EngineError as error:
            failed = str(error)
    elif hook.kind is HookKind.HTTP:
        ended, failed = _sent(hook, subject, budget_ns)
    elif hook.kind is HookKind.SLEEP:
        stopped.wait(min(hook.sleep_ns, budget_ns) / NS_PER_S)
        ended = hook.sleep_ns <= budget_ns
    else:
        failed = "a hook of this kind cannot be performed"
    return HookRecord(_text(hook), time.monotonic_ns() - began_ns, reason=failed, cut_off=not ended)


def _text(hook: Hook) -> str:
    if hook.kind is HookKind.EXEC:
        return " ".join(hook.command)
    if hook.kind is HookKind.HTTP:
        return f"GET {hook.path} at port {hook.port}"
    return f"sleep {hook.sleep_ns / NS_PER_S:g}" if hook.kind is HookKind.SLEEP else "a hook of an unknown kind"


def _sent(hook: Hook, subject: DockerSubject, budget_ns: int) -> tuple[bool, str]:
    """(whether it ended, why it failed). Any answer is a success, whatever its status."""
    timeout_s = max(0.1, budget_ns / NS_PER_S)
    try:
        _status(hook, subject, timeout_s)
    except TimeoutError:
        return False, ""
    except (OSError, http.client.HTTPException) as error:
        return True, f"no answer: {error}"
    return True, ""


def succeeds(probe: Probe, subject: DockerSubject) -> bool:
    """Whether it succeeds now."""
    timeout_s = probe.timeout_ns / NS_PER_S
    try:
        if probe.kind is ProbeKind.EXEC:
            return subject.run(probe.command, probe.timeout_ns) == 0
        if probe.kind is ProbeKind.HTTP:
            return _status(probe, subject, timeout_s) in SUCCESS
        with _connected(probe, subject, timeout_s) as connection:
            if probe.kind is ProbeKind.GRPC:
                authority = f"{subject.address or 'localhost'}:{probe.port}"
                return grpc_probe.is_serving(connection, probe.path, authority, timeout_s)
            return True
    except (OSError, http.client.HTTPException, EngineError):
        return False


def _status(it: Hook | Probe, subject: DockerSubject, timeout_s: float) -> int:
    """Of the answer to a GET request; certificates are not looked at, and nobody is followed elsewhere."""
    name = it.host or subject.address or "localhost"
    connection = http.client.HTTPConnection(name, it.port, timeout=timeout_s)
    with _connected(it, subject, timeout_s) as plain:
        if it.scheme.lower() == "https":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection.sock = context.wrap_socket(plain, server_hostname=name)
        else:
            connection.sock = plain
        try:
            connection.request("GET", it.path or "/", headers={"Connection": "close", **dict(it.headers)})
            return connection.getresponse().status
        finally:
            connection.close()


def _connected(it: Hook | Probe, subject: DockerSubject, timeout_s: float) -> socket.socket:
    """From the engine's machine to the container's address: what listens on 127.0.0.1 only, is not reached."""
    where = it.host or subject.near_address
    if where is not None:
        return socket.create_connection((where, it.port), timeout=timeout_s)
    return subject.connect(it.port, timeout_s)[0]
