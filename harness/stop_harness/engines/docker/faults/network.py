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
    networks = _networks(scene)
    if not networks:
        raise FaultNotApplied("it is in no network that it could be taken out of")
    for name in networks:
        scene.ask("leaving a network", scene.api.disconnect_container_from_network, scene.container_id, name)
    if left := _networks(scene):
        raise FaultNotApplied(f"it is still in {', '.join(left)}")
    if not scene.runs():  # what has ended can be taken out of a network as well
        raise FaultNotApplied("it was gone before it was out of its networks")

    def undo() -> None:
        for name, found in networks.items():
            if scene.runs():
                scene.ask("joining a network", partial(_rejoin, scene, name, found))

    def give_back() -> None:
        """The engine takes what has ended into a network as well, and connects it there at its next start."""
        there = _networks(scene)
        for name, found in networks.items():
            if name not in there:
                scene.ask("joining a network", partial(_join, scene, name, _own(scene, found)))
        if missing := networks.keys() - _networks(scene).keys():
            raise FaultNotApplied(f"it is still out of {', '.join(sorted(missing))}")

    return Applied("no network in NetworkSettings.Networks, read back", undo, give_back=give_back)


def _networks(scene: FaultScene) -> dict[str, Any]:
    """The networks in which the engine has it now, with its place in each."""
    return (scene.inspect().get("NetworkSettings") or {}).get("Networks") or {}


def _own(scene: FaultScene, found: dict[str, Any]) -> dict[str, Any]:
    """Of a place in a network what the container itself was given there, and the engine does not keep: its names, links
    and an address of its own. The engine adds the beginning of the container's id to its names by itself."""
    given = {key: found[key] for key in ("IPAMConfig", "Links", "Aliases", "DriverOpts") if found.get(key)}
    names = [alias for alias in given.pop("Aliases", ()) if alias != scene.container_id[:12]]
    return {**given, "Aliases": names} if names else given


def _join(scene: FaultScene, name: str, own: dict[str, Any]) -> None:
    """Not by the SDK, which knows no links of such a place as the engine tells them."""
    body = {"Container": scene.container_id, "EndpointConfig": own}
    scene.api._raise_for_status(scene.api._post_json(scene.api._url("/networks/{0}/connect", name), data=body))


def _rejoin(scene: FaultScene, name: str, found: dict[str, Any]) -> None:
    """While it runs also with the address that it had, by which its clients may know it. Only networks with a subnet of
    the user's own take one."""
    own, address = _own(scene, found), found.get("IPAddress")
    if name != "bridge" and "IPAMConfig" not in own and address:
        try:
            _join(scene, name, {**own, "IPAMConfig": {"IPv4Address": address}})
            return
        except sdk.errors.APIError:
            pass
    _join(scene, name, own)


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
