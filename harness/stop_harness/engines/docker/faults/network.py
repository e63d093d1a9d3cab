"""Faults of a container's network: out of it, or with its packets late, lost, rationed, and its connections reset."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from stop_harness.engines.docker import sdk
from stop_harness.engines.docker.faults.scene import FaultScene, nothing
from stop_harness.engines.interface import Applied, FaultNotApplied
from stop_harness.linux import network_namespace, packet_faults
from stop_harness.linux.packet_faults import CannotDisturb
from stop_harness.linux.packet_queue import Schedule
from stop_harness.model import Fault, FaultAction

NAME_SERVICE = 53
"""The port of name servers."""


def cut(scene: FaultScene, fault: Fault) -> Applied:
    """Out of every network; open connections stand still, for its address is gone. Of one port, all packets are
    lost, which nobody is told."""
    if fault.port is not None:
        return disturbed(scene, fault)
    networks: dict[str, Any] = (scene.inspect().get("NetworkSettings") or {}).get("Networks") or {}
    if not networks:
        raise FaultNotApplied("it is in no network that it could be taken out of")
    for name in networks:
        scene.ask("leaving a network", partial(_disconnect, scene, name))
    left = (scene.inspect().get("NetworkSettings") or {}).get("Networks") or {}
    if left:
        raise FaultNotApplied(f"it is still in {', '.join(left)}")
    if not scene.runs():  # what has ended can be taken out of a network as well
        raise FaultNotApplied("it was gone before it was out of its networks")

    def undo() -> None:
        for name, found in networks.items():
            if scene.runs():
                scene.ask("joining a network", partial(_connect, scene, name, found))

    return Applied("no network in NetworkSettings.Networks, read back", undo)


def _disconnect(scene: FaultScene, name: str) -> None:
    scene.api.disconnect_container_from_network(scene.container_id, name)


def _connect(scene: FaultScene, name: str, found: dict[str, Any]) -> None:
    """With the names and the address that it had, which the engine does not keep."""
    own = (found.get("IPAMConfig") or {}).get("IPv4Address")
    aliases = [alias for alias in found.get("Aliases") or () if alias != scene.container_id[:12]]
    given: dict[str, Any] = {"aliases": aliases or None, "ipv4_address": own}
    if name != "bridge" and own is None and found.get("IPAddress"):
        given["ipv4_address"] = found["IPAddress"]
    try:
        scene.api.connect_container_to_network(scene.container_id, name, **given)
    except sdk.errors.APIError:
        given["ipv4_address"] = own  # only networks with a subnet of the user's own take an address
        scene.api.connect_container_to_network(scene.container_id, name, **given)


def disturbed(scene: FaultScene, fault: Fault) -> Applied:
    """In its network namespace, which takes root on the engine's machine: every packet, also of connections that were
    there before. Whoever shares its network has the same."""
    amount = fault.amount or 0.0
    schedule = {
        FaultAction.LATENCY: partial(packet_faults.late, round(amount)),
        FaultAction.LOSS: partial(packet_faults.lossy, amount),
        FaultAction.BANDWIDTH: partial(packet_faults.rationed, amount),
        FaultAction.CUT: partial(packet_faults.lossy, 1.0),
    }[fault.action]()
    return _scheduled(scene, schedule, fault.port)


def late_names(scene: FaultScene, fault: Fault) -> Applied:
    """What comes from a name server outside; the engine's own answers, to the names of containers, stay as they are."""
    return _scheduled(scene, packet_faults.late_answers(round(fault.amount or 0)), NAME_SERVICE)


def _scheduled(scene: FaultScene, schedule: Schedule, port: int | None) -> Applied:
    try:
        end = packet_faults.disturb(_namespace(scene), schedule, port)
    except CannotDisturb as error:
        raise FaultNotApplied(str(error)) from None

    def undo() -> None:
        try:
            end()
        except CannotDisturb as error:
            raise FaultNotApplied(str(error)) from None

    return Applied("rules of iptables in its network namespace, read back", undo)


def reset(scene: FaultScene, fault: Fault) -> Applied:
    """Its connections that are open now."""
    namespace = _namespace(scene)
    try:
        count = packet_faults.reset(namespace, fault.port)
    except CannotDisturb as error:
        raise FaultNotApplied(str(error)) from None
    finally:
        os.close(namespace)
    if not count:
        raise FaultNotApplied("no connection was open that could be reset")
    return Applied(f"{count} connection{'s' if count > 1 else ''} reset, by sock_diag", nothing)


def _namespace(scene: FaultScene) -> int:
    """Opened, and then seen to be that of its own first process."""
    if scene.pid_one is None:
        raise FaultNotApplied("packets can only be disturbed by root on the engine's machine")
    try:
        namespace = network_namespace.opened(scene.pid_one.pid)
    except OSError as error:
        raise FaultNotApplied(f"its network namespace cannot be entered: {error.strerror}") from None
    if not scene.pid_one.lives():
        os.close(namespace)
        raise FaultNotApplied("it was gone already")
    return namespace
