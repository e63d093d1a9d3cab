"""Faults of a subject of the process engine: its processes are signalled, or short of file descriptors."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

from stop_harness import signals
from stop_harness.engines import process_faults
from stop_harness.engines.interface import Applied, FaultNotApplied
from stop_harness.linux import proc
from stop_harness.model import Clock, Event, EventKind, Fault, FaultKind, Scenario, When

_MADE = frozenset({FaultKind.PROCESS, FaultKind.SIGNAL, FaultKind.FDS})

BY_US = "kill(2) by a fault"


def refusal(scenario: Scenario) -> str | None:
    """Why a fault of the scenario cannot be made, with its place in the file; None: all can."""
    for number, fault in enumerate(scenario.faults):
        where = f"{scenario.location('faults', number)}: `{fault.kind}`"
        if sys.platform != "linux":
            return f"{where}: the process engine makes faults on Linux alone"
        if fault.kind not in _MADE:
            made = ", ".join(sorted(_MADE))
            return f"{where}: the process engine makes faults of {made} alone; this one needs a container engine"
        if fault.moment.when is When.LOG:
            return f"{where}: the process engine knows of no line when it is written; `at` needs another moment"
    return None


class ProcessFaults:
    """`FaultMaker` of one subject, which is `first` and what is below it."""

    def __init__(self, first: int, stop_signal: int) -> None:
        self._stop_signal = stop_signal
        self._first, self._started = first, proc.stat_of(first)[19:20]
        self._told = threading.Event()
        self._signalled_ns: int | None = None

    def hold(self, fault: Fault) -> None:
        """Nothing: a signal is sent at once."""

    def about_to_stop(self) -> None:
        """The waiting parent tells of the stop signal alone."""

    def apply(self, fault: Fault) -> Applied:
        """Make it, where it still runs."""
        fields = proc.stat_of(self._first)
        if not fields or fields[0] in {"Z", "X"} or fields[19:20] != self._started:
            raise FaultNotApplied("it was gone already")
        if fault.kind is FaultKind.FDS:
            return process_faults.short_of_descriptors(fault, [self._first])
        if fault.kind is FaultKind.SIGNAL:
            number = self._stop_signal if fault.signal is None else signals.number(fault.signal)
            return Applied("kill(2)", _nothing, self._send(self._first, number))
        return process_faults.signalled(fault, [self._first], self._send)

    def _send(self, pid: int, number: int) -> list[Event]:
        at_ns = time.monotonic_ns()
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return []
        except PermissionError:
            raise FaultNotApplied("we may not signal it") from None
        return [Event(EventKind.SIGNAL_SENT, at_ns, Clock.KERNEL, BY_US, number)] if pid == self._first else []

    def signalled(self, at_ns: int) -> None:
        """The stop signal was sent, at that monotonic time."""
        self._signalled_ns = time.time_ns() - (time.monotonic_ns() - at_ns)
        self._told.set()

    def over(self) -> None:
        """The stop is over, with a signal or without."""
        self._told.set()

    def wait_signalled(self, timeout_s: float) -> int | None:
        """As the waiting parent tells it."""
        self._told.wait(timeout_s)
        return self._signalled_ns

    def listen(self, pattern: str) -> Callable[[threading.Event], bool]:
        """Refused before the start."""
        raise FaultNotApplied(f"nobody waits for a line that matches {pattern!r}")

    def start_others_again(self) -> None:
        """Nothing runs beside it."""


def _nothing() -> None:
    """The undoing of a deed that is done."""
