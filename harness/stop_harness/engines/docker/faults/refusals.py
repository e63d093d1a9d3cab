"""Which faults of a scenario cannot be made here: by its file, by the engine, and by who we are. Starts nothing of
the scenario's."""

from __future__ import annotations

import re
from collections.abc import Callable

from stop_harness.engines.docker.faults import making, packets
from stop_harness.engines.docker.faults.image_contents import ImageContents, needs_shell
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.members import container_names
from stop_harness.engines.docker.packet_container import Lacking
from stop_harness.model import Fault, FaultAction, FaultKind, GroupKind, Member, MountKind, Scenario, Subject, When

_NO_NETWORK_OF_ITS_OWN = re.compile(r"host|none|container:.*")

_OWN_SHARED_MEMORY = {"private", "shareable"}

_BESIDE_PODMANS_STOP = {(FaultKind.CPU, FaultAction.LOAD), (FaultKind.STOP, FaultAction.CLIENT_GONE)}
"""What is done to another container, or to nobody."""

_WHY_NOT = {
    (FaultKind.STOP, FaultAction.RESTART_ENGINE): "everybody else's containers are on the engine, too, and without "
    "live-restore they would end; and whoever restarts a service of the machine has to know how it is run there",
}
"""Of what is never made."""


Tried = Callable[[], Lacking | None]
"""Gives what was tried of an engine's packets; None: nothing yet."""


def refusal(
    scenario: Scenario, host: DockerHost, contents: ImageContents | None = None, tried: Tried = lambda: None
) -> str | None:
    """Why a fault of the scenario cannot be made, with its place in the file; None: all can. `contents`: of the image
    that they need something of; None: of none, or it was not looked at yet. `tried`: is asked where packets are to be
    disturbed."""
    for number, fault in enumerate(scenario.faults):
        reason = _refusal(fault, scenario, host, tried)
        if reason is None and contents is not None:
            reason = _not_in_the_image(fault, host, contents)
        if reason is not None:
            return f"{scenario.location('faults', number)}: `{fault.kind}`: {reason}"
    return None


def _not_in_the_image(fault: Fault, host: DockerHost, contents: ImageContents) -> str | None:
    if not contents.shell and needs_shell(fault, root_near=host.root_near):
        beside = "" if fault.kind is FaultKind.CLOCK else ", or root on the engine's machine"
        return f"it needs a shell in the image, which has no /bin/sh{beside}"
    if fault.kind is FaultKind.CLOCK and contents.faketime is None:
        return (
            "the clock of a container is that of its machine; libfaketime shows a program another one, and is not in "
            "this image (in Debian, Fedora and Alpine it is the package libfaketime)"
        )
    return None


def _refusal(fault: Fault, scenario: Scenario, host: DockerHost, tried: Tried) -> str | None:
    subject = scenario.subject
    if subject.container is not None:
        return "faults are made in containers that are started for the trial, and this one runs already"
    if fault.kind is not FaultKind.DEPENDENCY and not making.can_make(fault):
        return _WHY_NOT.get((fault.kind, fault.action), f"{fault.action} cannot be made on this engine")
    made_in = _made_in(subject)
    if made_in is None and (fault.kind is not FaultKind.DEPENDENCY or fault.moment.when is When.LOG):
        return _of_several(subject, fault)
    if fault.kind is FaultKind.DEPENDENCY:
        return _of_dependency(fault, subject, host, tried)
    if host.podman and fault.moment.when is not When.BEFORE and not _beside_podmans_stop(fault):
        return "Podman does nothing else to a container that it stops; begin before that, such as `at: -1s`"
    if fault.kind is FaultKind.PAUSE and fault.moment.when is When.BEFORE and not host.root_near:
        return "a stop thaws what the engine has paused, so before it only root on the engine's machine can freeze"
    if fault.action is FaultAction.READ_ONLY and not host.root_near:
        return "mounts of a container can only be changed by root on the engine's machine"
    if fault.kind is FaultKind.FDS and not host.root_near:
        return "limits of a process can only be changed by root on the engine's machine"
    if fault.kind is FaultKind.PROCESS and (host.podman or not host.same_kernel):
        return "its processes can only be signalled on the engine's machine"
    return _in_its_place(fault, subject, made_in, host, tried) if made_in is not None else None


