"""How a trial's container is created."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Any

from stop_harness.engines.docker import sdk, settings
from stop_harness.engines.docker.host import DockerHost
from stop_harness.errors import EngineError
from stop_harness.model import POD_ADDRESS, Trial
from stop_harness.records import dataclass

LOOPBACK = "127.0.0.1"
"""Where a container is reached that is in the network of the engine's machine, if that is this one."""

SUBPATH_SINCE = "1.45"
"""API version (Docker 26) from which on a part of a volume is mounted."""

OF_THE_NETWORK_OWNER = ("ports", "network", "network_mode", "hostname", "extra_hosts", "publish_all_ports")
"""What the engine refuses to a container that joins the network namespace of another, or passes over."""


@dataclass(frozen=True)
class Placement:
    """Where a container of a group stands among the others.

    `networks`: (name on the engine, names by which others find it there); empty: as its own settings say. `links`:
    (name of another in these networks, name by which only this container finds it, too). `hosts`: (such a name, the
    address behind it), for an engine that passes over links. `network_of`, `pid_of`,
    `ipc_of`: id of the container whose namespace it joins, `address` the one that it has in that network,
    None where it is not known. `volumes_from`: ids of containers whose volumes it mounts, too. `groups`: supplementary
    groups of its processes. `in_pod`: there is no init process before it, whatever the engine's default is, and its
    volumes begin with nothing of the image. `pod_address`: what stands for `POD_ADDRESS` in its words.
    """

    networks: tuple[tuple[str, tuple[str, ...]], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()
    network_of: str | None = None
    pid_of: str | None = None
    ipc_of: str | None = None
    address: str | None = None
    volumes_from: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    in_pod: bool = False
    pod_address: str = "127.0.0.1"

    def of(self, given: dict[str, Any], api: Any) -> dict[str, Any]:
        """Arguments of the SDK's create call with those of this place."""
        placed = dict(given)
        if self.network_of is not None:
            placed = {key: value for key, value in given.items() if key not in OF_THE_NETWORK_OWNER}
            placed["network_mode"] = f"container:{self.network_of}"
        elif self.networks:
            name, aliases = self.networks[0]
            placed.pop("network_mode", None)
            placed["network"] = name
            placed["networking_config"] = {name: api.create_endpoint_config(**self._names(aliases))}
        if self.hosts:
            placed["extra_hosts"] = {**dict(self.hosts), **(placed.get("extra_hosts") or {})}
        if self.pid_of is not None:
            placed["pid_mode"] = f"container:{self.pid_of}"
        if self.ipc_of is not None:
            placed["ipc_mode"] = f"container:{self.ipc_of}"
        if self.groups:
            placed["group_add"] = list(self.groups)
        if self.in_pod:
            placed["init"] = False
            placed.update(self._in_pod(placed, api))
        if self.volumes_from:
            placed["volumes_from"] = list(self.volumes_from)
        return placed

    def _in_pod(self, given: dict[str, Any], api: Any) -> dict[str, Any]:
        """What a pod has otherwise: its address in words, and volumes that begin empty, or a part of them."""
        found: dict[str, Any] = {"mounts": [self._mount(mount, api) for mount in given.get("mounts") or ()]}
        for key in ("command", "entrypoint"):
            if given.get(key) is not None:
                found[key] = [word.replace(POD_ADDRESS, self.pod_address) for word in given[key]]
        variables = (given.get("environment") or {}).items()
        found["environment"] = {name: value.replace(POD_ADDRESS, self.pod_address) for name, value in variables}
        return found

    @staticmethod
    def _mount(mount: dict[str, Any], api: Any) -> dict[str, Any]:
        """Of a volume only a part, also by engines that know no such thing: they mount its place on their disk."""
        options = mount.get("VolumeOptions")
        if options is None:
            return mount
        if "Subpath" in options and sdk.utils.version_lt(api._version, SUBPATH_SINCE):
            place = api.inspect_volume(mount["Source"])["Mountpoint"]
            source = posixpath.join(place, options["Subpath"])
            return {"Type": "bind", "Target": mount["Target"], "ReadOnly": mount["ReadOnly"], "Source": source}
        return {**mount, "VolumeOptions": {**options, "NoCopy": True}}

    def connect(self, api: Any, container_id: str) -> None:
        """To the networks beside the first, for the create call of older engines takes one only (API before 1.44)."""
        for name, aliases in self.networks[1:]:
            api.connect_container_to_network(container_id, name, **self._names(aliases))

    def _names(self, aliases: tuple[str, ...]) -> dict[str, Any]:
        """Of a place in a network. Links are not given where there are none: an empty list is one to the engine."""
        return {"aliases": list(aliases), **({"links": list(self.links)} if self.links else {})}


def hosts_behind(links: Iterable[tuple[str, str]], networks: Iterable[str], api: Any) -> tuple[tuple[str, str], ...]:
    """(alias, address) for each (container id, alias) that is linked to: Podman passes over links without a word, and
    takes addresses of hosts.

    `networks`: names of those in which it is looked for before others. Raises EngineError where it has no address, and
    the SDK's errors.
    """
    found = []
    for container_id, alias in links:
        joined = (api.inspect_container(container_id).get("NetworkSettings") or {}).get("Networks") or {}
        places = [joined[name] for name in networks if name in joined] + list(joined.values())
        address = next((str(place["IPAddress"]) for place in places if place.get("IPAddress")), None)
        if address is None:
            raise EngineError(f"the link to {alias}: what it leads to has no address on this engine")
        found.append((alias, address))
    return tuple(found)


def creation(trial: Trial, labels: dict[str, str], host: DockerHost) -> dict[str, Any]:
    """A trial's subject as arguments of the SDK's create call. Ports that are reached through the engine's machine are
    published, where the scenario does not say at which port, at any."""
    subject = trial.scenario.subject
    ports: dict[str, int | None] = {str(inside): outside for inside, outside in subject.ports}
    if not host.local:
        ports = {**{str(port): None for port in trial.scenario.reached_ports}, **ports}
    limits = {"mem_limit": subject.memory_bytes, "memswap_limit": subject.memory_bytes}
    optional = {
        "command": list(subject.command) if subject.command is not None else None,
        "entrypoint": list(subject.entrypoint) if subject.entrypoint is not None else None,
        "user": subject.user,
        "working_dir": subject.working_directory,
        "stop_signal": trial.scenario.stop.signal,
        "init": True if subject.init else None,
        "pids_limit": subject.pids_limit,
        **(limits if subject.memory_bytes else {}),
        **settings.arguments(subject.settings, trial, labels, host),
    }
    if trial.scenario.readiness.implied and not host.local:
        optional["publish_all_ports"] = True  # EXPOSE tells when it is ready, and nobody else reaches it from here
    given = {key: value for key, value in optional.items() if value is not None}
    labels = {**dict(subject.settings.labels), **labels}
    return {"environment": dict(subject.environment), "ports": ports, "labels": labels, **given}
