"""One fault of one container: which function makes it, and what cannot be made where."""

from __future__ import annotations

from collections.abc import Callable

from stop_harness.engines.docker.faults import clock, halting, limits, load, network, packets, surroundings
from stop_harness.engines.docker.faults.scene import GONE, FaultScene
from stop_harness.engines.interface import Applied, FaultNotApplied, Held
from stop_harness.model import Fault, FaultAction, FaultKind

_MAKERS: dict[tuple[FaultKind, FaultAction], Callable[[FaultScene, Fault], Applied]] = {
    (FaultKind.CPU, FaultAction.LIMIT): limits.cpu,
    (FaultKind.CPU, FaultAction.LOAD): load.cpu,
    (FaultKind.MEMORY, FaultAction.LIMIT): limits.memory,
    (FaultKind.MEMORY, FaultAction.HEADROOM): limits.memory,
    (FaultKind.PIDS, FaultAction.LIMIT): limits.pids,
    (FaultKind.PAUSE, FaultAction.PAUSE): halting.pause,
    (FaultKind.SIGNAL, FaultAction.SEND): halting.signal,
    (FaultKind.STOP, FaultAction.AGAIN): halting.stop,
    (FaultKind.STOP, FaultAction.KILL): halting.stop,
    (FaultKind.STOP, FaultAction.REMOVE): halting.stop,
    (FaultKind.STOP, FaultAction.CLIENT_GONE): halting.stop,
    (FaultKind.PROCESS, FaultAction.KILL): halting.process,
    (FaultKind.PROCESS, FaultAction.STOP): halting.process,
    (FaultKind.PROCESS, FaultAction.SEND): halting.process,
    (FaultKind.NETWORK, FaultAction.CUT): network.cut,
    (FaultKind.NETWORK, FaultAction.LATENCY): packets.disturbed,
    (FaultKind.NETWORK, FaultAction.LOSS): packets.disturbed,
    (FaultKind.NETWORK, FaultAction.BANDWIDTH): packets.disturbed,
    (FaultKind.NETWORK, FaultAction.RESET): packets.reset,
    (FaultKind.DISK, FaultAction.FULL): surroundings.disk_full,
    (FaultKind.DISK, FaultAction.READ_ONLY): surroundings.read_only,
    (FaultKind.DNS, FaultAction.DEAD): surroundings.dns_dead,
    (FaultKind.DNS, FaultAction.LATE): packets.disturbed,
    (FaultKind.FDS, FaultAction.LIMIT): surroundings.fds,
    (FaultKind.CLOCK, FaultAction.JUMP): clock.jump,
    (FaultKind.EXEC, FaultAction.RUN): surroundings.execute,
}


def make(scene: FaultScene, fault: Fault) -> Applied:
    """Apply it, and return when its effect is there. Raises FaultNotApplied."""
    maker = _MAKERS.get((fault.kind, fault.action))
    if maker is None:
        raise FaultNotApplied(f"`{fault.kind}` of this kind cannot be made here")
    if not scene.runs():
        raise FaultNotApplied(GONE)
    return maker(scene, fault)


def hold(scene: FaultScene, fault: Fault) -> Held | None:
    """Have at hand what takes long to make: a container of ours beside it. None: nothing does."""
    if (fault.kind, fault.action) == (FaultKind.CPU, FaultAction.LOAD):
        return load.hold(scene, fault)
    return packets.hold(scene, fault) if packets.are_disturbed(fault) else None


def can_make(fault: Fault) -> bool:
    """Whether there is a way at all."""
    return (fault.kind, fault.action) in _MAKERS
