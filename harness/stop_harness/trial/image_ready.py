"""When a container is ready whose scenario does not say: by its health check, its ports, its handler, or by time.

A stop during the start measures the start. "No handler" is the verdict that suffers most, for most programs have none
in their first moments: so nobody who would not take the signal is stopped before another look. The same for every
engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from stop_harness.engines.interface import RunningSubject
from stop_harness.evidence import process_tree, start_up
from stop_harness.evidence.process_tree import Tree
from stop_harness.model import NS_PER_MS, NS_PER_S, Observation, ReadyBasis, ReadyBy, Trial

POLL_NS = 50 * NS_PER_MS

HEALTH_POLL_NS = 500 * NS_PER_MS
"""Between two looks. A health check is a process of its own, and dearer than a look at sockets."""

SETTLE_NS = 250 * NS_PER_MS
"""After a sign: many servers listen a moment before they have their handlers."""

HANDLER_WATCH_NS = 5 * NS_PER_S
"""From the start on: how long somebody without a handler is given to get one. Measured: a program that a script starts,
and that loads for a second, has it after 2 s. A later handler shows shortly before the stop timeout."""

CALM_NS = 250 * NS_PER_MS
"""Between two looks whether it computes. Who does so from its start on may be loading still, although the runtimes of
Go, Ruby and Node.js have handlers from their first moment: it is watched as long as one without a handler."""

COMPUTES_NS = CALM_NS // 5
"""CPU time in between. An event loop that ticks ten times a second uses less than a tenth of that."""

PORT_PATIENCE_NS = 15 * NS_PER_S
"""From the start on: how long a declared port is waited for, less where `ready.timeout` is less. A worker that runs
from the image of a server listens nowhere, whatever EXPOSE says, and each of its stops would wait in vain."""

ELSEWHERE_PATIENCE_NS = 5 * NS_PER_S
"""The same where it listens at another port already: a setting may have moved it."""


def wait(trial: Trial, subject: RunningSubject) -> ReadyBasis:
    """By what it counts as ready, once it does; at once, too, where it has exited, which the engine then tells."""
    return _Wait(trial, subject).basis()


def after(began_ns: int) -> ReadyBasis:
    """The basis of a scenario that says when it is ready. `began_ns`: of the wait, on the monotonic clock."""
    return ReadyBasis(ReadyBy.CONDITIONS, time.monotonic_ns() - began_ns)


def later(trial: Trial, seen: Observation) -> Trial | None:
    """The trial once more, for a stop that came before the handler did: not before that was there. None where the stop
    stands, and where it was such a second one."""
    readiness, ready = trial.scenario.readiness, seen.ready
    once = readiness.implied and readiness.delay_ns <= start_up.LEAST_NS
    container = trial.scenario.subject.container
    once = once and (container is None or container.restart)  # else it runs no longer
    if not once or seen.problem is not None or ready is None or not start_up.met(seen):
        return None
    delay_ns = (ready.after_start_ns or 0) + trial.stop_timeout_ns + start_up.LEAST_NS
    return replace(trial, scenario=replace(trial.scenario, readiness=replace(readiness, delay_ns=delay_ns)))


def _computes(before: Tree, now: Tree) -> bool:
    """Whether its processes used CPU time between two looks; also one that stood in line for it at both."""
    both = [(earlier, later) for later in now.processes if (earlier := before.find(later)) is not None]
    used_ns = sum(process_tree.busy_ns(earlier, later) for earlier, later in both)
    in_line = any(
        earlier.state == later.state == "R" and process_tree.busy_ns(earlier, later) for earlier, later in both
    )
    return used_ns >= COMPUTES_NS or in_line


class _Wait:
    """One wait. Time is counted from the start, by polls as well as by the clock, for an engine's may be virtual."""

    def __init__(self, trial: Trial, subject: RunningSubject) -> None:
        self._readiness, self._subject = trial.scenario.readiness, subject
        self._signs, self._slept_ns = subject.ready_signs(), 0
        self._began_ns = time.monotonic_ns() - self._signs.running_for_ns
        traffic = tuple((port,) for port in sorted({client.port for client in trial.scenario.traffic}))
        self._groups = (*self._signs.ports, *traffic)

    def basis(self) -> ReadyBasis:
        """The first sign that comes; then a look for the handler, whatever the sign was."""
        found = self._by_health_check() or self._by_ports() or ReadyBasis(ReadyBy.TIME)
        by_time = found.by is ReadyBy.TIME
        moment_ns = max(self._readiness.delay_ns, self._elapsed_ns + (0 if by_time else SETTLE_NS))
        if by_time:
            self._sleep_until_calm(moment_ns)
        self._sleep_until(moment_ns)
        if by_time and (ports := self._subject.listening(())):
            found = ReadyBasis(ReadyBy.PORT, ports=tuple(sorted(ports)))
        took_it = self._subject.takes_stop_signal()
        came_late = not took_it and self._until(self._subject.takes_stop_signal, HANDLER_WATCH_NS)
        # The trial is performed anew, with a longer delay, where an earlier stop had met no handler (`start_up`).
        came_late = came_late or (took_it and self._readiness.delay_ns > start_up.LEAST_NS)
        by = ReadyBy.HANDLER if came_late and found.by is ReadyBy.TIME else found.by
        if by is ReadyBy.TIME and self._signs.running_for_ns >= self._readiness.timeout_ns:
            by = ReadyBy.FOUND
        declared = {port for group in self._groups for port in group}
        silent = () if found.by is ReadyBy.HEALTH_CHECK or set(found.ports) & declared else tuple(sorted(declared))
        unhealthy = self._signs.health_check and by is not ReadyBy.HEALTH_CHECK
        return replace(found, by=by, after_start_ns=self._elapsed_ns, silent_ports=silent, unhealthy=unhealthy)

    def _by_health_check(self) -> ReadyBasis | None:
        patience_ns = max(self._readiness.timeout_ns, self._signs.health_patience_ns)
        if not self._signs.health_check or not self._until(self._subject.is_healthy, patience_ns, HEALTH_POLL_NS):
            return None
        return ReadyBasis(ReadyBy.HEALTH_CHECK)

    def _by_ports(self) -> ReadyBasis | None:
        """One port of each group listens; or it listens elsewhere, and not at those for as long as was waited."""
        declared = tuple(dict.fromkeys(port for group in self._groups for port in group))
        seen: frozenset[int] = frozenset()

        def over() -> bool:
            nonlocal seen
            seen = self._subject.listening(declared)
            if all(not seen.isdisjoint(group) for group in self._groups):
                return True
            patience_ns = ELSEWHERE_PATIENCE_NS if seen else PORT_PATIENCE_NS
            return self._elapsed_ns >= patience_ns

        if declared:
            self._until(over, self._readiness.timeout_ns)
        return ReadyBasis(ReadyBy.PORT, ports=tuple(sorted(seen))) if seen else None

    @property
    def _elapsed_ns(self) -> int:
        return max(time.monotonic_ns() - self._began_ns, self._slept_ns)

    def _sleep(self, duration_ns: int) -> None:
        self._subject.sleep(duration_ns)
        self._slept_ns += duration_ns

    def _sleep_until(self, moment_ns: int) -> None:
        """Not less, whichever of the two clocks is behind; less if the subject is gone."""
        while (left_ns := moment_ns - self._elapsed_ns) > 0 and self._subject.is_running():
            self._sleep(left_ns)

    def _sleep_until_calm(self, moment_ns: int) -> None:
        """Not less than until then, and as long as it computes, with an end."""
        self._sleep_until(moment_ns - CALM_NS)
        before = self._subject.processes()
        self._sleep_until(moment_ns)
        while before and self._subject.is_running() and self._elapsed_ns < HANDLER_WATCH_NS:
            now = self._subject.processes()
            if not now or not _computes(Tree(before), Tree(now)):
                return
            before = now
            self._sleep(CALM_NS)

    def _until(self, holds: Callable[[], bool], patience_ns: int, every_ns: int = POLL_NS) -> bool:
        """Whether it holds before so much time has passed since the start, or the subject is gone."""
        while self._subject.is_running():
            if holds():
                return True
            if self._elapsed_ns >= patience_ns:
                return False
            self._sleep(every_ns)
        return False
