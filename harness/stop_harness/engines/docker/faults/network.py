"""A container out of its networks."""

from __future__ import annotations

from functools import partial
from typing import Any

from stop_harness.engines.docker import sdk
from stop_harness.engines.docker.faults import packets
from stop_harness.engines.docker.faults.scene import FaultScene
from stop_harness.engines.interface import Applied, FaultNotApplied
from stop_harness.model import Fault


def cut(scene: FaultScene, fault: Fault) -> Applied:
    """Out of every network; open connections stand still, for its address is gone. Of one port, all packets are
    lost, which nobody is told."""
    if fault.port is not None:
        return packets.disturbed(scene, fault)
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
