"""Which faults of a scenario cannot be made here: by its file, by the engine, and by who we are. Starts nothing."""

from __future__ import annotations

import os
import re

from stop_harness.engines.docker.faults import making
from stop_harness.engines.docker.host import DockerHost
from stop_harness.linux import packet_faults
from stop_harness.model import Fault, FaultAction, FaultKind, MountKind, Scenario, When

_NO_NETWORK_OF_ITS_OWN = re.compile(r"host|none|container:.*")

_BESIDE_PODMANS_STOP = {(FaultKind.CPU, FaultAction.LOAD), (FaultKind.STOP, FaultAction.CLIENT_GONE)}
"""What is done to another container, or to nobody."""

_WHY_NOT = {
    (FaultKind.STOP, FaultAction.RESTART_ENGINE): "everybody else's containers are on the engine, too, and without "
    "live-restore they would end; and whoever restarts a service of the machine has to know how it is run there",
    (FaultKind.DISK, FaultAction.READ_ONLY): "the kernel makes no mount read-only in which a file is open for writing, "
    "which is the case that matters; `disk: {full: PATH}` makes writes fail as well",
    (FaultKind.CLOCK, FaultAction.JUMP): "the clock of a container is that of its machine; a program can be shown "
    "another one by libfaketime, which has to be in its image and loaded when it starts",
}
"""Of what is never made."""


def refusal(scenario: Scenario, host: DockerHost) -> str | None:
    """Why a fault of the scenario cannot be made, with its place in the file; None: all can."""
    for number, fault in enumerate(scenario.faults):
        reason = _refusal(fault, scenario, host)
        if reason is not None:
            return f"{scenario.location('faults', number)}: `{fault.kind}`: {reason}"
    return None


def _refusal(fault: Fault, scenario: Scenario, host: DockerHost) -> str | None:
    subject = scenario.subject
    settings = (subject.alone or subject).settings
    if subject.container is not None:
        return "faults are made in containers that are started for the trial, and this one runs already"
    if fault.kind is FaultKind.DEPENDENCY:
        group = subject.group
        names = tuple(member.name for member in group.members) if group is not None else ()
        if fault.target in names:
            return None
        said = f"there are: {', '.join(names)}" if names else "a single container has no other beside it"
        return f"no container of its group is {fault.target!r}; {said}"
    if not making.can_make(fault):
        return _WHY_NOT.get((fault.kind, fault.action), f"{fault.action} cannot be made on this engine")
    if host.podman and fault.moment.when is not When.BEFORE and (fault.kind, fault.action) not in _BESIDE_PODMANS_STOP:
        return "Podman does nothing else to a container that it stops; begin before that, such as `at: -1s`"
    near, root = host.same_kernel and not host.podman, os.geteuid() == 0
    if fault.kind is FaultKind.PAUSE and fault.moment.when is When.BEFORE and not (near and root):
        return "a stop thaws what the engine has paused, so before it only root on the engine's machine can freeze"
    if fault.kind is FaultKind.FDS and not (near and root):
        return "limits of a process can only be changed by root on the engine's machine"
    if fault.kind is FaultKind.PROCESS and not near:
        return "its processes can only be signalled on the engine's machine"
    network = settings.network or ""
    if (
        fault.kind in {FaultKind.NETWORK, FaultKind.DNS}
        and fault.action is not FaultAction.DEAD
        and _NO_NETWORK_OF_ITS_OWN.fullmatch(network)
    ):
        return f"with `network: {network}` it has no network of its own that could be disturbed"
    if _disturbs_packets(fault):
        reason = packet_faults.why_not() if near and root else "root on the engine's machine is needed"
        return f"its packets cannot be disturbed: {reason}" if reason is not None else None
    if fault.kind is FaultKind.DISK and fault.action is FaultAction.FULL:
        mounts = [mount for mount in settings.mounts if mount.target.rstrip("/") == (fault.target or "").rstrip("/")]
        if not mounts or mounts[0].kind is not MountKind.TMPFS or "size=" not in mounts[0].options:
            return f"{fault.target} is no tmpfs with a size; anything else would fill the engine's own disk"
    return None


def _disturbs_packets(fault: Fault) -> bool:
    if fault.kind is FaultKind.DNS:
        return fault.action is FaultAction.LATE
    return fault.kind is FaultKind.NETWORK and (fault.action is not FaultAction.CUT or fault.port is not None)