def _beside_podmans_stop(fault: Fault) -> bool:
    return (fault.kind, fault.action) in _BESIDE_PODMANS_STOP or packets.are_disturbed(fault)


def _in_its_place(fault: Fault, subject: Subject, made_in: Member, host: DockerHost, tried: Tried) -> str | None:
    """By the network and the mounts of the container that it is made in."""
    network = made_in.subject.settings.network or ""
    of_network = fault.kind in {FaultKind.NETWORK, FaultKind.DNS} and fault.action is not FaultAction.DEAD
    if of_network and _NO_NETWORK_OF_ITS_OWN.fullmatch(network):
        return f"with `network: {network}` it has no network of its own that could be disturbed"
    if packets.are_disturbed(fault):
        return packets.refusal(fault, host, tried)
    if fault.kind is FaultKind.NETWORK and (whose := _in_a_network_of_others(subject, made_in)):
        return f"{whose}, and it cannot be taken out of that alone; `{{loss: 100%}}` loses all packets of that network"
    if fault.kind is FaultKind.CLOCK and (ipc := made_in.subject.settings.ipc or "private") not in _OWN_SHARED_MEMORY:
        return f"with `ipc: {ipc}` it has no /dev/shm of its own, by which it is told the time"
    if fault.action is FaultAction.FULL:
        target = (fault.target or "").rstrip("/")
        mounts = [mount for mount in made_in.subject.settings.mounts if mount.target.rstrip("/") == target]
        if not mounts or mounts[0].kind is not MountKind.TMPFS or "size=" not in mounts[0].options:
            return f"{fault.target} is no tmpfs with a size; anything else would fill the engine's own disk"
    return None


def _made_in(subject: Subject) -> Member | None:
    """The container that a fault is made in: the only one, the one that is stopped alone, or of a pod the one that the
    trial is about. None: several are stopped together."""
    group = subject.group
    if group is None:
        return Member("it", subject)
    if group.stopped is not None:
        return group.member(group.stopped)
    started = [name for member in group.members for name in container_names(member)]
    return group.members[0] if len(started) == 1 else None


def _of_several(subject: Subject, fault: Fault) -> str:
    pod = subject.group is not None and subject.group.kind is GroupKind.POD
    one = "name the container (`--container NAME`)" if pod else "name the service that is to be stopped"
    if fault.kind is FaultKind.DEPENDENCY:
        return f"several containers are stopped together, and nobody says in whose log the line is; {one}"
    return (
        f"several containers are stopped together, and nobody says in which it is to be made; {one}, and every kind "
        "goes; of the whole, `dependency` alone"
    )


def _of_dependency(fault: Fault, subject: Subject, host: DockerHost, tried: Tried) -> str | None:
    members = subject.group.members if subject.group is not None else ()
    found = next((item for item in members if fault.target in {item.name, *container_names(item)}), None)
    if found is None:
        names = ", ".join(item.name for item in members)
        said = f"there are: {names}" if names else "a single container has no other beside it"
        return f"no container of its group is {fault.target!r}; {said}"
    if fault.action not in {FaultAction.CUT, FaultAction.LATENCY}:
        return None
    network = found.subject.settings.network or ""
    if _NO_NETWORK_OF_ITS_OWN.fullmatch(network):
        return f"with `network: {network}` {found.name} has no network of its own that could be disturbed"
    if whose := _in_a_network_of_others(subject, found):
        return f"{whose}, so that {found.name} has none of its own that could be disturbed"
    return packets.refusal(fault, host, tried) if fault.action is FaultAction.LATENCY else None


def _in_a_network_of_others(subject: Subject, member: Member) -> str | None:
    """Whose that is, as the beginning of a sentence; None: it is in networks of its own."""
    if subject.group is not None and subject.group.shared is not None and subject.group.shared.network:
        return "the containers of a pod have one network together"
    return f"it is in the network of {member.network_of}" if member.network_of is not None else None
