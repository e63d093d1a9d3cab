"""Packets of a container that come late, get lost or are rationed, and connections that are reset.

Root on the engine's machine does it, and everywhere else a container of ours in the same network.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from stop_harness.engines.docker.faults.scene import GONE, FaultScene, nothing
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.packet_container import Lacking, PacketContainer
from stop_harness.engines.docker.reaper import OWNER_LABEL, RUN_LABEL
from stop_harness.engines.interface import Applied, FaultNotApplied, Held
from stop_harness.linux import disturbance, network_namespace, packet_faults
from stop_harness.linux.disturbance import CannotDisturb, Disturbance
from stop_harness.model import Fault, FaultAction, FaultKind

NAME_SERVICE = 53
"""The port of name servers."""


def are_disturbed(fault: Fault) -> bool:
    """Whether a fault is made of the packets of its container."""
    if fault.kind is FaultKind.DNS:
        return fault.action is FaultAction.LATE
    return fault.kind is FaultKind.NETWORK and (fault.action is not FaultAction.CUT or fault.port is not None)


def refusal(fault: Fault, host: DockerHost, tried: Callable[[], Lacking | None]) -> str | None:
    """Why they cannot be disturbed on this engine. `tried`: gives what was tried there; None: nothing yet."""
    near = packet_faults.why_not() if host.root_near else None
    lacking = None if host.root_near and near is None else tried()
    if lacking is None:
        return None
    reason = lacking.reset if fault.action is FaultAction.RESET else lacking.disturbed
    if reason is None:
        return None
    from_here = f"{near}; and in a container of ours: " if near is not None else ""
    return f"its packets cannot be disturbed: {from_here}{reason}"


def hold(scene: FaultScene, fault: Fault) -> Held | None:
    """Where a container of ours makes it, that is started now: it takes 0.2 s, and 5 ms to be told. None: there root on
    the engine's machine does, at once."""
    if _near(scene):
        return None
    container = by_container(scene)

    def release() -> Applied:
        try:
            if fault.action is FaultAction.RESET:
                return _reset_by(container, scene, fault)
            return _disturbed_by(container, scene, fault)
        except BaseException:
            container.close()
            raise

    return Held(release, container.close)


def disturbed(scene: FaultScene, fault: Fault) -> Applied:
    """In its network namespace: every packet, also of connections that were there before. Whoever shares its network
    has the same."""
    if (held := hold(scene, fault)) is not None:
        return held.release()
    with _as_refusals():
        end = packet_faults.disturb(_namespace(scene), _disturbance(fault))

    def undo() -> None:
        with _as_refusals():
            end()

    return Applied("rules of iptables in its network namespace, read back", undo)


def reset(scene: FaultScene, fault: Fault) -> Applied:
    """Its connections that are open now."""
    if (held := hold(scene, fault)) is not None:
        return held.release()
    namespace = _namespace(scene)
    try:
        with _as_refusals():
            return _were_reset(packet_faults.reset(namespace, fault.port))
    finally:
        os.close(namespace)


def _disturbance(fault: Fault) -> Disturbance:
    amount = fault.amount or 0.0
    course = {
        FaultAction.LATENCY: partial(disturbance.late, round(amount)),
        FaultAction.LATE: partial(disturbance.late_answers, round(amount)),
        FaultAction.LOSS: partial(disturbance.lossy, amount),
        FaultAction.BANDWIDTH: partial(disturbance.rationed, amount),
        FaultAction.CUT: partial(disturbance.lossy, 1.0),
    }[fault.action]()
    # Of names: what a server outside answers; the engine's own answers, to the names of containers, stay as they are.
    port = NAME_SERVICE if fault.kind is FaultKind.DNS else fault.port
    return Disturbance(course, disturbance.all_packets(port))


def _were_reset(count: int, *, begun_ns: int | None = None) -> Applied:
    if not count:
        raise FaultNotApplied("no connection was open that could be reset")
    return Applied(f"{count} connection{'s' if count > 1 else ''} reset, by sock_diag", nothing, begun_ns=begun_ns)


@contextlib.contextmanager
def _as_refusals() -> Iterator[None]:
    try:
        yield
    except CannotDisturb as error:
        raise FaultNotApplied(str(error)) from None


# ── by root on the engine's machine ──────────────────────────────────────────────────────────────────────────────────


def _near(scene: FaultScene) -> bool:
    return scene.host.root_near and scene.pid_one is not None and packet_faults.why_not() is None


def _namespace(scene: FaultScene) -> int:
    """Opened, and then seen to be that of its own first process."""
    assert scene.pid_one is not None
    try:
        namespace = network_namespace.opened(scene.pid_one.pid)
    except OSError as error:
        raise FaultNotApplied(f"its network namespace cannot be entered: {error.strerror}") from None
    if not scene.pid_one.lives():
        os.close(namespace)
        raise FaultNotApplied(GONE)
    return namespace


# ── by a container of ours ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Started:
    """A container of ours, and when the one was started that has the network, in the engine's own words."""

    packets: PacketContainer
    since: str

    def undo(self) -> None:
        with _as_refusals():
            self.packets.undo()

    def close(self) -> None:
        self.packets.close()


def by_container(scene: FaultScene) -> _Started:
    """Started in the network of the container. Raises FaultNotApplied."""
    own = scene.inspect()
    _refuse_the_machines_network(scene, own)
    labels = {key: value for key, value in own["Config"]["Labels"].items() if key in {RUN_LABEL, OWNER_LABEL}}
    starting = partial(PacketContainer.start, scene.host, f"container:{scene.container_id}", labels)
    with _as_refusals():
        return _Started(scene.ask("a container for its packets", starting), own["State"]["StartedAt"])


def _refuse_the_machines_network(scene: FaultScene, found: dict[str, Any]) -> None:
    """Not by who it is, but by where the engine has put it, or whoever's network it shares."""
    network = str(found["HostConfig"].get("NetworkMode"))
    while network.startswith("container:"):
        other = scene.ask("inspect", scene.api.inspect_container, network.removeprefix("container:"))
        network = str(other["HostConfig"].get("NetworkMode"))
    if network == "host":
        raise FaultNotApplied("it is in the network of the engine's machine, which is not to be disturbed")


def _disturbed_by(container: _Started, scene: FaultScene, fault: Fault) -> Applied:
    with _as_refusals():
        count = container.packets.disturb(_disturbance(fault))
    begun_ns = time.time_ns()
    _check_that_it_is_there(container, scene)

    def undo() -> int:
        try:
            scene.undo_while_it_runs(container.undo)
            return time.time_ns()
        finally:
            container.close()

    seen = f"{count} rules of nf_tables in its network namespace, read back from the kernel by a container of ours"
    return Applied(seen, undo, begun_ns=begun_ns)


def _reset_by(container: _Started, scene: FaultScene, fault: Fault) -> Applied:
    with _as_refusals():
        count = container.packets.reset(fault.port)
    begun_ns = time.time_ns()
    _check_that_it_is_there(container, scene)
    container.close()
    return _were_reset(count, begun_ns=begun_ns)


def _check_that_it_is_there(container: _Started, scene: FaultScene) -> None:
    """What has ended, or was started again meanwhile, has left the network that ours is in."""
    if not scene.runs() or scene.inspect()["State"]["StartedAt"] != container.since:
        raise FaultNotApplied("it was gone before its packets were disturbed")
