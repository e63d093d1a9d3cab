"""The faults of a group: of the container that is stopped, and of those that it depends on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from stop_harness.engines.docker.faults.container import ContainerFaults
from stop_harness.engines.interface import Applied, FaultNotApplied
from stop_harness.model import Fault, FaultAction, FaultKind, FaultMoment, When

_AS_ITS_OWN = {
    FaultAction.KILL: Fault(FaultKind.STOP, FaultAction.KILL),
    FaultAction.STOP: Fault(FaultKind.STOP, FaultAction.KILL),
    FaultAction.PAUSE: Fault(FaultKind.PAUSE, FaultAction.PAUSE, FaultMoment(When.AFTER)),
    FaultAction.CUT: Fault(FaultKind.NETWORK, FaultAction.CUT),
}
"""What a fault of a dependency is in the dependency itself; nobody stops that, so a pause lasts."""


class FaultMaking(Protocol):
    """What of a container's subject is used."""

    def faults(self) -> ContainerFaults: ...


class GroupFaults:
    """`disturbed`: names of containers that a fault took, which are not missed as if they had gone by themselves."""

    def __init__(self, containers: Mapping[str, FaultMaking], stopped: FaultMaking | None) -> None:
        self._containers, self._stopped = containers, stopped
        if stopped is not None:
            stopped.faults()  # now, for it may have to do with how the stop call is made
        self.disturbed: frozenset[str] = frozenset()

    def apply(self, fault: Fault) -> Applied:
        """Make it in the container that it names, else in the one that is stopped."""
        if fault.kind is not FaultKind.DEPENDENCY:
            return self._of_the_stopped().apply(fault)
        found = self._containers.get(fault.target or "")
        if found is None:
            raise FaultNotApplied(
                f"no container of the group is {fault.target!r}; there are: {', '.join(self._containers)}"
            )
        self.disturbed |= {fault.target or ""}
        return found.faults().apply(_AS_ITS_OWN[fault.action])

    def wait_signalled(self, timeout_s: float) -> int | None:
        """Of the container that is stopped; None where a whole group is, and the stop call counts."""
        return self._stopped.faults().wait_signalled(timeout_s) if self._stopped is not None else None

    def listen(self, pattern: str) -> Callable[[threading.Event], bool]:
        """By the container that is stopped."""
        return self._of_the_stopped().listen(pattern)

    def _of_the_stopped(self) -> ContainerFaults:
        if self._stopped is None:
            raise FaultNotApplied("the whole group is stopped, and nobody says in which container")
        return self._stopped.faults()
