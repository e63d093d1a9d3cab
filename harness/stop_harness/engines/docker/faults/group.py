"""The faults of a group: of the container that is stopped, and of those that it depends on."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from stop_harness.engines.docker.faults.container import ContainerFaults
from stop_harness.engines.docker.host_processes import PidOne
from stop_harness.engines.interface import Applied, FaultNotApplied, Held, SubjectFailed
from stop_harness.model import Event, Fault, FaultAction, FaultKind, FaultMoment, When

_AS_ITS_OWN = {
    FaultAction.KILL: Fault(FaultKind.STOP, FaultAction.KILL),
    FaultAction.STOP: Fault(FaultKind.STOP, FaultAction.KILL),
    FaultAction.PAUSE: Fault(FaultKind.PAUSE, FaultAction.PAUSE, FaultMoment(When.AFTER)),
    FaultAction.CUT: Fault(FaultKind.NETWORK, FaultAction.CUT),
    FaultAction.LATENCY: Fault(FaultKind.NETWORK, FaultAction.LATENCY),
}
"""What a fault of a dependency is in the dependency itself; nobody stops that, so a pause lasts."""


class FaultMaking(Protocol):
    """What of a container's subject is used."""

    pid_one: PidOne | None

    def faults(self) -> ContainerFaults: ...
    def is_running(self) -> bool: ...


Ports = frozenset[int] | None
"""At which a container listens; None where nobody can see it."""


class GroupFaults:
    """`containers`: by the name of a member and by its own, each with its own name. `disturbed`: names of containers
    that a fault took, which are not missed as if they had gone by themselves. `start_again`: starts those of these
    names, each with the ports at which it listened, and waits until they are as they were."""

    def __init__(
        self,
        containers: Mapping[str, Mapping[str, FaultMaking]],
        stopped: FaultMaking | None,
        start_again: Callable[[Mapping[str, Ports]], None],
    ) -> None:
        self._containers, self._stopped, self._start_again = containers, stopped, start_again
        if stopped is not None:
            stopped.faults()  # now, for it may have to do with how the stop call is made
        self._listened: dict[str, Ports] = {}

    @property
    def disturbed(self) -> frozenset[str]:
        """So far."""
        return frozenset(self._listened)

    def hold(self, fault: Fault) -> Held | None:
        """Of the container that is stopped, or of all of a dependency."""
        if fault.kind is not FaultKind.DEPENDENCY:
            return self._of_the_stopped().hold(fault)
        own, makers = self._made_of(fault)
        if len(makers) == 1:
            return makers[0].hold(own)
        held: list[Held] = []

        def drop() -> None:
            for one in held:
                one.drop()

        try:
            for maker in makers:
                if (one := maker.hold(own)) is None:
                    drop()
                    return None
                held.append(one)
        except BaseException:
            drop()
            raise
        return Held(lambda: _in_each([one.release for one in held], otherwise=drop), drop)

    def about_to_stop(self) -> None:
        """Of the container that is stopped."""
        if self._stopped is not None:
            self._stopped.faults().about_to_stop()

    def apply(self, fault: Fault) -> Applied:
        """Make it in the container that it names, or in all of a member of which there are several; else in the one
        that is stopped."""
        if fault.kind is not FaultKind.DEPENDENCY:
            return self._of_the_stopped().apply(fault)
        if fault.action is not FaultAction.LATENCY:
            for name, each in self._meant(fault).items():
                self._listened.setdefault(name, each.pid_one.listening() if each.pid_one is not None else None)
        own, makers = self._made_of(fault)
        return makers[0].apply(own) if len(makers) == 1 else _in_each([partial(each.apply, own) for each in makers])

    def _meant(self, fault: Fault) -> Mapping[str, FaultMaking]:
        """The containers of a dependency. Raises FaultNotApplied."""
        found = self._containers.get(fault.target or "")
        if found is None:
            raise FaultNotApplied(
                f"no container of the group is {fault.target!r}; there are: {', '.join(self._containers)}"
            )
        return found

    def _made_of(self, fault: Fault) -> tuple[Fault, list[ContainerFaults]]:
        """What a fault of a dependency is in each of its containers, and who makes it there."""
        own = replace(_AS_ITS_OWN[fault.action], amount=fault.amount)
        return own, [each.faults() for each in self._meant(fault).values()]

    def wait_signalled(self, timeout_s: float) -> int | None:
        """Of the container that is stopped; None where a whole group is, and the stop call counts."""
        return self._stopped.faults().wait_signalled(timeout_s) if self._stopped is not None else None

    def listen(self, pattern: str) -> Callable[[threading.Event], bool]:
        """By the container that is stopped."""
        return self._of_the_stopped().listen(pattern)

    def start_others_again(self) -> None:
        """Those that a fault killed, and those that left while one held them."""
        subjects = {name: each for found in self._containers.values() for name, each in found.items()}
        ended = {name: ports for name, ports in self._listened.items() if not subjects[name].is_running()}
        if not ended:
            return
        try:
            self._start_again(ended)
        except SubjectFailed as failure:
            raise FaultNotApplied(str(failure)) from None

    def _of_the_stopped(self) -> ContainerFaults:
        if self._stopped is None:
            raise FaultNotApplied("the whole group is stopped, and nobody says in which container")
        return self._stopped.faults()


def _in_each(making: Sequence[Callable[[], Applied]], *, otherwise: Callable[[], None] | None = None) -> Applied:
    """The same fault in several containers: it is there when it is in all of them. Raises FaultNotApplied where one
    refuses, and then it is in none; `otherwise` is called then."""
    made: list[Applied] = []
    events: list[Event] = []

    def undo() -> None:
        refused: FaultNotApplied | None = None
        for one in made:
            try:
                one.undo()
            except FaultNotApplied as error:
                refused = error
        events[:] = [event for one in made for event in one.events]
        if refused is not None:
            raise refused

    def give_back() -> None:
        for one in made:
            if one.give_back is not None:
                one.give_back()

    try:
        for make in making:
            made.append(make())
    except BaseException:
        with contextlib.suppress(FaultNotApplied):  # the first refusal is the news
            undo()
        if otherwise is not None:
            otherwise()
        raise
    events += [event for one in made for event in one.events]
    known = [one.begun_ns for one in made if one.begun_ns is not None]
    seen = f"{made[0].seen}, in each of {len(made)} containers"
    begun_ns = max(known) if len(known) == len(made) else None
    return Applied(seen, undo, events, begun_ns=begun_ns, give_back=give_back)
